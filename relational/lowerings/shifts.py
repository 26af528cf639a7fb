"""Shifts: a neighbourhood on a grid, one tap at a time.

At one tap of a box every receiver hears one sender, the same way off for all, so that
the senders, moved as a whole, lie beside their receivers. What they say is absorbed in
the sums of the receivers before the next tap is looked at, and the backward pass does
all this again: nothing of the size of the edges is stored. It serves any message and
any aggregator: the largest of a box, a softmax over a strided stencil.

Shapes: R receivers, S senders, K taps.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings.dense import Dense
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    with_positions,
)
from relational.lowerings.taps import Axis, boxes, inside, label_at, places
from relational.relations import PlaceRelation, PositionRelation
from relational.terms import Term
from relational.topologies.algebra import Transposed
from relational.topologies.base import End
from relational.topologies.grids import Neighbourhood

_MOST_TAPS = 128  # Each is unrolled in the compiled program.
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
        taps = math.prod(axis.taps for axis in axes)
        if taps > _MOST_TAPS:
            reasons.append(f"a box has {taps} taps, and each would be unrolled")
        if problem.is_listed:
            reasons.append("the edges are listed one by one")
        if problem.has_pair_labels:
            reasons.append("labels are given pair by pair")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        axes = boxes(problem.topology)
        assert axes is not None
        taps = math.prod(axis.taps for axis in axes)
        # What makes the shift is said twice: once to find it, once to be absorbed.
        shifts = [aggregator.shift_of for aggregator in problem.aggregators]
        said = [(term, 1 + ("score" in shifts)) for term in problem.score]
        said += [(term, 1 + ("message" in shifts)) for term in problem.message]
        seconds = 8e-9 + sum(_seconds(term) * times for term, times in said)
        features = max(1, math.prod(problem.message_shape))
        seconds += 0.4e-9 * features * len(problem.aggregators)
        receivers = problem.num_receivers * problem.num_graphs
        return taps * receivers * seconds + 50e-6, receivers * 4.0 * (8 + 4 * features)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        sides = operands.receiver, operands.sender
        is_plain = all(side.position is None for side in sides)
        one = functools.partial(_one, problem, is_plain)
        return each_graph(one, with_positions(problem, operands), problem)


def _seconds(term: Term) -> float:
    """Returns what a term costs an edge: its reading, and its products."""
    if term.depends <= {"receiver"} or term.depends <= {"sender"}:
        return 0.25e-9 * math.prod(term.shape)  # Said once a node, and moved.
    avals = [variable.aval for variable in (*term.jaxpr.invars, *term.jaxpr.outvars)]
    touched = [math.prod(getattr(aval, "shape", ())) for aval in avals]
    if term.kind != "dot" or not term.shape:
        return 0.5e-9 * sum(touched)
    return 0.1e-9 * max(touched) + 1e-9 * math.prod(term.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _Grid:
    """The taps of a problem, and the arrays of one graph laid out for them.

    Attributes:
      operands: of one graph, with positions; senders widened.
      values: what terms of the sender alone say, widened; those of the receiver alone.
      is_plain: whether positions are 0, 1, 2, ...
    """

    problem: Problem
    axes: list[Axis]
    operands: Operands
    values: dict[tuple[str, int], Any]
    is_plain: bool

    @classmethod
    def of(cls, problem: Problem, operands: Operands, is_plain: bool) -> "_Grid":
        axes = boxes(problem.topology)
        assert axes is not None

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
        operands = operands._replace(sender=sender)
        return cls(problem, axes, operands, values, is_plain)

    @property
    def taps(self) -> list[tuple[int, ...]]:
        return places(self.axes)


def _moved(grid: _Grid, leaf: Any, tap: tuple[int, ...]) -> Any:
    """Returns [R, ...]: what each receiver's sender at this tap has."""
    for at, (axis, place) in enumerate(zip(grid.axes, tap, strict=True)):
        leaf = axis.moved(leaf, at, place)
    return leaf.reshape(grid.problem.num_receivers, *leaf.shape[len(grid.axes) :])


def _heard(grid: _Grid, sender: Side, tap: tuple[int, ...]) -> Any:
    """Returns which receivers hear their sender at a tap, [R]."""
    is_inside = jnp.asarray(inside(grid.axes, tap))
    topology = grid.problem.topology
    rule = topology.left if isinstance(topology, Transposed) else topology
    if isinstance(rule, Neighbourhood):
        return is_inside
    receiver = grid.operands.receiver
    admitted = topology.admits(
        End(receiver.position, receiver.topology),
        End(sender.position, sender.topology),
        grid.operands.context.topology,
    )
    return is_inside & admitted


