"""Convolutions on graphs as data: neighbours are added up, and multiplied by matrices."""

from typing import Literal

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Flag, Rate
from relational.specs.updates import MLPSpec


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GraphConvolutionSpec:
    """A graph convolution (Kipf and Welling 2017, equation 2)."""

    width: Count
    """Number of channels of the result."""
    self_edges: Flag = True
    """Whether each node hears itself as well."""
    reads_weights: Flag = False
    """Whether the feature of an edge, which is one number, is its weight."""
    degrees: Literal["own", "received"] | None = "own"
    """Which edges the degrees count; nothing means that sums are not divided."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GraphSAGESpec:
    """Sample and aggregate (Hamilton et al. 2017, algorithm 1)."""

    width: Count
    """Number of channels of the result."""
    aggregator: Literal["mean", "max", "sum"] = "mean"
    """How nodes hear their neighbours."""
    pool_width: Count | None = None
    """Channels of a dense layer on what neighbours say; nothing means no such layer."""
    normalises: Flag = False
    """Whether results have length 1."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GraphIsomorphismSpec:
    """The graph isomorphism network (Xu et al. 2019, equation 4.1)."""

    nodes: MLPSpec
    """Of (1 + epsilon) times the node, and the sum of its neighbours."""
    learns_epsilon: Flag = False
    """Whether epsilon is learned; it is 0 otherwise."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PrincipalAggregationSpec:
    """Four aggregators, scaled by the degree in three ways (Corso et al. 2020)."""

    width: Count
    """Number of channels of the result."""
    average_log_degree: Rate
    """Mean of log(degree + 1) over the nodes of the training set."""
    message_width: Count | None = None
    """Channels of a message; nothing means those of a node."""
    reads_edges: Flag = False
    """Whether messages read the edge."""
    towers: Count = 1
    """Number of parts of the width, which are made side by side and then mixed."""
    splits_nodes: Flag = False
    """Whether a tower reads its part of a node alone."""

    def __post_init__(self) -> None:
        if self.width % self.towers:
            raise ValueError(
                f"`towers` must divide `width`, {self.width}; got {self.towers}."
            )
        if self.splits_nodes and self.towers == 1:
            raise ValueError(
                "`splits_nodes` must be left out, since there is one tower, which reads "
                "all; got true. Give `towers`."
            )


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RelationalConvolutionSpec:
    """A matrix for each type of edge (Schlichtkrull et al. 2018).

    The type of an edge is the place of the largest of its features: they are one-hot.
    """

    width: Count
    """Number of channels of the result."""
    types: Count
    """Number of types of edges."""
    bases: Count | None = None
    """Number of matrices that all types share; nothing means one for each type."""
