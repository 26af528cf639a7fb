"""What is read out, as data: logits of tokens at each node of a set."""

from pydantic.dataclasses import dataclass

from relational.specs.activations import NodeActivation
from relational.specs.fields import CONFIG, Flag, Reach


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class HiddenSpec:
    """A dense layer as wide as the node, an activation, and a norm
    (Devlin et al. 2019, the authors' code for masked tokens)."""

    activation: NodeActivation = "gelu_exact"
    """The function between the layer and the norm."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ReadOutSpec:
    """The distribution of a token at each node of a set: the next, or one that is hidden."""

    node: str
    """The node set."""
    tied: Flag = True
    """Whether the embedding of the tokens is also the matrix of the read-out."""
    scaled: Flag = False
    """Whether features are divided by the square root of their width before it
    (Raffel et al. 2020, the authors' code)."""
    bias: Flag | None = None
    """Whether each token has a learned number that is added to its logit; nothing means
    with a matrix of its own, and not with a tied one."""
    hidden: HiddenSpec | None = None
    """What stands between the last block and the matrix; nothing means nothing."""
    start: Reach = 0
    """The token before the first, where a sequence is put into another one."""
    end: Reach = 1
    """The token that ends such a sequence."""
