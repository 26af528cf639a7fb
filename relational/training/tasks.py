"""What the training loop asks of a model and of its data: two small protocols.

A task is a model together with its loss; it knows nothing of optimisers, files or
steps. The data are batches of arrays, in an order that can be saved and taken up
again. Whatever meets the two protocols can be trained, evaluated and resumed.

Shapes: B examples in a batch.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

Params = Any  # Any pytree of arrays; Haiku makes a dict of dicts.
Batch = Mapping[str, Shaped[np.ndarray, "B ..."]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """A share or a mean, such as an accuracy: a sum over so much, in each example."""

    total: Float[Array, "B *parts"]
    """What is added up."""

    size: Shaped[Array, "B *parts"]
    """What the sum is divided by, added up as well."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """What a task calls what is counted, where people read it."""

    loss: str = "nats/token"
    """The unit of the loss."""

    counted: str = "tokens"
    """What the weights of an outcome count."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a model made of a batch: how surprised it was, over how many tokens.

    The objective of a batch is `sum(loss) / sum(weight) + sum(auxiliary)`.
    """

    loss: Float[Array, "B *parts"]
    """Nats of each example, summed over its counted tokens, in float32. An example that
    has parts of its own, as a batch of graphs has, may give those of each part."""

    weight: Shaped[Array, "B *parts"]
    """Counted tokens of each example; an example of weight 0 must have loss 0."""

    auxiliary: Mapping[str, Float[Array, ""]] = dataclasses.field(default_factory=dict)
    """Terms added to the objective, each a mean over the counted tokens."""

    noted: Mapping[str, Float[Array, ""]] = dataclasses.field(default_factory=dict)
    """What the metrics of a training tell and nothing depends on, each a mean over the
    counted tokens."""

    measures: Mapping[str, Measure] = dataclasses.field(default_factory=dict)
    """What else an evaluation is told, by name, of each the more the better; of a training
    it can change when `patience` ends."""


class Task(Protocol):
    """A model with its loss, as two pure functions.

    A task is hashable (a frozen dataclass, or an object compared by identity):
    compiled steps are kept under it, so equal tasks are compiled once.

    It may have `words`, of `Words`, if what it counts are no tokens, and a function
    `judged`, from an evaluation to what a split is judged by, a text for each name.
    """

    def init(self, key: PRNGKeyArray, batch: Batch) -> Params:
        """Returns float32 parameters; only shapes and dtypes of `batch` are read."""

    def outcome(
        self, params: Params, key: PRNGKeyArray, batch: Batch, *, is_training: bool
    ) -> Outcome:
        """Returns loss and weight of each example.

        `params` arrive in the precision of the computation (float32 or bfloat16);
        floating arrays of `batch` arrive as they are.
        """


class Batches(Protocol):
    """An endless walk over the training data whose place can be kept.

    grain's `DatasetIterator` is one.
    """

    def __next__(self) -> Batch:
        """Returns the next batch: of one shape, or of a few, since each is compiled.

        The batches of one step (`accumulate`) are of one shape.
        """

    def get_state(self) -> Any:
        """Returns the place in the walk: bytes, or what JSON can hold."""

    def set_state(self, state: Any) -> None:
        """Goes to a place that `get_state` gave, maybe in an earlier process."""


class Data(Protocol):
    """A data set as the loop reads it.

    It may have `kept`, a mapping from names of files to their content, which is put into
    the folder of a run: what is needed to use a trained model without the data, such as
    the vocabulary that its tokens are numbered by.
    """

    @property
    def fingerprint(self) -> str:
        """A short text that changes when the data change, such as a digest."""

    def training(self, seed: int) -> Batches:
        """Returns a walk from its beginning; equal seeds give equal walks."""

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every example of a split once, always in the same order.

        Examples may have a few shapes, as sentences of different lengths do; of each,
        only the last batch may have fewer than the first. An integer array
        `piece` of shape [B], where given, names the independent unit of each example
        (several windows may come from one piece); the task never sees it.
        """
