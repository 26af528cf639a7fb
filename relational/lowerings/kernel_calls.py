"""Programs of a kernel: which tiles each takes, what it reads, what it adds up.

Forward, one program merges the tiles of a block of receivers. Backward, three kernels
walk the same tiles in other groups: by receivers, by senders, by diagonals. What a group
shares is read once, and its gradient is written once; nothing is added from two sides.

Shapes: C graphs, G groups, B nodes of a block, W = 2 B diagonals, N nodes rounded up to
whole blocks, *lead the leading axes.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from relational.lowerings.block_map import BlockMap, By, Tiles, Walk
from relational.lowerings.kernel_terms import Place, place
from relational.lowerings.kernel_tile import Gradients, KernelTile, Key, Scratch
from relational.lowerings.problem import Context, EdgeSide, Operands, Problem, Side
from relational.lowerings.tile import Part
from relational.relations import PositionRelation

State = list[tuple[Any, Any]]  # For each aggregator, its shift (or None) and its sums.


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What there is to do: a problem, the map of its tiles, and who does it."""

    problem: Problem
    map: BlockMap
    is_interpreted: bool

    @property
    def block(self) -> int:
        return self.map.block

    @functools.cached_property
    def diagonals(self) -> tuple[str, ...]:
        """The relations whose rows are met along diagonals."""
        terms = (*self.problem.score, *self.problem.message)
        named = [
            term.depends & set(self.problem.relations)
            for term in terms
            if place(term, self.problem) is Place.DIAGONALS
        ]
        return tuple(sorted(frozenset().union(*named)))


class Inputs(NamedTuple):
    """All arrays of a kernel, or its references to them.

    Attributes:
      partial, full: (starts, receivers, senders) of the tiles of a walk.
      operands: what terms and topology read; None for the rest.
      state: backward, (shifts, cotangents of the sums) of each aggregator.
    """

    partial: Any
    full: Any
    operands: Operands
    state: Any


def forward(work: Work, operands: Operands) -> State:
    """Returns the shift and the sums of each aggregator, leaves [*lead, R, ...]."""
    walk = work.map.walk("receivers")
    problem = work.problem

    def start() -> list[Part]:
        found = []
        for aggregator in problem.aggregators:
            zeros = functools.partial(jnp.zeros, dtype=problem.accumulator)
            message = zeros((work.block, *problem.message_shape))
            sums = {"total": zeros(work.block), "message": message}
            shift = zeros(work.block) if aggregator.shift_of else None
            found.append(Part(shift, sums, jnp.full(work.block, False)))
        return found

    def program(inputs: Inputs, outputs: Any, scratch: Scratch) -> None:
        take = _taker(work, "receivers", inputs, scratch)

        def body(parts: list[Part], tile: KernelTile) -> list[Part]:
            pairs = zip(parts, tile.parts(), problem.aggregators, strict=True)
            return [one.merge(other, aggregator) for one, other, aggregator in pairs]

        parts = _each_tile(walk, inputs, take, body, start())
        _write(outputs, [(part.shift, part.sums) for part in parts])

    made = jax.eval_shape(lambda: [(part.shift, part.sums) for part in start()])
    state = _call(work, walk, program, operands, None, made)

    def shaped(leaf: Any) -> Any:  # [C, G, B, ...]
        whole = leaf.reshape(*problem.lead, -1, *leaf.shape[3:])
        axis = problem.batch_axes
        return jax.lax.slice_in_dim(whole, 0, problem.num_receivers, axis=axis)

    return jax.tree.map(shaped, state)


