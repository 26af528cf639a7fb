"""The model as data: node sets, edge sets, and the blocks that update the nodes."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass

from relational.specs import checks
from relational.specs.activations import NodeActivation
from relational.specs.experts import ExpertsSpec
from relational.specs.fields import (
    CONFIG,
    Count,
    Flag,
    FrozenDict,
    Name,
    Named,
    Probability,
)
from relational.specs.norms import MeanNormSpec, NormSpec
from relational.specs.positions import NoPositionsSpec, PositionsSpec
from relational.specs.read_out import ReadOutSpec
from relational.specs.relation import RelationSpec
from relational.specs.rotary import RotarySpec
from relational.specs.topology import TopologySpec


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class NodeSpec:
    """A node set: what a node is made of."""

    vocabulary: Count
    """Number of different tokens."""
    width: Count
    """Number of channels of a node."""
    embedding: Name | None = None
    """The node set whose table of tokens is used here too; nothing means a table of its
    own."""
    embed: Named[Count] = Field(default_factory=FrozenDict)
    """Integer node attributes that are embedded and added, with their numbers of values."""
    positions: PositionsSpec = Field(
        default=NoPositionsSpec(), json_schema_extra={"default": "none"}
    )
    """How nodes are told their positions."""
    scaled: Flag = True
    """Whether what is embedded is multiplied by the square root of its width
    (Vaswani et al. 2017, section 3.4)."""
    norm: Flag = False
    """Whether nodes are normalised before the first block (Devlin et al. 2019)."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class EdgeSetSpec:
    """An edge set: who may hear whom, and the labels of its edges."""

    sender_set: str = Field(validation_alias="from")
    """The node set whose nodes are heard."""
    receiver_set: str = Field(validation_alias="to")
    """The node set whose nodes hear."""
    topology: TopologySpec
    """Who may hear whom."""
    relations: Named[RelationSpec] = Field(default_factory=FrozenDict)
    """Labels of the edges, by the names under which blocks use them."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AttentionSpec:
    """Relation-aware attention of the nodes in which an edge set ends."""

    over: str
    """The edge set."""
    heads: Count
    """Number of heads; it divides the width of the nodes unless `head_width` is given."""
    kv_heads: Count | None = None
    """Number of heads of keys and values, which divides `heads`: each is heard by
    several (Ainslie et al. 2023), and one by all (Shazeer 2019); nothing means `heads`."""
    head_width: Count | None = None
    """Channels of a head; nothing means the width of the nodes over `heads`."""
    score: Annotated[tuple[str, ...], Field(min_length=1)] = ("content",)
    """What a score is the sum of: `content` is query.key, a relation is query.row."""
    message: Annotated[tuple[str, ...], Field(min_length=1)] = ("content",)
    """What a message is the sum of: `content` is the value, a relation is its row."""
    sender_score: tuple[str, ...] = ()
    """Relations that add key.row to the score: with the relation in `score` as well,
    DeBERTa's terms in both directions (He et al. 2021, equation 4)."""
    tables: Literal["per_head", "shared"] = "per_head"
    """Whether each head has rows of its own for the relations."""
    biases: tuple[str, ...] = ()
    """Relations that add to the score a learned number for each label and head, as
    T5's buckets do (Raffel et al. 2020, section 2.1)."""
    slopes: Flag = False
    """Whether scores fall with the distance of positions, at a slope that is fixed for
    each head: ALiBi (Press et al. 2022, section 3)."""
    rotary: RotarySpec | None = None
    """Turns queries and keys by positions (Su et al. 2021); nothing turns none."""
    scale: Literal["width", "terms"] = "width"
    """What a score is divided by: the root of the width of a head, or that of the width
    times the number of terms in `score` and `sender_score`, as DeBERTa has it."""
    bias: Flag = False
    """Whether the projections have biases."""
    dropout: Probability | None = None
    """Dropout on the attention weights; nothing means the model's."""


def _form(value: object) -> str:
    return "(several)" if isinstance(value, list | tuple) else "(one)"


def _shortest(value: object) -> object:
    """Returns one attention as itself, so that it is written as it always was."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


AttentionsSpec: TypeAlias = Annotated[
    Annotated[AttentionSpec, Tag("(one)")]
    | Annotated[
        Annotated[tuple[AttentionSpec, ...], Field(min_length=1)], Tag("(several)")
    ],
    Discriminator(_form),
    AfterValidator(_shortest),
]
"""One attention, or several, one after the other."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class FeedForwardSpec:
    """Two dense layers with an activation between them, at each node."""

    width: Count
    """Number of channels between the two layers."""
    activation: NodeActivation = "relu"
    """The function between the two layers; `gelu` is its approximation by a tanh."""
    gated: Flag = False
    """Whether what it gives is multiplied by a third layer: with `silu`, SwiGLU."""
    bias: Flag = True
    """Whether the layers have biases."""


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG
    | ConfigDict(json_schema_extra={"examples": [{"feed_forward": {"width": 1}}]}),
)
class BlockSpec:
    """Attention, then a feed-forward layer or experts, each with a residual connection.

    A block updates the node set in which the edges of its attention end; a block
    without attention updates the node set that is read out. The layer of a decoder that
    also hears an encoder has two attentions, one after the other, over two edge sets.
    """

    repeat: Count = 1
    """Number of such blocks in a row, each with parameters of its own."""
    attention: AttentionsSpec | None = None
    """How nodes hear each other: one attention, or a list of several in a row."""
    feed_forward: FeedForwardSpec | None = None
    """What each node does alone."""
    experts: ExpertsSpec | None = None
    """What each node hears of a few experts out of many, in place of `feed_forward` or
    after it."""

    def __post_init__(self) -> None:
        if (self.attention, self.feed_forward, self.experts) == (None, None, None):
            raise ValueError(
                "must have `attention`, `feed_forward` or `experts`; got none of them. "
                "Give it one, or remove the block."
            )

    @property
    def attentions(self) -> tuple[AttentionSpec, ...]:
        """The attentions in order: none, one or several."""
        if self.attention is None:
            return ()
        one_or_more = self.attention
        return one_or_more if isinstance(one_or_more, tuple) else (one_or_more,)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ModelSpec:
    """A model: its graph, the blocks in order, and what is read out."""

    nodes: Annotated[
        Named[NodeSpec], Field(min_length=1, json_schema_extra={"minProperties": 1})
    ]
    """The node sets."""
    edges: Named[EdgeSetSpec]
    """The edge sets."""
    blocks: Annotated[tuple[BlockSpec, ...], Field(min_length=1)]
    """The blocks, first to last."""
    normalization: Literal["pre", "post"] = "pre"
    """Whether features are normalised before each part of a block, or after the
    residual sum."""
    norm: NormSpec = Field(
        default=MeanNormSpec(), json_schema_extra={"default": "layer"}
    )
    """How they are normalised."""
    dropout: Probability = 0.0
    """Dropout on embeddings, on the outputs of the parts, and on attention weights."""
    read_out: ReadOutSpec
    """What is read out."""

    @model_validator(mode="after")
    def _works(self, info: ValidationInfo) -> Self:
        checks.refuse(checks.model_claims(self), info)
        return self
