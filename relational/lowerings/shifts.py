"""Shifts: a neighbourhood on a grid, one tap at a time.

At one tap of a box every receiver hears one sender, the same way off for all, so that
the senders, moved as a whole, lie beside their receivers. What they say is absorbed in
the sums of the receivers before the next tap is looked at, and the backward pass does
all this again: nothing of the size of the edges is stored. A first pass over the taps
finds the shift; derivatives are JAX's own, of every order. It serves any message and
any aggregator: the largest of a box, a softmax over a strided stencil.

Shapes: R receivers, S senders, K taps.
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import costs
from relational.lowerings.dense import Dense
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    with_positions,
)
from relational.lowerings.taps import Axis, Steps, boxes, labels_of_taps
from relational.relations import PlaceRelation, PositionRelation
from relational.terms import Term
from relational.topologies.algebra import Transposed
from relational.topologies.base import End
from relational.topologies.grids import Neighbourhood

_MASKED = -1e30  # A score that no softmax hears, finite so that gradients are.


@dataclasses.dataclass(frozen=True)
class Shifts:
    """Asks for one tap at a time: `lowering=rl.lowerings.Shifts()`.

    >>> import jax.numpy as jnp, relational as rl
    >>> pairs = rl.Stencil(grid=(6,), size=2, stride=2)
    >>> rl.propagate(pairs, senders=jnp.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0]),
    ...              message=lambda sender: sender, aggregator=rl.Max(),
    ...              lowering=rl.lowerings.Shifts()).tolist()
    [3.0, 4.0, 9.0]
    """

    name = "shifts"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        axes = boxes(problem.topology)
        if axes is None:
            return ["the edges are not those of boxes on a grid"]
        reasons = Dense().refuse(problem)
        if problem.is_listed:
            reasons.append("the edges are listed one by one")
        if problem.has_pair_labels:
            reasons.append("labels are given pair by pair")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("shifts", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        axes = boxes(problem.topology)
        assert axes is not None
        taps = math.prod(axis.taps for axis in axes)
        edges = taps * problem.num_receivers * problem.num_graphs
        work = Counter[str](edge=edges, step=taps)
        # What makes the shift is said twice: once to find it, once to be absorbed.
        shifts = [aggregator.shift_of for aggregator in problem.aggregators]
        for role in ("score", "message"):
            for term in getattr(problem, role):
                for kind, count in _work(term).items():
                    work[kind] += edges * count * (1 + (role in shifts))
        features = math.prod(problem.message_shape)
        for aggregator in problem.aggregators:
            kind = "message" if isinstance(aggregator, Weighting) else "extreme"
            work[kind] += edges * features
        nodes = (problem.num_receivers + problem.num_senders) * problem.num_graphs
        return work, nodes * 4.0 * (4 + 4 * features)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        sides = operands.receiver, operands.sender
        is_plain = all(side.position is None for side in sides)
        one = functools.partial(_one, problem, is_plain)
        return each_graph(one, with_positions(problem, operands), problem)


def _work(term: Term) -> dict[str, int]:
    """Returns the work of a term on one edge, by kind."""
    numbers = math.prod(term.shape)
    if term.depends <= {"receiver"} or term.depends <= {"sender"}:
        return {"moved": numbers}  # Said once a node.
    if term.kind == "dot":
        return {"product": term.num_read // 2 * numbers}
    return {"element": term.num_read + numbers}


@dataclasses.dataclass(frozen=True, eq=False)
class _Grid:
    """The arrays of one graph, laid out on grids.

    Attributes:
      operands: of one graph, with positions; senders widened.
      values: what terms of the sender alone say, widened; those of the receiver alone.
    """

    problem: Problem
    axes: list[Axis]
    operands: Operands
    values: dict[tuple[str, int], Any]

    @classmethod
    def of(cls, problem: Problem, axes: list[Axis], operands: Operands) -> "_Grid":
        def widened(leaf: Any) -> Any:
            leaf = leaf.reshape(*(axis.count for axis in axes), *leaf.shape[1:])
            for at, axis in enumerate(axes):
                leaf = axis.widened(leaf, at)
            return leaf

        values = {}
        for role in ("score", "message"):
            terms, constants = getattr(problem, role), getattr(operands.shared, role)
            for at, (term, held) in enumerate(zip(terms, constants, strict=True)):
                if term.depends in ({"sender"}, {"receiver"}):
                    side = min(term.depends)
                    leaves = {
                        "context": operands.context.leaves,
                        side: getattr(operands, side).leaves,
                    }
                    value = term.over(held, leaves, term.depends)
                    values[role, at] = widened(value) if side == "sender" else value
        sender = jax.tree.map(widened, operands.sender)
        return cls(problem, axes, operands._replace(sender=sender), values)

    def moved(self, leaf: Any, step: Steps) -> Any:
        """Returns [R, ...]: what each receiver's sender at this tap has."""
        for at, (axis, where) in enumerate(zip(self.axes, step.where, strict=True)):
            leaf = axis.moved(leaf, at, where)
        return leaf.reshape(self.problem.num_receivers, *leaf.shape[len(self.axes) :])

    def sender(self, step: Steps) -> Side:
        """Returns the sender of each receiver at a tap."""
        return jax.tree.map(lambda leaf: self.moved(leaf, step), self.operands.sender)


