"""Dense layers of nodes, within the scope of the block that calls.

Shapes: *lead leading axes of the graph, N nodes, D width.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from relational.blocks import parts


def glorot() -> hk.initializers.Initializer:
    """Returns how weights begin: Glorot and Bengio 2010, equation 16."""
    return hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")


def dense(value: jax.Array, width: int, name: str, with_bias: bool) -> jax.Array:
    """Returns a dense layer of [*lead, N, D]: [*lead, N, width]."""
    layer = hk.Linear(width, with_bias=with_bias, w_init=glorot(), name=name)
    return parts.by_rows(layer, value)


def with_bias(value: jax.Array) -> jax.Array:
    """Adds a learned offset to features [..., D]."""
    offset = hk.get_parameter("b", value.shape[-1:], value.dtype, jnp.zeros)
    return value + jnp.broadcast_to(offset, value.shape)
