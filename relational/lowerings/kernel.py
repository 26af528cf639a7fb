"""A kernel for GPUs: blocks of receivers x blocks of senders, each in registers.

What `tiles` leaves to XLA, one program does from end to end: it takes the tiles of a
block of receivers that a block map says are not empty, evaluates the terms of the user
there, and merges what each tile contributes. No array of receivers x senders exists,
and none of a tile either, but for a scratch memory in which rows of a table are shifted
into place. Backward, the tiles are computed again from the shifts.

Shapes: R receivers, S senders, *lead the leading axes, C graphs, G groups, B nodes of a
block, W = 2 B diagonals, L labels.
"""

import dataclasses
import functools
import importlib.util
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import check_count
from relational.aggregators import Weighting
from relational.lowerings import kernel_calls as calls
from relational.lowerings.block_map import BlockMap, By, block_map
from relational.lowerings.dense import Dense
from relational.lowerings.devices import backend, gpu_seconds
from relational.lowerings.kernel_terms import arithmetic_only, unfit, unfit_for_triton
from relational.lowerings.kernel_tile import Gradients, Key
from relational.lowerings.problem import Operands, Problem
from relational.lowerings.splits import Split, summed
from relational.relations import PositionRelation
from relational.topologies.base import End

_LEAST_BLOCK, _USUAL_BLOCK = 16, 64
_MOST_ELEMENTS = 2**31  # Triton counts them in 32 bits.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
    """Asks for a Pallas kernel: `lowering=rl.lowerings.Kernel()`, on a GPU.

    Attributes:
      block: nodes of a block, a power of two from 16 on; by default 64, or fewer for
        small graphs.
      interpret: whether to interpret the kernel, on any device and slowly, as tests do.

    >>> import jax.numpy as jnp, relational as rl
    >>> rl.propagate(rl.Band(before=1), senders=jnp.array([1.0, 5.0, 3.0]),
    ...              message=lambda sender: sender, aggregator=rl.Sum(),
    ...              lowering=rl.lowerings.Kernel(interpret=True)).tolist()
    [1.0, 6.0, 8.0]
    """

    block: int | None = None
    interpret: bool = False

    name = "kernel"

    def __post_init__(self) -> None:
        if self.block is None:
            return
        check_count("Kernel.block", self.block, least=1, advice="It counts nodes.")
        if self.block < _LEAST_BLOCK or self.block & (self.block - 1):
            raise ValueError(
                f"`Kernel.block` must be a power of two from {_LEAST_BLOCK} on; got "
                f"{self.block}. Matrix units take no other, and 64 is a good size."
            )

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        if not self.interpret:
            found = _unfit_platform()
            if found is not None:
                return [found]
        reasons = Dense().refuse(problem)
        if problem.is_listed:
            reasons.append("the edges are listed one by one: no tile is known empty")
        if not problem.size or not problem.num_graphs:
            reasons.append("there is nothing to cut: a side is empty")
        if reasons:
            return reasons
        reasons += _unfit_sums(problem)
        for role, terms in (("score", problem.score), ("message", problem.message)):
            found_ = [unfit(term, role, problem) for term in terms]  # type: ignore[arg-type]  # A literal.
            if not self.interpret:
                found_ += [unfit_for_triton(term) for term in terms]
            reasons += [each for each in found_ if each is not None]
        if not reasons:
            reasons += _unfit_mask(problem)
        return list(dict.fromkeys(reasons))

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        tiles = self._map(problem)
        pairs = sum(tiles.counts) * tiles.block**2 * problem.num_graphs
        graphs = problem.num_graphs
        memory = graphs * problem.num_receivers * 4.0 * (2 + _width(problem))
        if any(isinstance(each, PositionRelation) for each in problem.relations.values()):
            memory += graphs * problem.num_receivers * 8.0 * tiles.block
        return gpu_seconds(problem, pairs), memory

    def _map(self, problem: Problem) -> BlockMap:
        most = max(problem.num_receivers, problem.num_senders)
        fitting = max(_LEAST_BLOCK, 2 ** math.ceil(math.log2(max(1, most))))
        block = self.block or min(_USUAL_BLOCK, fitting)
        sizes = problem.num_receivers, problem.num_senders
        return block_map(problem.topology, *sizes, block)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        work = calls.Work(problem, self._map(problem), self.interpret)
        split = Split.of(operands)
        run = jax.custom_vjp(functools.partial(_value, work, split))
        run.defvjp(
            functools.partial(_forward, work, split),
            functools.partial(_backward, work, split),
        )
        return run(*split.divide(operands))