def _heard(grid: _Grid, sender: Side, step: Steps) -> Any:
    """Returns which receivers hear their sender at a tap, [R]."""
    is_inside = step.is_inside()
    topology = grid.problem.topology
    rule = topology.left if isinstance(topology, Transposed) else topology
    if isinstance(rule, Neighbourhood):
        return is_inside
    receiver = grid.operands.receiver
    return is_inside & topology.admits(
        End(receiver.position, receiver.topology),
        End(sender.position, sender.topology),
        grid.operands.context.topology,
    )


def _rows(grid: _Grid, name: str, sender: Side, step: Steps) -> tuple[list[Any], bool]:
    """Returns what a relation's terms receive at a tap, and whether by receiver.

    A tap of an even grid has one label: its row is taken as it is, for all receivers.
    """
    problem, operands = grid.problem, grid.operands
    label = step.labels.get(name)
    if label is None:
        label = problem.label(name, operands.receiver, sender, None)
        return problem.rows_at(name, operands, label), True
    tables = operands.tables.get(name)
    if tables is None:
        return [jnp.asarray(problem.relations[name].value(label))], False
    row = functools.partial(jax.lax.dynamic_index_in_dim, keepdims=False)
    return [row(table, label) for table in tables], False


def _said(grid: _Grid, role: str, sender: Side, step: Steps) -> Any:
    """Returns the summed score [R] or message [R, F] at a tap."""
    problem, operands = grid.problem, grid.operands
    terms: tuple[Term, ...] = getattr(problem, role)
    leaves = {
        "receiver": operands.receiver.leaves,
        "sender": sender.leaves,
        "context": operands.context.leaves,
    }
    mapped = {"receiver", "sender"}
    named = frozenset().union(*(term.depends for term in terms))
    for name in sorted(named & set(problem.relations)):
        leaves[name], is_mapped = _rows(grid, name, sender, step)
        mapped |= {name} if is_mapped else set()
    total: Any = 0
    constants = getattr(operands.shared, role)
    for at, (term, held) in enumerate(zip(terms, constants, strict=True)):
        sites = term.depends & mapped
        if term.depends == {"sender"}:
            value = grid.moved(grid.values[role, at], step)
        elif term.depends == {"receiver"}:
            value = grid.values[role, at]
        else:
            value = term.over(held, leaves, *([sites] if sites else []))
            value = value if sites else value[None]
        total = total + value.astype(problem.accumulator)
    return jnp.broadcast_to(total, (problem.num_receivers, *terms[0].shape))


def _one(problem: Problem, is_plain: bool, operands: Operands) -> list[Any]:
    """Returns one result an aggregator of one graph, each [R, ...]."""
    axes = boxes(problem.topology)
    assert axes is not None
    steps = Steps.of(axes, _labels(problem) if is_plain else {})
    shifts = _shifts(_Grid.of(problem, axes, jax.lax.stop_gradient(operands)), steps)
    grid = _Grid.of(problem, axes, operands)
    arrays = grid.operands, grid.values

    def contributions(arrays: Any, shifts: list[Any], step: Steps) -> list[Any]:
        own = dataclasses.replace(grid, operands=arrays[0], values=arrays[1])
        return _contributions(own, shifts, step)

    again = jax.checkpoint(contributions, prevent_cse=False)  # A loop shares nothing.

    def absorb(sums: list[Any], step: Steps) -> tuple[list[Any], None]:
        return jax.tree.map(jnp.add, sums, again(arrays, shifts, step)), None

    first = jax.tree.map(lambda leaf: leaf[0], steps)
    shapes = jax.eval_shape(contributions, arrays, shifts, first)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    sums, _ = jax.lax.scan(absorb, nothing, steps)
    pairs = zip(problem.aggregators, sums, shifts, strict=True)
    return [aggregator.finish(own, shift) for aggregator, own, shift in pairs]


