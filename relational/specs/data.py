"""The data as data: which set, and how it is cut into examples."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count
from relational.specs.graph_data import (
    MoleculesSpec,
    PlanetoidSpec,
    ShortestPathSpec,
    SortingSpec,
    SpringsSpec,
)
from relational.specs.kinds import Kinds
from relational.specs.text_data import (
    Multi30kSpec,
    ParallelTextSpec,
    PlainTextSpec,
    TFDSTextSpec,
)
from relational.specs.token_arrays import TokenArraysSpec


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ChoralesSpec:
    """Bach's chorales, four voices on a sixteenth-note grid, one token a voice and step.

    Nodes have the attributes `voice`, `beat`, `onset` and `pitch`.
    """

    source: Literal["music21", "jsb"] = "music21"
    """music21's own corpus, or the JSB Chorales data set."""
    window: Annotated[Count, Field(multiple_of=4)]
    """Tokens in an example: a multiple of 4, since a step has four voices."""
    transpose: Annotated[int, Field(strict=True, ge=0, le=12)] = 0
    """Training pieces are moved by up to so many semitones, either way."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class NoDataSpec:
    """No data: the model was trained elsewhere, and is used here and not trained.

    `relational import` writes it for a model whose tokens no vocabulary here speaks.
    """


DATA_SETS: dict[str, type] = {
    "chorales": ChoralesSpec,
    "shortest_path": ShortestPathSpec,
    "sorting": SortingSpec,
    "springs": SpringsSpec,
    "planetoid": PlanetoidSpec,
    "molecules": MoleculesSpec,
    "multi30k": Multi30kSpec,
    "parallel_text": ParallelTextSpec,
    "tfds_text": TFDSTextSpec,
    "plain_text": PlainTextSpec,
    "token_arrays": TokenArraysSpec,
    "none": NoDataSpec,
}
"""The names of data sets in files."""

DataSpec: TypeAlias = Annotated[
    NoDataSpec
    | ChoralesSpec
    | ShortestPathSpec
    | SortingSpec
    | SpringsSpec
    | PlanetoidSpec
    | MoleculesSpec
    | Multi30kSpec
    | ParallelTextSpec
    | TFDSTextSpec
    | PlainTextSpec
    | TokenArraysSpec,
    Kinds(DATA_SETS),
]
"""A data set."""
