"""How many floating-point operations a jaxpr has."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend import core

_FREE = frozenset(  # They move numbers, or name them, and compute none.
    {
        "broadcast_in_dim",
        "concatenate",
        "convert_element_type",
        "copy",
        "dynamic_slice",
        "expand_dims",
        "gather",
        "iota",
        "optimization_barrier",
        "reshape",
        "slice",
        "squeeze",
        "stop_gradient",
        "transpose",
    }
)


def operations(jaxpr: core.Jaxpr) -> int:
    """Returns the floating-point operations of a jaxpr; moving data costs none.

    >>> import jax, jax.numpy as jnp
    >>> operations(jax.make_jaxpr(lambda x: jnp.tanh(x @ x.T))(jnp.ones((2, 3))).jaxpr)
    28
    """
    return sum(_operations(eqn) for eqn in jaxpr.eqns)


def _operations(eqn: core.JaxprEqn) -> int:
    inner = list(_inner(eqn.params))
    if inner:
        return sum(map(operations, inner)) * int(eqn.params.get("length", 1))
    name = eqn.primitive.name
    if name in _FREE:
        return 0
    outputs = sum(size(variable.aval) for variable in eqn.outvars)
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        shape: tuple[int, ...] = getattr(eqn.invars[0].aval, "shape", ())
        return 2 * outputs * math.prod(shape[axis] for axis in contracted)
    if name.startswith(("reduce_", "arg")):
        return sum(size(atom.aval) for atom in eqn.invars)
    return outputs


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """Yields the jaxpr that an equation calls; of a rule's several, the first."""
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            value = value.jaxpr
        if isinstance(value, core.Jaxpr):
            yield value
            return


def size(aval: Any) -> int:
    """Returns how many numbers a value has."""
    return math.prod(getattr(aval, "shape", ()))
