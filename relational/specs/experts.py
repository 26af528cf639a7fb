"""Mixtures of experts as data: what a block has in place of, or after, feed-forward."""

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Amount, Count, Flag, Rate

_EXAMPLE = ConfigDict(
    json_schema_extra={"examples": [{"count": 8, "chosen": 2, "width": 1}]}
)


@dataclass(frozen=True, kw_only=True, config=CONFIG | _EXAMPLE)
class ExpertsSpec:
    """A mixture of experts: each node hears the few that its router chooses
    (Shazeer et al. 2017)."""

    count: Count
    """Number of experts."""
    chosen: Count
    """Number of experts that a node hears."""
    width: Count
    """Number of channels between the two layers of an expert."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """The function between the two layers."""
    gated: Flag = False
    """Whether what it gives is multiplied by a third layer: with `silu`, SwiGLU."""
    softmax: Literal["chosen", "all"] | None = None
    """What the weights of the chosen are the softmax over: the chosen (Mixtral), or all
    experts (Switch); nothing means `all` where one is chosen, else `chosen`."""
    noise: Flag = False
    """Whether the router's scores are noisy in training, by a learned amount (Shazeer et
    al. 2017, equation 4)."""
    capacity: Rate | None = None
    """How many nodes an expert takes in training, as a factor of its even share; those
    beyond are passed on as they are. Nothing means any number."""
    balance: Amount = 0.01
    """Factor of the loss that is least where experts are chosen alike (Fedus et al. 2022,
    equation 4)."""
    importance: Amount = 0.0
    """Factor of the squared variation of the experts' weights (Shazeer et al. 2017,
    equation 7)."""
    router_z: Amount = 0.0
    """Factor of the loss that keeps the router's scores small (Zoph et al. 2022,
    equation 5)."""

    def __post_init__(self) -> None:
        if self.chosen > self.count:
            raise ValueError(
                f"must have `chosen` of at most `count`, {self.count}; got {self.chosen}. "
                "A node cannot hear more experts than there are."
            )
        if self.softmax == "chosen" and self.chosen == 1 < self.count:
            raise ValueError(
                "must have `softmax: all` where one expert is chosen, whose weight would "
                "else be 1 whatever the router says; got `chosen`."
            )
