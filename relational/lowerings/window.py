"""Neighbourhoods on a grid: blocks of receivers, each with the box that it hears.

A box of 8 x 8 pixels hears a box a little larger, so that one masked product serves all
64. Blocks are stacked and taken together; the backward pass computes them again, so that
no array of receivers x taps outlives a block of work. Derivatives are JAX's own, of
every order.

Shapes: R receivers, S senders, N blocks, B receivers of a block, H senders that a block
takes.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.lowerings import costs
from relational.lowerings.dense import Dense
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    each_lead,
    restore_lead,
    with_positions,
)
from relational.lowerings.tile import Tile
from relational.relations import GridOffset
from relational.terms import Term
from relational.topologies import And, Minus, Topology
from relational.topologies.grids import Neighbourhood, coordinates

_MOST_PAIRS = 2**21  # Of the blocks that are taken together: 8 MiB of float32.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """Asks for blocks with a halo: `lowering=rl.lowerings.Window(block=(8, 8))`.

    Attributes:
      block: receivers of a block, along each axis of the grid; by default about 64.
      loops: whether to take one graph (one head) at a time, as CPUs like it, or all
        at once; by default by the device.

    >>> import jax.numpy as jnp, relational as rl
    >>> near = rl.Window(grid=(2, 3), size=3)
    >>> rl.propagate(near, senders=jnp.arange(6.0), message=lambda sender: sender,
    ...              aggregator=rl.Max(),
    ...              lowering=rl.lowerings.Window(block=(2, 2))).tolist()
    [4.0, 5.0, 5.0, 4.0, 5.0, 5.0]
    """

    block: tuple[int, ...] | None = None
    loops: bool | None = None

    name = "window"

    def __post_init__(self) -> None:
        if self.block is not None and (
            not isinstance(self.block, tuple)
            or not all(isinstance(n, int) and n >= 1 for n in self.block)
        ):
            raise ValueError(
                "`Window.block` must be a tuple of counts, 1 or more, one for each axis "
                f"of the grid; got {self.block!r}."
            )

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        grid = neighbourhood(problem.topology)
        if grid is None:
            return ["the edges are not those of a neighbourhood on a grid"]
        reasons = Dense().refuse(problem)
        if self.block is not None and len(self.block) != len(grid.receiver_grid):
            axes = len(grid.receiver_grid)
            reasons.append(f"a block of {self.block} is not one of {axes} axes")
        if problem.is_listed:
            reasons.append("the edges are listed one by one")
        if problem.has_pair_labels:
            reasons.append("labels are given pair by pair")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("window", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        cuts, graphs = self.plan(problem), problem.num_graphs
        blocks = math.prod(len(cut.receivers) for cut in cuts)
        senders = blocks * math.prod(cut.sender_size for cut in cuts)
        pairs = senders * math.prod(cut.receiver_size for cut in cuts)
        work = costs.tile_work(problem, pairs * graphs)
        work["step"] = graphs
        work["taken"] = senders * graphs * math.prod(problem.message_shape)
        at_once = min(1, _MOST_PAIRS / max(1, pairs)) / max(1, graphs)
        return work, costs.tile_bytes(work, at_once) + 4 * work["taken"]

    def plan(self, problem: Problem) -> list["Cut"]:
        """Returns, along each axis, the blocks of receivers and what they take."""
        topology = neighbourhood(problem.topology)
        assert topology is not None
        block = self.block or best_block(topology.receiver_grid)
        return [_cut(topology, axis, size) for axis, size in enumerate(block)]

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        topology = neighbourhood(problem.topology)
        assert topology is not None
        work = _Work(
            problem, topology.receiver_grid, topology.sender_grid, self.plan(problem)
        )
        operands = with_positions(problem, operands)
        loops = jax.default_backend() == "cpu" if self.loops is None else self.loops
        one = functools.partial(_one, work)
        if not loops:
            return each_graph(one, operands, problem)
        shared = operands.shared
        led = operands._replace(shared=None)  # type: ignore[arg-type]  # Has no such axes.
        found = each_lead(
            lambda inner: one(inner._replace(shared=shared)),
            led,
            problem.batch_axes,
            loops=True,
        )
        return restore_lead(found, problem.lead)


def neighbourhood(topology: Topology) -> Neighbourhood | None:
    """Returns a neighbourhood that has at least the edges of a topology, if any."""
    if isinstance(topology, Neighbourhood):
        return topology
    if isinstance(topology, And):
        return neighbourhood(topology.left) or neighbourhood(topology.right)
    if isinstance(topology, Minus):
        return neighbourhood(topology.left)
    return None


def best_block(grid: tuple[int, ...], places: int = 64) -> tuple[int, ...]:
    """Returns a block of about so many places, as cubic as may be.

    >>> best_block((4096,)), best_block((64, 64)), best_block((3, 64)), best_block((9, 9, 9))
    ((64,), (8, 8), (3, 21), (4, 4, 4))
    """
    block, left = [1] * len(grid), float(places)
    order = sorted(range(len(grid)), key=lambda axis: grid[axis])
    for done, axis in enumerate(
        order
    ):  # Short axes first: what they leave, others take.
        side = round(left ** (1 / (len(grid) - done)), 6)
        block[axis] = max(1, min(grid[axis], int(side)))
        left = left / block[axis]
    return tuple(block)


@dataclasses.dataclass(frozen=True)
class Cut:
    """The blocks along one axis.

    Attributes:
      receivers: where each block begins; the last may overlap the one before it.
      senders: where the span that it takes begins.
      receiver_size, sender_size: how long blocks and spans are.
    """

    receivers: tuple[int, ...]
    senders: tuple[int, ...]
    receiver_size: int
    sender_size: int


def _cut(topology: Neighbourhood, axis: int, size: int) -> Cut:
    count, senders = topology.receiver_grid[axis], topology.sender_grid[axis]
    size = min(size, count)
    starts = [min(at, count - size) for at in range(0, count, size)]
    heard = [topology.heard(axis, range(at, at + size)) for at in starts]
    longest = max(1, *(len(span) for span in heard))
    firsts = [min(span.start, senders - longest) for span in heard]
    return Cut(tuple(starts), tuple(firsts), size, longest)


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What there is to do: a problem, both grids, and how they are cut."""

    problem: Problem
    receiver_grid: tuple[int, ...]
    sender_grid: tuple[int, ...]
    cuts: list[Cut]


