"""Data sets of graphs as data: generated tasks, citation graphs and molecules.

The generated tasks have four splits: `train`, `validation`, `test`, and `larger`, whose
graphs are larger than those that were trained on. They differ in their seeds.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count


def _ascending(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if sizes[0] > sizes[1]:
        raise ValueError(
            "must be the fewest, then the most; got "
            f"{sizes[0]} and {sizes[1]}. Exchange them."
        )
    return sizes


_PAIR = Field(min_length=2, max_length=2)
_Sizes: TypeAlias = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=2, le=4096)], ...],
    _PAIR,
    AfterValidator(_ascending),
]
_Masses: TypeAlias = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=3, le=4096)], ...],
    _PAIR,
    AfterValidator(_ascending),
]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ShortestPathSpec:
    """Graphs in the plane: which nodes and edges lie on the shortest path."""

    nodes: _Sizes = (8, 16)
    """The fewest and the most nodes of a graph."""
    larger: _Sizes = (16, 32)
    """The same of the split `larger`."""
    held_out: Count = 500
    """Number of graphs in each split that is not trained on."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class SortingSpec:
    """Lists of numbers: which one is the smallest, and which follows which."""

    nodes: _Sizes = (8, 16)
    """The fewest and the most numbers of a list."""
    larger: _Sizes = (16, 32)
    """The same of the split `larger`."""
    held_out: Count = 500
    """Number of lists in each split that is not trained on."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class SpringsSpec:
    """Chains of masses and springs: the velocities of the next step."""

    masses: _Masses = (5, 8)
    """The fewest and the most masses of a chain."""
    larger: _Masses = (9, 9)
    """The same of the split `larger`."""
    held_out: Count = 500
    """Number of states in each split that is not trained on."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PlanetoidSpec:
    """A graph of papers that cite each other: the field of each, on the public split."""

    name: Literal["cora", "citeseer"]
    """Which graph."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MoleculesSpec:
    """Molecules: a number that was measured of each, learned normalised."""

    name: Literal["esol", "freesolv"]
    """Solubility in water, or free energy of hydration."""
    split: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0
    """The seed of the random split: 80 % to train, 10 % to validate, 10 % to test."""
