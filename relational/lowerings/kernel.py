"""A kernel for GPUs: blocks of receivers x blocks of senders, each in registers.

What `tiles` leaves to XLA, one program does from end to end: it takes the tiles of a
block of receivers that a block map says are not empty, evaluates the terms of the user
there, and merges what each tile contributes. No array of receivers x senders exists,
and none of a tile either, but for a scratch memory in which rows of a table are shifted
into place. Backward, the tiles are computed again from the shifts.

Shapes: R receivers, *lead the leading axes.
"""

import dataclasses
import importlib.util
import math
from typing import Any

import jax
import jax.numpy as jnp

from relational._checks import check_count
from relational.aggregators import Weighting
from relational.lowerings.block_map import BlockMap, block_map
from relational.lowerings.dense import Dense
from relational.lowerings.devices import backend, gpu_seconds
from relational.lowerings.kernel_terms import arithmetic_only, unfit, unfit_for_triton
from relational.lowerings.problem import Operands, Problem
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
            verdicts = [unfit(term, role, problem) for term in terms]  # type: ignore[arg-type]  # A literal.
            if not self.interpret:
                verdicts += [unfit_for_triton(term) for term in terms]
            reasons += [each for each in verdicts if each is not None]
        if not reasons:
            reasons += _unfit_mask(problem) + self._unfit_sizes(problem)
        return list(dict.fromkeys(reasons))

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        tiles = self._map(problem)
        pairs = sum(tiles.counts) * tiles.block**2 * problem.num_graphs
        graphs = problem.num_graphs
        memory = graphs * problem.num_receivers * 4.0 * (2 + _width(problem))
        if any(
            isinstance(each, PositionRelation) for each in problem.relations.values()
        ):
            memory += graphs * problem.num_receivers * 8.0 * tiles.block
        return gpu_seconds(problem, pairs), memory

    def _block(self, problem: Problem) -> int:
        most = max(1, problem.num_receivers, problem.num_senders)
        fitting = max(_LEAST_BLOCK, 2 ** math.ceil(math.log2(most)))
        return self.block or min(_USUAL_BLOCK, fitting)

    def _map(self, problem: Problem) -> BlockMap:
        sizes = problem.num_receivers, problem.num_senders
        return block_map(problem.topology, *sizes, self._block(problem))

    def _unfit_sizes(self, problem: Problem) -> list[str]:
        nodes = problem.num_receivers + problem.num_senders
        # Of all that programs share, the scratch of the walk by diagonals is largest.
        most = (
            problem.num_graphs * nodes * max(_width(problem), 2 * self._block(problem))
        )
        if most < _MOST_ELEMENTS:
            return []
        return [f"an array would have {most:,} numbers; Triton counts to 2^31"]

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        # Pallas takes a while to import, and is needed here alone.
        from relational.lowerings.kernel_calls import Work
        from relational.lowerings.kernel_gradients import run

        return run(Work(problem, self._map(problem), self.interpret), operands)


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
            reasons.append(
                f"`{name}` hears whole messages; a kernel adds weighted ones"
            )
    if problem.accumulator != jnp.float32:
        reasons.append("a kernel adds in float32")
    return reasons


def _unfit_mask(problem: Problem) -> list[str]:
    """Says what in a topology's rule is more than arithmetic."""
    data = problem.topology.data()

    def numbers(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((1, 1), jnp.result_type(leaf))

    def scalars(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((), jnp.result_type(leaf))

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