@dataclasses.dataclass(frozen=True, eq=False)
class _Boxes(Tile):
    """A tile between two boxes: along each axis so many receivers and senders.

    Attributes:
      boxes: these numbers.
      grid: that of both sides, None where they differ.
    """

    boxes: tuple[tuple[int, int], ...] = ()
    grid: tuple[int, ...] | None = None

    def _spread_labels(self, term: Term, held: list[Any], name: str) -> Any:
        relation = self._grid_offset(name)
        if relation is None or term.shape:
            return super()._spread_labels(term, held, name)
        value = self._by_label(term, held, name)
        value = jnp.broadcast_to(value, (self.shape[0], value.shape[1]))
        beyond = value[:, -1:]  # Of the zero row: what is said where there is no label.
        return self._spread(value[:, :-1] - beyond, relation) + beyond

    def _contract_labels(
        self, term: Term, held: list[Any], weight: Any, name: str
    ) -> Any:
        """Adds weights by label, as the transpose of the spreading of values."""
        relation = self._grid_offset(name)
        if relation is None:
            return super()._contract_labels(term, held, weight, name)
        rows = self.problem.rows_at(
            name, self.operands, jnp.arange(relation.num_labels + 1)
        )
        leaves = {"context": self.operands.context.leaves, name: rows}
        value = term.over(held, leaves, frozenset({name}))
        shape = (self.shape[0], relation.num_labels)
        (by_label,) = jax.linear_transpose(
            lambda value: self._spread(value, relation),
            jax.ShapeDtypeStruct(shape, weight.dtype),
        )(weight)
        beyond = weight.sum(axis=1) - by_label.sum(axis=1)
        weights = jnp.concatenate([by_label, beyond[:, None]], axis=1)
        return jnp.tensordot(weights, value.astype(weight.dtype), axes=1)

    def _grid_offset(self, name: str) -> GridOffset | None:
        """Returns a relation if it is an offset on the grid of this tile."""
        relation = self.problem.relations[name]
        is_ours = isinstance(relation, GridOffset) and relation.grid == self.grid
        return relation if is_ours and isinstance(relation, GridOffset) else None

    def _spread(self, value: Any, relation: GridOffset) -> Any:
        """Picks values [R, L] by label, [R, S], an axis at a time; 0 without a label.

        A label on a grid is one label for each axis, so that what would be a gather for
        every pair, and a scatter backward, is a small product with ones and zeros for
        every axis.
        """
        sizes = [span.num_labels for span in relation.spans]
        value = value.reshape(*(size for size, _ in self.boxes), *sizes)
        axes = len(sizes)
        sides = self.operands.receiver.position, self.operands.sender.position
        rows, columns = (coordinates(side, relation.grid) for side in sides)
        for axis, span in enumerate(relation.spans):
            row = _along(rows[axis], axis, [size for size, _ in self.boxes])
            column = _along(columns[axis], axis, [size for _, size in self.boxes])
            label = span.label(column[None] - row[:, None])
            places = jnp.arange(span.num_labels)[None, :, None]
            chosen = (label[:, None] == places).astype(value.dtype)
            # [r, labels, s] along this axis; the other axes of `value` stay.
            value = jnp.moveaxis(value, (axis, axes + axis), (0, -1))
            value = jnp.einsum("r...l,rls->r...s", value, chosen)
            value = jnp.moveaxis(value, (0, -1), (axis, axes + axis))
        return value.reshape(self.shape)


