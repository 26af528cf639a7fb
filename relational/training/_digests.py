"""Two digests of a tree of arrays: of its structure, and of its bits.

The first tells another model from a damaged file, the second finds damage that the
file format itself lets through (a flipped bit in uncompressed numbers).
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt32


def structure(tree: Any) -> str:
    """Returns a digest of the paths, shapes and dtypes of the leaves of `tree`."""
    lines = [
        f"{jax.tree_util.keystr(path)} {tuple(leaf.shape)} {leaf.dtype}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@jax.jit
def bit_sum(tree: Any) -> UInt32[Array, ""]:
    """Returns the sum over all words w_i of (2 i + 1) w_i, modulo 2^32.

    An odd factor has an inverse modulo 2^32, so no change of a single word goes
    unseen, and two words that changed places are found as well. It is one pass over
    the memory, on the device.
    """
    total = jnp.zeros((), jnp.uint32)
    for index, leaf in enumerate(jax.tree.leaves(tree)):
        words = _words(leaf)
        factors = 2 * jax.lax.iota(jnp.uint32, words.size) + 1
        total = total + jnp.uint32(2 * index + 1) * jnp.sum(words * factors)
    return total


def _words(leaf: Array) -> UInt32[Array, " n"]:
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag])
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    word = jnp.dtype(f"uint{min(8 * leaf.dtype.itemsize, 32)}")
    # Flat, since a product and sum at a high rank is a trap of some CPU compilers.
    return (
        jax.lax.bitcast_convert_type(leaf.reshape(-1), word)
        .reshape(-1)
        .astype(jnp.uint32)
    )
