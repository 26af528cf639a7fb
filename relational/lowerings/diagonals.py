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

    A term is evaluated on the middle rows and on the zero row, which stands last.

    Attributes:
      rows: the labels in the middle.
      before, after: how many diagonals lie on each side.
      repeats: whether the two sides repeat the nearest label; otherwise they have the
        zero row.
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

    def take(self, table: jax.Array) -> jax.Array:
        """Returns the middle rows of [L + 1, ...], and its last, the zero row."""
        return jnp.concatenate([table[self.rows], table[-1:]])

    def spread(self, value: jax.Array) -> jax.Array:
        """Returns [R, W, ...] from values of the rows taken, [R, M + 1, ...]."""

        def side(count: int, nearest: jax.Array, is_repeated: bool) -> jax.Array:
            found = nearest if is_repeated else value[:, -1:]
            return jnp.broadcast_to(found, (value.shape[0], count, *value.shape[2:]))

        before = side(self.before, value[:, :1], self.repeats[0])
        after = side(self.after, value[:, -2:-1], self.repeats[1])
        return jnp.concatenate([before, value[:, :-1], after], axis=1)

    def gather(self, weight: jax.Array) -> jax.Array:
        """Adds up weights [R, W] by row taken: the transpose of `spread`."""
        stop = weight.shape[1] - self.after
        sides = weight[:, : self.before], weight[:, stop:]
        middle = weight[:, self.before : stop]
        beyond = jnp.zeros((weight.shape[0], 1), weight.dtype)
        for side, at, is_repeated in zip(sides, (0, -1), self.repeats, strict=True):
            total = side.sum(axis=1)
            if is_repeated:
                middle = middle.at[:, at].add(total)
            else:
                beyond = beyond + total[:, None]
        return jnp.concatenate([middle, beyond], axis=1)