def _rows(
    grid: _Grid, name: str, sender: Side, tap: tuple[int, ...]
) -> tuple[list[Any], bool]:
    """Returns what a relation's terms receive at a tap, and whether by receiver.

    A tap of an even grid has one label: its row is taken as it is, for all receivers.
    """
    problem, operands = grid.problem, grid.operands
    relation = problem.relations[name]
    if grid.is_plain and isinstance(relation, PositionRelation | PlaceRelation):
        label = label_at(relation, grid.axes, tap)
        if label is not None:
            tables = operands.tables.get(name)
            if tables is None:
                return [jnp.asarray(relation.value(np.int32(label)))], False
            return [table[label] for table in tables], False
    label = problem.label(name, operands.receiver, sender, None)
    return problem.rows_at(name, operands, label), True


def _said(grid: _Grid, role: str, sender: Side, tap: tuple[int, ...]) -> Any:
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
        leaves[name], is_mapped = _rows(grid, name, sender, tap)
        mapped |= {name} if is_mapped else set()
    total: Any = 0
    constants = getattr(operands.shared, role)
    for at, (term, held) in enumerate(zip(terms, constants, strict=True)):
        sites = term.depends & mapped
        if term.depends == {"sender"}:
            value = _moved(grid, grid.values[role, at], tap)
        elif term.depends == {"receiver"}:
            value = grid.values[role, at]
        else:
            value = term.over(held, leaves, *([sites] if sites else []))
            value = value if sites else value[None]
        total = total + value.astype(problem.accumulator)
    return jnp.broadcast_to(total, (problem.num_receivers, *terms[0].shape))


def _one(problem: Problem, is_plain: bool, operands: Operands) -> list[Any]:
    """Returns one result an aggregator of one graph, each [R, ...]."""
    shifts = _shifts(problem, is_plain, jax.lax.stop_gradient(operands))
    grid = _Grid.of(problem, operands, is_plain)

    def absorbed(tap: tuple[int, ...], grid_arrays: Any, shifts: list[Any]) -> Any:
        inner = dataclasses.replace(
            grid, operands=grid_arrays[0], values=grid_arrays[1]
        )
        return _contributions(inner, tap, shifts)

    total: Any = None
    for tap in grid.taps:
        absorb = jax.checkpoint(functools.partial(absorbed, tap))
        part = absorb((grid.operands, grid.values), shifts)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    pairs = zip(problem.aggregators, total, shifts, strict=True)
    return [aggregator.finish(sums, shift) for aggregator, sums, shift in pairs]


def _shifts(problem: Problem, is_plain: bool, operands: Operands) -> list[Any]:
    """Returns each aggregator's shift, [R, ...], or None: a first pass over the taps."""
    grid = _Grid.of(problem, operands, is_plain)
    roles = {each.shift_of for each in problem.aggregators if each.shift_of}
    running: list[Any] = [None for _ in problem.aggregators]
    heard: Any = jnp.zeros(problem.num_receivers, jnp.int32)
    for tap in grid.taps if roles else []:
        sender = jax.tree.map(
            functools.partial(_moved, grid, tap=tap), grid.operands.sender
        )
        mask = _heard(grid, sender, tap)
        said = {role: _said(grid, role, sender, tap) for role in roles}
        for at, aggregator in enumerate(problem.aggregators):
            if aggregator.shift_of is not None:
                value = said[aggregator.shift_of]
                running[at] = _shifted(aggregator, running[at], value, mask)
        heard = heard + mask.astype(heard.dtype)
    return [
        None if total is None else _settled(aggregator, total, heard)
        for aggregator, total in zip(problem.aggregators, running, strict=True)
    ]


def _shifted(aggregator: Aggregator, running: Any, value: Any, mask: Any) -> Any:
    """Returns the running maximum, minimum or sum of what was heard so far."""
    mask = mask.reshape(mask.shape + (1,) * (value.ndim - 1))
    if aggregator.shift_by == "mean":
        value = jnp.where(mask, value, 0)
        return value if running is None else running + value
    is_least = aggregator.shift_by == "min"
    value = jnp.where(mask, value, -_MASKED if is_least else _MASKED)
    combine = jnp.minimum if is_least else jnp.maximum
    return value if running is None else combine(running, value)


def _settled(aggregator: Aggregator, total: Any, heard: Any) -> Any:
    heard = heard.reshape(heard.shape + (1,) * (total.ndim - 1))
    if aggregator.shift_by == "mean":
        return total / jnp.maximum(heard, 1).astype(total.dtype)
    return jnp.where(heard > 0, total, 0)


def _contributions(grid: _Grid, tap: tuple[int, ...], shifts: list[Any]) -> list[Any]:
    """Returns what a tap adds to the sums of each aggregator: leaves [R, ...]."""
    problem, operands = grid.problem, grid.operands
    sender = jax.tree.map(functools.partial(_moved, grid, tap=tap), operands.sender)
    mask = _heard(grid, sender, tap)
    message = _said(grid, "message", sender, tap)
    score = _said(grid, "score", sender, tap) if problem.score else None
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
