"""Attention on graphs as data: how much a node hears of each neighbour is computed."""

from typing import Literal

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Flag, Name, Probability
from relational.specs.updates import MLPSpec


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GraphAttentionSpec:
    """Graph attention: GAT (Veličković et al. 2018), GATv2 (Brody et al. 2022)."""

    heads: Count
    """Number of heads."""
    width: Count
    """Number of channels of a head."""
    kind: Literal["gat", "gatv2"] = "gat"
    """The paper whose score it is."""
    join: Literal["concatenated", "mean"] = "concatenated"
    """Heads side by side, or their mean."""
    self_edges: Flag = True
    """Whether each node hears itself as well."""
    reads_edges: Flag = False
    """Whether scores read the features of edges."""
    shares_weights: Flag = False
    """Whether receivers and senders share a matrix, in `gatv2`; in `gat` they do."""
    dropout: Probability = 0.0
    """Dropout on the attention weights."""

    def __post_init__(self) -> None:
        if self.shares_weights and self.kind == "gat":
            raise ValueError(
                "`shares_weights` must be left out, since `kind` is `gat`, which has one "
                "matrix; got true. `gatv2` has two."
            )


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class EdgeAttentionSpec:
    """Attention whose keys and values read the edges (Shi et al. 2021)."""

    heads: Count
    """Number of heads."""
    width: Count
    """Number of channels of a head."""
    reads_edges: Flag = True
    """Whether the features of edges are read."""
    biases: tuple[Name, ...] = ()
    """Relations of the `over` around it that bias the score, a number a label and head
    (Ying et al. 2021, equation 6)."""
    dropout: Probability = 0.0
    """Dropout on the attention weights."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class GraphTransformerSpec:
    """Attention, then a feed-forward layer (Dwivedi and Bresson 2021)."""

    heads: Count
    """Number of heads, which divides the width of the nodes."""
    feed_forward: Count
    """Number of channels between the two dense layers."""
    reads_edges: Flag = False
    """Whether attention reads the features of edges."""
    biases: tuple[Name, ...] = ()
    """Relations of the `over` around it that bias the score, a number a label and head
    (Ying et al. 2021, equation 6)."""
    order: Literal["pre", "post"] = "pre"
    """Layer normalisation before each part, or after the residual sum."""
    activation: Literal["relu", "gelu", "silu"] = "gelu"
    """The function between the two dense layers."""
    dropout: Probability = 0.0
    """Dropout on the attention weights and on what is added."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class NonLocalSpec:
    """A non-local block (Wang et al. 2018)."""

    kind: Literal["gaussian", "embedded", "dot", "concatenation"] = "embedded"
    """How much two nodes have to do with each other."""
    width: Count | None = None
    """Channels of the embeddings; nothing means half of the node's."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class VAINSpec:
    """Nodes hear those that are near in a learned space (Hoshen 2017)."""

    attend: MLPSpec
    """Of a node, to its place in that space."""
    say: MLPSpec
    """Of a node, to what it says."""
    nodes: MLPSpec
    """Of a node, from what it heard and itself."""
