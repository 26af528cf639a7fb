"""Noise on edges: drawn from a hash of both ends, so that no order of evaluation matters."""

from typing import Any

import jax
import jax.numpy as jnp

from relational.aggregators import edge_bits

_STREAM = 0x68E31DA4  # Dropout of the same key draws other bits.


def gumbel(seed: jax.Array, lead: jax.Array, receiver: Any, sender: Any) -> jax.Array:
    """Returns standard Gumbel noise, -log(-log U), for each edge.

    The sender with the largest sum of score and noise is one drawn with the
    probabilities of the scores' softmax (Maddison et al. 2014, section 2).

    Args:
      seed, lead, receiver, sender: as for `edge_bits`.
    """
    bits = edge_bits(seed ^ jnp.uint32(_STREAM), lead, receiver, sender)
    # 1 - U, which is as uniform: small numbers, which make large noise, keep all bits.
    rest = (bits.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-32)
    rest = jnp.minimum(rest, jnp.float32(1 - 2.0**-24))
    return -jnp.log(-jnp.log1p(-rest))
