"""The training as data: how long, with which optimiser and schedule, and what is kept."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from relational.specs import checks
from relational.specs.fields import CONFIG, Amount, Count, Name, Probability, Rate
from relational.specs.kinds import Kinds
from relational.specs.schedule import ConstantSpec, ScheduleSpec


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AdamSpec:
    """Adam (Kingma and Ba 2015), with the constants of Vaswani et al. (2017, sec. 5.3)."""

    b1: Probability = 0.9
    """Decay of the mean of gradients."""
    b2: Probability = 0.98
    """Decay of the mean of squared gradients."""
    eps: Rate = 1e-9
    """Added to the root of the second mean."""
    l2: Amount = 0.0
    """Added to the gradients: so much of the matrices, as the graph papers have it."""
    l2_within: Name | None = None
    """The layer to whose matrices that is done, by its name and its place among the
    layers, such as `graph_convolution_1`; nothing means all."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AdamWSpec:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    b1: Probability = 0.9
    """Decay of the mean of gradients."""
    b2: Probability = 0.98
    """Decay of the mean of squared gradients."""
    eps: Rate = 1e-9
    """Added to the root of the second mean."""
    weight_decay: Amount = 0.01
    """Share of the weights, times the rate, that a step takes away."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class MuonSpec:
    """Muon (Jordan et al. 2024) for the matrices of dense layers, Adam for all else.

    Muon's updates have the root mean square of Adam's, 0.2 of the rate, as Liu et al.
    (2025, "Muon is Scalable for LLM Training", equation 4) propose, so that one rate
    serves both.
    """

    beta: Probability = 0.95
    """Muon's decay of the mean of gradients."""
    weight_decay: Amount = 0.01
    """Share of the matrices, times the rate, that a step takes away."""
    b1: Probability = 0.9
    """Adam's decay of the mean of gradients."""
    b2: Probability = 0.98
    """Adam's decay of the mean of squared gradients."""
    eps: Rate = 1e-9
    """Added to the root of Adam's second mean."""


OPTIMIZERS: dict[str, type] = {
    "adam": AdamSpec,
    "adamw": AdamWSpec,
    "muon": MuonSpec,
}
"""The names of optimisers in files."""

OptimizerSpec: TypeAlias = Annotated[AdamSpec | AdamWSpec | MuonSpec, Kinds(OPTIMIZERS)]
"""An optimiser."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TrainingSpec:
    """A training run."""

    steps: Count
    """Number of steps of the optimiser."""
    batch_size: Count
    """Number of examples in a batch."""
    accumulate: Count = 1
    """Number of batches whose gradients are averaged for one step."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0
    """What all randomness of the run is drawn from."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters are float32."""
    label_smoothing: Probability = 0.0
    """Probability that the loss of training takes from the true token and gives to all
    others alike (Vaswani et al. 2017, sec. 5.4)."""
    optimizer: OptimizerSpec = Field(
        default=AdamSpec(), json_schema_extra={"default": "adam"}
    )
    """The optimiser."""
    schedule: ScheduleSpec = Field(
        default=ConstantSpec(), json_schema_extra={"default": "constant"}
    )
    """The rate, step by step."""
    clip_norm: Rate | None = 1.0
    """The largest norm of a gradient, longer ones are shortened; nothing means any."""
    log_every: Count = 50
    """Steps from one line of metrics to the next."""
    evaluate_every: Count = 500
    """Steps from one evaluation on the validation pieces to the next."""
    patience: Count | None = None
    """Steps after which the training ends if neither the validation loss nor a measure,
    such as accuracy, was as good as ever in them; nothing means never."""
    checkpoint_every: Count = 500
    """Steps from one checkpoint to the next."""
    keep: Count = 3
    """Number of checkpoints kept, besides the best."""

    @model_validator(mode="after")
    def _works(self, info: ValidationInfo) -> Self:
        checks.refuse(checks.training_claims(self), info)
        return self
