"""Schedules as data: how the rate of the optimiser changes with the step."""

from typing import Annotated, TypeAlias

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Amount, Count, Rate, Reach
from relational.specs.kinds import Kinds


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ConstantSpec:
    """The same rate at every step."""

    rate: Rate = 1e-3
    """The rate."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class WarmupCosineSpec:
    """A straight line from 0 up to `peak`, then half a cosine down to `floor`."""

    peak: Rate
    """The rate at the end of the warm-up."""
    warmup: Reach
    """Steps of the warm-up."""
    floor: Amount = 0.0
    """The rate at the last step."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class WarmupRsqrtSpec:
    """`factor * width^-0.5 * min(s^-0.5, s * warmup^-1.5)` at step s, counted from 1.

    Vaswani et al. 2017, equation 3, where `factor` is 1.
    """

    width: Count
    """The width of the model."""
    warmup: Count = 4000
    """Steps of the warm-up."""
    factor: Rate = 1.0
    """What the whole is multiplied by."""


SCHEDULES: dict[str, type] = {
    "constant": ConstantSpec,
    "warmup_cosine": WarmupCosineSpec,
    "warmup_rsqrt": WarmupRsqrtSpec,
}
"""The names of schedules in files."""

ScheduleSpec: TypeAlias = Annotated[
    ConstantSpec | WarmupCosineSpec | WarmupRsqrtSpec, Kinds(SCHEDULES)
]
"""How the rate of the optimiser changes with the step."""
