"""Products as a CPU likes them, and as a GPU does.

In the backward pass of [B, S] x [S, K], the gradient of the right operand is a product
whose left operand, the large matrix of weights, lies transposed; CPU kernels take two
to three times as long over it as over the transposed gradient, [K, B] x [B, S]. JAX's
rule for the derivative of a product knows only the first form, so that it is changed
afterwards. The matrix units of a GPU, for their part, take two matrices of one type.

Shapes: B receivers of a tile, S senders, K features.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from relational.terms import accumulator


def upright(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function, with no large transposed left operand of a product.

    >>> import jax, jax.numpy as jnp
    >>> def gradient(weight, cotangent):
    ...     return weight.T @ cotangent
    >>> weight, cotangent = jnp.ones([3, 8]), jnp.ones([3, 2])
    >>> jnp.array_equal(upright(gradient)(weight, cotangent), 3 * jnp.ones([8, 2]))
    Array(True, dtype=bool)
    """
    return rewritten(function, _upright)


def matched(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function, with products as the matrix units of a GPU take them.

    Both operands are matrices of one type, the narrower, and sums are kept in float32;
    what is no product of two matrices becomes multiplication and a sum.

    >>> import jax.numpy as jnp
    >>> matched(jnp.dot)(jnp.arange(3.0), jnp.ones(3)).item()
    3.0
    """
    return rewritten(function, _matched)


def product(left: Any, right: Any, axes: tuple[int, int] = (1, 0)) -> Any:
    """Returns the product of two matrices, in the narrower of their types.

    Args:
      left, right: matrices.
      axes: the axis of each that is summed over, in float32 at least.

    >>> import jax.numpy as jnp
    >>> product(jnp.ones([2, 3]), jnp.ones([4, 3], jnp.bfloat16), (1, 1)).dtype
    dtype('float32')
    """
    narrow, wide = sorted((left.dtype, right.dtype), key=lambda each: each.itemsize)
    return jax.lax.dot_general(
        left.astype(narrow),
        right.astype(narrow),
        (((axes[0],), (axes[1],)), ((), ())),
        preferred_element_type=accumulator(wide),
    )


Rule = Callable[[core.JaxprEqn, list[Any]], Any]


def rewritten(function: Callable[..., Any], rule: Rule) -> Callable[..., Any]:
    """Returns the same function, its products evaluated by a rule.

    Args:
      function: of arrays and pytrees of them.
      rule: from a product's equation and its operands to its result, or None to leave
        it as it is.
    """

    def changed(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        leaves = jax.tree.leaves(args)
        results = _evaluate(closed.jaxpr, closed.consts, rule, *leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return changed


def _evaluate(jaxpr: core.Jaxpr, constants: Any, rule: Rule, *args: Any) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        is_product = equation.primitive is jax.lax.dot_general_p
        made = rule(equation, inputs) if is_product else None
        if made is not None:
            found = [made]
        elif equation.primitive.name == "jit":
            inner = equation.params["jaxpr"]
            found = _evaluate(inner.jaxpr, inner.consts, rule, *inputs)
        else:
            params = equation.primitive.get_bind_params(equation.params)
            bound = equation.primitive.bind(*inputs, **params)
            found = bound if equation.primitive.multiple_results else [bound]
        values |= zip(equation.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _upright(equation: core.JaxprEqn, inputs: list[Any]) -> Any:
    """Turns W^T [S, B] x [B, K], and its transpose."""
    dimensions = equation.params["dimension_numbers"]
    ranks = [jnp.ndim(each) for each in inputs]
    if dimensions != (((0,), (0,)), ((), ())) or ranks != [2, 2]:
        return None
    left, right = inputs
    return _turned(left, right, equation.params)


def _turned(left: Any, right: Any, params: dict[str, Any]) -> Any:
    """Returns left^T x right, with the smaller of the two as left operand."""
    params = params | {"dimension_numbers": (((1,), (0,)), ((), ()))}

    def product(small: Any, large: Any) -> Any:
        # Without the barriers XLA folds the transpositions into the product again.
        small = jax.lax.optimization_barrier(small.T)
        made = jax.lax.dot_general_p.bind(small, large, **params)
        return jax.lax.optimization_barrier(made)

    if left.shape[1] > right.shape[1]:
        return product(right, left).T
    return product(left, right)


def _matched(equation: core.JaxprEqn, inputs: list[Any]) -> Any:
    """Evaluates any product by one of two matrices, or by multiplication and a sum."""
    (contracting, batch) = equation.params["dimension_numbers"]
    dtype = equation.outvars[0].aval.dtype  # type: ignore[attr-defined]  # An array.
    left, right = inputs
    is_matrices = left.ndim == right.ndim == 2 and not batch[0]
    if is_matrices and len(contracting[0]) == 1:
        axes = contracting[0][0], contracting[1][0]
        return product(left, right, axes).astype(dtype)
    kept = accumulator(dtype)
    free = [
        [at for at in range(each.ndim) if at not in (*inner, *shared)]
        for each, inner, shared in zip((left, right), contracting, batch, strict=True)
    ]
    # Axes in order: batch, free of the left, free of the right, contracted.
    inner_count, batch_count = len(contracting[0]), len(batch[0])
    before = batch_count + len(free[0])
    left = left.astype(kept).transpose(*batch[0], *free[0], *contracting[0])
    right = right.astype(kept).transpose(*batch[1], *free[1], *contracting[1])
    left = jnp.expand_dims(left, range(before, before + len(free[1])))
    right = jnp.expand_dims(right, range(batch_count, before))
    summed = tuple(range(left.ndim - inner_count, left.ndim))
    return (left * right).sum(axis=summed).astype(dtype)
