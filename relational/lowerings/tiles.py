"""Blocks of receivers x the senders they may hear, one after another.

No array of receivers x senders is ever stored, forward or backward: a block of receivers
takes the whole row of senders that its topology lets it hear, empty columns left out,
and the backward pass computes each tile again from its shift and the cotangents of its
sums. On a CPU one graph (one head) at a time beats many small batched products.

Runs of blocks of one shape share a loop; the others are unrolled, so that a causal row
is as long as it must be.

Shapes: R receivers, S senders, *lead leading axes; a block has B receivers.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import check_count
from relational.lowerings import costs
from relational.lowerings.dense import Dense
from relational.lowerings.groups import Groups
from relational.lowerings.problem import Operands, Problem, each_lead, with_positions
from relational.lowerings.products import upright
from relational.lowerings.rows import Row, best_cut, rows, runs
from relational.lowerings.splits import Split, is_led, nothing
from relational.lowerings.tile import Part, Tile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiles:
    """Asks for tiles: `lowering=rl.lowerings.Tiles(block=256)`.

    Attributes:
      block: receivers a tile; by default by the length of its rows.
      senders: most senders a tile; longer rows are merged from parts.
      graphs: most graphs (heads, examples) a tile takes at once; by default as many as
        fit the caches of a CPU, and all on other devices.

    >>> import jax.numpy as jnp, relational as rl
    >>> rl.propagate(rl.Band(before=1), senders=jnp.array([1.0, 5.0, 3.0]),
    ...              message=lambda sender: sender, aggregator=rl.Sum(),
    ...              lowering=rl.lowerings.Tiles(block=2)).tolist()
    [1.0, 6.0, 8.0]
    """

    block: int | None = None
    senders: int = 8192
    graphs: int | None = None

    name = "tiles"

    def __post_init__(self) -> None:
        for field in ("block", "senders", "graphs"):
            value = getattr(self, field)
            if value is not None:
                what = "graphs" if field == "graphs" else "nodes"
                check_count(
                    f"Tiles.{field}", value, least=1, advice=f"It counts {what}."
                )

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        reasons = Dense().refuse(problem)
        if problem.is_listed:
            reasons.append("the edges are listed one by one: no tile is known empty")
        if not problem.size or not problem.num_graphs:
            reasons.append("there is nothing to cut: a side is empty")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("tiles", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        plan, graphs = self.plan(problem), problem.num_graphs
        groups = self.groups(problem)
        pairs = sum(row.pairs for row in plan)
        work = costs.tile_work(problem, pairs * graphs)
        work["step"] = len(plan) * groups.num_steps
        largest = max((row.pairs for row in plan), default=0) * groups.size
        return work, costs.tile_bytes(work, largest / max(1, pairs * graphs))

    def plan(self, problem: Problem) -> list[Row]:
        """Returns the blocks of receivers with the senders that each takes."""
        sizes = problem.num_receivers, problem.num_senders
        return rows(problem.topology, *sizes, self._cut(problem)[0])

    def groups(self, problem: Problem) -> Groups:
        """Returns which graphs are taken at once."""
        return Groups.of(problem.lead, self._cut(problem)[1])

    def _cut(self, problem: Problem) -> tuple[int, float]:
        """Returns how many receivers and how many graphs a tile takes."""
        is_cpu = jax.default_backend() == "cpu"
        sizes = problem.num_receivers, problem.num_senders
        graphs = problem.num_graphs if is_cpu else 1
        best, most = best_cut(
            problem.topology,
            *sizes,
            num_graphs=graphs,
            most_senders=self.senders,
            numbers=costs.tile_work(problem, 1)["stored"],
        )
        block = self.block or best
        as_large = max(1, most * best // block)
        return block, self.graphs or (as_large if is_cpu else math.inf)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        operands = with_positions(problem, operands)
        work = _Work(
            problem,
            tuple(self.plan(problem)),
            self.senders,
            self.groups(problem),
            is_upright=jax.default_backend() == "cpu",
        )
        split = Split.of(operands)
        run = jax.custom_vjp(functools.partial(_value, work, split))
        run.defvjp(
            functools.partial(_forward, work, split),
            functools.partial(_backward, work, split),
        )
        return run(*split.divide(operands))


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What there is to do: a problem, its rows, and how leading axes are taken."""

    problem: Problem
    plan: tuple[Row, ...]
    most_senders: int
    groups: Groups
    is_upright: bool


def _value(work: _Work, split: Split, moving: list[Any], fixed: list[Any]) -> list[Any]:
    return _forward(work, split, moving, fixed)[0]


