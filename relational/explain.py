"""Explanations: what a function's calls of `propagate` cost, and why."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from relational._checks import shown
from relational.explaining import measuring
from relational.explaining.facts import plan_facts
from relational.explaining.measuring import Measured
from relational.explaining.pictures import picture
from relational.explaining.words import describe
from relational.plans import Plan, recording

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The plans of a function, in the order of its calls of `propagate`.

    `print` shows it as text; a notebook, and `rich.print`, as tables.

    Attributes:
      plans: the distinct plans.
      counts: how often each occurs (layers of one shape share a plan).
      measured: what was measured of each plan, the chosen lowering first; empty where
        nobody asked.

    >>> import jax.numpy as jnp, relational as rl
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> explanation = rl.explain(lambda x: mean(mean(x)), jnp.zeros([8, 4]))
    >>> [plan.lowering.name for plan in explanation.plans], explanation.counts
    (['dense'], (2,))
    >>> explanation.as_dict()["plans"][0]["edges"]
    36
    """

    plans: tuple[Plan, ...]
    counts: tuple[int, ...]
    measured: tuple[tuple[Measured, ...], ...] = ()

    def __str__(self) -> str:
        if not self.plans:
            return "no call of `propagate`"
        return "\n\n".join(self._text(at) for at in range(len(self.plans)))

    def as_dict(self) -> dict[str, Any]:
        """Returns everything that is known, in dicts, lists, numbers and strings."""
        facts = [
            {**plan_facts(plan, self.measured_of(at)), "times": self.counts[at]}
            for at, plan in enumerate(self.plans)
        ]
        return {"plans": facts}

    def to_json(self) -> str:
        """Returns `as_dict()` as JSON."""
        return json.dumps(self.as_dict(), indent=2)

    def measured_of(self, index: int) -> tuple[Measured, ...]:
        """Returns what was measured of a plan; nothing where nobody asked."""
        return self.measured[index] if self.measured else ()

    def __rich__(self) -> "RenderableType":
        from relational.explaining.panels import panels

        return panels(self)

    def _repr_html_(self) -> str:
        from relational.explaining.panels import html

        return html(self)

    def _text(self, at: int) -> str:
        plan, count = self.plans[at], self.counts[at]
        first, *rest = describe(plan, self.measured_of(at)).splitlines()
        drawn = [f"  {line}" for line in picture(plan.problem).splitlines()]
        times = [f"  {count} times"] if count > 1 else []
        return "\n".join([first, *drawn, *rest, *times])


def explain(
    function: Callable[..., Any],
    *arguments: Any,
    measure: bool = False,
    budget: float = 60.0,
) -> Explanation:
    """Explains every call of `propagate` that a function makes, without running it.

    Args:
      function: anything that calls `propagate`: a lambda, a block's apply function.
      *arguments: its arguments; arrays may be `jax.ShapeDtypeStruct`.
      measure: whether to run, for each distinct plan, the chosen lowering and then the
        others, compiled, forward and with gradients, on random numbers of its shapes.
        The edges must be known for that: a topology that holds arrays must be closed
        over, not passed. Under `vmap` it is one example that is planned and measured.
      budget: seconds after which no further measurement is begun.

    Returns:
      An explanation; `print` it.

    Raises:
      ValueError: if `budget` is not above zero.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((4096, 64), "float32")
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> print(str(rl.explain(mean, nodes)).splitlines()[0])
    Causal(): 4,096 receivers x 4,096 senders, 8,390,656 edges, density 0.50
    """
    if not (isinstance(budget, int | float) and 0 < budget < math.inf):
        raise ValueError(
            f"`budget` must be a number of seconds above 0; got {shown(budget)}."
        )
    found: list[Plan] = []

    def run(*arguments: Any) -> Any:
        with recording(found):
            return function(*arguments)

    jax.eval_shape(run, *arguments)
    keys = [f"{describe(plan)}\n{plan.shapes}" for plan in found]
    plans = tuple(found[keys.index(key)] for key in dict.fromkeys(keys))
    counts = tuple(keys.count(key) for key in dict.fromkeys(keys))
    measured = measuring.measure(plans, budget) if measure else ()
    return Explanation(plans, counts, measured)
