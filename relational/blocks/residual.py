"""Residual connections and layer normalisation, in both orders.

Post: y = norm(x + drop(f(x))), as printed in Vaswani et al. 2017, section 5.4. Pre: y =
x + drop(f(norm(x))), as later practice has it; the stack then needs one more norm at its
end.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational._checks import shown
from relational.aggregators import keep_scale
from relational.terms import accumulator

_EPSILON = 1e-6  # Tensor2Tensor, layer_norm_compute.


@dataclasses.dataclass(frozen=True)
class Residual:
    """Wraps parts of a block.

    Attributes:
      order: "pre" or "post".
      node_set: the set whose features are updated.
      dropout_rate: on the part's output; 0 outside training.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import Residual
    >>> graph = rl.Graph(nodes={"word": jnp.array([[1.0, 3.0]])})
    >>> def twice(graph):  # The part hears normalised features; its result is added.
    ...     wrap = Residual("pre", "word")
    ...     return wrap(graph, lambda inner: (inner, None), "norm")[0].nodes["word"]
    >>> block = hk.transform(twice)
    >>> params = block.init(jax.random.key(0), graph)
    >>> block.apply(params, None, graph).round(3).tolist()
    [[0.0, 4.0]]
    """

    order: Literal["pre", "post"]
    node_set: str
    dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.order not in ("pre", "post"):
            raise ValueError(
                f"`Residual.order` must be 'pre' or 'post'; got {shown(self.order)}."
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(
                "`Residual.dropout_rate` must be from 0 to below 1; got "
                f"{shown(self.dropout_rate)}. 0 drops nothing."
            )

    def __call__(
        self,
        graph: rl.Graph,
        part: Callable[[rl.Graph], tuple[rl.Graph, Any]],
        name: str,
    ) -> tuple[rl.Graph, Any]:
        """Returns the graph after `part`, and whatever else the part returns.

        Args:
          graph: features [*lead, N, D].
          part: a graph in, a graph and something else (a cache) out.
          name: of the norm's parameters.
        """
        x = graph.features(self.node_set)
        if self.order == "pre":
            inner, extra = part(graph.with_features(self.node_set, norm(x, name)))
            y = x + self._drop(inner.features(self.node_set))
        else:
            inner, extra = part(graph)
            y = norm(x + self._drop(inner.features(self.node_set)), name)
        return graph.with_features(self.node_set, y), extra

    def _drop(self, x: jax.Array) -> jax.Array:
        return dropout(x, self.dropout_rate)


def norm(x: jax.Array, name: str) -> jax.Array:
    """Returns x normalised over its last axis, with a learned scale and offset.

    Short floats are widened first: sums over rows, which the gradients of scale and
    offset are, take XLA far longer in bfloat16.
    """
    wide = accumulator(x.dtype)

    def widened(following: Any, value: Any, context: Any) -> Any:
        del context  # Both parameters are widened alike.
        return following(value).astype(wide)

    layer = hk.LayerNorm(-1, True, True, eps=_EPSILON, name=name)
    with hk.custom_getter(widened):
        result: jax.Array = layer(x.astype(wide))
    return result.astype(x.dtype)


def dropout(x: jax.Array, rate: float) -> jax.Array:
    """Returns x with entries dropped and the others scaled; itself at rate 0.

    The choice is the counter hash of `rl.Dropout`: threefry bits for every entry took
    as long as the dense layers beside it.
    """
    if not rate:
        return x
    seed = jax.random.key_data(hk.next_rng_key()).reshape(-1)[-2:]
    flat = x.reshape(-1, x.shape[-1])
    rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in flat.shape)
    scale = keep_scale(rate, seed, jnp.uint32(0), rows[:, None], columns[None])
    return (flat * scale.astype(x.dtype)).reshape(x.shape)
