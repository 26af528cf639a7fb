"""Large lists of edges, node by node: the edges of a node side by side, in its slots.

Nothing of the size of edges x features is stored and nothing is scattered: forward,
every receiver gathers its senders and sums what they say; backward, receivers do so
again for their own cotangents, and every sender gathers its receivers for its own.

Shapes: R receivers, S senders, E edges, C rows of a block, K slots of a row.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import buckets
from relational.lowerings.buckets import Bucket, Buckets
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    each_lead,
    taken,
    with_positions,
)
from relational.lowerings.splits import Split, nothing, summed
from relational.lowerings.tile import Part, Tile
from relational.terms import Term


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
        count = problem.num_edges * problem.num_graphs
        width = sum(
            int(np.prod(term.shape)) for term in (*problem.score, *problem.message)
        )
        nodes = problem.num_receivers * problem.num_graphs
        seconds = count * 1.3 * (6e-9 + 0.5e-9 * width) + nodes * width * 2e-9
        return 200e-6 + seconds, nodes * 4.0 * (3 + width)

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
class _Row(Tile):
    """Some nodes and the edges that end, or begin, at each: a tile of C x K edges.

    One side is [C], the node of each row, the other [C, K].
    """

    valid: Any = None
    hub: str = "receiver"

    @property
    def shape(self) -> tuple[int, int]:
        rows, slots = self.valid.shape
        return rows, slots

    def mask(self) -> Any:
        return self.valid

    def ends(self) -> tuple[Side, Side]:
        sides = {"receiver": self.operands.receiver, "sender": self.operands.sender}
        hub = jax.tree.map(lambda leaf: leaf[:, None], sides[self.hub])
        sides[self.hub] = hub
        return sides["receiver"], sides["sender"]

    def label(self, name: str) -> Any:
        receiver, sender = self.ends()
        given = self.operands.pair.get(name)
        label = self.problem.label(name, receiver, sender, given)
        return jnp.broadcast_to(label, self.shape)

    def _pairs(self, term: Term, held: list[Any]) -> Any:
        """Returns a term's values, [C or 1, K or 1, ...]."""
        leaves = self._leaves() | {"edge": self.operands.edge.leaves}
        for name in term.depends & set(self.problem.relations):
            leaves[name] = self.problem.rows_at(name, self.operands, self.label(name))
        if not term.depends:
            return term.over(held, leaves)[None, None]
        inner = term.depends - {self.hub}
        if not inner:
            return term.over(held, leaves, term.depends)[:, None]
        return term.over(held, leaves, term.depends, inner)

    def _contract(self, weight: Any, mask: Any) -> Any:
        message = jnp.where(_spread(mask, self.message()), self.message(), 0)
        return jnp.einsum("ck,ck...->c...", weight, message)

    def lifted(self, aggregator: Aggregator, shift: Any) -> Any:
        """Returns what every edge adds to the sums, leaves [C, K, ...].

        Args:
          shift: that of each edge's receiver, [C or 1, K or 1, ...]; None for none.
        """
        mask = self.mask()
        if not isinstance(aggregator, Weighting):
            message = self.message()
            fallback = jnp.broadcast_to(shift, message.shape)
            message = jnp.where(_spread(mask, message), message, fallback)
            added = aggregator.lift(None, message, shift)
            return jax.tree.map(
                lambda leaf: jnp.where(_spread(mask, leaf), leaf, 0), added
            )
        score = None
        if aggregator.hears_score:
            score = self.score()
            score = jnp.where(mask, score, jnp.broadcast_to(shift, score.shape))
        weight = aggregator.weight(score, shift).astype(self.problem.accumulator)
        weight = jnp.where(mask, jnp.broadcast_to(weight, self.shape), 0)
        spoken = weight
        if self.problem.dropout_rate:
            receiver, sender = self.ends()
            spoken = weight * keep_scale(
                self.problem.dropout_rate,
                self.operands.shared.seed,
                self.operands.context.index,
                receiver.position,
                sender.position,
            ).astype(weight.dtype)
        message = self.message()
        message = jnp.where(_spread(mask, message), message, 0)
        return {"total": weight, "message": _spread(spoken, message) * message}


def _spread(value: Any, like: Any) -> Any:
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim))


def _row(work: _Work, operands: Operands, block: Bucket, hub: str) -> _Row:
    """Gathers what a block of rows needs."""
    edge = operands.edge

    def at(tree: Any, index: Any) -> Any:
        return jax.tree.map(lambda leaf: taken(leaf, index), tree)

    receivers = jnp.take(edge.receivers, block.edges, mode="clip")
    senders = jnp.take(edge.senders, block.edges, mode="clip")
    pair = {
        name: labels.at[receivers, senders].get(mode="clip")
        for name, labels in operands.pair.items()
    } | {name: jnp.take(leaf, block.edges) for name, leaf in edge.labels.items()}
    inner = operands._replace(
        receiver=at(operands.receiver, block.nodes if hub == "receiver" else receivers),
        sender=at(operands.sender, block.nodes if hub == "sender" else senders),
        edge=edge._replace(leaves=at(edge.leaves, block.edges)),
        pair=pair,
    )
    return _Row(work.problem, inner, True, False, valid=block.valid, hub=hub)


