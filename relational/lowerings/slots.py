"""Large lists of edges, node by node: the edges of a node side by side, in its slots.

Nothing of the size of edges x features is stored and nothing is scattered: forward,
every receiver gathers its senders, slot by slot, and sums what they say; backward,
receivers do so again for their own cotangents, and every sender gathers its receivers
for its own.

Shapes: R receivers, S senders, E edges, C rows of a bucket, k slots that are taken
together, F features.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import buckets, costs
from relational.lowerings.buckets import Bucket, Buckets
from relational.lowerings.problem import (
    Operands,
    Problem,
    each_lead,
    restore_lead,
    taken,
    with_positions,
)
from relational.lowerings.splits import Split, nothing
from relational.lowerings.tile import Part
from relational.terms import Term

_FAR = 1e30  # Beyond every score, and finite so that gradients are.


@dataclasses.dataclass(frozen=True)
class Slots:
    """Asks for slots: `propagate(..., lowering=rl.lowerings.Slots())`.

    >>> import jax.numpy as jnp, relational as rl
    >>> star = rl.Edges([1, 2, 0], [0, 0, 1], num_receivers=3)
    >>> rl.propagate(star, senders=jnp.array([1.0, 5.0, 3.0]),
    ...              message=lambda sender: sender, aggregator=rl.Max(),
    ...              lowering=rl.lowerings.Slots()).tolist()
    [5.0, 1.0, 0.0]
    """

    name = "slots"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        if not problem.is_listed:
            return ["the edges follow from a rule"]
        if problem.known_edges is None:
            return [
                "the edges are traced, or others in each graph: they cannot be sorted"
            ]
        senders, _, kept = problem.known_edges
        if not senders.size or (kept is not None and not kept.any()):
            return ["there are no edges to sort"]
        return []

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        seconds, size = costs.cost("slots", work, size)
        # It takes some 20 seconds to compile, which small graphs never earn back.
        return 5e-3 + seconds, size

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        counted = costs.edge_work(problem)
        features = sum(
            math.prod(term.shape) for term in (*problem.score, *problem.message)
        )
        kinds = "kept", "exponential", "product"
        work = {kind: counted[kind] for kind in kinds}
        work["gathered"] = counted["gathered"] + counted["message"]
        work["node"] = problem.num_receivers * problem.num_graphs * features
        return work, 4 * 3 * work["node"]

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        assert problem.known_edges is not None
        senders, receivers, kept = problem.known_edges
        work = _Work(
            problem,
            buckets.sorted_by(receivers, problem.num_receivers, kept),
            buckets.sorted_by(senders, problem.num_senders, kept),
        )
        operands = with_positions(problem, operands)
        split = Split.of(operands)
        run = jax.custom_vjp(functools.partial(_value, work, split))
        run.defvjp(
            functools.partial(_forward, work, split),
            functools.partial(_backward, work, split),
        )
        return run(*split.divide(operands))


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What there is to do: a problem, and its edges by either end."""

    problem: Problem
    by_receiver: Buckets
    by_sender: Buckets


