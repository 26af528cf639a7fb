"""Diagonals of a tile: where a difference of positions is one label after another.

A tile of R x S edges between contiguous positions has W = R + S - 1 differences of
position, one a diagonal. Values along diagonals become a matrix by `skew`; weights of a
matrix add up along diagonals by `unskew`.

Shapes: R receivers, S senders, W diagonals, M labels that occur one beside the other.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def skew(value: jax.Array, num_senders: int) -> jax.Array:
    """Reads diagonals as a matrix: out[r, s] = value[r, s - r + R - 1].

    The Music Transformer's procedure (Huang et al. 2018, section 3.4.1) for a tile of
    any shape: rows of one element less shift every row by one against the last.

    Args:
      value: [R, W, ...] with W = R + S - 1.
      num_senders: S.

    Returns:
      [R, S, ...].
    """
    receivers, width, *features = value.shape
    if receivers == 1:
        return value
    flat = value.reshape(receivers * width, *features)[receivers - 1 :]
    flat = flat[: receivers * (width - 1)]
    return flat.reshape(receivers, width - 1, *features)[:, :num_senders]


def unskew(weight: jax.Array) -> jax.Array:
    """Adds up diagonals: the transpose of `skew`, [R, S] to [R, R + S - 1]."""
    receivers, senders = weight.shape
    if receivers == 1:
        return weight
    width = receivers + senders - 1
    padded = jnp.pad(weight, ((0, 0), (0, width - 1 - senders)))
    flat = jnp.pad(padded.reshape(-1), (receivers - 1, 1))
    return flat.reshape(receivers, width)


@dataclasses.dataclass(frozen=True)
class Diagonals:
    """How neighbouring labels lie along a tile's diagonals, known while tracing.

    Labels count up by one, between stretches that all have one label: that of the
    nearest row (differences that are clipped) or none (differences that have no row).

    Attributes:
      rows: the labels in the middle.
      before, after: how many diagonals lie on each side.
      repeats: whether the two sides repeat the nearest label; otherwise they are zero.
    """

    rows: slice
    before: int
    after: int
    repeats: tuple[bool, bool]

    @classmethod
    def of(cls, labels: Any, count: int | None) -> "Diagonals | None":
        """Returns the stretches of labels [W]; None if they are not like that."""
        inside = np.flatnonzero(labels != count)
        if not inside.size:
            return None
        first, last = int(inside[0]), int(inside[-1])
        while first < last and labels[first + 1] == labels[first]:
            first += 1
        while first < last and labels[last - 1] == labels[last]:
            last -= 1
        middle = labels[first : last + 1]
        sides = labels[:first], labels[last + 1 :]
        ends = middle[0], middle[-1]
        repeats = tuple(
            bool((side == end).all()) for side, end in zip(sides, ends, strict=True)
        )
        zeros = tuple(bool((side == count).all()) for side in sides)
        if (np.diff(middle) != 1).any() or not all(
            a or b for a, b in zip(repeats, zeros, strict=True)
        ):
            return None
        rows = slice(int(middle[0]), int(middle[-1]) + 1)
        sizes = [side.size for side in sides]
        return cls(rows, sizes[0], sizes[1], (repeats[0], repeats[1]))

    def spread(self, value: jax.Array) -> jax.Array:
        """Returns [R, W, ...] from values of the middle labels [R, M, ...]."""

        def side(count: int, nearest: jax.Array, is_repeated: bool) -> jax.Array:
            nearest = nearest if is_repeated else jnp.zeros_like(nearest)
            return jnp.broadcast_to(nearest, (value.shape[0], count, *value.shape[2:]))

        before = side(self.before, value[:, :1], self.repeats[0])
        after = side(self.after, value[:, -1:], self.repeats[1])
        return jnp.concatenate([before, value, after], axis=1)

    def gather(self, weight: jax.Array) -> jax.Array:
        """Adds up weights [R, W] by label: the transpose of `spread`, [R, M]."""
        stop = weight.shape[1] - self.after
        middle = weight[:, self.before : stop]
        if self.repeats[0] and self.before:
            middle = middle.at[:, 0].add(weight[:, : self.before].sum(axis=1))
        if self.repeats[1] and self.after:
            middle = middle.at[:, -1].add(weight[:, stop:].sum(axis=1))
        return middle