def backward(
    work: Work, by: By, operands: Operands, state: Any, moving: frozenset[Key]
) -> Gradients:
    """Returns the gradients of some leaves, added up by one walk.

    Args:
      work: what there is to do.
      by: what the groups of the walk share.
      operands: all arrays.
      state: (shifts, cotangents of the sums) of each aggregator, [*lead, R, ...].
      moving: leaves that every tile of a group shares.

    Returns:
      [C, G, ...]: for each group, the gradient of what it shares.
    """
    walk = work.map.walk(by)

    def program(inputs: Inputs, outputs: Any, scratch: Scratch) -> None:
        take = _taker(work, by, inputs, scratch)

        def body(total: Gradients, tile: KernelTile) -> Gradients:
            row = tile.starts[0] // work.block
            held = jax.tree.map(lambda ref: _block(work, ref, row), inputs.state)
            shifts, of_sums = held
            found = tile.gradients(shifts, of_sums, moving)
            return {key: part + found[key] for key, part in total.items()}

        zeros = {key: jnp.zeros(leaf.shape, leaf.dtype) for key, leaf in made.items()}
        _write(outputs, _each_tile(walk, inputs, take, body, zeros))

    made = {key: _gradient_shape(work, operands, key) for key in sorted(moving)}
    found: Gradients = _call(work, walk, program, operands, state, made)
    return found


def _gradient_shape(work: Work, operands: Operands, key: Key) -> jax.ShapeDtypeStruct:
    """Returns the shape of the gradient that a group adds up for a leaf."""
    site, at = key
    role, _, term = site.partition(" ")
    if term:
        shape = getattr(operands.shared, role)[int(term)][at].shape
    elif site in work.problem.relations:
        axes = work.problem.batch_axes
        shape = (2 * work.block, *operands.tables[site][at].shape[axes + 1 :])
    else:
        leaf = getattr(operands, site).leaves[at]
        shape = leaf.shape[work.problem.batch_axes :]
        shape = shape if site == "context" else (work.block, *shape[1:])
    return jax.ShapeDtypeStruct(shape, jnp.float32)


# From arrays to references.


def _call(
    work: Work,
    walk: Walk,
    program: Callable[[Inputs, Any, Scratch], None],
    operands: Operands,
    state: Any,
    made: Any,
) -> Any:
    """Runs a program for each graph and group; returns what they made, [C, G, ...]."""
    arrays, specs = _inputs(work, walk, operands, state)
    flat, treedef = jax.tree.flatten(arrays)
    grid = work.problem.num_graphs, walk.num_groups
    shapes, made_tree = jax.tree.flatten(made)
    if work.diagonals:
        width = 2 * work.block
        shapes = [*shapes, jax.ShapeDtypeStruct((work.block, width), jnp.float32)]

    def body(*refs: Any) -> None:
        inputs = jax.tree.unflatten(treedef, refs[: len(flat)])
        outputs = list(refs[len(flat) :])
        ref = outputs.pop() if work.diagonals else None
        program(
            inputs,
            jax.tree.unflatten(made_tree, outputs),
            Scratch(ref, _barrier(work)),
        )

    found = pl.pallas_call(
        body,
        grid=grid,
        in_specs=jax.tree.leaves(specs, is_leaf=_is_spec),
        out_specs=[_own(shape.shape) for shape in shapes],
        out_shape=[
            jax.ShapeDtypeStruct((*grid, *shape.shape), shape.dtype) for shape in shapes
        ],
        interpret=work.is_interpreted,
        name=f"relational_{walk.by}_{'forward' if state is None else 'backward'}",
        **_compiler_params(work),
    )(*flat)
    return jax.tree.unflatten(made_tree, found[: len(jax.tree.leaves(made))])


def _is_spec(node: Any) -> bool:
    return isinstance(node, pl.BlockSpec)


def _own(shape: tuple[int, ...]) -> pl.BlockSpec:
    """What one program writes."""
    return pl.BlockSpec((None, None, *shape), lambda c, g: (c, g, *(0,) * len(shape)))


def _barrier(work: Work) -> Callable[[], None]:
    if work.is_interpreted:
        return lambda: None
    from jax.experimental.pallas import triton

    return triton.debug_barrier


