"""Terms: what one edge says, and what that depends on.

A term is a function of one edge whose argument names are its dependences: `receiver`,
`sender`, `edge`, `context`, or the name of a relation. It is traced once, on the shapes
of one edge; the arrays that it closes over become operands, so that gradients and
`vmap` reach them; and arguments that it never reads do not count.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from relational._checks import shown

END_NAMES = ("receiver", "sender", "edge", "context")


class Record(Mapping[str, Any]):
    """A dict whose entries read as attributes: `receiver.query`."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = {name: as_record(value) for name, value in entries.items()}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._entries[name]
        except KeyError:
            names = ", ".join(self._entries) or "nothing"
            raise AttributeError(f"no `{name}` here; there are: {names}.") from None

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def as_record(value: Any) -> Any:
    """Returns dicts as records; anything else as itself."""
    return Record(value) if isinstance(value, Mapping) else value


def dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """The product of two vectors, or of a vector and a matrix, summed in float32.

    Whatever comes in, products are accumulated in float32 at least, and the result
    has that type: a sum of bfloat16 products in bfloat16 loses the small ones.

    Args:
      x: [D], or [C, D].
      y: [D], or [D, F].

    >>> import jax.numpy as jnp
    >>> dot(jnp.ones(4, jnp.bfloat16), jnp.ones(4, jnp.bfloat16))
    Array(4., dtype=float32)
    """
    kept = accumulator(jnp.result_type(x, y))
    return jnp.dot(x, y, preferred_element_type=kept)


