"""What each node does alone: two dense layers with an activation between them."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import haiku as hk
import jax

import relational as rl
from relational._checks import check_count, shown
from relational.blocks.linear import Linear

Activation = Literal["relu", "gelu", "gelu_exact", "silu"]
"""What stands between two dense layers."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "gelu_exact": functools.partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
}


class FeedForward(hk.Module):
    """Two dense layers a node (Vaswani et al. 2017, equation 2).

    y = f(x W + b) U + c with an activation f; gated, f(x W + b) is multiplied by x V + d
    (Shazeer 2020, "GLU Variants Improve Transformer", equation 6, there without biases:
    with SiLU that is SwiGLU, with GELU GEGLU).

    Args:
      width: channels between the layers.
      activation: the function between them. `gelu` is its approximation by a tanh
        (Hendrycks and Gimpel 2016, section 2), `gelu_exact` x times the normal
        distribution's share below x.
      is_gated: whether what it gives is multiplied by a third dense layer of x.
      with_bias: whether the layers have biases.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import FeedForward
    >>> graph = rl.Graph(nodes={"word": jnp.ones([7, 16])})
    >>> block = hk.transform(lambda graph: FeedForward(width=64)(graph, "word"))
    >>> params = block.init(jax.random.key(0), graph)
    >>> block.apply(params, None, graph).nodes["word"].shape
    (7, 16)
    """

    def __init__(
        self,
        *,
        width: int,
        activation: Activation = "relu",
        is_gated: bool = False,
        with_bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"`activation` must be one of {', '.join(map(repr, ACTIVATIONS))}; got "
                f"{shown(activation)}."
            )
        self.width = width
        self.activation = activation
        self.is_gated = is_gated
        self.with_bias = with_bias

    def __call__(self, graph: rl.Graph, node_set: str) -> rl.Graph:
        """Returns the graph with other features of `node_set`, [*lead, N, D]."""
        x = graph.features(node_set)
        init = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
        flat: Any = x.reshape(-1, x.shape[-1])  # One product of two matrices.

        def dense(width: int, name: str) -> Linear:
            return Linear(width, self.with_bias, w_init=init, name=name)

        hidden = ACTIVATIONS[self.activation](dense(self.width, "hidden")(flat))
        if self.is_gated:
            hidden = hidden * dense(self.width, "gate")(flat)
        out = dense(x.shape[-1], "output")(hidden)
        return graph.with_features(node_set, out.reshape(x.shape))