def _compiler_params(work: Work) -> dict[str, Any]:
    if work.is_interpreted:
        return {}
    from jax.experimental.pallas import triton

    # A pipeline would read the scratch memory before it is written. With fewer warps,
    # wide tiles do not fit the registers of their threads.
    is_wide = work.diagonals or math.prod(work.problem.message_shape) > 64
    params = triton.CompilerParams(
        num_warps=8 if is_wide else 4, num_stages=1 if work.diagonals else 2
    )
    return {"compiler_params": params}


def _inputs(
    work: Work, walk: Walk, operands: Operands, state: Any
) -> tuple[Inputs, Inputs]:
    """Returns all arrays, one leading axis each, and how programs see them."""
    problem = work.problem
    operands = _pruned(problem, operands)
    padded = operands._replace(
        receiver=_padded(work, operands.receiver, problem.num_receivers),
        sender=_padded(work, operands.sender, problem.num_senders),
    )
    state = _padded(work, state, problem.num_receivers)
    whole = Inputs(_listed(walk.partial), _listed(walk.full), padded, state)
    is_led = jax.tree.map(lambda _: True, whole)
    is_led = is_led._replace(
        partial=(False,) * 3,
        full=(False,) * 3,
        operands=is_led.operands._replace(
            shared=jax.tree.map(lambda _: False, padded.shared)
        ),
    )

    def flat(leaf: Any, led: bool) -> Any:
        axes = problem.batch_axes if led else 0
        return leaf.reshape(-1, *leaf.shape[axes:]) if led else leaf

    def spec(leaf: Any, led: bool) -> pl.BlockSpec:
        if not led:
            return pl.BlockSpec(leaf.shape, lambda c, g: (0,) * leaf.ndim)
        rest = leaf.shape[problem.batch_axes :]
        index = _index(problem.lead, leaf.shape[: problem.batch_axes])
        return pl.BlockSpec((None, *rest), lambda c, g: (index(c), *(0,) * len(rest)))

    return jax.tree.map(flat, whole, is_led), jax.tree.map(spec, whole, is_led)


def _listed(tiles: Tiles) -> tuple[Any, Any, Any]:
    parts = (tiles.starts, tiles.receivers, tiles.senders)
    starts, receivers, senders = (jnp.asarray(part) for part in parts)
    return starts, receivers, senders


def _pruned(problem: Problem, operands: Operands) -> Operands:
    """Returns the operands with None for leaves that nothing in a tile reads."""
    terms = (*problem.score, *problem.message)
    read = {key for term in terms for key in term.reads}
    for name, sides in problem.attributes.items():
        if any(name in term.depends for term in terms):
            read |= {("receiver", sides[0]), ("sender", sides[1])}

    def kept(site: str, leaves: list[Any]) -> list[Any]:
        pairs = enumerate(leaves)
        return [leaf if (site, at) in read else None for at, leaf in pairs]

    def side(site: str, part: Side) -> Side:
        return Side(kept(site, part.leaves), part.topology, None)

    context = operands.context
    index = context.index if problem.dropout_rate else None
    return Operands(
        receiver=side("receiver", operands.receiver),
        sender=side("sender", operands.sender),
        edge=EdgeSide([], None, None, None, {}),
        pair={},
        context=Context(kept("context", context.leaves), context.topology, index),
        tables={name: kept(name, leaves) for name, leaves in operands.tables.items()},
        shared=operands.shared,
    )


def _padded(work: Work, tree: Any, count: int) -> Any:
    """Returns leaves [*lead, N, ...], the last node repeated up to whole blocks."""
    missing = -count % work.block

    def pad(leaf: Any) -> Any:
        widths = [(0, 0)] * leaf.ndim
        widths[work.problem.batch_axes] = (0, missing)
        return jnp.pad(leaf, widths, mode="edge")

    return jax.tree.map(pad, tree) if missing else tree


