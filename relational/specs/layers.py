"""Layers as data: all that takes a graph and gives one, under its name in files.

Blocks of the family (`graph_blocks`, `graph_convolutions`, `graph_attentions`), and what
stands between them: dropout, activations, norms, read-outs, and layers of layers.
"""

from typing import Annotated, Literal, TypeAlias, Union

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Probability
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
from relational.specs.kinds import PARTS, Kinds, describe_as_value
from relational.specs.topology import TopologySpec
from relational.specs.updates import Activation, AggregatorName

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
    layers: "Annotated[tuple[LayerSpec, ...], Field(min_length=1)]"
    """The layers, which read no edges."""


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
    "dropout": DropoutSpec,
    "activation": ActivationSpec,
    "layer_norm": LayerNormSpec,
    "linear": LinearSpec,
    "pool": PoolSpec,
    "residual": ResidualSpec,
    "repeat": RepeatSpec,
    "over": OverSpec,
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
        DropoutSpec,
        ActivationSpec,
        LayerNormSpec,
        LinearSpec,
        PoolSpec,
        ResidualSpec,
        RepeatSpec,
        OverSpec,
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