@dataclasses.dataclass(frozen=True, eq=False)
class _Slot:
    """One edge of each row, of one graph: every array is [C, ...].

    Attributes:
      valid: [C], whether there is an edge.
    """

    problem: Problem
    operands: Operands
    valid: Any

    def score(self) -> Any:
        """Returns the summed scores, [C]."""
        return self._sum(self.problem.score, self.operands.shared.score)

    def message(self) -> Any:
        """Returns the summed messages, [C, F]."""
        return self._sum(self.problem.message, self.operands.shared.message)

    def _sum(self, terms: tuple[Term, ...], constants: list[list[Any]]) -> Any:
        total: Any = 0
        for term, held in zip(terms, constants, strict=True):
            total = total + self._value(term, held).astype(self.problem.accumulator)
        return jnp.broadcast_to(total, (self.valid.shape[0], *terms[0].shape))

    def _value(self, term: Term, held: list[Any]) -> Any:
        operands = self.operands
        leaves = {
            "receiver": operands.receiver.leaves,
            "sender": operands.sender.leaves,
            "edge": operands.edge.leaves,
            "context": operands.context.leaves,
        }
        for name in term.depends & set(self.problem.relations):
            label = self.problem.label(
                name, operands.receiver, operands.sender, operands.pair.get(name)
            )
            leaves[name] = self.problem.rows_at(name, operands, label)
        if not term.depends:
            return term.over(held, leaves)[None]
        return term.over(held, leaves, term.depends)

    def shift_of(self, aggregator: Aggregator) -> Any:
        """Returns what the shift is made of, [C] or [C, F]; None where there is none."""
        if aggregator.shift_of is None:
            return None
        value = self.score() if aggregator.shift_of == "score" else self.message()
        return jax.lax.stop_gradient(value)

    def lifted(self, aggregator: Aggregator, shift: Any) -> Any:
        """Returns what the edges add to the sums of their receivers, leaves [C, ...].

        Args:
          shift: [C, ...], or None for none.
        """
        if isinstance(aggregator, Weighting):
            return self._weighted(aggregator, shift)
        message = self.message()
        heard = _spread(self.valid, message)
        message = jnp.where(heard, message, shift)
        added = aggregator.lift(None, message, shift)
        return jax.tree.map(lambda leaf: jnp.where(heard, leaf, 0), added)

    def _weighted(self, aggregator: Weighting, shift: Any) -> Any:
        score = None
        if aggregator.hears_score:
            score = jnp.where(self.valid, self.score(), shift)
        weight = aggregator.weight(score, shift).astype(self.problem.accumulator)
        weight = jnp.where(self.valid, jnp.broadcast_to(weight, self.valid.shape), 0)
        spoken = weight
        if self.problem.dropout_rate:
            spoken = weight * keep_scale(
                self.problem.dropout_rate,
                self.operands.shared.seed,
                self.operands.context.index,
                self.operands.receiver.position,
                self.operands.sender.position,
            ).astype(weight.dtype)
        message = self.message()
        return {"total": weight, "message": _spread(spoken, message) * message}


def _part(aggregator: Aggregator, slots: list[_Slot]) -> Part:
    """Returns what some slots contribute to each row, [C, ...]."""
    heard = functools.reduce(jnp.logical_or, [slot.valid for slot in slots])
    shift = None
    if aggregator.shift_of is not None:
        shift = _shift(aggregator, slots)
        shift = jnp.where(_spread(heard, shift), shift, 0)
    lifted = [slot.lifted(aggregator, shift) for slot in slots]
    sums = jax.tree.map(lambda *leaves: functools.reduce(jnp.add, leaves), *lifted)
    return Part(shift, sums, heard)


def _shift(aggregator: Aggregator, slots: list[_Slot]) -> Any:
    values = [slot.shift_of(aggregator) for slot in slots]
    if aggregator.shift_by == "mean":
        total: Any = 0
        count: Any = 0
        for slot, value in zip(slots, values, strict=True):
            total = total + jnp.where(_spread(slot.valid, value), value, 0)
            count = count + slot.valid.astype(value.dtype)
        return total / _spread(jnp.maximum(count, 1), total)
    if aggregator.shift_by == "min":
        combine, neutral = jnp.minimum, _FAR
    else:
        combine, neutral = jnp.maximum, -_FAR
    masked = [
        jnp.where(_spread(slot.valid, value), value, neutral)
        for slot, value in zip(slots, values, strict=True)
    ]
    return functools.reduce(combine, masked)


def _spread(value: Any, like: Any) -> Any:
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


def _behind(operands: Operands, batch_axes: int) -> Operands:
    """Puts leading axes behind nodes and edges: what a node has lies in one place."""

    def move(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, batch_axes, 0), tree)

    edge = operands.edge
    return operands._replace(
        receiver=move(operands.receiver),
        sender=move(operands.sender),
        edge=edge._replace(
            leaves=move(edge.leaves),
            senders=edge.senders.reshape(-1),
            receivers=edge.receivers.reshape(-1),
            valid=None,
        ),
    )


def _front(tree: Any, axes: int, batch_axes: int) -> Any:
    """Puts leading axes, behind the first `axes`, to the front again."""
    before, after = range(axes, axes + batch_axes), range(batch_axes)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, before, after), tree)


def _back(tree: Any, axes: int, batch_axes: int) -> Any:
    """Undoes `_front`."""
    before, after = range(batch_axes), range(axes, axes + batch_axes)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, before, after), tree)


