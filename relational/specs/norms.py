"""Norms as data: how the features of a node are normalised."""

from typing import Annotated, TypeAlias

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Rate
from relational.specs.kinds import Kinds


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MeanNormSpec:
    """Mean 0 and variance 1, then a learned scale and offset (Ba et al. 2016)."""

    epsilon: Rate = 1e-6
    """Added to the variance."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RMSNormSpec:
    """Root mean square 1, then a learned scale (Zhang and Sennrich 2019)."""

    epsilon: Rate = 1e-6
    """Added to the mean square."""


NORMS: dict[str, type] = {"layer": MeanNormSpec, "rms": RMSNormSpec}
"""The names of norms in files."""

NormSpec: TypeAlias = Annotated[MeanNormSpec | RMSNormSpec, Kinds(NORMS)]
"""How the features of a node are normalised."""
