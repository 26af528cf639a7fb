"""From one sequence of tokens to another: an encoder-decoder's inputs, and its loss.

Nothing here is a model: which node set is read, which one is written, follows from the
spec, and how they hear each other is said by its edge sets.

Shapes: B batch, S source tokens, T target tokens, V vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from relational import specs
from relational.models.edge_sets import LENGTH, Inputs, given_labels
from relational.models.graph_model import Model, known_model
from relational.models.surprise import surprise
from relational.training.tasks import Batch, Measure, Outcome, Params

START = 0
"""The token before the first: the id of padding, as Tensor2Tensor has it; the read-out of
a spec may say another."""

END = 1
"""The token that ends every sequence, unless the read-out says another."""


@dataclasses.dataclass(frozen=True)
class Ends:
    """The node sets of a spec that reads one sequence and writes another.

    What is written begins after the token `start`, and ends with `end`.
    """

    source: str
    target: str
    start: int = START
    end: int = END


def ends_of(spec: specs.ModelSpec) -> Ends:
    """Returns which node set is read and which is written: the one that is read out.

    Raises:
      ValueError: if there are not two node sets.

    >>> from relational import specs
    >>> ends_of(specs.load("demo").model)
    Traceback (most recent call last):
    ...
    ValueError: model.nodes: must be two, a source and a target; got `token`.
    """
    target = spec.read_out.node
    others = [name for name in spec.nodes if name != target]
    if len(others) != 1:
        came = ", ".join(f"`{name}`" for name in spec.nodes)
        raise ValueError(
            f"model.nodes: must be two, a source and a target; got {came}."
        )
    how = spec.read_out
    return Ends(source=others[0], target=target, start=how.start, end=how.end)


def spec_of(model: Model) -> specs.ModelSpec:
    """Returns the spec of a model.

    Raises:
      ValueError: if it was made by hand.
    """
    if model.spec is None:
        raise ValueError(
            "`model` must know its `spec`, which says what is source and what target; "
            "got one made by hand. `models.build` makes one of a spec."
        )
    return model.spec


@dataclasses.dataclass(frozen=True)
class Translation:
    """Predicts each token of a target from the source and the target's tokens before it.

    A batch has `source` [B, S] and `target` [B, T], which end with token 1 (or the `end`
    of the read-out) and are padded with 0, and `source_length` and `target_length` [B],
    which count that end. A row of length 0 only fills the batch up, and weighs nothing.
    Labels that the data give come under the names of their relations.

    Attributes:
      spec: the model, with two node sets; the one that is read out is the target.
      label_smoothing: of the loss in training; see `surprise`.
    """

    spec: specs.ModelSpec
    label_smoothing: float = 0.0

    @property
    def model(self) -> Model:
        """The model's pure functions."""
        return known_model(self.spec)

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Returns float32 parameters, which depend on no size of the batch."""
        return jax.jit(self.model.init)(key, self.inputs(batch))

    def inputs(self, batch: Mapping[str, Any]) -> Inputs:
        """Returns what nodes are given: those of the target, the token before theirs."""
        ends = ends_of(self.spec)
        target = jnp.asarray(batch["target"])
        before = jnp.pad(target, ((0, 0), (1, 0)), constant_values=ends.start)[:, :-1]
        return {
            **given_labels(self.spec, batch),
            ends.source: {
                "token": jnp.asarray(batch["source"]),
                LENGTH: jnp.asarray(batch["source_length"]),
            },
            ends.target: {"token": before, LENGTH: jnp.asarray(batch["target_length"])},
        }

    def outcome(
        self, params: Params, key: jax.Array, batch: Batch, *, is_training: bool
    ) -> Outcome:
        """Returns the summed surprise of each target, and its number of tokens.

        The measure `accuracy` is the share of tokens that are the likeliest, given the
        true ones before them. It says nothing of a translation that the model makes
        by itself.
        """
        inputs = self.inputs(batch)
        logits, aside = self.model.with_auxiliary(
            params, key, inputs, is_training=is_training
        )
        target = jnp.asarray(batch["target"])
        smoothing = self.label_smoothing if is_training else 0.0
        weight = counted(batch).astype(jnp.float32)
        nats = surprise(logits, target, smoothing)
        is_right = jnp.argmax(logits, axis=-1).astype(target.dtype) == target
        size = weight.sum(axis=-1)
        return Outcome(
            loss=jnp.where(weight > 0, nats, 0).sum(axis=-1),
            weight=size,
            auxiliary=aside.losses,
            noted=aside.noted,
            measures={
                "accuracy": Measure(
                    total=jnp.where(is_right, weight, 0).sum(axis=-1), size=size
                )
            },
        )


def counted(batch: Mapping[str, Any]) -> Bool[Array, "B T"]:
    """Returns which tokens of the targets are no padding."""
    target: Int[Array, "B T"] = jnp.asarray(batch["target"])
    length = jnp.asarray(batch["target_length"])[:, None]
    return jnp.arange(target.shape[1], dtype=length.dtype)[None] < length
