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
    layout: Literal["interleaved", "halves", "split"] = "interleaved"
    """Sine and cosine in turns, as in the paper; or all sines, then all cosines: `halves`
    with other wavelengths, as in Tensor2Tensor, `split` with those of the paper."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class LearnedPositionsSpec:
    """Nodes get a learned row of their positions (Gehring et al. 2017, section 3.1)."""

    length: Count
    """Number of rows: the most nodes that a sequence can have."""


POSITIONS: dict[str, type] = {
    "none": NoPositionsSpec,
    "sinusoid": SinusoidSpec,
    "learned": LearnedPositionsSpec,
}
"""The names of positions in files."""

PositionsSpec: TypeAlias = Annotated[
    NoPositionsSpec | SinusoidSpec | LearnedPositionsSpec, Kinds(POSITIONS)
]
"""How nodes are told their positions."""
