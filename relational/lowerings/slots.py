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
    each_lead,
    restore_lead,
    taken,
    with_positions,
)
from relational.lowerings.splits import Split, nothing
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
        del mask  # Weights are zero where no edge is, and messages those of real edges.
        message = self.message()
        return (_spread(weight, message) * message).sum(axis=1)

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
        return {"total": weight, "message": _spread(spoken, message) * message}


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


def _gathered(operands: Operands, block: Bucket, hub: str) -> Operands:
    """Returns what a block of rows needs: nodes [C, *lead, ...], edges [C, K, ...]."""
    edge = operands.edge

    def at(tree: Any, index: Any) -> Any:
        return jax.tree.map(lambda leaf: taken(leaf, index), tree)

    receivers = jnp.take(edge.receivers, block.edges, mode="clip")
    senders = jnp.take(edge.senders, block.edges, mode="clip")
    by_pair = {
        name: labels.at[..., receivers, senders].get(mode="clip")
        for name, labels in operands.pair.items()
    }
    by_edge = {
        name: jnp.take(labels, block.edges, axis=-1, mode="clip")
        for name, labels in edge.labels.items()
    }
    none = edge._replace(senders=None, receivers=None, labels={})
    return operands._replace(
        receiver=at(operands.receiver, block.nodes if hub == "receiver" else receivers),
        sender=at(operands.sender, block.nodes if hub == "sender" else senders),
        edge=none._replace(leaves=at(edge.leaves, block.edges)),
        pair=by_pair | by_edge,
    )


def _each(
    work: _Work, function: Any, gathered: Operands, block: Bucket, hub: str, more: Any
) -> Any:
    """Calls a function of a row of one graph, and of `more`, for all graphs.

    Args:
      function: takes a `_Row` and `more`, [C or 1, K or 1, ...] each.
      more: [C or 1, K or 1, *lead, ...].

    Returns:
      [*lead, ...].
    """
    axes = work.problem.batch_axes
    depth = {"receiver": 2, "sender": 2, hub: 1}
    shared = gathered.shared
    led = gathered._replace(
        receiver=_front(gathered.receiver, depth["receiver"], axes),
        sender=_front(gathered.sender, depth["sender"], axes),
        edge=_front(gathered.edge, 2, axes),
        shared=None,  # type: ignore[arg-type]  # Has no such axes.
    )

    def one(inner: Any) -> Any:
        operands = inner[0]._replace(shared=shared)
        row = _Row(work.problem, operands, True, False, valid=block.valid, hub=hub)
        return function(row, inner[1])

    found = each_lead(one, (led, _front(more, 2, axes)), axes)
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

    def of_block(block: Bucket, carry: Any) -> Any:
        def parts(row: _Row, more: Any) -> list[Part]:
            del more
            return [row.sums(aggregator) for aggregator in problem.aggregators]

        gathered = _gathered(operands, block, "receiver")
        found = _each(work, parts, gathered, block, "receiver", ())
        return carry, _back(found, 1, problem.batch_axes)

    _, found = work.by_receiver.each(of_block)
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

    def said(row: _Row, more: Any) -> Any:
        """Returns the number whose gradient is asked for: cotangent times sums."""
        shifts, of_sums = more
        total: Any = 0
        for at, aggregator in enumerate(problem.aggregators):
            added = jax.tree.leaves(row.lifted(aggregator, shifts[at]))
            pairs = zip(added, jax.tree.leaves(of_sums[at]), strict=True)
            total = total + sum((one * other).sum() for one, other in pairs)
        return total

    def of_receivers(block: Bucket, carry: Any) -> Any:
        gathered = _gathered(operands, block, "receiver")
        here = jax.tree.map(lambda leaf: leaf[block.nodes][:, None], state)

        def total(own: Any, common: Any) -> Any:
            inner = gathered._replace(
                receiver=gathered.receiver._replace(leaves=own[0]),
                edge=gathered.edge._replace(leaves=own[1]),
                context=gathered.context._replace(leaves=common[0]),
                tables=common[1],
                shared=gathered.shared._replace(score=common[2], message=common[3]),
            )
            return _each(work, said, inner, block, "receiver", here).sum()

        own = gathered.receiver.leaves, gathered.edge.leaves
        pulled, added = _gradient(total, own, common)
        return jax.tree.map(_add, carry, added), pulled

    def of_senders(block: Bucket, carry: Any) -> Any:
        gathered = _gathered(operands, block, "sender")
        receivers = jnp.take(operands.edge.receivers, block.edges, mode="clip")
        there = jax.tree.map(lambda leaf: leaf[receivers], state)

        def total(own: Any, common: Any) -> Any:
            del common
            side = gathered.sender._replace(leaves=own)
            inner = gathered._replace(sender=side)
            return _each(work, said, inner, block, "sender", there).sum()

        pulled, _ = _gradient(total, gathered.sender.leaves, ())
        return carry, pulled

    shared = operands.shared
    common = operands.context.leaves, operands.tables, shared.score, shared.message
    carry = jax.tree.map(
        lambda leaf: nothing(leaf.shape, leaf.dtype) if _moves(leaf) else None, common
    )
    carry, found = work.by_receiver.each(of_receivers, carry)
    at_receivers = _added(work.by_receiver, [own for own, _ in found])
    at_edges = work.by_receiver.by_edge([edges for _, edges in found])
    _, found = work.by_sender.each(of_senders)
    at_senders = _added(work.by_sender, found)
    nodes = _front((at_receivers, at_senders, at_edges), 1, axes)
    whole = split.join([None] * len(moving), fixed)
    result = whole._replace(
        receiver=whole.receiver._replace(leaves=nodes[0]),
        sender=whole.sender._replace(leaves=nodes[1]),
        edge=whole.edge._replace(leaves=nodes[2]),
        context=whole.context._replace(leaves=carry[0]),
        tables=carry[1],
        shared=whole.shared._replace(score=carry[2], message=carry[3]),
    )
    return split.divide(result)[0]


def _moves(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _gradient(function: Any, own: Any, common: Any) -> tuple[Any, Any]:
    """Returns the gradients with respect to both, None for leaves that do not move."""
    leaves, treedef = jax.tree.flatten((own, common))
    moves = [_moves(leaf) for leaf in leaves]

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
