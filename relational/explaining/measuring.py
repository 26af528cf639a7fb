"""Measurements: what lowerings take on this machine, beside what was estimated.

A plan is measured alone: its lowering runs, compiled, on arrays of the plan's shapes.
Numbers are drawn at random, for no lowering takes longer for one than for another; what
decides which edges there are is taken as it is, and must be known.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.explaining.pictures import is_known
from relational.lowerings.problem import Operands, Problem
from relational.lowerings.splits import Split
from relational.plans import Candidate, Lowering, Plan
from relational.relations import Labels

_MOST_ROUNDS = 5
_ENOUGH = 3.0  # Seconds of rounds: what takes so long needs no five of them.
_MOST_BYTES = 2 * 2**30  # Of a lowering that was not chosen: nobody waits for swapping.
_GUESS = 10  # Rounds that must fit the time: those measured, first ones and gradients.
_FAILURES = (
    jax.errors.JAXTypeError,
    jax.errors.JaxRuntimeError,
    NotImplementedError,
    ValueError,
)
_ATTRIBUTES = 128  # Integers of nodes are drawn below it: pitches, onsets, tokens.


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a lowering took on this machine, compiled: medians of a few rounds.

    Attributes:
      lowering: its name.
      forward: seconds; None where it was not measured.
      both: seconds forward and backward; None where there is no gradient to take.
      forward_bytes, both_bytes: temporary memory, as XLA has it; None where it does
        not say.
      reason: why something is missing; empty where all was measured.

    >>> import jax, relational as rl
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> nodes = jax.ShapeDtypeStruct((16, 4), "float32")
    >>> found = rl.explain(mean, nodes, measure=True).measured[0]
    >>> found[0].lowering, found[0].forward > 0
    ('dense', True)
    """

    lowering: str
    forward: float | None = None
    both: float | None = None
    forward_bytes: int | None = None
    both_bytes: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        from relational.explaining import words

        if self.forward is None:
            return f"not measured: {self.reason}"
        text = f"measured {words.time(self.forward)}"
        if self.both is not None:
            text += f", {words.time(self.both)} with gradients"
        sizes = [each for each in (self.forward_bytes, self.both_bytes) if each]
        text += f", {words.size(max(sizes))} at a time" if sizes else ""
        return f"{text} ({self.reason})" if self.reason else text


def measure(plans: Sequence[Plan], budget: float) -> tuple[tuple[Measured, ...], ...]:
    """Measures the chosen lowering of every plan, then the others while time is left.

    Args:
      plans: made while explaining, so that they know the shapes of their operands.
      budget: seconds after which nothing new is begun.

    Returns:
      What was found for each plan, the chosen lowering first, then by estimated time.
    """
    deadline = time.monotonic() + budget
    found = [[_measured(plan, plan.lowering, deadline)] for plan in plans]
    for plan, own in zip(plans, found, strict=True):
        for candidate in _others(plan):
            own.append(_measured(plan, candidate.lowering, deadline))
    return tuple(map(tuple, found))


def _others(plan: Plan) -> list[Candidate]:
    able = [each for each in plan.candidates if not each.reasons]
    others = [each for each in able if each.lowering.name != plan.lowering.name]
    return sorted(others, key=lambda each: each.seconds)


def _measured(plan: Plan, lowering: Lowering, deadline: float) -> Measured:
    reason = _too_much(plan, lowering, deadline) or unknown(plan)
    if reason:
        return Measured(lowering.name, reason=reason)
    most = math.inf if lowering is plan.lowering else _MOST_BYTES
    run = _Run(plan.problem, lowering, operands_of(plan), deadline, most)
    return run.gradients(run.forward())


def _too_much(plan: Plan, lowering: Lowering, deadline: float) -> str:
    """Returns why a lowering is not begun; empty if it may be."""
    from relational.explaining import words

    left = deadline - time.monotonic()
    seconds, size = lowering.cost(plan.problem)
    if left <= 0:
        return "no time was left"
    if seconds * _GUESS > left:
        return f"it would take too long, about {words.time(seconds)} a round"
    if lowering is not plan.lowering and size > _MOST_BYTES:
        return "it would take too much memory"
    return ""