def _index(lead: tuple[int, ...], own: tuple[int, ...]) -> Callable[[Any], Any]:
    """Returns from a graph's number to its place among an operand's own."""
    if own == lead:
        return lambda c: c
    steps = []
    stride, own_stride = math.prod(lead), math.prod(own)
    for size, own_size in zip(lead, own, strict=True):
        stride, own_stride = stride // size, own_stride // own_size
        if own_size != 1:
            steps.append((stride, size, own_stride))

    def index(c: Any) -> Any:
        found: Any = 0
        for stride, size, own_stride in steps:
            at = jax.lax.rem(jax.lax.div(c, np.int32(stride)), np.int32(size))
            found = found + at * np.int32(own_stride)
        return found

    return index


# Inside a program.


def _each_tile(
    walk: Walk,
    inputs: Inputs,
    take: Callable[[Any, Any, bool], KernelTile],
    body: Callable[[Any, KernelTile], Any],
    carry: Any,
) -> Any:
    """Takes the tiles of the program's group in turn, the partial ones first."""
    group = pl.program_id(1)
    for tiles, refs, is_masked in (
        (walk.partial, inputs.partial, True),
        (walk.full, inputs.full, False),
    ):
        if not tiles.count:
            continue

        def step(
            at: Any, carry: Any, refs: Any = refs, is_masked: bool = is_masked
        ) -> Any:
            return body(carry, take(refs[1][at], refs[2][at], is_masked))

        carry = jax.lax.fori_loop(refs[0][group], refs[0][group + 1], step, carry)
    return carry


def _taker(
    work: Work, by: By, inputs: Inputs, scratch: Scratch
) -> Callable[[Any, Any, bool], KernelTile]:
    """Returns what reads a tile; what the group shares is read once, here."""
    operands, problem = inputs.operands, work.problem
    group = pl.program_id(1)
    context = jax.tree.map(lambda ref: ref[...], operands.context)
    seed = operands.shared.seed
    shared = jax.tree.map(lambda ref: ref[...], operands.shared._replace(seed=None))
    shared = shared._replace(seed=None if seed is None else (seed[0], seed[1]))

    def side(part: Side, at: Any) -> Side:
        return jax.tree.map(lambda ref: _block(work, ref, at), part)

    def rows(step: Any) -> dict[str, list[Any]]:
        first = step * work.block - (work.block - 1)
        difference = first + jnp.arange(2 * work.block, dtype=jnp.int32)
        return {
            name: _rows(problem, operands, name, difference) for name in work.diagonals
        }

    def numbers(name: str, label: Any) -> list[Any]:
        if name in operands.tables:
            return [
                None if ref is None else ref[label] for ref in operands.tables[name]
            ]
        return [jnp.asarray(problem.relations[name].value(label))]

    receiver = side(operands.receiver, group) if by == "receivers" else None
    sender = side(operands.sender, group) if by == "senders" else None
    first = work.map.walk(by).first
    own_rows = rows(group + first) if by == "diagonals" else None

    def take(row: Any, column: Any, is_masked: bool) -> KernelTile:
        return KernelTile(
            problem=problem,
            block=work.block,
            starts=(row * work.block, column * work.block),
            receiver=side(operands.receiver, row) if receiver is None else receiver,
            sender=side(operands.sender, column) if sender is None else sender,
            rows=rows(column - row) if own_rows is None else own_rows,
            numbers=numbers,
            context=context,
            shared=shared,
            is_masked=is_masked,
            scratch=scratch,
        )

    return take


def _rows(
    problem: Problem, operands: Operands, name: str, difference: Any
) -> list[Any]:
    """Returns what terms read of a relation, for each diagonal of a tile."""
    relation = problem.relations[name]
    assert isinstance(relation, PositionRelation)
    label = relation.label(difference)
    if name not in operands.tables:
        return [jnp.asarray(relation.value(label))]
    return [None if ref is None else ref[label] for ref in operands.tables[name]]


def _block(work: Work, ref: Any, at: Any) -> Any:
    return ref[pl.ds(at * work.block, work.block)]


def _write(outputs: Any, values: Any) -> None:
    def put(ref: Any, value: Any) -> None:
        ref[...] = value

    jax.tree.map(put, outputs, values)