def accumulator(dtype: Any) -> Any:
    """Returns the type in which sums of `dtype` are kept: float32 or wider.

    >>> accumulator("bfloat16")
    dtype('float32')
    """
    is_wide = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits > 32
    return jnp.dtype(dtype if is_wide else jnp.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """A traced term.

    Attributes:
      reads: one (site, index of the leaf there) an input of the jaxpr.
      depends: the sites read; `context` does not count, it is free.
      kind: what the jaxpr can be shown to be: "leaf", "dot", "constant", "general".
      label: how the term was written, for `explain`.
    """

    jaxpr: core.Jaxpr
    reads: tuple[tuple[str, int], ...]
    shape: tuple[int, ...]
    dtype: Any
    kind: str
    label: str

    @property
    def depends(self) -> frozenset[str]:
        return frozenset(site for site, _ in self.reads) - {"context"}

    @property
    def num_read(self) -> int:
        """How many numbers the term reads an edge."""
        return sum(math.prod(getattr(v.aval, "shape", ())) for v in self.inputs)

    @property
    def inputs(self) -> list[core.Var]:
        """The variables of the jaxpr that `reads` tells of, in its order."""
        variables = list(self.jaxpr.invars)
        return variables[len(variables) - len(self.reads) :]

    @property
    def held(self) -> list[core.Var]:
        """The variables of the arrays that the term closes over."""
        # Newer JAX counts them among the inputs, in front of the others.
        count = len(self.jaxpr.invars) - len(self.reads)
        return [*self.jaxpr.constvars, *self.jaxpr.invars[:count]]

    def over(
        self,
        constants: list[Any],
        leaves: Mapping[str, list[Any]],
        *axes: frozenset[str],
    ) -> jax.Array:
        """Evaluates the term over arrays of edges.

        Args:
          constants: the arrays that the term closes over.
          leaves: for each site, its leaves, with the mapped axes in front.
          *axes: for each mapped axis, outermost first, the sites that have it.

        Returns:
          [*axes, *shape].
        """
        operands = [leaves[site][index] for site, index in self.reads]

        def call(*values: Any) -> Any:
            return jax.core.eval_jaxpr(self.jaxpr, constants, *values)[0]

        for sites in reversed(axes):
            mapped = tuple(0 if site in sites else None for site, _ in self.reads)
            call = jax.vmap(call, in_axes=mapped)
        return call(*operands)


def trace(
    function: Callable[..., Any], examples: Mapping[str, Any], role: str
) -> tuple[Term, list[Any]]:
    """Traces a term on the shapes of one edge.

    Args:
      function: the term.
      examples: for each site a pytree of `jax.ShapeDtypeStruct`.
      role: "score" or "message", for errors.

    Returns:
      The term, and the arrays that it closes over.

    Raises:
      ValueError: if an argument name is unknown, or the result is not one array (for
        a score: one number).
    """
    names = _names(function, role)
    unknown = [name for name in names if name not in examples]
    if unknown:
        raise ValueError(
            f"a {role} term's arguments must be among {', '.join(examples)}; got "
            f"`{unknown[0]}`. Arguments are named after what the term depends on: the "
            "ends of the edge that have arrays here, and the relations."
        )
    flat = {name: jax.tree.flatten(examples[name]) for name in names}
    sites = [(name, at) for name in names for at in range(len(flat[name][0]))]

    def call(*values: Any) -> Any:
        taken = iter(values)
        arguments = {}
        for name, (leaves, treedef) in flat.items():
            tree = jax.tree.unflatten(treedef, [next(taken) for _ in leaves])
            arguments[name] = as_record(tree)
        return function(**arguments)

    returned = []

    def checked(*values: Any) -> Any:
        result = call(*values)
        returned.append(True)
        _check_result(result, role)
        return result

    inputs = [leaf for name in names for leaf in flat[name][0]]
    label = f"{getattr(function, '__name__', 'term')}({', '.join(names)})"
    try:
        closed, result = jax.make_jaxpr(checked, return_shape=True)(*inputs)
    except Exception as error:
        if not returned:  # It came of the term itself.
            error.add_note(
                f"This came of the {role} term `{label}`, which is traced on the shapes "
                f"of one edge: {_seen(names, examples)}."
            )
        raise
    jaxpr, constants = closed.jaxpr, list(closed.consts)
    used = _used(jaxpr)
    keep = [at for at, variable in enumerate(jaxpr.invars) if variable in used]
    pruned = core.Jaxpr(
        jaxpr.constvars,
        [jaxpr.invars[at] for at in keep],
        jaxpr.outvars,
        jaxpr.eqns,
        jaxpr.effects,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    term = Term(
        jaxpr=pruned,
        reads=tuple(sites[at] for at in keep),
        shape=tuple(result.shape),
        dtype=result.dtype,
        kind=_kind(pruned) if keep else "constant",
        label=label,
    )
    return term, constants


def _names(function: Any, role: str) -> list[str]:
    """Returns the names of a term's arguments."""
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        raise TypeError(
            f"a {role} term must be a function with named arguments, such as `lambda "
            f"sender: sender`; got {shown(function)}."
        ) from None


def _seen(names: list[str], examples: Mapping[str, Any]) -> str:
    """Returns what a term is given, for errors: `sender.key` is float32[8]."""
    parts = []
    for name in names:
        for path, leaf in jax.tree_util.tree_leaves_with_path(examples[name]):
            at = "".join(f".{getattr(key, 'key', key)}" for key in path)
            parts.append(f"`{name}{at}` is {leaf.dtype}{list(leaf.shape)}")
    return ", ".join(parts) or "it has no arguments"


def _check_result(result: Any, role: str) -> None:
    if isinstance(result, Record):
        raise TypeError(
            f"a {role} term must return one array; got a record of "
            f"{', '.join(result)}. Return one of its entries, such as "
            f"`.{next(iter(result), 'value')}`."
        )
    is_number = isinstance(result, int | float | complex)
    if not is_number and not (hasattr(result, "shape") and hasattr(result, "dtype")):
        raise ValueError(
            f"a {role} term must return one array; got {type(result).__name__}. Use "
            "one call of `propagate` an array, or concatenate them."
        )
    if jnp.issubdtype(jnp.result_type(result), jnp.complexfloating):
        raise ValueError(
            f"a {role} term must return real numbers; got {jnp.result_type(result)}. "
            "Take its real part, or put real and imaginary part beside each other."
        )
    if role != "score":
        return
    if jnp.shape(result) != ():
        raise ValueError(
            f"a score term must return one number an edge; got shape {result.shape}. "
            "Heads belong into the leading axes: `batch_axes` counts them."
        )


def _used(jaxpr: core.Jaxpr) -> set[Any]:
    """Returns the variables that an equation or the result reads."""
    used = {
        atom for eqn in jaxpr.eqns for atom in eqn.invars if isinstance(atom, core.Var)
    }
    return used | {atom for atom in jaxpr.outvars if isinstance(atom, core.Var)}


def _kind(jaxpr: core.Jaxpr) -> str:
    if not jaxpr.eqns:
        return "leaf"
    free = ("mul", "convert_element_type", "div", "neg")
    rest = [eqn for eqn in jaxpr.eqns if eqn.primitive.name not in free]
    if [eqn.primitive.name for eqn in rest] == ["dot_general"]:
        scaled = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("mul", "div")]
        is_scalar = all(
            any(not getattr(atom.aval, "shape", ()) for atom in eqn.invars)
            for eqn in scaled
        )
        if is_scalar:
            return "dot"
    return "general"
