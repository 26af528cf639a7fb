"""A dense layer whose products of short floats are summed, and returned, in float32.

The kernels of CPUs for products of bfloat16 give float32; asked for bfloat16, XLA widens
both operands instead, and takes twice the time. They also want the left operand upright:
in the gradient of the weights it is the input, which is therefore transposed first.

Shapes: N rows, I inputs, O outputs.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from relational._checks import check_count
from relational.terms import accumulator


class Linear(hk.Module):
    """x W + b, as `hk.Linear`, with the same parameters.

    Args:
      output_size: O.
      with_bias: whether b is added.
      w_init: how W begins; by default as `hk.Linear` has it.

    >>> import haiku as hk, jax, jax.numpy as jnp
    >>> from relational.blocks import Linear
    >>> layer = hk.transform(lambda x: Linear(3)(x))
    >>> params = layer.init(jax.random.key(0), jnp.ones([2, 4]))
    >>> short = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    >>> layer.apply(short, None, jnp.ones([2, 4], jnp.bfloat16)).dtype
    dtype(bfloat16)
    """

    def __init__(
        self,
        output_size: int,
        with_bias: bool = True,
        w_init: hk.initializers.Initializer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("output_size", output_size, least=1, advice="It counts channels.")
        self.output_size = output_size
        self.with_bias = with_bias
        self.w_init = w_init

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, O] for rows [N, I]."""
        init = self.w_init or hk.initializers.TruncatedNormal(x.shape[-1] ** -0.5)
        shape = (x.shape[-1], self.output_size)
        weights = hk.get_parameter("w", shape, x.dtype, init)
        product = _dense if x.dtype.itemsize < 4 else jnp.dot
        out: jax.Array = product(x, weights)
        if not self.with_bias:
            return out
        offset = hk.get_parameter("b", (self.output_size,), x.dtype, jnp.zeros)
        wide = accumulator(x.dtype)
        # Its gradient is a sum of all rows, which XLA takes in float32 far faster.
        added = out.astype(wide) + offset.astype(wide)[None]
        return added.astype(x.dtype)


@jax.custom_vjp
def _dense(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns x W in the type of x."""
    return _product(x, weights, (1, 0)).astype(x.dtype)


def _forward(
    x: jax.Array, weights: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _dense(x, weights), (x, weights)


def _backward(
    saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weights = saved
    of_x = _product(cotangent, weights, (1, 1)).astype(x.dtype)
    return of_x, _product(_upright(x), cotangent, (1, 0)).astype(weights.dtype)


_dense.defvjp(_forward, _backward)


def with_rows(x: jax.Array, table: jax.Array) -> jax.Array:
    """Returns the products of rows with those of a table, [N, V] in float32 at least.

    Args:
      x: [N, D].
      table: [V, D].

    >>> import jax.numpy as jnp
    >>> with_rows(jnp.ones([2, 4], jnp.bfloat16), jnp.ones([3, 4], jnp.bfloat16)).dtype
    dtype('float32')
    """
    if x.dtype.itemsize < 4:
        return _with_rows(x, table)
    product: jax.Array = jnp.dot(x, table.T, preferred_element_type=jnp.float32)
    return product


@jax.custom_vjp
def _with_rows(x: jax.Array, table: jax.Array) -> jax.Array:
    return _product(x, table, (1, 1))


def _rows_forward(
    x: jax.Array, table: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _with_rows(x, table), (x, table)


def _rows_backward(
    saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, table = saved
    short = cotangent.astype(x.dtype)
    of_x = _product(short, table, (1, 0)).astype(x.dtype)
    # The smaller of the two is transposed, and then the gradient.
    turned = _product(_upright(x), short, (1, 0)).astype(table.dtype)
    return of_x, _upright(turned)


_with_rows.defvjp(_rows_forward, _rows_backward)


def _product(left: jax.Array, right: jax.Array, axes: tuple[int, int]) -> jax.Array:
    contracted = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(
        left, right, contracted, preferred_element_type=jnp.float32
    )


def _upright(x: jax.Array) -> jax.Array:
    """Returns the transpose; on a CPU written out: flat, it has one order of numbers."""
    if jax.default_backend() != "cpu":
        return x.T
    flat = jax.lax.optimization_barrier(x.T.reshape(-1))
    return flat.reshape(x.shape[1], x.shape[0])
