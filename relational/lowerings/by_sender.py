"""Edges sorted by sender: what one of them says to many receivers, all at once.

Where senders carry matrices, as experts do, to gather them for every edge is to copy a
matrix an edge. Sorted by sender, edges stand in blocks that share theirs, and a message
becomes a product of matrices. How many hear a sender may follow from the data: a loop
takes as many blocks as there are, so that nothing is left out and little is padded.

Shapes: E edges, R receivers, S senders, B edges of a block, P places of all blocks, F
features.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from relational._checks import check_count
from relational.lowerings import costs
from relational.lowerings import edges as edge_list
from relational.lowerings.problem import (
    Operands,
    Problem,
    each_graph,
    taken,
    with_positions,
)
from relational.lowerings.sender_blocks import Sizes, laid_out
from relational.lowerings.splits import Split, nothing
from relational.terms import Term

_EACH = frozenset({"receiver", "edge"})  # What differs between the edges of a block.
_LARGEST = 128  # Edges of a block: more are hardly faster, and waste half a block each.
_SMALLEST = 8


@dataclasses.dataclass(frozen=True)
class BySender:
    """Asks for blocks of a sender: `propagate(..., lowering=rl.lowerings.BySender())`.

    Attributes:
      block: how many edges a block has; a number that fits the degrees if not given.

    >>> import jax.numpy as jnp, relational as rl
    >>> chosen = rl.Edges([1, 0, 1], [0, 1, 2], num_receivers=3, num_senders=2)
    >>> scales = jnp.array([[[2.0]], [[3.0]]])  # A matrix a sender.
    >>> rl.propagate(chosen, receivers=jnp.array([[1.0], [5.0], [7.0]]), senders=scales,
    ...              message=lambda receiver, sender: rl.dot(receiver, sender),
    ...              aggregator=rl.Sum(),
    ...              lowering=rl.lowerings.BySender()).tolist()
    [[3.0], [10.0], [21.0]]
    """

    block: int | None = None

    name = "by_sender"

    def __post_init__(self) -> None:
        if self.block is not None:
            check_count(
                "BySender.block", self.block, least=1, advice="It counts edges."
            )

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        reasons = []
        if not problem.is_listed:
            reasons.append("the edges follow from a rule")
        if not any(map(_has_matrix, problem.message)):
            reasons.append("no message multiplies by a matrix of its sender")
        if any(term.depends & set(problem.relations) for term in problem.message):
            reasons.append("a message reads a relation")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost(self.name, work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        graphs, rows = problem.num_graphs, self.rows(problem)
        active = min(problem.num_senders, problem.num_edges)
        # Of each sender, half a block is padding.
        places = problem.num_edges + active * (rows - 1) / 2
        own, each = _widths(problem)
        features = math.prod(problem.message_shape)
        work = collections.defaultdict[str, float](float)
        work["step"] = graphs * (active + places / rows)
        work["edge"] = graphs * problem.num_edges
        work["moved"] = graphs * (places * (each + 2 * features) + active * own)
        for term in problem.message:
            for kind, sites, count in costs.evaluation(term):
                work[kind] += graphs * count * (places if sites & _EACH else active)
        if problem.score:
            work["exponential"] += graphs * problem.num_edges
        stored = places * (each + 2 * features) + problem.num_senders * own
        return work, 4.0 * stored

    def rows(self, problem: Problem) -> int:
        """Returns how many edges a block has."""
        if self.block is not None:
            return self.block
        mean = problem.num_edges / max(1, problem.num_senders)
        fitting = 2 ** math.ceil(math.log2(max(1.0, mean / 2)))
        most = 2 ** math.ceil(math.log2(max(1, problem.num_edges)))
        return min(max(_SMALLEST, min(_LARGEST, fitting)), most)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        rows = self.rows(problem)

        def one(inner: Operands) -> list[Any]:
            message = _messages(problem, inner, rows)
            return edge_list.aggregated(problem, inner, message)

        listed = edge_list.with_edges(problem, operands)
        # One graph after another: under `vmap`, all would go as often as the longest.
        return each_graph(one, with_positions(problem, listed), problem, loops=True)


def _has_matrix(term: Term) -> bool:
    """Says whether edges of one sender could share a matrix of it."""
    reads = zip(term.reads, term.inputs, strict=True)
    ranks = [len(v.aval.shape) for (site, _), v in reads if site == "sender"]  # type: ignore[attr-defined]  # Arrays.
    return bool(term.depends & _EACH) and max(ranks, default=0) >= 2


def _widths(problem: Problem) -> tuple[int, int]:
    """Returns how many numbers of a sender, and of each edge, messages read."""
    own = each = 0
    for term in problem.message:
        for (site, _), variable in zip(term.reads, term.inputs, strict=True):
            size = math.prod(variable.aval.shape)  # type: ignore[attr-defined]  # Arrays.
            own, each = own + size * (site == "sender"), each + size * (site in _EACH)
    return own, each


class _Read(NamedTuple):
    """The arrays that messages of one graph read."""

    receiver: list[Any]
    sender: list[Any]
    edge: list[Any]
    context: list[Any]
    held: list[list[Any]]


@dataclasses.dataclass(frozen=True)
class _Work:
    """What there is to do: messages, in so many places, block by block."""

    problem: Problem
    rows: int
    num_places: int

    def said(self, read: _Read) -> Any:
        """Returns the messages of a block, [B, F], whose sender is given alone."""
        leaves = {name: getattr(read, name) for name in _Read._fields[:-1]}
        total: Any = 0
        for term, held in zip(self.problem.message, read.held, strict=True):
            if term.depends & _EACH:
                value = term.over(held, leaves, _EACH)
            else:
                value = term.over(held, leaves)[None]
            total = total + value.astype(self.problem.accumulator)
        return jnp.broadcast_to(total, (self.rows, *self.problem.message_shape))

    def pulled(self, read: _Read, cotangent: Any) -> _Read:
        """Returns the cotangents of what a block read: lists of those that move."""
        split = Split.of(read)
        moving, fixed = split.divide(read)
        _, pull = jax.vjp(lambda moving: self.said(split.join(moving, fixed)), moving)
        found = iter(pull(cotangent)[0])
        return _Read(*([next(found) for _ in _floats(part)] for part in read))


def _messages(problem: Problem, operands: Operands, rows: int) -> Any:
    """Returns the summed message of every edge of one graph, [E, F]; 0 where it does
    not count."""
    edge = operands.edge
    num_edges = edge.senders.shape[0]
    if not (num_edges and problem.num_senders and problem.num_receivers):
        return jnp.zeros((num_edges, *problem.message_shape), problem.accumulator)
    sizes = Sizes.of(num_edges, problem.num_senders, rows)
    work = _Work(problem, rows, sizes.num_places)
    valid = edge_list.valid_edges(problem, operands)
    senders = jnp.where(valid, edge.senders, problem.num_senders)
    layout = laid_out(senders, sizes)
    read = _Read(
        operands.receiver.leaves,
        operands.sender.leaves,
        edge.leaves,
        operands.context.leaves,
        operands.shared.message,
    )
    split = Split.of(read)
    run = jax.custom_vjp(functools.partial(_value, work, split))
    run.defvjp(
        functools.partial(_forward, work, split),
        functools.partial(_backward, work, split),
    )
    index = layout, edge.receivers
    return run(*split.divide(read), index)


def _value(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any], index: Any
) -> Any:
    layout, receivers = index
    read = split.join(moving, fixed)

    def visit(sender: Any, out: Any) -> Any:
        own = _of_sender(read, sender)

        def one(block: Any, out: Any) -> Any:
            edges, _ = layout.edges_at(sender, block, work.rows)
            said = work.said(_of_edges(own, edges, receivers))
            start = (layout.block[sender] + block) * work.rows
            return jax.lax.dynamic_update_slice_in_dim(out, said, start, 0)

        return jax.lax.fori_loop(0, layout.blocks[sender], one, out)

    shape = (work.num_places, *work.problem.message_shape)
    out = jnp.zeros(shape, work.problem.accumulator)
    out = layout.over_senders(visit, out)
    return jnp.take(out, layout.place, axis=0, mode="fill", fill_value=0)


def _forward(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any], index: Any
) -> tuple[Any, Any]:
    found = _value(work, split, moving, fixed, index)
    return found, (moving, fixed, index)


def _backward(work: _Work, split: Split, kept: Any, cotangent: Any) -> Any:
    """Pulls cotangents [E, F] back, each block computed again."""
    moving, fixed, index = kept
    layout, receivers = index
    read: _Read = split.join(moving, fixed)
    num_senders, num_receivers = work.problem.num_senders, work.problem.num_receivers

    def visit(sender: Any, state: Any) -> Any:
        own = _of_sender(read, sender)

        def one(block: Any, state: Any) -> Any:
            placed, whole, alike = state
            edges, is_real = layout.edges_at(sender, block, work.rows)
            mask = is_real.reshape(-1, *(1,) * (cotangent.ndim - 1))
            spoken = jnp.where(mask, cotangent[edges], 0)
            found = work.pulled(_of_edges(own, edges, receivers), spoken)
            start = (layout.block[sender] + block) * work.rows
            placed = [
                jax.lax.dynamic_update_slice_in_dim(
                    into, each.astype(into.dtype), start, 0
                )
                for into, each in zip(
                    placed, [*found.receiver, *found.edge], strict=True
                )
            ]
            alike = _added(alike, [*found.context, *found.held])
            return placed, _added(whole, found.sender), alike

        placed, senders, alike = state
        first = placed, _zeros(own.sender), alike
        placed, whole, alike = jax.lax.fori_loop(0, layout.blocks[sender], one, first)
        senders = [
            jax.lax.dynamic_update_index_in_dim(into, each, sender, 0)
            for into, each in zip(senders, whole, strict=True)
        ]
        return placed, senders, alike

    each_place = _zeros([read.receiver, read.edge], work.num_places)
    alike = _zeros([read.context, read.held])
    state = each_place, _zeros(read.sender, num_senders), alike
    placed, senders, alike = layout.over_senders(visit, state)
    at_edges = [
        jnp.take(each, layout.place, axis=0, mode="fill", fill_value=0)
        for each in placed
    ]
    count = len(_floats(read.receiver))
    heard = [
        jax.ops.segment_sum(each, receivers, num_receivers) for each in at_edges[:count]
    ]
    found = [*heard, *senders, *at_edges[count:], *alike]
    cast = [each.astype(leaf.dtype) for each, leaf in zip(found, moving, strict=True)]
    return cast, jax.tree.map(_no_tangent, fixed), jax.tree.map(_no_tangent, index)


def _of_sender(read: _Read, sender: Any) -> _Read:
    return read._replace(sender=[leaf[sender] for leaf in read.sender])


def _of_edges(read: _Read, edges: Any, receivers: Any) -> _Read:
    nodes = receivers[edges]
    return read._replace(
        receiver=[taken(leaf, nodes) for leaf in read.receiver],
        edge=[taken(leaf, edges) for leaf in read.edge],
    )


def _floats(tree: Any) -> list[Any]:
    return Split.of(tree).divide(tree)[0]


def _zeros(tree: Any, count: int | None = None) -> list[Any]:
    """Returns what cotangents are added to: of the leaves that move, or of `count` of
    their rows."""
    return [
        nothing(leaf.shape if count is None else (count, *leaf.shape[1:]), leaf.dtype)
        for leaf in _floats(tree)
    ]


def _added(totals: list[Any], found: list[Any]) -> list[Any]:
    return [
        total + each.astype(total.dtype)
        for total, each in zip(totals, found, strict=True)
    ]


def _no_tangent(leaf: Any) -> Any:
    return jnp.zeros(leaf.shape, jax.dtypes.float0)
