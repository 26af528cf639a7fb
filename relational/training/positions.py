"""The place of a checkpoint in its run: all that is not an array of the state."""

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from relational.training.evaluation import Evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands after a step, as small values that JSON can hold."""

    step: int
    """Steps taken."""

    batches: Any
    """Place in the training data, as their `get_state` gave it."""

    fingerprint: str
    """Fingerprint of the data."""

    unlogged: dict[str, float]
    """Sums over the steps since the last row of the metrics (`metrics.added`)."""

    validation: Evaluation | None
    """The last evaluation."""

    evaluated_step: int | None
    """Step of the last evaluation."""

    best_step: int | None
    """Step of the checkpoint with the lowest validation loss."""

    best_loss: float | None
    """Its validation loss."""

    best_measures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The highest that each measure has been, in any evaluation."""

    improved_step: int = 0
    """Step of the last evaluation in which the loss or a measure was as good as ever."""

    @classmethod
    def first(cls, *, batches: Any = None, fingerprint: str = "") -> Self:
        """Returns the position before the first step.

        Without a fingerprint, parameters are there and no data have been seen.
        """
        return cls(
            step=0,
            batches=batches,
            fingerprint=fingerprint,
            unlogged={},
            validation=None,
            evaluated_step=None,
            best_step=None,
            best_loss=None,
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the position as values that JSON can hold."""
        fields = dataclasses.asdict(self)
        return {**fields, "batches": _encoded(self.batches)}

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> Self:
        """Returns the position that `as_json` gave."""
        validation = fields["validation"]
        return cls(
            step=int(fields["step"]),
            batches=_decoded(fields["batches"]),
            fingerprint=fields["fingerprint"],
            unlogged=fields["unlogged"],
            validation=None if validation is None else Evaluation(**validation),
            evaluated_step=fields["evaluated_step"],
            best_step=fields["best_step"],
            best_loss=fields["best_loss"],
            best_measures=fields.get("best_measures", {}),
            improved_step=fields.get("improved_step", 0),
        )


def _encoded(state: Any) -> Any:
    """Returns `state` with bytes as {"base64": text} and NumPy numbers as Python's."""
    if isinstance(state, bytes):
        return {"base64": base64.b64encode(state).decode("ascii")}
    if isinstance(state, dict):
        return {name: _encoded(part) for name, part in state.items()}
    if isinstance(state, list | tuple):
        return [_encoded(part) for part in state]
    if isinstance(state, np.generic | np.ndarray):
        return state.tolist()
    return state


def _decoded(state: Any) -> Any:
    if isinstance(state, dict):
        if set(state) == {"base64"}:
            return base64.b64decode(state["base64"])
        return {name: _decoded(part) for name, part in state.items()}
    if isinstance(state, list):
        return [_decoded(part) for part in state]
    return state
