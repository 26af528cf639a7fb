"""Subsets drawn for many nodes at once, from random numbers that are counted.

Random numbers are the raw output of Philox under the key (seed, step): a function of
these two alone, the same on every machine and in every version of NumPy.

Shapes: M nodes, k places, at most k drawn for each node.
"""

from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]
_FRACTION_BITS = 53  # Of a float64.


def counted(seed: int, step: int, *, stream: int = 0) -> np.random.Philox:
    """Returns the source of random bits of a step; streams are independent."""
    return np.random.Philox(
        key=np.array([seed, step], np.uint64),
        counter=np.array([0, 0, 0, stream], np.uint64),
    )


def subsets(bits: np.random.Philox, sizes: _Array, most: int) -> tuple[_Array, _Array]:
    """Draws, for each node, min(`most`, size) of the numbers 0 to size - 1.

    Without replacement, and all subsets are equally likely. Floyd's algorithm, one step
    for all nodes at once: in step j, of k, with n = size - k + j, draw t from 0 to n; take
    t, or n if t was taken before. Memory is M x k, however large the sizes are.

    Args:
      bits: the source; it moves on.
      sizes: [M] numbers to draw from.
      most: k.

    Returns:
      The numbers [M, k], and which of them count [M, k]: of a node with at most k numbers,
      the first are all its numbers, in order.

    >>> taken, is_real = subsets(counted(0, 0), np.array([2, 100]), 3)
    >>> taken[is_real][:2], is_real.sum(axis=1)
    (array([0, 1]), array([2, 3]))

    Reference: J. Bentley and R. Floyd, Programming Pearls: A Sample of Brilliance,
    Communications of the ACM 30 (9), 1987.
    """
    places = np.arange(most)
    taken = np.tile(places, (len(sizes), 1))  # [M, k]
    is_real = places < sizes[:, None]
    large = np.flatnonzero(sizes > most)
    if large.size:
        taken[large] = _floyd(bits, sizes[large].astype(np.int64), most)
    return taken, is_real


def _floyd(bits: np.random.Philox, sizes: _Array, most: int) -> _Array:
    taken = np.empty(
        (most, len(sizes)), np.int64
    )  # A place a row, which is contiguous.
    for place in range(most):
        last = sizes - most + place
        drawn = _below(bits, last + 1)
        is_taken = (taken[:place] == drawn).any(axis=0)
        taken[place] = np.where(is_taken, last, drawn)
    return taken.T


def _below(bits: np.random.Philox, bounds: _Array) -> _Array:
    """Returns a number from 0 to bound - 1 for each bound, uniform to one part in 2^53."""
    raw = bits.random_raw(len(bounds)) >> np.uint64(64 - _FRACTION_BITS)
    return (raw * 2.0**-_FRACTION_BITS * bounds).astype(np.int64)
