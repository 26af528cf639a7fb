"""Positions as data: how the nodes of a sequence are told where they stand."""

from typing import Annotated, Literal, TypeAlias

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count
from relational.specs.kinds import Kinds


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class NoPositionsSpec:
    """Nodes are not told their positions."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class SinusoidSpec:
    """Nodes get sines and cosines of their positions (Vaswani et al. 2017, sec. 3.5)."""

    combine: Literal["add", "concatenate"] = "add"
    """Added to the embedding, or put beside it, so that both fill the node's width."""
    width: Count | None = None
    """Channels of the sinusoids, with `concatenate` only; nothing means half the node's
    width. The embedding has the other channels."""
    layout: Literal["interleaved", "halves"] = "interleaved"
    """Sine and cosine in turns, as in the paper; or all sines, then all cosines, with
    other wavelengths, as in Tensor2Tensor."""


POSITIONS: dict[str, type] = {"none": NoPositionsSpec, "sinusoid": SinusoidSpec}
"""The names of positions in files."""

PositionsSpec: TypeAlias = Annotated[NoPositionsSpec | SinusoidSpec, Kinds(POSITIONS)]
"""How nodes are told their positions."""
