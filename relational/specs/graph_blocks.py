"""Graph networks as data: blocks that update edges, nodes and globals from each other.

Each is one block of `relational.blocks`, under the name of its paper. An update is an
`MLPSpec`; what has none stays as it is.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Flag
from relational.specs.updates import AggregatorName, HearingName, MLPSpec

EdgeInput: TypeAlias = Literal["edge", "receiver", "sender", "globals"]
NodeInput: TypeAlias = Literal["received", "sent", "node", "globals"]
GlobalInput: TypeAlias = Literal["edges", "nodes", "globals"]

_UPDATED = CONFIG | ConfigDict(
    json_schema_extra={"examples": [{"update": {"widths": [1]}}]}
)


def _check_updated(spec: "IndependentSpec | GraphNetworkSpec") -> None:
    if not (spec.update or spec.edges or spec.nodes or spec.globals):
        raise ValueError(
            "must have `update`, `edges`, `nodes` or `globals`; got none of them. Give "
            "one, or remove the layer."
        )


@dataclass(frozen=True, kw_only=True, config=_UPDATED)
class IndependentSpec:
    """Edges, nodes and globals, each updated by itself."""

    update: MLPSpec | None = None
    """Of edges, nodes and globals alike, where they have none of their own."""
    edges: MLPSpec | None = None
    """Of edges."""
    nodes: MLPSpec | None = None
    """Of nodes."""
    globals: MLPSpec | None = None
    """Of globals."""

    def __post_init__(self) -> None:
        _check_updated(self)


@dataclass(frozen=True, kw_only=True, config=_UPDATED)
class GraphNetworkSpec:
    """Edges, then nodes, then globals (Battaglia et al. 2018, algorithm 1)."""

    update: MLPSpec | None = None
    """Of edges, nodes and globals alike, where they have none of their own."""
    edges: MLPSpec | None = None
    """Of an edge, from `edge_inputs`."""
    nodes: MLPSpec | None = None
    """Of a node, from `node_inputs`."""
    globals: MLPSpec | None = None
    """Of globals, from `global_inputs`."""
    edge_inputs: Annotated[tuple[EdgeInput, ...], Field(min_length=1)] = (
        "edge",
        "receiver",
        "sender",
        "globals",
    )
    """What the update of an edge reads."""
    node_inputs: Annotated[tuple[NodeInput, ...], Field(min_length=1)] = (
        "received",
        "node",
        "globals",
    )
    """What the update of a node reads."""
    global_inputs: Annotated[tuple[GlobalInput, ...], Field(min_length=1)] = (
        "edges",
        "nodes",
        "globals",
    )
    """What the update of globals reads."""
    score: MLPSpec | None = None
    """Of an edge, from what it says and its other inputs, a score for each head, of which
    what it says has equal parts; for `softmax`. Its `activates_last` is best false."""
    edges_to_nodes: HearingName = "sum"
    """How nodes hear edges; `softmax` weighs them by their scores."""
    edges_to_globals: AggregatorName = "sum"
    """How globals hear edges."""
    nodes_to_globals: AggregatorName = "sum"
    """How globals hear nodes."""

    def __post_init__(self) -> None:
        _check_updated(self)
        if self.score is None and self.edges_to_nodes == "softmax":
            raise ValueError(
                "`score` must be given, since nodes hear edges by `softmax`. Give it, or "
                "another `edges_to_nodes`."
            )
        hears = (self.nodes or self.update) and {"received", "sent"} & {
            *self.node_inputs
        }
        if self.score is not None and not hears:
            raise ValueError(
                "`score` must be left out, since no node hears edges. Give `nodes`, with "
                "`received` among `node_inputs`."
            )
        if self.score is not None and self.edges_to_nodes != "softmax":
            raise ValueError(
                "`edges_to_nodes` must be `softmax`, since edges have a `score`; got "
                f"`{self.edges_to_nodes}`. Change it, or remove `score`."
            )


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class InteractionNetworkSpec:
    """Objects and their relations, without globals (Battaglia et al. 2016)."""

    edges: MLPSpec
    """Of an edge, from itself and both ends."""
    nodes: MLPSpec
    """Of a node, from what it received and itself."""
    aggregator: AggregatorName = "sum"
    """How nodes hear edges."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RelationNetworkSpec:
    """All edges, added up to one answer for the graph (Santoro et al. 2017)."""

    edges: MLPSpec
    """Of an edge, from both ends."""
    globals: MLPSpec
    """Of globals, from all edges."""
    aggregator: Literal["sum"] = "sum"
    """How globals hear edges."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DeepSetsSpec:
    """Nodes without edges, added up to one answer (Zaheer et al. 2017)."""

    nodes: MLPSpec
    """Of a node, from itself."""
    globals: MLPSpec
    """Of globals, from all nodes."""
    reads_globals: Flag = False
    """Whether nodes read globals as well, as in Graph Nets."""
    aggregator: AggregatorName = "sum"
    """How globals hear nodes; `max` makes it a PointNet."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MessagePassingSpec:
    """A step of message passing (Gilmer et al. 2017, section 2)."""

    width: Count
    """Number of channels of a message."""
    message: Literal["edge_network", "mlp"] = "edge_network"
    """A matrix made of the edge, times the sender (section 5.1); or dense layers on the
    edge, the receiver and the sender."""
    hidden: tuple[Count, ...] = ()
    """Channels of dense layers before the one that gives the matrix, or the message."""
    nodes: MLPSpec | None = None
    """Of a node, from what it received and itself; nothing means a GRU, as there."""
    aggregator: AggregatorName = "sum"
    """How nodes hear messages."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class CommNetSpec:
    """Agents that hear the mean of the others (Sukhbaatar et al. 2016)."""

    edges: MLPSpec
    """Of what a sender says."""
    encode: MLPSpec
    """Of what a node knows of itself."""
    nodes: MLPSpec
    """Of a node, from what it received and its encoding."""
    aggregator: AggregatorName = "mean"
    """How nodes hear each other."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GatedGraphNetworkSpec:
    """A step of a gated graph network (Li et al. 2016): a GRU hears linear messages."""

    reads_edges: Flag = False
    """Whether messages read the edge as well as the sender."""
