"""Plans: which lowering serves a call, what it is estimated to cost, and why.

Each lowering is asked in order of estimated cost; one that cannot serve says why. The
choice changes the cost, never the value.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax

from relational._checks import shown
from relational.lowerings.by_sender import BySender
from relational.lowerings.dense import Dense
from relational.lowerings.edges import Edges
from relational.lowerings.fused import Fused
from relational.lowerings.kernel import Kernel
from relational.lowerings.problem import Operands, Problem
from relational.lowerings.shifts import Shifts
from relational.lowerings.slots import Slots
from relational.lowerings.sparse import Sparse
from relational.lowerings.stencil import Stencil
from relational.lowerings.tiles import Tiles
from relational.lowerings.window import Window

LOWERINGS = (
    Stencil(),
    Window(),
    Shifts(),
    Dense(),
    Tiles(),
    Fused(),
    Kernel(),
    Sparse(),
    Slots(),
    BySender(),
    Edges(),
)
_SOFT_MEMORY = 256 * 2**20  # Beyond it, temporary memory weighs in the choice.


@runtime_checkable
class Lowering(Protocol):
    """An order of evaluation."""

    @property
    def name(self) -> str:
        """The name that `explain` prints."""

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A lowering that was considered.

    Attributes:
      reasons: why it cannot serve; empty if it can.
      seconds, bytes: estimates, where it can serve.
    """

    lowering: Lowering
    reasons: tuple[str, ...]
    seconds: float
    bytes: float

    @property
    def weight(self) -> float:
        """What is compared: time, and the page faults of memory beyond caches."""
        return self.seconds + max(0.0, self.bytes - _SOFT_MEMORY) / 4e9


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lowering chosen for a bound call, and the candidates passed over.

    Attributes:
      shapes: the operands, as `jax.ShapeDtypeStruct`; None where nobody records plans.
      reason: why a lowering was preferred to the cheapest; empty where none was.
    """

    problem: Problem
    lowering: Lowering
    candidates: tuple[Candidate, ...]
    is_asked: bool
    shapes: Operands | None = None
    reason: str = ""

    def __str__(self) -> str:
        from relational.explaining.words import describe

        return describe(self)


@dataclasses.dataclass(frozen=True)
class Preference:
    """A lowering that is known to be good for a problem, and whence."""

    lowering: Lowering
    reason: str


_recorder: contextvars.ContextVar[list[Plan] | None] = contextvars.ContextVar(
    "relational_plans", default=None
)


@contextlib.contextmanager
def recording(plans: list[Plan]) -> Iterator[None]:
    """Appends every plan made in this context to `plans`."""
    token = _recorder.set(plans)
    try:
        yield
    finally:
        _recorder.reset(token)


_Preferences = Callable[[Problem], Preference | None]
_preferences: contextvars.ContextVar[_Preferences | None] = contextvars.ContextVar(
    "relational_preferences", default=None
)


@contextlib.contextmanager
def preferring(find: _Preferences) -> Iterator[None]:
    """Prefers, in this context, what `find` returns for a problem, if it can serve."""
    token = _preferences.set(find)
    try:
        yield
    finally:
        _preferences.reset(token)


def choose(
    problem: Problem, asked: Lowering | None, operands: Operands | None = None
) -> Plan:
    """Returns the plan for a bound call.

    Args:
      operands: its arrays, whose shapes are kept where plans are recorded.

    Raises:
      ValueError: if `asked` cannot serve, with its reasons.
    """
    if asked is not None and (
        isinstance(asked, type) or not isinstance(asked, Lowering)
    ):
        raise TypeError(
            "`lowering` must be a lowering such as `rl.lowerings.Tiles()`, or None for "
            f"the cheapest; got {shown(asked)}."
        )
    candidates = tuple(_consider(one, problem) for one in LOWERINGS)
    able = [one for one in candidates if not one.reasons]
    reason = ""
    if asked is None:
        chosen = min(able, key=lambda one: one.weight).lowering
        preference = _preferred(problem)
        if preference is not None:
            chosen, reason = preference.lowering, preference.reason
    else:
        reasons = asked.refuse(problem)
        if reasons:
            names = ", ".join(one.lowering.name for one in able)
            raise ValueError(
                f"`lowering={asked}` cannot serve this call: {'; '.join(reasons)}. "
                f"These can: {names}."
            )
        chosen = asked
    plan = Plan(problem, chosen, candidates, asked is not None, reason=reason)
    plans = _recorder.get()
    if plans is not None:
        shapes = jax.eval_shape(lambda: operands)
        plans.append(dataclasses.replace(plan, shapes=shapes))
    return plan


def _preferred(problem: Problem) -> Preference | None:
    find = _preferences.get()
    found = None if find is None else find(problem)
    return None if found is None or found.lowering.refuse(problem) else found


def _consider(lowering: Lowering, problem: Problem) -> Candidate:
    reasons = tuple(lowering.refuse(problem))
    seconds, size = (float("inf"),) * 2 if reasons else lowering.cost(problem)
    return Candidate(lowering, reasons, seconds, size)
