"""What nodes know of their place, as features, and what pairs of nodes know, as labels.

Both come with the nodes of each graph (`positions`), and find their place here in a graph
that has been batched and padded.

Shapes: N nodes, G graphs of a tuple, M the most nodes of a graph, D width, K numbers.
"""

import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import specs
from relational.blocks import parts
from relational.graphs import EDGE, NODE
from relational.models import positions
from relational.models.named import relation_of


def with_laplacian(
    spec: specs.LaplacianPositionsSpec, graph: rl.Graph, *, is_training: bool
) -> rl.Graph:
    """Returns the graph with eigenvectors beside the features of its nodes."""
    found = given(spec, graph)
    if is_training and spec.flips_signs:
        # The vectors of one graph turn together, those of another by themselves.
        shape = (len(_counts(graph)[0]), spec.width)
        signs = jax.random.rademacher(hk.next_rng_key(), shape, found.dtype)
        found = found * parts.spread(graph, NODE, signs)
    return _beside(graph, found)


def with_random_walk(spec: specs.RandomWalkPositionsSpec, graph: rl.Graph) -> rl.Graph:
    """Returns the graph with chances of return beside the features of its nodes."""
    return _beside(graph, given(spec, graph))


def with_degrees(spec: specs.DegreesSpec, graph: rl.Graph, name: str) -> rl.Graph:
    """Returns the graph with an embedding of degrees added to its nodes."""
    features = parts.node_features(graph, NODE, name)
    table = hk.Embed(spec.limit + 1, features.shape[-1], name=name)
    embedded = table(given(spec, graph)).astype(features.dtype)
    return graph.with_features(NODE, features + embedded)


def given(spec: positions.Asked, graph: rl.Graph) -> jax.Array:
    """Returns what came with the nodes of a graph for a part of a spec: [N, ...].

    Raises:
      ValueError: if it did not come.
    """
    name = positions.attribute(spec)
    attributes = graph.attributes(NODE)
    if name not in attributes:
        raise ValueError(
            f"the nodes must bring `{name}`, which is made of the edges beforehand; they "
            f"have {', '.join(('features', *attributes))}. Give "
            "`models.prepare(spec.model, graph)` in place of the graph."
        )
    return jnp.asarray(attributes[name])


@functools.singledispatch
def pair_relation(spec: Any, graph: rl.Graph) -> Any:
    """Returns the relation of all pairs of nodes that a spec describes.

    Args:
      spec: a `GraphRelationSpec`.
      graph: with its own edges.
    """
    del graph
    return relation_of(spec)


@pair_relation.register
def _(spec: specs.HopsSpec, graph: rl.Graph) -> Any:
    rows = given(spec, graph)  # [N, M]
    first = jnp.cumsum(jnp.asarray(_counts(graph)[0])) - _counts(graph)[0]  # [G]
    ids = jnp.asarray(parts.graph_ids(graph, NODE))
    column = jnp.arange(len(rows))[None] - first[ids][:, None]  # [N, N]
    # Pairs of two graphs have no column, and no edge.
    labels = jnp.take_along_axis(rows, column, axis=1, mode="fill", fill_value=0)
    return rl.Labels(labels, spec.hops + 3)


@pair_relation.register
def _(spec: specs.EdgeTypesSpec, graph: rl.Graph) -> Any:
    features = parts.edge_features(graph, EDGE, "edge_types")
    if features.shape[-1] != spec.edge_types:
        raise ValueError(
            "`edge_types` must be the number of features of an edge, which are one-hot, "
            f"{features.shape[-1]}; got {spec.edge_types}."
        )
    edges, count = parts.listed(graph, EDGE), graph.num_nodes(NODE)
    types = 1 + jnp.argmax(features, -1).astype(jnp.int32)
    none = jnp.zeros([count, count], jnp.int32)
    labels = none.at[edges.receivers, edges.senders].set(types)
    return rl.Labels(labels, spec.edge_types + 1)


def _counts(graph: rl.Graph) -> tuple[Any, Any]:
    if graph.counts is None:
        raise ValueError(
            "it must stand outside `graph_nodes`, where it is told which nodes are of "
            "one graph."
        )
    return graph.counts


def _beside(graph: rl.Graph, found: jax.Array) -> rl.Graph:
    features = graph.features(NODE)
    return graph.with_features(NODE, jnp.concatenate([features, found], axis=-1))
