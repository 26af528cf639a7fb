"""Products with a sparse matrix whose entries are numbers of edges.

    spread:   out_i = sum over the edges e = (j -> i) of w_e x_j
    compare:  out_e = a_i . b_j,  e = (j -> i)

Both for all graphs (heads, say) that share the edges: numbers of an edge lie together.

The derivatives of each are products of the other kind, so that a layer on a graph stores
no array of edges x features, forward or backward.

Shapes: E edges, G graphs, R receivers, S senders, D features.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import batching, mlir

_TOGETHER = 16  # Features of a node that are read in one loop over the edges.
_COLUMNS = (
    8  # A multiple of the kernel's step over features: 8 in float32, 4 in float64.
)


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
      weights: [E, G], by receiver.
      values: [S, G, D], of the type of the weights.

    Returns:
      [R, G, D].
    """
    weights, values = weights.T, jnp.moveaxis(values, 1, 0)
    heard = [
        _product.bind(weights[at], matrix.senders, matrix.starts, values[at])
        for at in range(len(weights))
    ]
    return jnp.stack(heard, axis=1)


@jax.custom_vjp
def compare(matrix: Matrix, at_receivers: jax.Array, at_senders: jax.Array) -> Any:
    """Returns the dot of both ends of every edge.

    Numbers are gathered, not rows: XLA fuses all gathers of a sum into one loop over
    graphs and edges, on all cores, and a column of nodes fits a cache.

    Args:
      matrix: where there are edges.
      at_receivers: [R, G, D].
      at_senders: [S, G, D].

    Returns:
      [E, G], by receiver.
    """
    heard, said = (jnp.moveaxis(end, 0, 2) for end in (at_receivers, at_senders))
    total: Any = 0
    for first in range(0, heard.shape[1], _TOGETHER):
        part: Any = 0
        for column in range(first, min(first + _TOGETHER, heard.shape[1])):
            there = _each_at(heard[:, column], matrix.receivers)
            part = part + there * _each_at(said[:, column], matrix.senders)
        total = total + part
    return _stored(total, at_receivers, at_senders).T


def _stored(sums: Any, *given: Any) -> Any:
    """Returns the sums of edges, which XLA then computes once and keeps.

    Without it XLA copies the last additions into each loop that reads them. Gathers it
    does not copy, and so none of them is fused: each stores an array of its own, and
    that takes ten times as long. A barrier is gone by then; a loop is not. This one
    never turns: no number times 0 is above 0, nor is NaN.

    Args:
      sums: what is to be stored.
      *given: arrays that are not computed from the sums, such as those that the sums
        are computed from; the loop is gone where all are constants, but not before.
    """
    turns = sum(jnp.any(each[:1] * 0 > 0).astype(jnp.int32) for each in given)
    return jax.lax.fori_loop(0, turns, lambda _, held: held + held, sums)


def _at(numbers: Any, places: Any) -> Any:
    return numbers.at[places].get(mode="promise_in_bounds")


def _each_at(numbers: Any, places: Any) -> Any:
    """Returns the numbers at given places of each graph: of [G, N], [G, P]."""
    return numbers.at[:, places].get(mode="promise_in_bounds")


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


# A primitive, since one program must say what a product is on every platform, in a batch
# and when it is exported: the kernel is the CPU's, knows no batches, and JAX vouches for
# no exported call of it.
_product = core.Primitive("relational_sparse_product")


def _by_kernel(weights: Any, senders: Any, starts: Any, values: Any) -> Any:
    from jax.experimental import sparse  # Slow to import, and seldom needed.

    shape, columns = (starts.shape[0] - 1, values.shape[0]), values.shape[1]
    # The kernel takes other numbers of columns one by one, in four times the time.
    padded = jnp.pad(values, ((0, 0), (0, -columns % _COLUMNS)))
    return (sparse.BCSR((weights, senders, starts), shape=shape) @ padded)[:, :columns]


def _by_segment(weights: Any, senders: Any, starts: Any, values: Any) -> Any:
    count = starts.shape[0] - 1
    receivers = jnp.repeat(
        jnp.arange(count, dtype=senders.dtype),
        jnp.diff(starts),
        total_repeat_length=senders.shape[0],
    )
    said = weights[:, None] * jnp.take(values, senders, axis=0, mode="clip")
    return jax.ops.segment_sum(said, receivers, count, indices_are_sorted=True)


def _on_cpu(context: Any, *operands: Any) -> Any:
    is_exported = context.module_context.lowering_parameters.for_export
    form = _by_segment if is_exported else _by_kernel
    return mlir.lower_fun(form, multiple_results=False)(context, *operands)


def _in_batch(operands: Any, axes: Any) -> tuple[Any, int]:
    weights, senders, starts, values = operands
    assert axes[1] is axes[2] is None  # The edges are known, and one list.
    if axes[0] is None:  # One matrix times many is one product of more columns.
        values = jnp.moveaxis(values, axes[3], 1)  # [S, batch, D]
        flat = values.reshape(len(values), -1)
        found = _product.bind(weights, senders, starts, flat)
        return found.reshape(len(found), *values.shape[1:]), 1

    def one(pair: tuple[Any, Any]) -> Any:
        own = values if pair[1] is None else pair[1]
        return _product.bind(pair[0], senders, starts, own)

    moved = None if axes[3] is None else jnp.moveaxis(values, axes[3], 0)
    return jax.lax.map(one, (jnp.moveaxis(weights, axes[0], 0), moved)), 0


def _made(weights: Any, senders: Any, starts: Any, values: Any) -> Any:
    del weights, senders
    return values.update(shape=(starts.shape[0] - 1, values.shape[1]))


_product.def_abstract_eval(_made)
_product.def_impl(jax.jit(_product.bind))
batching.primitive_batchers[_product] = _in_batch
mlir.register_lowering(_product, _on_cpu, platform="cpu")
mlir.register_lowering(_product, mlir.lower_fun(_by_segment, multiple_results=False))