def _width(problem: Problem) -> int:
    return max(1, math.prod(problem.message_shape))


def _unfit_platform() -> str | None:
    if backend() == "tpu":
        return "on a TPU, tiles serve"
    if backend() == "cpu":
        return "Pallas kernels run on GPUs; `interpret=True` interprets them, slowly"
    if importlib.util.find_spec("jax.experimental.pallas.triton") is None:
        return "this JAX has no Triton for Pallas"
    return None


def _unfit_sums(problem: Problem) -> list[str]:
    reasons = []
    for aggregator in problem.aggregators:
        if not isinstance(aggregator, Weighting):
            name = type(aggregator).__name__
            reasons.append(f"`{name}` hears whole messages; a kernel adds weighted ones")
    if problem.accumulator != jnp.float32:
        reasons.append("a kernel adds in float32")
    return reasons


def _unfit_mask(problem: Problem) -> list[str]:
    """Says what in a topology's rule is more than arithmetic."""
    data = problem.topology.data()

    def numbers(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((1, 1), leaf.dtype)

    def scalars(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((), leaf.dtype)

    position = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    made = jax.make_jaxpr(
        lambda at, heard, receiver, sender, context: problem.topology.admits(
            End(at, receiver), End(heard, sender), context
        )
    )(
        position,
        position,
        jax.tree.map(numbers, data.receiver),
        jax.tree.map(numbers, data.sender),
        jax.tree.map(scalars, data.context),
    )
    found = arithmetic_only(made)
    return [] if found is None else [f"the rule of the topology reads {found}"]


def _value(
    work: calls.Work, split: Split, moving: list[Any], fixed: list[Any]
) -> list[Any]:
    return _forward(work, split, moving, fixed)[0]


def _forward(
    work: calls.Work, split: Split, moving: list[Any], fixed: list[Any]
) -> tuple[list[Any], Any]:
    state = calls.forward(work, split.join(moving, fixed))
    return _finish(work.problem, state), (moving, fixed, state)


def _finish(problem: Problem, state: calls.State) -> list[Any]:
    return [
        aggregator.finish(sums, shift)
        for aggregator, (shift, sums) in zip(problem.aggregators, state, strict=True)
    ]


def _backward(
    work: calls.Work, split: Split, residuals: Any, cotangents: list[Any]
) -> tuple[list[Any], None]:
    moving, fixed, state = residuals
    problem = work.problem
    shifts = [shift for shift, _ in state]

    def finish(sums: list[Any]) -> list[Any]:
        return _finish(problem, list(zip(shifts, sums, strict=True)))

    _, pull = jax.vjp(finish, [sums for _, sums in state])
    (of_sums,) = pull(cotangents)
    operands = split.join(moving, fixed)
    found = jax.tree.map(lambda leaf: _nothing(problem, leaf), operands)
    found = found._replace(shared=jax.tree.map(_nothing_shared(problem), operands.shared))
    for by, keys in _walks(work, operands).items():
        if keys:
            state_ = (shifts, of_sums)
            gradients = calls.backward(work, by, operands, state_, frozenset(keys))
            _place(work, operands, gradients, found)
    parts, _ = split.divide(found)
    return summed(split, operands, parts, problem.batch_axes), None


def _walks(work: calls.Work, operands: Operands) -> dict[By, list[Key]]:
    """Returns which leaves' gradients each walk adds up."""
    terms = (*work.problem.score, *work.problem.message)
    read = {key for term in terms for key in term.reads}

    def moving(site: str, leaves: list[Any]) -> list[Key]:
        is_held = " " in site
        return [
            (site, at)
            for at, leaf in enumerate(leaves)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            and (is_held or (site, at) in read)
        ]

    held = [
        key
        for role in ("score", "message")
        for at, leaves in enumerate(getattr(operands.shared, role))
        for key in moving(f"{role} {at}", leaves)
    ]
    own = moving("receiver", operands.receiver.leaves)
    return {
        "receivers": own + moving("context", operands.context.leaves) + held,
        "senders": moving("sender", operands.sender.leaves),
        "diagonals": [
            key
            for name, leaves in operands.tables.items()
            for key in moving(name, leaves)
        ],
    }


def _nothing(problem: Problem, leaf: Any) -> Any:
    """Returns zeros in place of the gradient of what no tile reads."""
    return jnp.zeros(leaf.shape, jnp.float32)


def _nothing_shared(problem: Problem) -> Any:
    ones = (1,) * problem.batch_axes
    return lambda leaf: jnp.zeros((*ones, *leaf.shape), jnp.float32)


def _place(
    work: calls.Work, operands: Operands, gradients: Gradients, found: Operands
) -> None:
    """Puts gradients [C, G, ...] where they belong, as [*lead, ...]."""
    lead = work.problem.lead
    for (site, at), gradient in gradients.items():
        role, _, term = site.partition(" ")
        if term:
            leaves = getattr(found.shared, role)[int(term)]
            whole = gradient.sum(axis=1)
        elif site in work.problem.relations:
            leaves = found.tables[site]
            count = operands.tables[site][at].shape[work.problem.batch_axes]
            whole = _by_label(work, site, gradient, count)
        elif site == "context":
            leaves, whole = found.context.leaves, gradient.sum(axis=1)
        else:
            leaves = getattr(found, site).leaves
            count = leaves[at].shape[work.problem.batch_axes]
            whole = gradient.reshape(len(gradient), -1, *gradient.shape[3:])[:, :count]
        leaves[at] = whole.reshape(*lead, *whole.shape[1:])


def _by_label(work: calls.Work, name: str, gradient: Any, count: int) -> Any:
    """Adds up gradients of diagonals [C, G, W, ...] by label, [C, L + 1, ...].

    Neighbouring diagonals of blocks share half of their diagonals. Each label has one
    list of differences, known here, so that the order of addition is fixed.
    """
    block = work.block
    ends = [(0, 0)] * (gradient.ndim - 2)
    low = jnp.pad(gradient[:, :, :block], [(0, 0), (0, 1), *ends])
    high = jnp.pad(gradient[:, :, block:], [(0, 0), (1, 0), *ends])
    each = (low + high).reshape(len(gradient), -1, *gradient.shape[3:])
    first = work.map.walk("diagonals").first * block - (block - 1)
    relation = work.problem.relations[name]
    assert isinstance(relation, PositionRelation)
    labels = np.asarray(relation.label(first + np.arange(each.shape[1])))
    times = np.bincount(labels, minlength=count)
    # Where a label has one difference its gradient is a row; elsewhere it is a sum.
    place = np.full(count, each.shape[1])
    alone = np.flatnonzero(times[labels] == 1)
    place[labels[alone]] = alone
    whole = jnp.pad(each, [(0, 0), (0, 1), *ends[1:]])
    found = jnp.take(whole, place, axis=1)
    for label in np.flatnonzero(times > 1):
        total = jnp.take(each, np.flatnonzero(labels == label), axis=1).sum(axis=1)
        found = found.at[:, label].set(total)
    return found