def _along(places: Any, axis: int, sizes: list[int]) -> Any:
    """Returns the places of a box along one axis, from those of all its nodes."""
    box = places.reshape(sizes)
    index = tuple(slice(None) if at == axis else 0 for at in range(len(sizes)))
    return box[index]


def _one(work: _Work, operands: Operands) -> list[Any]:
    """Returns one result an aggregator of one graph, each [R, ...]."""
    receivers = [(cut.receivers, cut.receiver_size) for cut in work.cuts]
    senders = [(cut.senders, cut.sender_size) for cut in work.cuts]
    stacked = (
        _stacked(operands.receiver, work.receiver_grid, receivers),
        _stacked(operands.sender, work.sender_grid, senders),
    )

    @jax.checkpoint
    def block(sides: tuple[Side, Side]) -> list[Any]:
        inner = operands._replace(receiver=sides[0], sender=sides[1])
        boxes = tuple((cut.receiver_size, cut.sender_size) for cut in work.cuts)
        grid = work.receiver_grid if work.receiver_grid == work.sender_grid else None
        tile = _Boxes(work.problem, inner, True, False, boxes=boxes, grid=grid)
        parts = [tile.sums(aggregator) for aggregator in work.problem.aggregators]
        return [
            aggregator.finish(part.sums, part.shift)
            for aggregator, part in zip(work.problem.aggregators, parts, strict=True)
        ]

    blocks = math.prod(len(cut.receivers) for cut in work.cuts)
    pairs = math.prod(cut.receiver_size * cut.sender_size for cut in work.cuts)
    together = max(1, _MOST_PAIRS // pairs)
    if blocks <= together:
        found = jax.vmap(block)(stacked)
    else:
        found = jax.lax.map(block, stacked, batch_size=together)
    return [_joined(leaf, work) for leaf in found]


def _stacked(side: Side, grid: tuple[int, ...], spans: list[Any]) -> Side:
    """Returns the blocks of every leaf: [N, B, ...] from [R, ...]."""

    def stack(leaf: Any) -> Any:
        features = leaf.shape[1:]
        leaf = leaf.reshape(*grid, *features)
        for axis, (starts, size) in enumerate(spans):
            leaf = _spans_of(leaf, 2 * axis, starts, size)
        axes = len(grid)
        order = (*range(0, 2 * axes, 2), *range(1, 2 * axes, 2))
        leaf = leaf.transpose(*order, *range(2 * axes, leaf.ndim))
        sizes = math.prod(len(starts) for starts, _ in spans)
        return leaf.reshape(sizes, -1, *features)

    return jax.tree.map(stack, side)


def _spans_of(leaf: Any, axis: int, starts: tuple[int, ...], size: int) -> Any:
    """Returns spans of an axis, which becomes two: [..., spans, size, ...]."""
    count = len(starts)
    shape = (*leaf.shape[:axis], count, size, *leaf.shape[axis + 1 :])
    if (
        starts != tuple(range(0, leaf.shape[axis], size))
        or count * size != (leaf.shape[axis])
    ):
        index = np.add.outer(np.array(starts), np.arange(size)).reshape(-1)
        leaf = jnp.take(leaf, index, axis=axis, mode="clip")
    return leaf.reshape(shape)


def _joined(leaf: Any, work: _Work) -> Any:
    """Returns [R, ...] from blocks [N, B, ...], each receiver from one of its blocks."""
    features, cuts = leaf.shape[2:], work.cuts
    axes = len(cuts)
    leaf = leaf.reshape(
        *(len(cut.receivers) for cut in cuts),
        *(cut.receiver_size for cut in cuts),
        *features,
    )
    order = [each for axis in range(axes) for each in (axis, axes + axis)]
    leaf = leaf.transpose(*order, *range(2 * axes, leaf.ndim))
    for axis, (cut, count) in enumerate(zip(cuts, work.receiver_grid, strict=True)):
        size, blocks = cut.receiver_size, len(cut.receivers)
        shape = (*leaf.shape[:axis], blocks * size, *leaf.shape[axis + 2 :])
        leaf = leaf.reshape(shape)
        again = (
            blocks * size - count
        )  # Receivers of the last block that were had before.
        if again:
            before, _, last = jnp.split(
                leaf, ((blocks - 1) * size, (blocks - 1) * size + again), axis=axis
            )
            leaf = jnp.concatenate([before, last], axis=axis)
    return leaf.reshape(math.prod(work.receiver_grid), *features)
