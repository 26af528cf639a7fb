"""Rotary positions as data."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RotarySpec:
    """Queries and keys are turned by where their nodes stand (Su et al. 2021)."""

    base: Annotated[float, Field(gt=1)] = 10_000.0
    """What the wavelengths grow to."""
    width: Annotated[int, Field(strict=True, ge=2, multiple_of=2)] | None = None
    """Channels of a head that are turned, the first ones; nothing means all."""
    layout: Literal["interleaved", "halves"] = "interleaved"
    """Which channels are turned together: neighbours, or one of each half."""
