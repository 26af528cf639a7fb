"""The spec: model, data and training in one value."""

from typing import Annotated, Self, TypeAlias

from pydantic import Field, ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from relational.specs import checks
from relational.specs.data import DataSpec
from relational.specs.fields import CONFIG, Name
from relational.specs.kinds import ByField
from relational.specs.model import ModelSpec
from relational.specs.network import EncodeProcessDecodeSpec, StackSpec
from relational.specs.training import TrainingSpec

AnyModelSpec: TypeAlias = Annotated[
    ModelSpec | StackSpec | EncodeProcessDecodeSpec,
    ByField(
        {"blocks": ModelSpec, "layers": StackSpec, "process": EncodeProcessDecodeSpec}
    ),
]
"""A model of tokens, or a graph network."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Spec:
    """A model, the data it learns from and how it is trained."""

    name: Name
    """What the spec is called."""
    source: Annotated[str, Field(max_length=2000)] | None = None
    """The paper it comes from, and what differs."""
    model: AnyModelSpec
    """The model."""
    data: DataSpec
    """The data."""
    training: TrainingSpec
    """The training."""

    @model_validator(mode="after")
    def _works(self, info: ValidationInfo) -> Self:
        checks.refuse(checks.data_claims(self), info)
        return self
