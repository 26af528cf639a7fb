"""The definition: gather both ends of every edge, call the terms, sum by receiver.

It serves every topology and every term, in memory proportional to the number of edges.
All other lowerings are tested against it.

Shapes: E edges, R receivers, F features.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import costs
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    taken,
    with_positions,
)
from relational.terms import Term
from relational.topologies.base import End

_EDGE = frozenset({"edge"})


@dataclasses.dataclass(frozen=True)
class Edges:
    """Asks for the edge list: `propagate(..., lowering=rl.lowerings.Edges())`.

    >>> import jax.numpy as jnp, relational as rl
    >>> rl.propagate(rl.Band(before=1), senders=jnp.array([1.0, 5.0, 3.0]),
    ...              message=lambda sender: sender, aggregator=rl.Sum(),
    ...              lowering=rl.lowerings.Edges()).tolist()
    [1.0, 6.0, 8.0]
    """

    name = "edges"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        del problem
        return []

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("edges", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        work = costs.edge_work(problem)
        return work, 4 * (work["gathered"] + work["message"] + 0.5 * work["kept"])

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        listed = with_edges(problem, operands)

        def one(inner: Operands) -> list[Any]:
            asked = _of_edges_that_count(problem, inner)
            return aggregated(problem, inner, evaluate(problem, asked, "message"))

        return each_graph(one, with_positions(problem, listed), problem)


def with_edges(problem: Problem, operands: Operands) -> Operands:
    """Returns the operands with edge indices, also where a rule gives the edges."""
    senders, receivers = operands.edge.senders, operands.edge.receivers
    if not problem.is_listed:
        skeleton = problem.topology.skeleton()
        found = skeleton.edges(problem.num_receivers, problem.num_senders)
        ones = (1,) * problem.batch_axes
        senders, receivers = (
            jnp.asarray(side, jnp.int32).reshape(*ones, -1) for side in found
        )
    # As constants they would be folded into everything that reads them, in minutes.
    senders, receivers = jax.lax.optimization_barrier((senders, receivers))
    edge = operands.edge._replace(senders=senders, receivers=receivers)
    return operands._replace(edge=edge)


def ends(operands: Operands) -> tuple[Side, Side]:
    """Returns both ends of every edge of one graph: leaves [E, ...]."""

    def at(side: Side, index: Any) -> Side:
        return jax.tree.map(lambda leaf: taken(leaf, index), side)

    edge = operands.edge
    return at(operands.receiver, edge.receivers), at(operands.sender, edge.senders)


def leaves_at(
    problem: Problem, operands: Operands, terms: Sequence[Term]
) -> dict[str, list[Any]]:
    """Returns what terms receive for every edge of one graph: leaves [E, ...].

    But for those of `context`, which the edges of a graph share.
    """
    receiver, sender = ends(operands)
    leaves = {
        "receiver": receiver.leaves,
        "sender": sender.leaves,
        "edge": operands.edge.leaves,
        "context": operands.context.leaves,
    }
    for name in frozenset().union(*(term.depends for term in terms)) & set(
        problem.relations
    ):
        given = operands.edge.labels.get(name)
        if name in operands.pair:
            index = operands.edge.receivers, operands.edge.senders
            given = operands.pair[name].at[index].get(mode="clip")
        label = problem.label(name, receiver, sender, given)
        leaves[name] = problem.rows_at(name, operands, label)
    return leaves


def evaluate(problem: Problem, operands: Operands, role: str) -> Any:
    """Returns the summed score [E] or message [E, F] of every edge of one graph."""
    terms = problem.score if role == "score" else problem.message
    constants = getattr(operands.shared, role)
    leaves = leaves_at(problem, operands, terms)
    mapped = frozenset(leaves) - {"context"}
    total: Any = 0
    for term, held in zip(terms, constants, strict=True):
        if term.depends:
            value = term.over(held, leaves, mapped)
        else:
            value = term.over(held, leaves)[None]  # One value for all edges.
        total = total + value.astype(problem.accumulator)
    return jnp.broadcast_to(total, (operands.edge.senders.shape[0], *terms[0].shape))


def valid_edges(problem: Problem, operands: Operands) -> Any:
    """Returns which of the listed edges of one graph count: [E]."""
    edge = operands.edge
    valid = (edge.receivers >= 0) & (edge.receivers < problem.num_receivers)
    valid &= (edge.senders >= 0) & (edge.senders < problem.num_senders)
    if problem.is_listed:
        return valid if edge.valid is None else valid & edge.valid
    receiver, sender = ends(operands)
    return valid & problem.topology.admits(
        End(receiver.position, receiver.topology),
        End(sender.position, sender.topology),
        operands.context.topology,
    )


def _of_edges_that_count(problem: Problem, operands: Operands) -> Operands:
    """Returns what terms are asked about; if they are partial, no edge that is none.

    In the place of each of those stands the first edge that counts.
    """
    if not problem.partial_terms:
        return operands
    edge, valid = operands.edge, valid_edges(problem, operands)
    if not valid.size:
        return operands
    place = jnp.where(valid, jnp.arange(valid.size), jnp.argmax(valid))
    return operands._replace(
        edge=edge._replace(
            senders=edge.senders[place],
            receivers=edge.receivers[place],
            leaves=[taken(leaf, place) for leaf in edge.leaves],
            labels={name: label[place] for name, label in edge.labels.items()},
        )
    )


def aggregated(problem: Problem, operands: Operands, message: Any) -> list[Any]:
    """Returns what the receivers of one graph hear: a result [R, ...] an aggregator.

    Args:
      message: [E, F], the summed messages.
    """
    edge = operands.edge
    valid = valid_edges(problem, operands)
    # Dropped edges go to a segment of their own, behind the last receiver.
    segment = jnp.where(valid, edge.receivers, problem.num_receivers)
    score = None
    if problem.score:
        asked = _of_edges_that_count(problem, operands)
        score = evaluate(problem, asked, "score")
    scale = None
    if problem.dropout_rate:
        receiver, sender = ends(operands)
        scale = keep_scale(
            problem.dropout_rate,
            operands.shared.seed,
            operands.context.index,
            receiver.position,
            sender.position,
        )
    return [
        _one(aggregator, score, message, segment, problem.num_receivers, scale)
        for aggregator in problem.aggregators
    ]


def _one(
    aggregator: Aggregator,
    score: Any,
    message: Any,
    segment: Any,
    num_receivers: int,
    scale: Any,
) -> Any:
    shift = shift_of(aggregator, score, message, segment, num_receivers + 1)
    at_edge = None if shift is None else shift[segment]
    if isinstance(aggregator, Weighting):
        weight = jnp.broadcast_to(aggregator.weight(score, at_edge), segment.shape)
        weight = weight.astype(message.dtype)
        spoken = weight if scale is None else weight * scale.astype(weight.dtype)
        spread = spoken.reshape(spoken.shape + (1,) * (message.ndim - 1))
        lifted = {"total": weight, "message": spread * message}
    else:
        lifted = aggregator.lift(score, message, at_edge)
    sums = jax.tree.map(
        lambda leaf: jax.ops.segment_sum(leaf, segment, num_receivers + 1), lifted
    )
    finished = aggregator.finish(sums, shift)
    return finished[:-1]


def shift_of(
    aggregator: Aggregator,
    score: Any,
    message: Any,
    segment: Any,
    count: int,
    heard: Any = None,
) -> Any:
    """Returns the shift of each segment, [count, ...]; None where there is none.

    Args:
      aggregator: whose shift.
      score: [E].
      message: [E, ...].
      segment: [E].
      count: the number of segments.
      heard: [count], the edges of each segment, where they are known.
    """
    if aggregator.shift_of is None:
        return None
    value = jax.lax.stop_gradient(score if aggregator.shift_of == "score" else message)
    if heard is None:
        heard = jax.ops.segment_sum(jnp.ones_like(segment), segment, count)
    heard = heard.astype(value.dtype)
    heard = heard.reshape(heard.shape + (1,) * (value.ndim - 1))
    if aggregator.shift_by in ("max", "min"):
        shift = extreme(aggregator.shift_by, value, segment, count)
    else:
        shift = jax.ops.segment_sum(value, segment, count) / jnp.maximum(heard, 1)
    return jnp.where(heard > 0, shift, 0)


def extreme(which: str, value: Any, segment: Any, count: int) -> Any:
    """Returns the largest or smallest of each segment, [count, ...]; it has no gradient.

    Args:
      which: "max" or "min".
      value: [E, ...], which no gradient goes through.
      segment: [E].
      count: the number of segments; what an empty one gets is not defined.

    Numbers are compared as integers of the same order: to compare them as XLA does,
    which asks for NaN at each edge, takes a CPU four times as long.
    """
    of = jax.ops.segment_max if which == "max" else jax.ops.segment_min
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return of(value, segment, count)
    kind = jnp.iinfo(f"int{8 * value.dtype.itemsize}")
    bits = _by_order(jax.lax.bitcast_convert_type(value, kind.dtype), kind)
    # Either end of the integers is a NaN, and stays one.
    bits = jnp.where(jnp.isnan(value), kind.max if which == "max" else kind.min, bits)
    found = _by_order(of(bits, segment, count), kind)
    return jax.lax.bitcast_convert_type(found, value.dtype)


def _by_order(bits: Any, kind: Any) -> Any:
    """Returns bits of numbers as integers of their order, or those as the bits.

    The bits of negative numbers fall where the numbers grow.
    """
    return bits ^ ((bits >> (kind.bits - 1)) & kind.max)
