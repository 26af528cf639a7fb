"""Layers as data: all that takes a graph and gives one, under its name in files.

Blocks of the family (`graph_blocks`, `graph_convolutions`, `graph_attentions`), what nodes
know of their place (`graph_positions`), and what stands between: dropout, activations,
norms, read-outs, and layers of layers.
"""

from typing import Annotated, Literal, TypeAlias, Union

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, FrozenDict, Named, Probability
from relational.specs.graph_attentions import (
    EdgeAttentionSpec,
    GraphAttentionSpec,
    GraphTransformerSpec,
    NonLocalSpec,
    VAINSpec,
)
from relational.specs.graph_blocks import (
    CommNetSpec,
    DeepSetsSpec,
    GatedGraphNetworkSpec,
    GraphNetworkSpec,
    IndependentSpec,
    InteractionNetworkSpec,
    MessagePassingSpec,
    RelationNetworkSpec,
)
from relational.specs.graph_convolutions import (
    GraphConvolutionSpec,
    GraphIsomorphismSpec,
    GraphSAGESpec,
    PrincipalAggregationSpec,
    RelationalConvolutionSpec,
)
from relational.specs.graph_positions import (
    DegreesSpec,
    GraphRelationSpec,
    LaplacianPositionsSpec,
    RandomWalkPositionsSpec,
)
from relational.specs.kinds import PARTS, Kinds, describe_as_value
from relational.specs.topology import TopologySpec
from relational.specs.updates import Activation, AggregatorName, MLPSpec

_VALUE = CONFIG | ConfigDict(json_schema_extra=describe_as_value)


@dataclass(frozen=True, kw_only=True, config=_VALUE)
class DropoutSpec:
    """Dropout on the features of nodes, in training."""

    rate: Probability = Field(validation_alias=PARTS)
    """Share of the features that is dropped."""


