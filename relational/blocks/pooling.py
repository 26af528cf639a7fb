"""What a graph hears of all its nodes or edges: `propagate` over a star.

A star is an edge from each of them to their graph.

Shapes: *lead leading axes of the graph, N nodes, E edges, G graphs of a tuple, D width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.blocks import parts
from relational.topologies import Topology


def pool_nodes(
    graph: rl.Graph, node_set: str, features: jax.Array, aggregator: Any
) -> jax.Array:
    """Returns what each graph hears of its nodes: [*lead, D], of a tuple [G, D]."""
    ids = None if graph.counts is None else parts.graph_ids(graph, node_set)
    return _pool(graph, features, ids, aggregator)


def pool_edges(
    graph: rl.Graph, over: str, features: jax.Array, aggregator: Any
) -> jax.Array:
    """Returns what each graph hears of its edges: [*lead, D], of a tuple [G, D]."""
    if graph.counts is None:
        return _pool(graph, features, None, aggregator)
    receivers = parts.listed(graph, over).receivers
    ids = parts.graph_ids(graph, graph.edge_set(over).receivers)
    return _pool(graph, features, _taken_ids(ids, receivers, graph.counts), aggregator)


def _taken_ids(ids: Any, receivers: Any, counts: tuple[Any, Any]) -> Any:
    """Returns the graph of each edge; of those out of range one that there is not."""
    if not isinstance(ids, jax.core.Tracer) and not isinstance(
        receivers, jax.core.Tracer
    ):
        return ids[np.asarray(receivers)]
    num_graphs = np.shape(counts[0])[0]
    if not len(ids):
        return jnp.full_like(receivers, num_graphs)
    inside = (receivers >= 0) & (receivers < len(ids))
    found = jnp.take(jnp.asarray(ids), receivers, mode="clip")
    return jnp.where(inside, found, num_graphs)


def star(graph: rl.Graph, node_set: str) -> Topology:
    """Returns the edges from the nodes of a set to their graphs."""
    if graph.counts is None:
        return rl.Complete()
    return _star(graph, parts.graph_ids(graph, node_set))


def _star(graph: rl.Graph, ids: Any) -> rl.Edges:
    """Returns an edge from each row to its graph; known where the ids are."""
    assert graph.counts is not None
    num_graphs = int(np.shape(graph.counts[0])[0])
    return rl.Edges(np.arange(len(ids)), ids, num_graphs, len(ids))


def _pool(graph: rl.Graph, features: jax.Array, ids: Any, aggregator: Any) -> jax.Array:
    """Lets graphs hear the rows of `features`."""
    topology: Topology = rl.Complete() if ids is None else _star(graph, ids)
    heard = rl.propagate(
        topology,
        batch_axes=graph.batch_axes,
        senders=features,
        num_receivers=1 if ids is None else None,
        message=lambda sender: sender,
        aggregator=aggregator,
    )
    pooled = parts.joined(heard)
    return pooled if ids is not None else jnp.squeeze(pooled, -2)
