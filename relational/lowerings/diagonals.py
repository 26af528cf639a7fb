"""Diagonals of a tile: where a difference of positions is one label after another.

A tile of R x S edges between contiguous positions has R + S - 1 differences of
position, one a diagonal. Values along diagonals become a matrix by `skew`; weights of a
matrix add up along diagonals by `unskew`. Diagonals that nobody hears, as those after
the last of a causal tile, need no values: V > S columns are enough for `skew`.

Shapes: R receivers, S senders, V diagonals that are given, M labels that occur one
beside the other.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def skew(value: jax.Array, num_senders: int) -> jax.Array:
    """Reads diagonals as a matrix: out[r, s] = value[r, s - r + R - 1].

    The Music Transformer's procedure (Huang et al. 2018, section 3.4.1) for a tile of
    any shape: rows of one element less shift every row by one against the last. What
    lies beyond the last diagonal given reads some other row, and nobody may hear it.

    Args:
      value: [R, V, ...], the first V diagonals, V > S (for one receiver V >= S).
      num_senders: S.

    Returns:
      [R, S, ...].
    """
    receivers, width, *features = value.shape
    if receivers == 1:
        return value[:, :num_senders]
    flat = value.reshape(receivers * width, *features)
    # Splits, not slices, and a barrier: the gradient is then one copy of memory, where
    # that of a slice asks of each number whether it lies in the padding.
    flat = jax.lax.optimization_barrier(flat)
    _, kept, _ = jax.lax.split(flat, (receivers - 1, receivers * (width - 1), 1))
    rows = kept.reshape(receivers, width - 1, *features)
    if width - 1 == num_senders:
        return rows
    return jax.lax.split(rows, (num_senders, width - 1 - num_senders), axis=1)[0]


def unskew(weight: jax.Array, width: int) -> jax.Array:
    """Adds up diagonals: the transpose of `skew`, [R, S] to [R, V].

    Weights beyond the last diagonal must be zero.
    """
    receivers, senders = weight.shape
    if receivers == 1:
        return jnp.pad(weight, ((0, 0), (0, width - senders)))
    padded = jnp.pad(weight, ((0, 0), (0, width - 1 - senders)))
    zeros = [jnp.zeros(count, weight.dtype) for count in (receivers - 1, 1)]
    flat = jnp.concatenate([zeros[0], padded.reshape(-1), zeros[1]])
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
    def of(cls, labels: Any, count: int | None, least: int) -> "Diagonals | None":
        """Returns the stretches of labels; None if they are not like that.

        Args:
          labels: of the diagonals that somebody hears.
          count: the label without a row.
          least: how many columns there must be, if only as a filling.
        """
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
        repeats = [
            bool(side.size and (side == end).all())
            for side, end in zip(sides, ends, strict=True)
        ]
        zeros = [bool((side == count).all()) for side in sides]
        if (np.diff(middle) != 1).any() or not all(
            a or b for a, b in zip(repeats, zeros, strict=True)
        ):
            return None
        rows = slice(int(middle[0]), int(middle[-1]) + 1)
        filling = max(0, least - labels.size)
        return cls(rows, first, sides[1].size + filling, (repeats[0], repeats[1]))

    @property
    def width(self) -> int:
        """V."""
        return self.before + self.rows.stop - self.rows.start + self.after

    def take(self, table: jax.Array) -> jax.Array:
        """Returns the middle rows of [L + 1, ...], and its last, the zero row."""
        return jnp.concatenate([table[self.rows], table[-1:]])

    def spread(self, value: jax.Array) -> jax.Array:
        """Returns [R, V, ...] from values of the rows taken, [R, M + 1, ...]."""

        def side(count: int, nearest: jax.Array) -> jax.Array:
            return jnp.broadcast_to(nearest, (value.shape[0], count, *value.shape[2:]))

        before, after = self.repeats
        zero, after_count = value[:, -1:], self.after
        parts = [side(self.before, value[:, :1] if before else zero)]
        if after_count and not after:
            parts += [value, side(after_count - 1, zero)]  # It ends in one zero row.
        else:
            parts += [value[:, :-1], side(after_count, value[:, -2:-1])]
        return jnp.concatenate([part for part in parts if part.shape[1]], axis=1)

    def gather(self, weight: jax.Array) -> jax.Array:
        """Adds up weights [R, V] by row taken: the transpose of `spread`."""
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
