"""How likely given targets are: one parallel pass, however many tokens they have.

Shapes: B sources, with a target each.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from relational import specs
from relational.models import Model
from relational.models.translation import Translation, spec_of
from relational.training.tasks import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """How likely given targets are.

    >>> scored = Scored(log_probabilities=np.array([-6.0, -2.0]), tokens=np.array([3, 1]))
    >>> (-scored.log_probabilities / scored.tokens).tolist()  # Nats a token.
    [2.0, 2.0]
    """

    log_probabilities: Float[np.ndarray, " B"]
    """Of each target as a whole, its end included, in nats."""

    tokens: Int[np.ndarray, " B"]
    """How many tokens each target has, its end included."""


def score(model: Model, params: Any, batch: Batch) -> Scored:
    """Returns how likely the targets of a batch are, in one parallel pass.

    Args:
      model: as for `translate`.
      params: its parameters.
      batch: `source`, `target`, `source_length` and `target_length`; see `Translation`.

    >>> from relational import models, specs
    >>> small = [f"model.blocks[{i}].repeat=1" for i in (0, 1)]
    >>> spec = specs.override(specs.load("multi30k_absolute"), small)
    >>> model = models.build(spec.model)
    >>> pair = {"source": np.array([[7, 9, 1]]), "target": np.array([[8, 1]]),
    ...         "source_length": np.array([3]), "target_length": np.array([2])}
    >>> params = jax.jit(model.init)(
    ...     jax.random.key(0), Translation(spec.model).inputs(pair))
    >>> score(model, params, pair).tokens.tolist()
    [2]
    """
    named = {name: batch[name] for name in _PARTS}
    loss, weight = _scored(params, named, spec=spec_of(model))
    return Scored(
        log_probabilities=-np.asarray(loss), tokens=np.asarray(weight).astype(np.int64)
    )


_PARTS = ("source", "target", "source_length", "target_length")


@functools.partial(jax.jit, static_argnames="spec")
def _scored(params: Any, batch: Any, *, spec: specs.ModelSpec) -> tuple[Array, Array]:
    key = jax.random.key(0)  # Nothing is drawn outside training.
    found = Translation(spec).outcome(params, key, batch, is_training=False)
    return found.loss, found.weight
