"""Terms in a kernel: where each is evaluated, and which cannot be.

A tile in the registers of a GPU holds one number a pair, not a vector. So a term of both
ends must make one number of them at once, by a product or from numbers; and rows of a
table must be met along the diagonals of a tile. What a term does besides must be
arithmetic that Triton knows.

Shapes: R receivers, S senders of a tile, F features.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import jax.numpy as jnp
from jax.extend import core

from relational.lowerings.problem import Problem
from relational.relations import AttributeRelation, PositionRelation
from relational.terms import Term

_ENDS = frozenset({"receiver", "sender"})
_ARITHMETIC = frozenset(
    """
    abs neg sign ceil floor exp exp2 expm1 log log1p sqrt rsqrt cbrt square pow
    integer_pow sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    logistic add sub mul div rem max min clamp is_finite and or xor not eq ne gt ge lt le
    shift_left shift_right_arithmetic shift_right_logical select_n convert_element_type
    broadcast_in_dim reshape squeeze transpose iota copy reduce_sum reduce_max reduce_min
    dot_general stop_gradient jit custom_jvp_call
    """.split()  # noqa: SIM905  # A list of them is a line each.
)
_LEAST_VECTOR = 16  # Of a product that a matrix unit takes.


class Place(enum.Enum):
    """Where a term is evaluated."""

    ENDS = "once an end, or a product of both"
    DIAGONALS = "once a diagonal of a tile, perhaps for each node of one end"
    PAIRS = "once a pair, from numbers"


def place(term: Term, problem: Problem) -> Place:
    """Returns where a term is evaluated."""
    named = term.depends & set(problem.relations)
    if not named:
        return Place.ENDS
    return (
        Place.PAIRS if all(_is_bare(term, name) for name in named) else Place.DIAGONALS
    )


def unfit(
    term: Term, role: Literal["score", "message"], problem: Problem
) -> str | None:
    """Returns why a kernel cannot evaluate a term; None if it can."""
    foreign = sorted(set(_primitives(term.jaxpr)) - _ARITHMETIC)
    if foreign:
        return f"`{term.label}` computes `{foreign[0]}`, which is no arithmetic"
    found = _unfit_labels(term, problem)
    if found is None and role == "message":
        found = _unfit_message(term, problem)
    if found is None and (role == "score" or not term.shape):
        found = _unfit_pairs(term)
    return found


def unfit_for_triton(term: Term) -> str | None:
    """Returns why Triton, a kernel's compiler on a GPU, cannot take a term."""
    for variable in (*term.inputs, *term.held, *term.jaxpr.outvars):
        shape = tuple(getattr(variable.aval, "shape", ()))
        if any(size < _LEAST_VECTOR or size & (size - 1) for size in shape):
            return (
                f"`{term.label}` has an array of shape {list(shape)} for an edge; "
                f"Triton takes powers of two from {_LEAST_VECTOR} on"
            )
    return None


def arithmetic_only(jaxpr: core.ClosedJaxpr) -> str | None:
    """Returns what in a jaxpr is no arithmetic of numbers; None if all of it is."""
    foreign = sorted(set(_primitives(jaxpr.jaxpr)) - _ARITHMETIC)
    if foreign:
        return f"`{foreign[0]}`"
    return "arrays" if any(jnp.ndim(each) for each in jaxpr.consts) else None


def _is_bare(term: Term, name: str) -> bool:
    """Says whether a term reads a relation's number, and no float or vector of it."""
    avals = [
        variable.aval
        for variable, (site, _) in zip(term.inputs, term.reads, strict=True)
        if site == name
    ]
    return all(
        not each.shape and jnp.issubdtype(each.dtype, jnp.integer)  # type: ignore[attr-defined]  # Arrays.
        for each in avals
    )


def _unfit_labels(term: Term, problem: Problem) -> str | None:
    for name in sorted(term.depends & set(problem.relations)):
        relation = problem.relations[name]
        if isinstance(relation, PositionRelation):
            continue
        if not isinstance(relation, AttributeRelation):
            return f"labels of `{name}` are no difference of positions or attributes"
        if place(term, problem) is Place.DIAGONALS:
            return f"rows of `{name}` do not lie along the diagonals of a tile"
    if place(term, problem) is Place.DIAGONALS and term.depends >= _ENDS:
        return f"`{term.label}` reads both ends and a row of a table"
    return None


def _unfit_message(term: Term, problem: Problem) -> str | None:
    if len(term.shape) > 1:
        return f"`{term.label}` says a matrix; a kernel adds up numbers or vectors"
    where = place(term, problem)
    sides = 1 if where is Place.ENDS else 0
    is_single = len(term.depends & _ENDS) <= sides and where is not Place.PAIRS
    if term.shape and not is_single:
        return f"`{term.label}` says a vector for each pair"
    return None


def _unfit_pairs(term: Term) -> str | None:
    """Refuses vectors that are made of both ends, or of an end and a label."""
    sites = [frozenset({site}) - {"context"} for site, _ in term.reads]
    widest = _widest(term.jaxpr, dict(zip(term.inputs, sites, strict=True)))
    if widest is None:
        return None
    return f"`{term.label}` makes an array of shape {list(widest)} for each pair"


def _widest(
    jaxpr: core.Jaxpr, sites: Mapping[Any, frozenset[str]]
) -> tuple[int, ...] | None:
    """Returns the shape of an array, not a number, of more than one side of an edge.

    One end and the diagonals of a tile are two sides, but they meet in a product.
    """
    known = dict(sites)
    for eqn in jaxpr.eqns:
        inputs = [
            known.get(atom, frozenset()) if isinstance(atom, core.Var) else frozenset()
            for atom in eqn.invars
        ]
        reads = frozenset().union(*inputs)
        for variable in eqn.outvars:
            shape = tuple(variable.aval.shape)  # type: ignore[attr-defined]  # Arrays.
            if len(reads) > 1 and shape:
                return shape
            known[variable] = reads
        for inner in _inner(eqn):
            if len(inner.invars) == len(inputs):
                found = _widest(inner, dict(zip(inner.invars, inputs, strict=True)))
                if found is not None:
                    return found
    return None


def _primitives(jaxpr: core.Jaxpr) -> Iterator[str]:
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in _inner(eqn):
            yield from _primitives(inner)


def _inner(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the jaxprs that an equation calls."""
    for value in eqn.params.values():
        inner = getattr(value, "jaxpr", value)
        if isinstance(inner, core.Jaxpr):
            yield inner
