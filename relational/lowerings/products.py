"""Products as a CPU likes them.

In the backward pass of [B, S] x [S, K], the gradient of the right operand is a product
whose left operand, the large matrix of weights, lies transposed; CPU kernels take two
to three times as long over it as over the transposed gradient, [K, B] x [B, S]. JAX's
rule for the derivative of a product knows only the first form, so that it is changed
afterwards.

Shapes: B receivers of a tile, S senders, K features.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def upright(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the same function, with no large transposed left operand of a product.

    >>> import jax, jax.numpy as jnp
    >>> def gradient(weight, cotangent):
    ...     return weight.T @ cotangent
    >>> weight, cotangent = jnp.ones([3, 8]), jnp.ones([3, 2])
    >>> jnp.array_equal(upright(gradient)(weight, cotangent), 3 * jnp.ones([8, 2]))
    Array(True, dtype=bool)
    """

    def changed(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _evaluate(closed.jaxpr, closed.consts, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return changed


def _evaluate(jaxpr: core.Jaxpr, constants: Any, *args: Any) -> list[Any]:
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= zip(jaxpr.invars, args, strict=True)

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if _is_transposed(equation):
            left, right = inputs
            found = [_turned(left, right, equation.params)]
        elif equation.primitive.name == "jit":
            inner = equation.params["jaxpr"]
            found = _evaluate(inner.jaxpr, inner.consts, *inputs)
        else:
            params = equation.primitive.get_bind_params(equation.params)
            bound = equation.primitive.bind(*inputs, **params)
            found = bound if equation.primitive.multiple_results else [bound]
        values |= zip(equation.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _is_transposed(equation: core.JaxprEqn) -> bool:
    """Returns whether this is W^T [S, B] x [B, K], or its transpose."""
    if equation.primitive is not jax.lax.dot_general_p:
        return False
    dimensions = equation.params["dimension_numbers"]
    ranks = [len(atom.aval.shape) for atom in equation.invars]  # type: ignore[attr-defined]  # Arrays.
    return dimensions == (((0,), (0,)), ((), ())) and ranks == [2, 2]


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
