"""Updates as data: what a block of a graph network makes of what it reads."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Flag

Activation: TypeAlias = Literal[
    "relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"
]
"""A function of one number."""

AggregatorName: TypeAlias = Literal["sum", "mean", "max", "min", "std"]
"""How a node, or a graph, hears what is said to it."""

HearingName: TypeAlias = Literal["sum", "mean", "max", "min", "std", "softmax"]
"""How a node hears edges that may have scores, which `softmax` needs."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MLPSpec:
    """Dense layers, one after the other, on all that is read side by side."""

    widths: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Number of channels after each layer."""
    activation: Activation = "relu"
    """The function after each layer."""
    activates_last: Flag = True
    """Whether it also follows the last layer."""
    norm: Literal["layer"] | None = None
    """Layer normalisation of the result; nothing means none."""
