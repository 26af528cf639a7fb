"""From what the nodes of a spec are given to the graph that its blocks update.

Node sets of padded or packed sequences say how long they are, or which segments they
hold; every edge set is then cut down to the pairs of nodes that are there.

Shapes: B batch, N nodes of a set, D width.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks.residual import dropout
from relational.models.named import norm_of, relation_of, topology_of
from relational.specs.checks import table_width
from relational.topologies import Topology

Inputs = Mapping[str, Mapping[str, Any]]

LENGTH = "length"
"""The input that says how many nodes of a set count, integers [B]."""

SEGMENT = "segment"
"""The input that says in which of several packed sequences a node is, integers [B, N]."""


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
    packed = [name for name in inputs if SEGMENT in inputs[name]]
    if packed:
        raise ValueError(
            f"`{SEGMENT}` must be left out for stepping; `{packed[0]}` has it. Take one "
            "sequence a row."
        )
    growing = {key: leaf for key, leaf in inputs[read_out].items() if key != LENGTH}
    lengths = {name: inputs[name].get(LENGTH) for name in spec.nodes}
    return {**inputs, read_out: growing}, lengths


def read_out_only(spec: specs.ModelSpec, inputs: Inputs) -> Inputs:
    """Returns the inputs of the set that is read out: caches hold all of the others."""
    name = spec.read_out.node
    return {name: {key: leaf for key, leaf in inputs[name].items() if key != LENGTH}}


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
    batch = len(next(iter(inputs.values()))["token"])
    nodes = {}
    for name, node in spec.nodes.items():
        if name not in inputs:
            dtype = tables[name].table.dtype
            nodes[name] = {"features": jnp.zeros((batch, 0, node.width), dtype)}
            continue
        given = {
            key: leaf
            for key, leaf in inputs[name].items()
            if key not in (LENGTH, SEGMENT)
        }
        at = positions
        if SEGMENT in inputs[name]:
            at = _within(jnp.asarray(inputs[name][SEGMENT]))
        check_length(spec, name, given["token"].shape[1], "inputs")
        features = _embed(name, node, tables[name], given, at)
        if node.norm:
            features = norm_of(spec.norm)(features, f"embed_{name}_norm")
        del given["token"]
        nodes[name] = {**given, "features": dropout(features, rate)}
    edges = {name: _edge_set(name, spec, inputs) for name in spec.edges}
    return rl.Graph(nodes=nodes, edges=edges, batch_axes=1)


def _edge_set(name: str, spec: specs.ModelSpec, inputs: Inputs) -> rl.EdgeSet:
    edge_set = spec.edges[name]
    ends = {
        side: inputs.get(node_set, {})
        for side, node_set in (
            ("receivers", edge_set.receiver_set),
            ("senders", edge_set.sender_set),
        )
    }
    return rl.EdgeSet(
        senders=edge_set.sender_set,
        receivers=edge_set.receiver_set,
        topology=_cut_down(topology_of(edge_set.topology), name, ends),
        relations={
            key: relation_of(relation) for key, relation in edge_set.relations.items()
        },
    )


def _cut_down(
    topology: Topology, name: str, ends: Mapping[str, Mapping[str, Any]]
) -> Topology:
    """Returns a topology without the edges of padding, or between packed sequences."""
    lengths = {side: end[LENGTH] for side, end in ends.items() if LENGTH in end}
    if lengths:
        topology = topology & rl.Lengths(**lengths)
    segments = [end[SEGMENT] for end in ends.values() if SEGMENT in end]
    if len(segments) == 1:
        raise ValueError(
            f"`{SEGMENT}` must be given for both ends of the edge set `{name}`, or for "
            "none; got one. Nodes hear those of their own segment."
        )
    if segments:
        topology = topology & rl.SameSegment(*segments)
    return topology


def _within(segment: jax.Array) -> jax.Array:
    """Returns positions that begin anew with every segment, [B, N].

    >>> _within(jnp.array([[1, 1, 1, 2, 2]])).tolist()
    [[0, 1, 2, 0, 1]]
    """
    place = jnp.arange(segment.shape[1])[None]
    begins = segment != jnp.roll(segment, 1, axis=1)
    first = jax.lax.cummax(jnp.where(begins, place, 0), axis=1)
    return place - first


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