def _forward(
    work: _Work, split: Split, moving: list[Any], fixed: list[Any]
) -> tuple[list[Any], Any]:
    operands = split.join(moving, fixed)
    shared = operands.shared

    def one(led: Operands) -> list[tuple[Any, Any]]:
        return _sums(work, led._replace(shared=shared))

    led = operands._replace(shared=None)
    state = work.groups.map(one, led)
    return _finish(work.problem, state), (moving, fixed, state)


def _finish(problem: Problem, state: list[tuple[Any, Any]]) -> list[Any]:
    return [
        aggregator.finish(sums, shift)
        for aggregator, (shift, sums) in zip(problem.aggregators, state, strict=True)
    ]


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
    return _add_up(work, split, operands, (shifts, of_sums)), None


def _sums(work: _Work, operands: Operands) -> list[tuple[Any, Any]]:
    """Returns (shift, sums) of one graph for each aggregator: leaves [R, ...]."""

    def one(run: list[Row], starts: Any) -> list[tuple[Any, Any]]:
        parts = _parts(work, run, _cut(operands, run[0], starts), None)
        return [(part.shift, part.sums) for part in parts]

    nothing = jax.eval_shape(lambda: one([work.plan[0]], work.plan[0].starts))
    pieces, at = [], 0
    for run in runs(work.plan):
        pieces.append(_zeros(nothing, run[0].receivers.start - at))
        if len(run) == 1:
            pieces.append(one(run, run[0].starts))
        else:
            stacked = jax.lax.map(functools.partial(one, run), _starts(run))
            pieces.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stacked))
        at = run[-1].receivers.stop
    pieces.append(_zeros(nothing, work.problem.num_receivers - at))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)


def _zeros(example: Any, count: int) -> Any:
    """Returns the sums of receivers that hear nobody."""
    return jax.tree.map(lambda x: jnp.zeros((count, *x.shape[1:]), x.dtype), example)


def _starts(run: list[Row]) -> tuple[Any, Any]:
    starts = np.array([row.starts for row in run], np.int32)
    return jnp.asarray(starts[:, 0]), jnp.asarray(starts[:, 1])


def _parts(
    work: _Work, run: list[Row], cut: Operands, shifts: list[Any] | None
) -> list[Part]:
    """Returns what a row of tiles contributes, for each aggregator.

    Args:
      work: what there is to do.
      run: the rows that share this program; they differ in where they start.
      cut: the operands of one of them.
      shifts: the shift to take, [B, ...] for each aggregator; None for their own.
    """
    row = run[0]
    first = None
    if len({each.offset for each in run}) == 1:
        first = row.offset - len(row.receivers) + 1
    found = []
    for index, aggregator in enumerate(work.problem.aggregators):
        shift = None if shifts is None else shifts[index]
        parts = [
            Tile(
                work.problem,
                tile,
                row.is_masked,
                is_contiguous=True,
                first=None if first is None else first + at,
            ).sums(aggregator, shift)
            for at, tile in _split_senders(cut, len(row.senders), work.most_senders)
        ]
        found.append(functools.reduce(lambda a, b: a.merge(b, aggregator), parts))
    return found


def _split_senders(
    cut: Operands, count: int, most: int
) -> Iterator[tuple[int, Operands]]:
    def taken(at: int) -> Operands:
        span = slice(at, min(at + most, count))
        return cut._replace(
            sender=jax.tree.map(lambda leaf: leaf[span], cut.sender),
            pair=jax.tree.map(lambda leaf: leaf[:, span], cut.pair),
        )

    for at in range(0, count, most):
        yield at, taken(at)


def _spans(operands: Operands, row: Row, starts: Any) -> Operands:
    """Returns, leaf by leaf, the (starts, sizes) of what a row takes; () for all."""
    receiver = (starts[:1], (len(row.receivers),))
    sender = (starts[1:], (len(row.senders),))
    both = (starts, (len(row.receivers), len(row.senders)))

    def mark(part: Any, span: Any) -> Any:
        return jax.tree.map(lambda _: _Span(*span), part)

    marked = {
        name: mark(getattr(operands, name), ((), ())) for name in operands._fields
    }
    marked["receiver"] = mark(operands.receiver, receiver)
    marked["sender"] = mark(operands.sender, sender)
    marked["pair"] = mark(operands.pair, both)
    return Operands(**marked)


