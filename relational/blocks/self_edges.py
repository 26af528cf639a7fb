"""Each node hears itself, once: edges from a node to itself, and what they carry.

Known edges are filtered; those of traced ones that lead from a node to itself are led
out of range, where they are dropped.

Shapes: *lead leading axes of the graph, N nodes, E edges, D width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.blocks import parts
from relational.blocks.ends import Ends
from relational.topologies import Topology


def heard_by(ends: Ends, *, self_edges: bool) -> Topology:
    """Returns who hears whom; with `self_edges` each node hears itself once.

    >>> import relational as rl, jax.numpy as jnp
    >>> graph = rl.Graph(nodes={"node": jnp.ones([2, 1])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Edges([0, 1], [1, 1], 2))})
    >>> print(heard_by(Ends(graph, "edge", "example"), self_edges=True).text())
    #.
    ##
    """
    topology = ends.topology
    if not self_edges:
        return topology
    _check_one_set(ends)
    if not isinstance(topology, rl.Edges):
        return topology | rl.Self()
    return with_self_edges(topology, ends.counts[0])


def listed_with_features(
    ends: Ends, features: jax.Array, own: jax.Array | None
) -> tuple[rl.Edges, jax.Array]:
    """Returns edges one by one, and the features of each.

    Args:
      ends: of an edge set.
      features: of its edges, [*lead, E, D].
      own: of the edge from each node to itself, [*lead, N, D], which takes the place
        of those that are there; or None to leave these.
    """
    listed = parts.listed(ends.graph, ends.over)
    if own is None:
        return listed, features
    _check_one_set(ends)
    kept = _kept(listed)
    if kept is not None:
        features = features[..., kept, :]
    return (
        with_self_edges(listed, ends.counts[0]),
        jnp.concatenate([features, own], -2),
    )


def mean_of_others(ends: Ends, features: jax.Array) -> jax.Array:
    """Returns the mean of the edges that end in each node, but those of itself.

    Of features [*lead, E, D] it is [*lead, N, D], and 0 for who hears nobody else.
    """
    listed, count = parts.listed(ends.graph, ends.over), ends.counts[0]
    kept = _kept(listed)
    mean: jax.Array = rl.propagate(
        _without_self_edges(listed, count),
        batch_axes=ends.batch_axes,
        edges=features if kept is None else features[..., kept, :],
        num_receivers=count,
        message=lambda edge: edge,
        aggregator=rl.Mean(),
    )
    return mean


def with_self_edges(topology: rl.Edges, count: int) -> rl.Edges:
    """Returns listed edges, but those of nodes to themselves, and then those, once."""
    others = _without_self_edges(topology, count)
    senders, receivers = others.senders, others.receivers
    own: Any = np.arange(count, dtype=receivers.dtype)
    join: Any = np.concatenate
    if _is_traced(topology):
        own = jnp.broadcast_to(own, (*receivers.shape[:-1], count))
        join = jnp.concatenate
    return rl.Edges(join([senders, own], -1), join([receivers, own], -1), count, count)


def _without_self_edges(topology: rl.Edges, count: int) -> rl.Edges:
    senders, receivers = topology.senders, topology.receivers
    kept = _kept(topology)
    if kept is None:
        receivers = jnp.where(senders == receivers, count, receivers)
        return rl.Edges(senders, receivers, count, count)
    return rl.Edges(
        np.asarray(senders)[kept], np.asarray(receivers)[kept], count, count
    )


def _kept(topology: rl.Edges) -> np.ndarray | None:
    """Returns which edges lead from one node to another; None where that is traced."""
    if _is_traced(topology):
        return None
    senders, receivers = np.asarray(topology.senders), np.asarray(topology.receivers)
    if senders.ndim > 1:  # Each graph may have another number of self-edges.
        raise ValueError(
            "`self_edges` need one list of edges for all graphs of a batch; got shape "
            f"{senders.shape}. Make a graph tuple of them, or list self-edges."
        )
    return np.flatnonzero(senders != receivers)


def _is_traced(topology: rl.Edges) -> bool:
    sides = (topology.senders, topology.receivers)
    return any(isinstance(side, jax.core.Tracer) for side in sides)


def _check_one_set(ends: Ends) -> None:
    if ends.is_bipartite:
        raise ValueError(
            "`self_edges` need an edge set from a node set to itself; got "
            f"`{ends.edge_set.senders}` and `{ends.edge_set.receivers}`."
        )
