"""From what the nodes of a spec are given to the graph that its blocks update.

Shapes: B batch, N nodes of a set, D width.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks.residual import dropout
from relational.models.edge_sets import (
    LENGTH,
    OF_SETS,
    POSITION,
    SEGMENT,
    Inputs,
    edge_sets,
    unlabelled,
    with_prefix,
    within,
)
from relational.models.named import norm_of
from relational.specs.checks import table_width


def check_complete(spec: specs.ModelSpec, inputs: Inputs) -> None:
    """Refuses inputs that lack a node set, or its tokens."""
    for name in spec.nodes:
        if "token" not in inputs.get(name, {}):
            came = ", ".join(inputs) or "nothing"
            raise ValueError(
                f"`inputs` must hold `token`, integers [B, N], for every node set of the "
                f"model, {', '.join(spec.nodes)}; `{name}` has none (got {came})."
            )
        for attribute, count in spec.nodes[name].embed.items():
            if attribute not in inputs[name]:
                raise ValueError(
                    f"`inputs['{name}']` must hold `{attribute}`, integers [B, N] from 0 "
                    f"to {count - 1}, which the model embeds; got "
                    f"{', '.join(inputs[name])}."
                )


def check_length(spec: specs.ModelSpec, name: str, length: int, argument: str) -> None:
    """Refuses more nodes of a set than it has learned positions."""
    positions = spec.nodes[name].positions
    if isinstance(positions, specs.LearnedPositionsSpec) and length > positions.length:
        raise ValueError(
            f"`{argument}` must be at most {positions.length} nodes of `{name}`, which "
            f"has so many learned positions; got {length}. Take fewer, or positions "
            "without a bound, such as `sinusoid`."
        )


def for_stepping(
    spec: specs.ModelSpec, inputs: Inputs
) -> tuple[Inputs, dict[str, Any]]:
    """Returns inputs without bounds of the set that grows, and the lengths of the others.

    Raises:
      ValueError: if another set hears the one that is read out, or is packed.
    """
    read_out = spec.read_out.node
    for name, edge_set in spec.edges.items():
        if edge_set.sender_set == read_out != edge_set.receiver_set:
            raise ValueError(
                f"the model cannot be stepped: by the edge set `{name}`, "
                f"`{edge_set.receiver_set}` hears `{read_out}`, whose later nodes are "
                "not there yet."
            )
    inputs = unlabelled(spec, inputs)
    packed = [name for name in spec.nodes if SEGMENT in inputs[name]]
    if packed:
        raise ValueError(
            f"`{SEGMENT}` must be left out for stepping; `{packed[0]}` has it. Take one "
            "sequence a row."
        )
    growing = {key: leaf for key, leaf in inputs[read_out].items() if key != LENGTH}
    lengths = {name: inputs[name].get(LENGTH) for name in spec.nodes}
    nobody = jnp.zeros(len(growing["token"]), jnp.int32)
    return with_prefix(spec, {**inputs, read_out: growing}, nobody), lengths


def read_out_only(spec: specs.ModelSpec, inputs: Inputs) -> Inputs:
    """Returns the inputs of the set that is read out: caches hold all of the others.

    Labels of the edges that end in it are among them.
    """
    name = spec.read_out.node
    edges = {key: leaves for key, leaves in inputs.items() if key in spec.edges}
    own = {key: leaf for key, leaf in inputs[name].items() if key != LENGTH}
    return {**edges, name: own}


def tables_of(spec: specs.ModelSpec) -> dict[str, blocks.Embedding]:
    """Returns the table of tokens of each node set; some sets share one."""
    own = {
        name: blocks.Embedding(
            vocabulary=node.vocabulary,
            width=table_width(node),
            is_scaled=node.scaled,
            name=f"embed_{name}",
        )
        for name, node in spec.nodes.items()
        if node.embedding is None
    }
    return {name: own[node.embedding or name] for name, node in spec.nodes.items()}


def graph_of_tokens(
    spec: specs.ModelSpec,
    inputs: Inputs,
    positions: Any,
    tables: Mapping[str, blocks.Embedding],
    rate: float,
) -> rl.Graph:
    """Returns the graph before the first block.

    Args:
      spec: the model.
      inputs: of each node set; a set that is left out gets no nodes.
      positions: [B, N] where nodes do not stand at 0, 1, 2, ...
      tables: of tokens.
      rate: of dropout.
    """
    batch = next(len(inputs[name]["token"]) for name in spec.nodes if name in inputs)
    nodes = {}
    for name, node in spec.nodes.items():
        if name not in inputs:
            dtype = tables[name].table.dtype
            nodes[name] = {"features": jnp.zeros((batch, 0, node.width), dtype)}
            continue
        given = {key: leaf for key, leaf in inputs[name].items() if key not in OF_SETS}
        at = positions
        if SEGMENT in inputs[name]:
            at = within(jnp.asarray(inputs[name][SEGMENT]))
        at = given.get(POSITION, at)
        given |= {} if at is None else {POSITION: at}
        check_length(spec, name, given["token"].shape[1], "inputs")
        features = _embed(name, node, tables[name], given, at)
        if node.norm:
            features = norm_of(spec.norm)(features, f"embed_{name}_norm")
        del given["token"]
        nodes[name] = {**given, "features": dropout(features, rate)}
    return rl.Graph(nodes=nodes, edges=edge_sets(spec, inputs), batch_axes=1)


def _embed(
    name: str,
    node: specs.NodeSpec,
    table: blocks.Embedding,
    given: Mapping[str, Any],
    positions: Any,
) -> jax.Array:
    """Returns the features of a node set, [B, N, D]."""
    tokens = given["token"]
    features = table(tokens)
    for attribute, count in node.embed.items():
        rows = blocks.Embedding(
            vocabulary=count,
            width=table.width,
            is_scaled=node.scaled,
            name=f"embed_{name}_{attribute}",
        )
        features = features + rows(given[attribute])
    spec = node.positions
    at = jnp.arange(tokens.shape[1])[None] if positions is None else positions
    if isinstance(spec, specs.LearnedPositionsSpec):
        rows = blocks.Embedding(
            vocabulary=spec.length,
            width=node.width,
            is_scaled=node.scaled,
            name=f"positions_{name}",
        )
        return features + rows(at)
    if isinstance(spec, specs.SinusoidSpec):
        is_beside = spec.combine == "concatenate"
        width = node.width - table.width if is_beside else node.width
        waves = blocks.sinusoids(at, width, spec.layout).astype(features.dtype)
        if not is_beside:
            return features + waves
        waves = jnp.broadcast_to(waves, (*features.shape[:2], width))
        return jnp.concatenate([features, waves], axis=-1)
    return features