@dataclasses.dataclass(frozen=True)
class _Span:
    """Where a row's slice of an array begins and how large it is, axis by axis."""

    starts: tuple[Any, ...]
    sizes: tuple[int, ...]

    def take(self, leaf: Any) -> Any:
        rest = leaf.ndim - len(self.sizes)
        starts = (*self.starts, *(0,) * rest)
        return jax.lax.dynamic_slice(
            leaf, starts, (*self.sizes, *leaf.shape[len(self.sizes) :])
        )

    def add(self, total: Any, part: Any) -> Any:
        part = part.astype(total.dtype)
        if not self.sizes:
            return total + part
        starts = (*self.starts, *(0,) * (total.ndim - len(self.sizes)))
        return jax.lax.dynamic_update_slice(total, self.take(total) + part, starts)


def _cut(operands: Operands, row: Row, starts: Any) -> Operands:
    """Returns the operands of one graph, cut to a row of tiles."""
    spans = _spans(operands, row, starts)
    return jax.tree.map(lambda leaf, span: span.take(leaf), operands, spans)


def _gradients(
    work: _Work, split: Split, operands: Operands, state: tuple[Any, Any]
) -> list[Any]:
    """Returns the cotangents of the differentiable operands of one graph."""

    def of_row(run: list[Row], totals: list[Any], starts: Any) -> list[Any]:
        row = run[0]
        receivers = _Span(starts[:1], (len(row.receivers),))
        shifts, of_sums = jax.tree.map(receivers.take, state)
        moving, fixed = split.divide(_cut(operands, row, starts))

        def sums(moving: list[Any]) -> list[Any]:
            parts = _parts(work, run, split.join(moving, fixed), shifts)
            return [part.sums for part in parts]

        def pull(moving: list[Any], of_sums: list[Any]) -> Any:
            return jax.vjp(sums, moving)[1](of_sums)[0]

        parts = (upright(pull) if work.is_upright else pull)(moving, of_sums)
        spans, _ = split.divide(_spans(operands, row, starts))
        return [
            span.add(total, part)
            for span, total, part in zip(spans, totals, parts, strict=True)
        ]

    def step(run: list[Row], totals: list[Any], starts: Any) -> tuple[list[Any], None]:
        return of_row(run, totals, starts), None

    totals = [nothing(leaf.shape, leaf.dtype) for leaf in split.divide(operands)[0]]
    for run in runs(work.plan):
        if len(run) == 1:
            totals = of_row(run, totals, run[0].starts)
            continue
        totals, _ = jax.lax.scan(functools.partial(step, run), totals, _starts(run))
    return totals


def _add_up(
    work: _Work, split: Split, operands: Operands, state: tuple[Any, Any]
) -> list[Any]:
    """Returns the cotangents of all operands, added up where several graphs share one.

    Groups come one after another, and add into what those before them found.
    """
    shared, groups, axes = operands.shared, work.groups, work.problem.batch_axes
    led = (operands._replace(shared=None), state)  # type: ignore[arg-type]  # No axes.
    stacked = groups.stack(led)
    first = jnp.zeros(groups.num_steps, jnp.int32)
    in_shared = jax.tree.map(lambda _: first, shared)
    places, _ = split.divide(stacked.places[0]._replace(shared=in_shared))
    moving, _ = split.divide(operands)
    has_leads, _ = split.divide(is_led(operands))

    def empty(leaf: Any, has_lead: bool) -> Any:
        cut = jax.eval_shape(groups.cut if has_lead else lambda x: x[None], leaf)
        return nothing(cut.shape, leaf.dtype)

    def one(taken: tuple[Operands, Any]) -> list[Any]:
        return _gradients(work, split, taken[0]._replace(shared=shared), taken[1])

    def body(totals: list[Any], at: Any) -> tuple[list[Any], None]:
        step, places = at
        found = each_lead(one, stacked.at(step), axes)
        added = [
            _add_group(*each, axes)
            for each in zip(totals, places, found, has_leads, strict=True)
        ]
        return added, None

    totals = [empty(*each) for each in zip(moving, has_leads, strict=True)]
    if groups.num_steps == 1:
        step = jax.tree.map(lambda each: each[0], (stacked.places, places))
        totals, _ = body(totals, step)
    else:
        totals, _ = jax.lax.scan(body, totals, (stacked.places, places))
    return [
        total.reshape(leaf.shape).astype(leaf.dtype)
        for total, leaf in zip(totals, moving, strict=True)
    ]


def _add_group(total: Any, place: Any, part: Any, has_lead: bool, axes: int) -> Any:
    """Adds a group's cotangents, [*inner, ...], to the row `place` of a total."""
    own = total.shape[1 : 1 + axes] if has_lead else ()
    own = own or (1,) * axes
    extra = [at for at in range(axes) if own[at] == 1 and part.shape[at] != 1]
    part = part.sum(axis=extra, keepdims=True)
    return _Span((place,), (1,)).add(total, part.reshape(1, *total.shape[1:]))