def _gathered(operands: Operands, nodes: Any, edges: Any, hub: str) -> Operands:
    """Returns what one slot needs: [C, *lead, ...] but for labels, [*lead, C].

    Args:
      nodes: [C], the node of each row at the `hub` of its edges.
      edges: [C].
    """
    edge = operands.edge

    def at(tree: Any, index: Any) -> Any:
        return jax.tree.map(lambda leaf: taken(leaf, index), tree)

    receivers = senders = nodes
    if hub != "receiver" or operands.pair:
        receivers = jnp.take(edge.receivers, edges, mode="clip")
    if hub != "sender" or operands.pair:
        senders = jnp.take(edge.senders, edges, mode="clip")
    by_pair = {
        name: labels.at[..., receivers, senders].get(mode="clip")
        for name, labels in operands.pair.items()
    }
    by_edge = {
        name: jnp.take(labels, edges, axis=-1, mode="clip")
        for name, labels in edge.labels.items()
    }
    none = edge._replace(senders=None, receivers=None, labels={})
    return operands._replace(
        receiver=at(operands.receiver, receivers),
        sender=at(operands.sender, senders),
        edge=none._replace(leaves=at(edge.leaves, edges)),
        pair=by_pair | by_edge,
    )


def _each(
    work: _Work, function: Any, gathered: list[Operands], valid: Any, more: Any
) -> Any:
    """Calls a function of slots of one graph, and of `more`, for all graphs.

    Args:
      function: takes a list of `_Slot`, and `more`.
      gathered: of each slot.
      valid: [C, k].
      more: leaves [C, *lead, ...].

    Returns:
      [*lead, ...].
    """
    axes = work.problem.batch_axes
    shared = gathered[0].shared
    led = [
        each._replace(
            receiver=_front(each.receiver, 1, axes),
            sender=_front(each.sender, 1, axes),
            edge=_front(each.edge, 1, axes),
            shared=None,  # type: ignore[arg-type]  # Has no such axes.
        )
        for each in gathered
    ]

    def one(inner: Any) -> Any:
        slots = [
            _Slot(work.problem, operands._replace(shared=shared), valid[:, at])
            for at, operands in enumerate(inner[0])
        ]
        return function(slots, inner[1])

    found = each_lead(one, (led, _front(more, 1, axes)), axes)
    return restore_lead(found, work.problem.lead)


def _value(work: _Work, split: Split, moving: list[Any], fixed: list[Any]) -> list[Any]:
    return _forward(work, split, moving, fixed)[0]


def _forward(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any]
) -> tuple[list[Any], Any]:
    axes = work.problem.batch_axes
    state = _sums(work, _behind(split.join(moving, fixed), axes))
    return _finish(work.problem, state), (moving, fixed, state)


def _finish(problem: Problem, state: list[tuple[Any, Any]]) -> list[Any]:
    """Returns the results, [*lead, R, ...], from sums of nodes, [R, *lead, ...]."""
    pairs = zip(problem.aggregators, state, strict=True)
    found = [aggregator.finish(sums, shift) for aggregator, (shift, sums) in pairs]
    return [_front(each, 1, problem.batch_axes) for each in found]


def _sums(work: _Work, operands: Operands) -> list[tuple[Any, Any]]:
    """Returns (shift, sums) for each aggregator: leaves [R, *lead, ...]."""
    problem = work.problem

    def of_bucket(bucket: Bucket) -> tuple[list[Part], None]:
        def parts(slots: list[_Slot], more: Any) -> list[Part]:
            del more
            return [_part(aggregator, slots) for aggregator in problem.aggregators]

        def of_slots(edges: Any, valid: Any) -> list[Part]:
            gathered = [
                _gathered(operands, bucket.nodes, edges[:, at], "receiver")
                for at in range(edges.shape[1])
            ]
            found = _each(work, parts, gathered, valid, ())
            return list(_back(found, 1, problem.batch_axes))

        def step(carry: list[Part], edges: Any, valid: Any) -> tuple[list[Part], None]:
            merged = [
                old.merge(new, aggregator)
                for old, new, aggregator in zip(
                    carry, of_slots(edges, valid), problem.aggregators, strict=True
                )
            ]
            return merged, None

        if bucket.edges.shape[1] <= buckets.UNROLLED:
            return of_slots(bucket.edges, bucket.valid), None
        some = bucket.edges[:, :1], bucket.valid[:, :1]
        nobody = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(of_slots, *some),
        )
        return buckets.over_slots(bucket, step, nobody)

    found, _ = work.by_receiver.each(of_bucket)
    return [
        _merged(work.by_receiver, aggregator, [parts[at] for parts in found])
        for at, aggregator in enumerate(problem.aggregators)
    ]


