"""Differences of attributes, spread over a tile by products instead of gathers.

The label of a pair is a difference of two integers, one of each end, of which only M
values have rows. Modulo M each of them is met once, so a receiver's values by label are a
rotation of its values by the sender's residue; and to pick the sender's residue is a
product with a matrix of zeros and ones. A gather of R x S numbers takes ten times as
long, and its transpose, a scatter, longer still.

Shapes: R receivers, S senders, M labels.
"""

import jax
import jax.numpy as jnp

from relational.relations import Span


def spread(
    value: jax.Array, receiver: jax.Array, sender: jax.Array, span: Span
) -> jax.Array:
    """Returns out[r, s] = value[r, label(sender[s] - receiver[r])].

    Args:
      value: [R, M + 1], by label; the last is what is said beyond the rows.
      receiver: [R] integers, the attribute of each receiver.
      sender: [S] integers.
      span: which differences have rows; beyond, the nearest row or zero.
    """
    count = span.num_labels
    residue = jnp.arange(count, dtype=jnp.int32)
    label = (residue[None] - receiver[:, None] - span.low) % count
    rotated = jnp.take_along_axis(value[:, :-1], label, axis=1)
    chosen = (sender[:, None] % count == residue[None]).astype(value.dtype)  # [S, M]
    found = jnp.einsum("rm,sm->rs", rotated, chosen, precision="highest")
    difference = sender[None] - receiver[:, None]
    below = above = value[:, -1:]
    if span.is_clipped:
        below, above = value[:, :1], value[:, -2:-1]
    found = jnp.where(difference < span.low, below, found)
    return jnp.where(difference > span.high, above, found)


def gather(
    weight: jax.Array, receiver: jax.Array, sender: jax.Array, span: Span
) -> jax.Array:
    """Adds up weights [R, S] by label: the transpose of `spread`, [R, M + 1]."""
    labels = span.num_labels + 1
    example = jax.ShapeDtypeStruct((weight.shape[0], labels), weight.dtype)
    transpose = jax.linear_transpose(
        lambda value: spread(value, receiver, sender, span), example
    )
    by_label: jax.Array
    (by_label,) = transpose(weight)
    return by_label
