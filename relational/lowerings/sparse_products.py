"""Products with a sparse matrix whose entries are numbers of edges.

    spread:   out_i = sum over the edges e = (j -> i) of w_e x_j
    compare:  out_e = a_i . b_j,  e = (j -> i)

The derivatives of each are products of the other kind, so that a layer on a graph stores
no array of edges x features, forward or backward.

Shapes: E edges, R receivers, S senders, D features.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

_TOGETHER = 16  # Features of a node that are read in one loop over the edges.


class Matrix(NamedTuple):
    """Where a sparse matrix of receivers x senders has entries; all integers.

    Attributes:
      receivers, senders: [E], by receiver.
      starts: [R + 1], where the entries of each receiver begin.
      turned_receivers, turned_senders, turned_starts: the same by sender, [S + 1].
      turn: [E], of each entry by sender its place by receiver.
      unturn: [E], of each entry by receiver its place by sender.
    """

    receivers: Any
    senders: Any
    starts: Any
    turned_receivers: Any
    turned_senders: Any
    turned_starts: Any
    turn: Any
    unturn: Any

    @property
    def T(self) -> "Matrix":
        """The transposed matrix."""
        return Matrix(
            receivers=self.turned_senders,
            senders=self.turned_receivers,
            starts=self.turned_starts,
            turned_receivers=self.senders,
            turned_senders=self.receivers,
            turned_starts=self.starts,
            turn=self.unturn,
            unturn=self.turn,
        )

    @classmethod
    def of(
        cls, senders: Any, receivers: Any, *, num_receivers: int, num_senders: int
    ) -> "Matrix":
        """Returns the matrix of a list of edges that is sorted by receiver.

        >>> ends = np.array([1, 0, 1]), np.array([0, 0, 2])
        >>> matrix = Matrix.of(*ends, num_receivers=3, num_senders=2)
        >>> matrix.starts.tolist(), matrix.turn.tolist()
        ([0, 2, 2, 3], [1, 0, 2])
        """
        turn = np.argsort(senders, kind="stable")
        unturn = np.empty_like(turn)
        unturn[turn] = np.arange(turn.size)

        def starts(ends: Any, count: int) -> Any:
            return np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=count))])

        arrays = (
            receivers,
            senders,
            starts(receivers, num_receivers),
            receivers[turn],
            senders[turn],
            starts(senders, num_senders),
            turn,
            unturn,
        )
        return cls(*(np.asarray(array, np.int32) for array in arrays))


@jax.custom_vjp
def spread(matrix: Matrix, weights: jax.Array, values: jax.Array) -> jax.Array:
    """Returns what receivers hear, the values of their senders times weights.

    Args:
      matrix: where there are edges.
      weights: [E], by receiver.
      values: [S, D], of the type of the weights.

    Returns:
      [R, D].
    """
    return jnp.asarray(_product(weights, matrix.senders, matrix.starts, values))


@jax.custom_vjp
def compare(matrix: Matrix, at_receivers: jax.Array, at_senders: jax.Array) -> Any:
    """Returns the dot of both ends of every edge.

    Numbers are gathered, not rows: XLA fuses all gathers of a sum into one loop over
    the edges, on all cores, and a column of nodes fits a cache.

    Args:
      matrix: where there are edges.
      at_receivers: [R, D].
      at_senders: [S, D].

    Returns:
      [E], by receiver.
    """
    heard, said = at_receivers.T, at_senders.T
    total: Any = 0
    for at in range(0, len(heard), _TOGETHER):
        part: Any = 0
        for column in range(at, min(at + _TOGETHER, len(heard))):
            there = _at(heard[column], matrix.receivers)
            part = part + there * _at(said[column], matrix.senders)
        total = total + part
    return total


def _at(column: Any, nodes: Any) -> Any:
    return column.at[nodes].get(mode="promise_in_bounds")


@jax.custom_batching.sequential_vmap  # type: ignore[untyped-decorator]  # JAX's.
def _product(weights: Any, senders: Any, starts: Any, values: Any) -> Any:
    """Returns [R, D], by the CPU's own kernel, which knows no batches."""
    shape = starts.shape[0] - 1, values.shape[0]
    return sparse.BCSR((weights, senders, starts), shape=shape) @ values


def _spread_forward(matrix: Matrix, weights: Any, values: Any) -> Any:
    return spread(matrix, weights, values), (matrix, weights, values)


def _spread_backward(residuals: Any, cotangent: Any) -> Any:
    matrix, weights, values = jax.lax.optimization_barrier(residuals)
    of_values = spread(matrix.T, _at(weights, matrix.turn), cotangent)
    return None, compare(matrix, cotangent, values), of_values


def _compare_forward(matrix: Matrix, at_receivers: Any, at_senders: Any) -> Any:
    held = matrix, at_receivers, at_senders
    return compare(*held), held


def _compare_backward(residuals: Any, cotangent: Any) -> Any:
    matrix, at_receivers, at_senders = jax.lax.optimization_barrier(residuals)
    of_receivers = spread(matrix, cotangent, at_senders)
    of_senders = spread(matrix.T, _at(cotangent, matrix.turn), at_receivers)
    return None, of_receivers, of_senders


spread.defvjp(_spread_forward, _spread_backward)
compare.defvjp(_compare_forward, _compare_backward)