def _merged(
    sorted_edges: Buckets, aggregator: Aggregator, parts: list[Part]
) -> tuple[Any, Any]:
    """Returns (shift, sums) of every node, from the parts of all its rows."""
    whole = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    if not sorted_edges.num_split:
        return _at_nodes(sorted_edges, (whole.shift, whole.sums), None)
    several = jax.tree.map(lambda leaf: leaf[sorted_edges.split], whole)

    def total(leaf: Any) -> Any:
        return jax.ops.segment_sum(leaf, sorted_edges.owner, sorted_edges.num_split)

    if aggregator.shift_of is None:
        added = jax.tree.map(total, several.sums)
        return _at_nodes(sorted_edges, (None, whole.sums), (None, added))
    reduce = {
        "max": jax.ops.segment_max,
        "min": jax.ops.segment_min,
        "mean": jax.ops.segment_max,  # Any shift serves, and this is one of the means.
    }[aggregator.shift_by or "max"]
    shift = reduce(several.shift, sorted_edges.owner, sorted_edges.num_split)
    sums = aggregator.reshift(several.sums, several.shift, shift[sorted_edges.owner])
    merged = shift, jax.tree.map(total, sums)
    return _at_nodes(sorted_edges, (whole.shift, whole.sums), merged)


def _at_nodes(sorted_edges: Buckets, rows: Any, merged: Any) -> Any:
    """Returns leaves [N, ...] from those of rows and of nodes that have several."""

    def lay(*leaves: Any) -> Any:
        zero = jnp.zeros((1, *leaves[0].shape[1:]), leaves[0].dtype)
        whole = jnp.concatenate([*leaves, zero])
        return jnp.take(whole, sorted_edges.row_of, axis=0, mode="clip")

    return (
        jax.tree.map(lay, rows) if merged is None else jax.tree.map(lay, rows, merged)
    )


def _added(sorted_edges: Buckets, found: list[Any]) -> Any:
    """Returns leaves [N, ...], added up over the rows of a node."""
    whole = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    if not sorted_edges.num_split:
        return _at_nodes(sorted_edges, whole, None)
    several = jax.tree.map(
        lambda leaf: jax.ops.segment_sum(
            leaf[sorted_edges.split], sorted_edges.owner, sorted_edges.num_split
        ),
        whole,
    )
    return _at_nodes(sorted_edges, whole, several)


def _backward(
    work: _Work, split: Split, residuals: Any, cotangents: list[Any]
) -> tuple[list[Any], None]:
    moving, fixed, state = residuals
    shifts = [shift for shift, _ in state]

    def finish(sums: list[Any]) -> list[Any]:
        return _finish(work.problem, list(zip(shifts, sums, strict=True)))

    _, pull = jax.vjp(finish, [sums for _, sums in state])
    (of_sums,) = pull(cotangents)
    found = _gradients(work, split, moving, fixed, (shifts, of_sums))
    pairs = zip(found, moving, strict=True)
    return [total.astype(leaf.dtype) for total, leaf in pairs], None