def unknown(plan: Plan) -> str:
    """Returns why a plan has no operands that are surely valid; empty if it has."""
    if plan.shapes is None:
        return "the plan was not made by `explain` or `lower`"
    if not is_known(plan.problem.topology):
        return (
            f"the arrays of {plan.problem.topology} are traced, so that its edges are "
            "not known; close over them instead of passing them as arguments"
        )
    return ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """A lowering and its operands, the time until when, and the most bytes it may take."""

    problem: Problem
    lowering: Lowering
    operands: Operands
    deadline: float
    most: float

    def forward(self) -> Measured:
        """Measures the results alone."""
        name = self.lowering.name
        try:
            run, size = _compiled(self._results, *self._divided())
            if (size or 0) > self.most:
                return Measured(name, reason="it would take too much memory")
            seconds = _median(run, self._divided(), self.deadline)
        except _FAILURES as error:
            return Measured(name, reason=f"it failed: {_first_line(error)}")
        return Measured(name, seconds, forward_bytes=size)

    def gradients(self, found: Measured) -> Measured:
        """Adds the time that results and gradients take together."""
        if found.forward is None:
            return found
        moving, fixed = self._divided()
        results = jax.eval_shape(self._results, moving, fixed)
        if not moving or not all(_is_real(each.dtype) for each in results):
            return dataclasses.replace(
                found, reason="there is nothing to differentiate"
            )
        if time.monotonic() > self.deadline:
            return dataclasses.replace(found, reason="no time was left for gradients")
        drawn = [_drawn(each, index) for index, each in enumerate(results)]
        try:
            run, size = _compiled(self._both, moving, fixed, drawn)
            if (size or 0) > self.most:
                reason = "its gradients would take too much memory"
                return dataclasses.replace(found, reason=reason)
            seconds = _median(run, (moving, fixed, drawn), self.deadline)
        except _FAILURES as error:
            reason = f"its gradients failed: {_first_line(error)}"
            return dataclasses.replace(found, reason=reason)
        return dataclasses.replace(found, both=seconds, both_bytes=size)

    def _divided(self) -> tuple[list[Any], list[Any]]:
        return Split.of(self.operands).divide(self.operands)

    def _results(self, moving: list[Any], fixed: list[Any]) -> list[Any]:
        operands = Split.of(self.operands).join(moving, fixed)
        found = self.lowering.propagate(self.problem, operands)
        return [each.astype(self.problem.dtype) for each in found]

    def _both(
        self, moving: list[Any], fixed: list[Any], cotangents: list[Any]
    ) -> tuple[list[Any], Any]:
        results, pull = jax.vjp(lambda moving: self._results(moving, fixed), moving)
        return results, pull(cotangents)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_real(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def _compiled(
    function: Callable[..., Any], *operands: Any
) -> tuple[Callable[..., Any], int | None]:
    """Returns a compiled function, and the bytes of its temporary memory."""
    compiled = jax.jit(function).lower(*operands).compile()
    memory = compiled.memory_analysis()
    size = None if memory is None else int(memory.temp_size_in_bytes)
    return compiled, size


def _median(run: Callable[..., Any], operands: Any, deadline: float) -> float:
    jax.block_until_ready(run(*operands))  # The first time, pages are new.
    rounds: list[float] = []
    while not rounds or (
        len(rounds) < _MOST_ROUNDS
        and sum(rounds) < _ENOUGH
        and time.monotonic() < deadline
    ):
        begun = time.perf_counter()
        jax.block_until_ready(run(*operands))
        rounds.append(time.perf_counter() - begun)
    return statistics.median(rounds)


def operands_of(plan: Plan) -> Operands:
    """Returns operands of a plan's shapes: edges as they are, all else at random."""
    problem, shapes = plan.problem, plan.shapes
    assert shapes is not None
    leaves, treedef = jax.tree.flatten(shapes)
    drawn: Operands = jax.tree.unflatten(
        treedef, [_drawn(leaf, index) for index, leaf in enumerate(leaves)]
    )
    data = problem.topology.data()
    sizes = problem.num_receivers, problem.num_senders
    listed = problem.topology.listed(*sizes)
    edge = drawn.edge
    if listed is not None:
        edge = edge._replace(
            senders=_as_shaped(listed.senders, shapes.edge.senders),
            receivers=_as_shaped(listed.receivers, shapes.edge.receivers),
            valid=jax.tree.map(_as_shaped, listed.valid, shapes.edge.valid),
        )
    known = jax.tree.map(
        _as_shaped,
        (data.receiver, data.sender, data.context),
        (shapes.receiver.topology, shapes.sender.topology, shapes.context.topology),
    )
    return drawn._replace(
        receiver=drawn.receiver._replace(topology=known[0]),
        sender=drawn.sender._replace(topology=known[1]),
        context=drawn.context._replace(topology=known[2]),
        edge=edge._replace(labels=_labels(problem, edge.labels)),
        pair=_labels(problem, drawn.pair),
    )


def _as_shaped(array: Any, shape: jax.ShapeDtypeStruct) -> Any:
    return jnp.asarray(np.asarray(array).reshape(shape.shape), shape.dtype)


def _labels(problem: Problem, drawn: dict[str, Any]) -> dict[str, Any]:
    """Returns labels that a relation has: any may stand at any edge."""
    found = {}
    for name, leaf in drawn.items():
        relation = problem.relations[name]
        assert isinstance(relation, Labels)
        found[name] = leaf % relation.count
    return found


def _drawn(shape: Any, index: int) -> Any:
    """Returns an array of a shape, its values drawn at random (by NumPy: no compiling)."""
    random = np.random.default_rng(index)
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        keys = jax.random.split(jax.random.key(index), math.prod(shape.shape))
        return keys.reshape(shape.shape)
    if jnp.issubdtype(shape.dtype, jnp.inexact):
        values = random.standard_normal(shape.shape, np.float32)
        return jnp.asarray(values).astype(shape.dtype)
    if shape.dtype == jnp.bool_:
        return jnp.asarray(random.random(shape.shape) < 0.5)
    most = min(_ATTRIBUTES, jnp.iinfo(shape.dtype).max)
    return jnp.asarray(random.integers(0, most, shape.shape), shape.dtype)