def _value(work: _Work, split: Split, moving: list[Any], fixed: list[Any]) -> list[Any]:
    return _forward(work, split, moving, fixed)[0]


def _forward(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any]
) -> tuple[list[Any], Any]:
    operands = split.join(moving, fixed)
    state = each_graph(functools.partial(_sums, work), operands, work.problem)
    return _finish(work.problem, state), (moving, fixed, state)


def _finish(problem: Problem, state: list[tuple[Any, Any]]) -> list[Any]:
    return [
        aggregator.finish(sums, shift)
        for aggregator, (shift, sums) in zip(problem.aggregators, state, strict=True)
    ]


def _sums(work: _Work, operands: Operands) -> list[tuple[Any, Any]]:
    """Returns (shift, sums) of one graph for each aggregator: leaves [R, ...]."""

    def block(block: Bucket, carry: Any) -> Any:
        row = _row(work, operands, block, "receiver")
        return carry, [row.sums(each) for each in work.problem.aggregators]

    _, found = work.by_receiver.each(block)
    return [
        _merged(work.by_receiver, aggregator, [parts[at] for parts in found])
        for at, aggregator in enumerate(work.problem.aggregators)
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
    operands = split.join(moving, fixed)
    shared = operands.shared

    def one(led: Any) -> list[Any]:
        return _gradients(work, split, led[0]._replace(shared=shared), led[1])

    led = (operands._replace(shared=None), (shifts, of_sums))
    found = each_lead(one, led, work.problem.batch_axes)
    return summed(split, operands, found, work.problem.batch_axes), None


def _gradients(
    work: _Work, split: Split, operands: Operands, state: tuple[Any, Any]
) -> list[Any]:
    """Returns the cotangents of the leaves that move, of one graph."""
    problem = work.problem
    shifts, of_sums = state
    start = [nothing(leaf.shape, leaf.dtype) for leaf in split.divide(operands)[0]]
    named: Any = split.join(start, [None] * (len(split.moving) - len(start)))

    def said(row: _Row, shifts: Any, of_sums: Any) -> Any:
        """Returns the number whose gradient is asked for: cotangent times sums."""
        total: Any = 0
        for at, aggregator in enumerate(problem.aggregators):
            added = row.lifted(aggregator, shifts[at])
            pairs = zip(
                jax.tree.leaves(added), jax.tree.leaves(of_sums[at]), strict=True
            )
            total = total + sum((one * other).sum() for one, other in pairs)
        return total

    def of_receivers(block: Bucket, carry: Any) -> Any:
        row = _row(work, operands, block, "receiver")
        here = jax.tree.map(lambda leaf: leaf[block.nodes][:, None], (shifts, of_sums))

        def total(own: Any, common: Any) -> Any:
            inner = row.operands._replace(
                receiver=row.operands.receiver._replace(leaves=own[0]),
                edge=row.operands.edge._replace(leaves=own[1]),
                context=row.operands.context._replace(leaves=common[0]),
                tables=common[1],
                shared=row.operands.shared._replace(score=common[2], message=common[3]),
            )
            return said(dataclasses.replace(row, operands=inner), *here)

        own = row.operands.receiver.leaves, row.operands.edge.leaves
        pulled, added = _gradient(total, own, common)
        return jax.tree.map(_add, carry, added), pulled

    def of_senders(block: Bucket, carry: Any) -> Any:
        row = _row(work, operands, block, "sender")
        receivers = jnp.take(operands.edge.receivers, block.edges, mode="clip")
        there = jax.tree.map(lambda leaf: leaf[receivers], (shifts, of_sums))

        def total(own: Any, common: Any) -> Any:
            del common
            side = row.operands.sender._replace(leaves=own)
            inner = row.operands._replace(sender=side)
            return said(dataclasses.replace(row, operands=inner), *there)

        pulled, _ = _gradient(total, row.operands.sender.leaves, ())
        return carry, pulled

    shared = operands.shared
    common = operands.context.leaves, operands.tables, shared.score, shared.message
    carry = named.context.leaves, named.tables, named.shared.score, named.shared.message
    carry, found = work.by_receiver.each(of_receivers, carry)
    at_receivers = _added(work.by_receiver, [own for own, _ in found])
    at_edges = work.by_receiver.by_edge([edges for _, edges in found])
    _, found = work.by_sender.each(of_senders)
    result = named._replace(
        receiver=named.receiver._replace(leaves=at_receivers),
        sender=named.sender._replace(leaves=_added(work.by_sender, found)),
        edge=named.edge._replace(leaves=at_edges),
        context=named.context._replace(leaves=carry[0]),
        tables=carry[1],
        shared=named.shared._replace(score=carry[2], message=carry[3]),
    )
    moving, _ = split.divide(result)
    return moving


def _gradient(function: Any, own: Any, common: Any) -> tuple[Any, Any]:
    """Returns the gradients with respect to both, None for leaves that do not move."""
    leaves, treedef = jax.tree.flatten((own, common))
    moves = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def call(moving: list[Any]) -> Any:
        values = iter(moving)
        whole = [
            next(values) if moves else leaf
            for leaf, moves in zip(leaves, moves, strict=True)
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
