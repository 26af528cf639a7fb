"""Where a node stands in its graph, as data: spectra, walks, degrees, distances.

What is asked for here is made of the edges of each graph before it is trained on, and
comes with the graph (`models.prepare`): it is no work of a training step. Only
`edge_types` are read from the edges in each step.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Flag
from relational.specs.relation import OffsetSpec

_Few: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=256)]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class LaplacianPositionsSpec:
    """Eigenvectors of the Laplacian, beside the features of the nodes
    (Dwivedi and Bresson 2021, equation 2)."""

    width: _Few
    """How many eigenvectors, those of the smallest eigenvalues."""
    flips_signs: Flag = True
    """Whether their signs, which are arbitrary, are drawn anew in each training step."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RandomWalkPositionsSpec:
    """How likely a walk is back after 1, 2, ... steps, beside the features of the nodes
    (Dwivedi et al. 2022, equation 9)."""

    width: _Few
    """How many steps."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DegreesSpec:
    """An embedding of its degree, added to each node (Ying et al. 2021, equation 5)."""

    limit: _Few
    """Degrees beyond it share a row."""
    edges: Literal["received", "sent"] = "received"
    """Which edges are counted; of an undirected graph it makes no difference."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class HopsSpec:
    """Edges on the shortest path between two nodes (Ying et al. 2021, section 3.1.2)."""

    hops: _Few
    """This distance and all beyond share a row; where no path leads there is another."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class EdgeTypesSpec:
    """The type of the edge from one node to the other: the place of its largest feature.

    Pairs without an edge have a row of their own.
    """

    edge_types: _Few
    """Number of types: of features of an edge, which are one-hot."""


def _kind(value: object) -> str:
    for name, kind in (("hops", HopsSpec), ("edge_types", EdgeTypesSpec)):
        if isinstance(value, kind) or (isinstance(value, dict) and name in value):
            return f"({name})"
    return "(offset)"


GraphRelationSpec: TypeAlias = Annotated[
    Annotated[OffsetSpec, Tag("(offset)")]
    | Annotated[HopsSpec, Tag("(hops)")]
    | Annotated[EdgeTypesSpec, Tag("(edge_types)")],
    Discriminator(_kind),
]
"""A label of every pair of nodes of a graph."""
