"""Normalisation of the features of each node, with a learned scale.

Shapes: *lead leading axes, N nodes, D width.
"""

import dataclasses
from typing import Any, Literal

import haiku as hk
import jax

from relational._checks import shown
from relational.terms import accumulator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm:
    """How the features of a node are normalised.

    layer: y = (x - mean(x)) / sqrt(var(x) + epsilon) * scale + offset (Ba et al. 2016,
    "Layer normalization"); rms: y = x / sqrt(mean(x^2) + epsilon) * scale (Zhang and
    Sennrich 2019, "Root mean square layer normalization", equation 4), with no offset.

    Attributes:
      kind: "layer" or "rms".
      epsilon: added to what the root is taken of.

    >>> import haiku as hk, jax, jax.numpy as jnp
    >>> from relational.blocks import Norm
    >>> block = hk.transform(lambda x: Norm(kind="rms")(x, "norm"))
    >>> x = jnp.array([[1.0, 7.0]])
    >>> params = block.init(jax.random.key(0), x)
    >>> block.apply(params, None, x).round(3).tolist()
    [[0.2, 1.4]]
    """

    kind: Literal["layer", "rms"] = "layer"
    epsilon: float = 1e-6  # Tensor2Tensor, layer_norm_compute.

    def __post_init__(self) -> None:
        if self.kind not in ("layer", "rms"):
            raise ValueError(
                f"`Norm.kind` must be 'layer' or 'rms'; got {shown(self.kind)}."
            )
        if not self.epsilon > 0:
            raise ValueError(
                f"`Norm.epsilon` must be above 0; got {shown(self.epsilon)}. It keeps "
                "the root from 0."
            )

    def __call__(self, x: jax.Array, name: str) -> jax.Array:
        """Returns features [*lead, N, D] normalised; `name` is that of the parameters.

        Short floats are widened first: sums over rows, which the gradients of scale and
        offset are, take XLA far longer in bfloat16.
        """
        wide = accumulator(x.dtype)

        def widened(following: Any, value: Any, context: Any) -> Any:
            del context  # All parameters are widened alike.
            return following(value).astype(wide)

        layer: Any
        if self.kind == "rms":
            layer = hk.RMSNorm(-1, eps=self.epsilon, name=name)
        else:
            layer = hk.LayerNorm(-1, True, True, eps=self.epsilon, name=name)
        with hk.custom_getter(widened):
            result: jax.Array = layer(x.astype(wide))
        return result.astype(x.dtype)


def norm(x: jax.Array, name: str) -> jax.Array:
    """Returns x normalised over its last axis, with a learned scale and offset."""
    return Norm()(x, name)