def _labels(problem: Problem) -> dict[str, Any]:
    """Returns the labels of the taps, for relations that have one for each."""
    found = {}
    for name, relation in problem.relations.items():
        if isinstance(relation, PositionRelation | PlaceRelation):
            labels = labels_of_taps(problem.topology, relation)
            if labels is not None:
                found[name] = labels
    return found


def _shifts(grid: _Grid, steps: Steps) -> list[Any]:
    """Returns each aggregator's shift, [R, ...], or None: a first pass over the taps."""
    problem = grid.problem
    shifting = [each for each in problem.aggregators if each.shift_of is not None]
    if not shifting:
        return [None for _ in problem.aggregators]

    def absorb(state: tuple[Any, list[Any]], step: Steps) -> Any:
        heard, running = state
        sender = grid.sender(step)
        mask = _heard(grid, sender, step)
        values = [_said(grid, str(each.shift_of), sender, step) for each in shifting]
        trios = zip(shifting, running, values, strict=True)
        running = [_shifted(*each, mask) for each in trios]
        return (heard + mask.astype(heard.dtype), running), None

    dtype, receivers = problem.accumulator, problem.num_receivers
    neutral = {"max": -jnp.inf, "min": jnp.inf, "mean": 0.0}
    shapes = {"score": (), "message": problem.message_shape}
    start = [
        jnp.full(
            (receivers, *shapes[str(each.shift_of)]), neutral[str(each.shift_by)], dtype
        )
        for each in shifting
    ]
    nobody = jnp.zeros(receivers, jnp.int32)
    (heard, running), _ = jax.lax.scan(absorb, (nobody, start), steps)
    settled = iter(
        [_settled(*each, heard) for each in zip(shifting, running, strict=True)]
    )
    return [
        None if each.shift_of is None else next(settled) for each in problem.aggregators
    ]


def _shifted(aggregator: Aggregator, running: Any, value: Any, mask: Any) -> Any:
    """Returns the maximum, minimum or sum of what was heard so far."""
    mask = mask.reshape(mask.shape + (1,) * (value.ndim - 1))
    if aggregator.shift_by == "mean":
        return running + jnp.where(mask, value, 0)
    combine = jnp.minimum if aggregator.shift_by == "min" else jnp.maximum
    return jnp.where(mask, combine(running, value), running)


def _settled(aggregator: Aggregator, total: Any, heard: Any) -> Any:
    heard = heard.reshape(heard.shape + (1,) * (total.ndim - 1))
    if aggregator.shift_by == "mean":
        return total / jnp.maximum(heard, 1).astype(total.dtype)
    return jnp.where(heard > 0, total, 0)


def _contributions(grid: _Grid, shifts: list[Any], step: Steps) -> list[Any]:
    """Returns what a tap adds to the sums of each aggregator: leaves [R, ...]."""
    problem, operands = grid.problem, grid.operands
    sender = grid.sender(step)
    mask = _heard(grid, sender, step)
    message = _said(grid, "message", sender, step)
    score = _said(grid, "score", sender, step) if problem.score else None
    found: list[Any] = []
    for aggregator, shift in zip(problem.aggregators, shifts, strict=True):
        if isinstance(aggregator, Weighting):
            weight = _weight(aggregator, score, shift, mask, message.dtype)
            spoken = weight
            if problem.dropout_rate:
                spoken = weight * keep_scale(
                    problem.dropout_rate,
                    operands.shared.seed,
                    operands.context.index,
                    operands.receiver.position,
                    sender.position,
                ).astype(weight.dtype)
            spread = spoken.reshape(spoken.shape + (1,) * (message.ndim - 1))
            found.append({"total": weight, "message": spread * message})
            continue
        own = mask.reshape(mask.shape + (1,) * (message.ndim - 1))
        lifted = aggregator.lift(None, jnp.where(own, message, shift), shift)
        found.append(jax.tree.map(lambda leaf: jnp.where(own, leaf, 0), lifted))  # noqa: B023
    return found


def _weight(
    aggregator: Weighting, score: Any, shift: Any, mask: Any, dtype: Any
) -> Any:
    """Returns the weight of each receiver's edge at a tap, [R]."""
    if not aggregator.hears_score:
        weight = jnp.broadcast_to(aggregator.weight(None, None), mask.shape)
        return jnp.where(mask, weight.astype(dtype), 0)
    # Where nobody is heard at all the shift is zero, and so is the weight.
    score = jnp.where(mask, score, jnp.asarray(_MASKED, score.dtype))
    return aggregator.weight(score, shift)