def _gradients(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any], state: Any
) -> list[Any]:
    """Returns the cotangents of the leaves that move."""
    problem, axes = work.problem, work.problem.batch_axes
    operands = _behind(split.join(moving, fixed), axes)

    def said(slots: list[_Slot], more: Any) -> Any:
        """Returns the number whose gradient is asked for: cotangent times sums."""
        total: Any = 0
        for slot, (shifts, of_sums) in zip(slots, more, strict=True):
            for at, aggregator in enumerate(problem.aggregators):
                added = jax.tree.leaves(slot.lifted(aggregator, shifts[at]))
                pairs = zip(added, jax.tree.leaves(of_sums[at]), strict=True)
                total = total + sum((one * other).sum() for one, other in pairs)
        return total

    def at(tree: Any, index: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.take(leaf, index, 0, mode="clip"), tree)

    def of_receivers(bucket: Bucket) -> tuple[Any, Any]:
        own = at(operands.receiver.leaves, bucket.nodes)
        here = at(state, bucket.nodes)

        def step(carry: Any, edges: Any, valid: Any) -> tuple[Any, Any]:
            gathered = [
                _gathered(operands, bucket.nodes, edges[:, k], "receiver")
                for k in range(edges.shape[1])
            ]

            def total(own: Any, of_edges: Any, common: Any) -> Any:
                inner = [
                    each._replace(
                        receiver=each.receiver._replace(leaves=own),
                        edge=each.edge._replace(leaves=of_edge),
                        context=each.context._replace(leaves=common[0]),
                        tables=common[1],
                        shared=each.shared._replace(score=common[2], message=common[3]),
                    )
                    for each, of_edge in zip(gathered, of_edges, strict=True)
                ]
                return _each(work, said, inner, valid, [here] * len(inner)).sum()

            of_edges = [each.edge.leaves for each in gathered]
            pulled = _gradient(total, own, of_edges, common)
            at_edges = jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *pulled[1])
            return jax.tree.map(_add, carry, (pulled[0], pulled[2])), at_edges

        start = _nothings(own), _nothings(common)
        (at_nodes, total_of), at_edges = buckets.over_slots(bucket, step, start)
        return (at_nodes, at_edges), total_of

    def of_senders(bucket: Bucket) -> tuple[Any, Any]:
        own = at(operands.sender.leaves, bucket.nodes)

        def step(carry: Any, edges: Any, valid: Any) -> tuple[Any, None]:
            slots = [edges[:, k] for k in range(edges.shape[1])]
            gathered = [_gathered(operands, bucket.nodes, k, "sender") for k in slots]
            ends = [jnp.take(operands.edge.receivers, k, mode="clip") for k in slots]
            there = [at(state, end) for end in ends]

            def total(own: Any) -> Any:
                inner = [
                    each._replace(sender=each.sender._replace(leaves=own))
                    for each in gathered
                ]
                return _each(work, said, inner, valid, there).sum()

            (pulled,) = _gradient(total, own)
            return jax.tree.map(_add, carry, pulled), None

        return buckets.over_slots(bucket, step, _nothings(own))

    shared = operands.shared
    common = operands.context.leaves, operands.tables, shared.score, shared.message
    found, at_all = work.by_receiver.each(of_receivers)
    at_receivers = _added(work.by_receiver, [at_nodes for at_nodes, _ in found])
    at_edges = work.by_receiver.by_edge([at_edges for _, at_edges in found])
    found, _ = work.by_sender.each(of_senders)
    at_senders = _added(work.by_sender, found)
    nodes = _front((at_receivers, at_senders, at_edges), 1, axes)
    whole = split.join([None] * len(moving), fixed)
    result = whole._replace(
        receiver=whole.receiver._replace(leaves=nodes[0]),
        sender=whole.sender._replace(leaves=nodes[1]),
        edge=whole.edge._replace(leaves=nodes[2]),
        context=whole.context._replace(leaves=at_all[0]),
        tables=at_all[1],
        shared=whole.shared._replace(score=at_all[2], message=at_all[3]),
    )
    return split.divide(result)[0]


def _nothings(tree: Any) -> Any:
    """Returns zeros to add cotangents to, None for leaves that do not move."""
    return jax.tree.map(
        lambda leaf: nothing(leaf.shape, leaf.dtype) if _moves(leaf) else None, tree
    )


def _moves(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _gradient(function: Any, *arguments: Any) -> Any:
    """Returns the gradients by argument, None for leaves that do not move."""
    leaves, treedef = jax.tree.flatten(arguments)
    moves = [_moves(leaf) for leaf in leaves]

    def call(moving: list[Any]) -> Any:
        values = iter(moving)
        whole = [
            next(values) if at else leaf for leaf, at in zip(leaves, moves, strict=True)
        ]
        return function(*jax.tree.unflatten(treedef, whole))

    moving = [leaf for leaf, at in zip(leaves, moves, strict=True) if at]
    total, pull = jax.vjp(call, moving)
    (found,) = pull(jnp.ones_like(total))
    values = iter(found)
    whole = [next(values) if at else None for at in moves]
    return jax.tree.unflatten(treedef, whole)


def _add(total: Any, part: Any) -> Any:
    return total + part.astype(total.dtype)
