"""Which entries of a row are its largest, without sorting it.

Floats are ordered as the integers that their bits spell, once negative ones are turned
round. So the least entry that is kept is found bit by bit, from the highest down: each
bit is one sum over the row. Of equal entries the first are kept.

Shapes: B rows, V entries.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt


def is_of_largest(
    values: Float[Array, "B V"], count: Int[Array, ""]
) -> Bool[Array, "B V"]:
    """Says which entries are the `count` largest of their row.

    Args:
      values: of any floating type.
      count: from 1 to V.

    >>> is_of_largest(jnp.array([[1.0, 3.0, 2.0, 2.0]]), jnp.int32(2)).tolist()
    [[False, True, True, False]]
    """
    keys = _ordered(values)

    def is_reached(least: Array) -> Bool[Array, "B 1"]:
        return _total(keys >= least) >= count

    least = _largest(is_reached, keys)
    is_equal = keys == least
    room = count - _total(keys > least)  # For equal ones.
    return (keys > least) | (is_equal & (_place(is_equal) < room))


def is_of_nucleus(
    logits: Float[Array, "B V"], p: Float[Array, ""]
) -> Bool[Array, "B V"]:
    """Says which entries are of the fewest with a probability of `p` or more together.

    An entry is, if those before it, from the likeliest down, have less than `p`.

    Args:
      logits: of any floating type.
      p: above 0 and below 1.

    >>> is_of_nucleus(jnp.log(jnp.array([[0.2, 0.5, 0.3]])), jnp.float32(0.6)).tolist()
    [[False, True, True]]
    """
    keys, probability = _ordered(logits), jax.nn.softmax(logits)
    none = jnp.zeros((), probability.dtype)

    def mass(is_counted: Bool[Array, "B V"]) -> Float[Array, "B 1"]:
        return jnp.where(is_counted, probability, none).sum(axis=-1, keepdims=True)

    least = _largest(lambda tried: mass(keys >= tried) >= p, keys)
    is_equal = keys == least
    each = jnp.where(is_equal, probability, none).max(axis=-1, keepdims=True)
    before = mass(keys > least) + _place(is_equal).astype(each.dtype) * each
    is_first = is_equal & (_place(is_equal) == 0)
    return (keys > least) | is_first | (is_equal & (before < p))


def _ordered(values: Float[Array, "B V"]) -> UInt[Array, "B V"]:
    """Returns unsigned integers of the same size that are ordered as `values` are."""
    size = 8 * values.dtype.itemsize
    kind = jnp.dtype(f"uint{size}")
    zero = jnp.zeros((), values.dtype)
    bits = jax.lax.bitcast_convert_type(
        jnp.where(values == zero, zero, values),  # There are two zeros, and equal.
        kind,
    )
    sign = jnp.asarray(1 << (size - 1), kind)
    return jnp.where(bits >= sign, ~bits, bits | sign)


def _largest(
    holds: Callable[[UInt[Array, "B 1"]], Bool[Array, "B 1"]], keys: UInt[Array, "B V"]
) -> UInt[Array, "B 1"]:
    """Returns the largest integer of which a rule holds, for each row.

    Args:
      holds: of an integer only if of all below it; of 0, it need not.
      keys: for their type and their rows.
    """
    size = 8 * keys.dtype.itemsize

    def refine(index: Array, found: Array) -> Array:
        bit = jnp.asarray(1, keys.dtype) << (size - 1 - index).astype(keys.dtype)
        return jnp.where(holds(found | bit), found | bit, found)

    nothing = jnp.zeros((keys.shape[0], 1), keys.dtype)
    found: UInt[Array, "B 1"] = jax.lax.fori_loop(0, size, refine, nothing)
    return found


def _total(is_counted: Bool[Array, "B V"]) -> Int[Array, "B 1"]:
    return is_counted.sum(axis=-1, keepdims=True, dtype=jnp.int32)


def _place(is_counted: Bool[Array, "B V"]) -> Int[Array, "B V"]:
    """Returns how many are counted before each."""
    return jnp.cumsum(is_counted, axis=-1, dtype=jnp.int32) - is_counted.astype(
        jnp.int32
    )
