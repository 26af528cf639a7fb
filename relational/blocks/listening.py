"""How the nodes of a graph listen: what several blocks of the family share.

How many a node hears, and what it hears of senders that all say one thing.

Shapes: *lead leading axes of the graph, R receivers, S senders, E edges, D width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational._checks import shown
from relational.aggregators import Aggregator
from relational.blocks import parts
from relational.blocks.ends import Ends
from relational.topologies import Topology


def heard_nodes(
    ends: Ends, value: jax.Array, aggregator: Any, lowering: Any
) -> jax.Array:
    """Returns what receivers hear of senders that say `value`: [*lead, R, D]."""
    heard = rl.propagate(
        ends.topology,
        batch_axes=ends.batch_axes,
        senders=value,
        num_receivers=ends.counts[0],
        message=lambda sender: sender,
        aggregator=aggregator,
        lowering=lowering,
    )
    return parts.joined(heard)


def degrees(
    topology: Topology,
    num_receivers: int,
    num_senders: int,
    batch_axes: int,
    weights: jax.Array | None = None,
) -> jax.Array:
    """Returns how many edges end in each receiver: [*lead, R], each full or 1.

    With weights [*lead, E] of listed edges it is their sum.

    >>> import relational as rl
    >>> degrees(rl.Causal(), 3, 3, 0)
    Array([1., 2., 3.], dtype=float32)
    """
    ones = (1,) * batch_axes
    if weights is not None:
        counted = rl.propagate(
            topology,
            batch_axes=batch_axes,
            edges=weights[..., None],
            num_receivers=num_receivers,
            message=lambda edge: edge,
            aggregator=rl.Sum(),
        )
        return counted[..., 0]
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


def check_aggregators(name: str, aggregators: Any) -> None:
    """Raises a ValueError unless these are aggregators that need no scores."""
    each = aggregators if isinstance(aggregators, tuple) else (aggregators,)
    if not each or not all(isinstance(one, Aggregator) for one in each):
        raise ValueError(
            f"`{name}` must be an aggregator such as `rl.Sum()`, or a tuple of them; "
            f"got {shown(aggregators)}."
        )
    if any(one.hears_score for one in each):
        raise ValueError(
            f"`{name}` must hear no scores, since edges here have none; got "
            f"{shown(aggregators)}. Use an attention block, or the `score_edge` of "
            "`GraphNetwork`."
        )


def check_hearing(aggregators: Any) -> None:
    """Raises a ValueError unless one of these aggregators hears scores."""
    each = aggregators if isinstance(aggregators, tuple) else (aggregators,)
    if not all(isinstance(one, Aggregator) for one in each) or not any(
        one.hears_score for one in each
    ):
        raise ValueError(
            "`edges_to_nodes` must hear the scores of `score_edge`, as `rl.Softmax()` "
            f"does; got {shown(aggregators)}."
        )