@dataclass(frozen=True, kw_only=True, config=_VALUE)
class ActivationSpec:
    """A function of each feature of the nodes."""

    function: Activation = Field(validation_alias=PARTS)
    """The function."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class LayerNormSpec:
    """Layer normalisation of the nodes."""


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG | ConfigDict(json_schema_extra={"examples": [{"nodes": 1}]}),
)
class LinearSpec:
    """A dense layer without activation on each part that is named."""

    edges: Count | None = None
    """Number of channels of edges; nothing leaves them as they are."""
    nodes: Count | None = None
    """Number of channels of nodes."""
    globals: Count | None = None
    """Number of channels of globals."""

    def __post_init__(self) -> None:
        if self.edges is None and self.nodes is None and self.globals is None:
            raise ValueError(
                "must have `edges`, `nodes` or `globals`; got none of them. Give one, "
                "or remove the layer."
            )


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PoolSpec:
    """Globals become what each graph hears of its nodes: a read-out of the graph."""

    aggregator: AggregatorName = "sum"
    """How a graph hears its nodes."""


@dataclass(frozen=True, kw_only=True, config=_VALUE)
class ResidualSpec:
    """What these layers make of the graph is added to it."""

    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]" = Field(
        validation_alias=PARTS
    )
    """The layers, which keep all widths."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RepeatSpec:
    """The same layers, several times."""

    steps: Count
    """How often."""
    parameters: Literal["separate", "shared"] = "separate"
    """Each time with parameters of their own, or always the same ones."""
    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]"
    """The layers, which keep all widths."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class OverSpec:
    """Layers over a rule, and not over the edges of the graph."""

    topology: TopologySpec
    """Who may hear whom, within each graph."""
    relations: Named[GraphRelationSpec] = Field(default_factory=FrozenDict)
    """Labels of the pairs of nodes, which `biases` of the layers name."""
    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]"
    """The layers, which read no edges."""


@dataclass(frozen=True, kw_only=True, config=_VALUE)
class VirtualNodeSpec:
    """Layers on graphs with a node more, which begins as a learned vector.

    It has no edges: rules, as in `over`, reach it. What it becomes are the globals
    (Ying et al. 2021, section 3.2).
    """

    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]" = Field(
        validation_alias=PARTS
    )
    """The layers, which keep the nodes where they are."""


@dataclass(frozen=True, kw_only=True, config=_VALUE)
class GraphNodesSpec:
    """Layers on two node sets: `node`, and `graph`, in which each graph is a node.

    Beside the edges there are those from nodes to their graph and back, so that pooling
    and updates of globals are blocks over an edge set; see `per_edge_set`.
    """

    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]" = Field(
        validation_alias=PARTS
    )
    """The layers; what `graph` becomes are the globals."""


_SOME = CONFIG | ConfigDict(
    json_schema_extra={"examples": [{"edge": ["gated_graph_network"]}]}
)


@dataclass(frozen=True, kw_only=True, config=_SOME)
class PerEdgeSetSpec:
    """Layers for each edge set, combined for each node set
    (Schlichtkrull et al. 2018, with a matrix an edge set).

    All see the graph as it came. It stands within `graph_nodes`, where there are several
    edge sets.
    """

    edge: "tuple[LayerSpec, ...]" = ()
    """From node to node, over the edges of the graph, or the rule of `over`."""
    node_to_graph: "tuple[LayerSpec, ...]" = ()
    """From the nodes to their graph."""
    graph_to_node: "tuple[LayerSpec, ...]" = ()
    """From the graph to its nodes."""
    combine: Literal["sum", "mean", "concatenate"] = "sum"
    """How what comes over several edge sets is combined."""
    update_node: MLPSpec | None = None
    """Of a node, from what it heard and itself; nothing means what it heard."""
    update_graph: MLPSpec | None = None
    """Of a graph, from what it heard and itself."""

    def __post_init__(self) -> None:
        if not (self.edge or self.node_to_graph or self.graph_to_node):
            raise ValueError(
                "must have `edge`, `node_to_graph` or `graph_to_node`; got none of them. "
                "Give one, or remove the layer."
            )


LAYERS: dict[str, type] = {
    "independent": IndependentSpec,
    "graph_network": GraphNetworkSpec,
    "interaction_network": InteractionNetworkSpec,
    "relation_network": RelationNetworkSpec,
    "deep_sets": DeepSetsSpec,
    "message_passing": MessagePassingSpec,
    "comm_net": CommNetSpec,
    "gated_graph_network": GatedGraphNetworkSpec,
    "graph_convolution": GraphConvolutionSpec,
    "graph_sage": GraphSAGESpec,
    "graph_isomorphism": GraphIsomorphismSpec,
    "principal_aggregation": PrincipalAggregationSpec,
    "relational_convolution": RelationalConvolutionSpec,
    "graph_attention": GraphAttentionSpec,
    "edge_attention": EdgeAttentionSpec,
    "graph_transformer": GraphTransformerSpec,
    "non_local": NonLocalSpec,
    "vain": VAINSpec,
    "laplacian_positions": LaplacianPositionsSpec,
    "random_walk_positions": RandomWalkPositionsSpec,
    "degrees": DegreesSpec,
    "dropout": DropoutSpec,
    "activation": ActivationSpec,
    "layer_norm": LayerNormSpec,
    "linear": LinearSpec,
    "pool": PoolSpec,
    "residual": ResidualSpec,
    "repeat": RepeatSpec,
    "over": OverSpec,
    "virtual_node": VirtualNodeSpec,
    "graph_nodes": GraphNodesSpec,
    "per_edge_set": PerEdgeSetSpec,
}
"""The names of layers in files."""

_NAMES = {kind: name for name, kind in LAYERS.items()}

LayerSpec: TypeAlias = Annotated[
    Union[  # noqa: UP007  # `|` cannot name the classes that refer back to the union.
        IndependentSpec,
        GraphNetworkSpec,
        InteractionNetworkSpec,
        RelationNetworkSpec,
        DeepSetsSpec,
        MessagePassingSpec,
        CommNetSpec,
        GatedGraphNetworkSpec,
        GraphConvolutionSpec,
        GraphSAGESpec,
        GraphIsomorphismSpec,
        PrincipalAggregationSpec,
        RelationalConvolutionSpec,
        GraphAttentionSpec,
        EdgeAttentionSpec,
        GraphTransformerSpec,
        NonLocalSpec,
        VAINSpec,
        LaplacianPositionsSpec,
        RandomWalkPositionsSpec,
        DegreesSpec,
        DropoutSpec,
        ActivationSpec,
        LayerNormSpec,
        LinearSpec,
        PoolSpec,
        ResidualSpec,
        RepeatSpec,
        OverSpec,
        VirtualNodeSpec,
        GraphNodesSpec,
        PerEdgeSetSpec,
    ],
    Kinds(LAYERS),
]
"""A layer: from graph to graph."""

Layers: TypeAlias = Annotated[tuple[LayerSpec, ...], Field(min_length=1)]
"""Layers, first to last."""


def module_name(layer: LayerSpec, index: int) -> str:
    """Returns what a layer's parameters are called, by its place among the layers.

    >>> module_name(GraphConvolutionSpec(width=16), 1)
    'graph_convolution_1'
    """
    return f"{_NAMES[type(layer)]}_{index}"
