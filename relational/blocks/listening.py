"""How the nodes of a graph listen: what several blocks of the family share.

Who hears whom, with or without itself; how many it hears; what it hears of senders that
all say one thing.

Shapes: *lead leading axes of the graph, R receivers, S senders, D width.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.blocks import parts
from relational.topologies import Topology


def heard_nodes(
    graph: rl.Graph, over: str, value: jax.Array, aggregator: Any, lowering: Any
) -> jax.Array:
    """Returns what receivers hear of senders that say `value`: [*lead, R, D]."""
    edge_set = graph.edge_set(over)
    heard = rl.propagate(
        parts.within_graphs(graph, over),
        batch_axes=graph.batch_axes,
        senders=value,
        num_receivers=graph.num_nodes(edge_set.receivers),
        message=lambda sender: sender,
        aggregator=aggregator,
        lowering=lowering,
    )
    return parts.joined(heard)


def heard_by(graph: rl.Graph, over: str, *, self_edges: bool) -> Topology:
    """Returns who hears whom; with `self_edges` each node hears itself once.

    >>> import relational as rl, jax.numpy as jnp
    >>> graph = rl.Graph(nodes={"node": jnp.ones([2, 1])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Edges([0, 1], [1, 1], 2))})
    >>> print(heard_by(graph, "edge", self_edges=True).text())
    #.
    ##
    """
    topology, edge_set = parts.within_graphs(graph, over), graph.edge_set(over)
    if not self_edges:
        return topology
    if edge_set.senders != edge_set.receivers:
        raise ValueError(
            "`self_edges` need an edge set from a node set to itself; got "
            f"`{edge_set.senders}` and `{edge_set.receivers}`."
        )
    if not isinstance(topology, rl.Edges):
        return topology | rl.Self()
    return with_self_edges(topology, graph.num_nodes(edge_set.receivers))


def with_self_edges(topology: rl.Edges, count: int) -> rl.Edges:
    """Returns listed edges, but those of nodes to themselves, and then those, once."""
    senders, receivers = topology.senders, topology.receivers
    if any(isinstance(side, jax.core.Tracer) for side in (senders, receivers)):
        # Edges that lead out of range are dropped where they are used.
        receivers = jnp.where(senders == receivers, count, receivers)
        nodes = jnp.arange(count, dtype=receivers.dtype)
        nodes = jnp.broadcast_to(nodes, (*receivers.shape[:-1], count))
        return rl.Edges(
            jnp.concatenate([senders, nodes], -1),
            jnp.concatenate([receivers, nodes], -1),
            count,
            count,
        )
    if senders.ndim > 1:  # Each graph may have another number of self-edges.
        raise ValueError(
            "`self_edges` need one list of edges for all graphs of a batch; got shape "
            f"{senders.shape}. Make a graph tuple of them, or list self-edges."
        )
    known = np.stack([np.asarray(senders), np.asarray(receivers)])
    own = np.arange(count, dtype=known.dtype)
    listed = np.concatenate([known[:, known[0] != known[1]], [own, own]], -1)
    return rl.Edges(listed[0], listed[1], count, count)


def degrees(
    topology: Topology, num_receivers: int, num_senders: int, batch_axes: int
) -> jax.Array:
    """Returns how many edges end in each receiver: [*lead, R], each full or 1.

    >>> import relational as rl
    >>> degrees(rl.Causal(), 3, 3, 0)
    Array([1., 2., 3.], dtype=float32)
    """
    ones = (1,) * batch_axes
    if isinstance(topology, rl.Edges):
        receivers = topology.receivers
        if not isinstance(receivers, jax.core.Tracer) and receivers.ndim == 1:
            counted = np.bincount(np.asarray(receivers), minlength=num_receivers)
            return jnp.asarray(counted.reshape(*ones, -1), jnp.float32)
    counted = rl.propagate(
        topology,
        batch_axes=batch_axes,
        senders=jnp.ones([*ones, num_senders, 1]),
        num_receivers=num_receivers,
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    return counted[..., 0]


def with_bias(value: jax.Array) -> jax.Array:
    """Adds a learned offset to features [..., D], within the scope of a block."""
    offset = hk.get_parameter("b", value.shape[-1:], value.dtype, jnp.zeros)
    return value + jnp.broadcast_to(offset, value.shape)
