"""Attention, recognised: a score proven to be a scaled product, a message of the sender.

The proof follows the jaxpr of a score term: both ends, perhaps scaled, meet in one
product of vectors, which may be scaled again, and nothing else happens.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core

from relational.lowerings.problem import Problem
from relational.terms import Term


class Attention(NamedTuple):
    """Which leaves attention reads, and the factor of its scores.

    Attributes:
      query: the index among the leaves of the receiver.
      key, value: among those of the sender.
      factors: (where to find it, whether scores are divided by it): a number, or the
        index of an array that the term closes over.
      shapes, dtypes: of query, key and value, at one node.
    """

    query: int
    key: int
    value: int
    factors: tuple[tuple["Held | float", bool], ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]


class Held(NamedTuple):
    """An array that the score term closes over, by its number."""

    number: int


def attention(problem: Problem) -> Attention | None:
    """Returns what attention reads; None unless the terms are proven to be attention."""
    (score,), (message,) = problem.score, problem.message
    if message.kind != "leaf" or message.held or message.depends != {"sender"}:
        return None
    if sorted(site for site, _ in score.reads) != ["receiver", "sender"]:
        return None
    factors = _scaled_product(score)
    if factors is None:
        return None
    at = dict(score.reads)
    avals = {
        site: var.aval for (site, _), var in zip(score.reads, score.inputs, strict=True)
    }
    avals["value"] = message.inputs[0].aval
    read = [avals[name] for name in ("receiver", "sender", "value")]
    return Attention(
        at["receiver"],
        at["sender"],
        message.reads[0][1],
        factors,
        tuple(tuple(each.shape) for each in read),  # type: ignore[attr-defined]  # Arrays.
        tuple(each.dtype for each in read),  # type: ignore[attr-defined]
    )


def _scaled_product(term: Term) -> tuple[tuple[Held | float, bool], ...] | None:
    """Returns the factors of a product of both inputs; None for any other term.

    Followed through the jaxpr: inputs, perhaps scaled, meet in one product of vectors,
    which may be scaled again. Nothing else may happen.
    """
    jaxpr = term.jaxpr
    held = {var: Held(at) for at, var in enumerate(term.held)}
    known: dict[Any, frozenset[int]] = {
        var: frozenset({at}) for at, var in enumerate(term.inputs)
    }
    factors: list[tuple[Held | float, bool]] = []
    for eqn in jaxpr.eqns:
        reads = [
            known.get(atom) if isinstance(atom, core.Var) else None
            for atom in eqn.invars
        ]
        name, first = eqn.primitive.name, next(iter(reads), None)
        if name == "convert_element_type" and first is None:
            constant = eqn.invars[0]
            if constant not in held or eqn.outvars[0].aval.shape:  # type: ignore[attr-defined]  # An array.
                return None
            held[eqn.outvars[0]] = held[constant]
        elif name == "convert_element_type":
            assert first is not None
            known[eqn.outvars[0]] = first
        elif name == "neg" and first is not None:
            factors.append((-1.0, False))
            known[eqn.outvars[0]] = first
        elif name in ("mul", "div") and len([each for each in reads if each]) == 1:
            at = reads.index(None)
            factor = _number(eqn.invars[at], held)
            if factor is None or (name == "div" and at == 0):
                return None
            factors.append((factor, name == "div"))
            known[eqn.outvars[0]] = reads[1 - at]  # type: ignore[assignment]
        elif name == "dot_general" and None not in reads:
            if reads[0] == reads[1] or eqn.outvars[0].aval.shape:  # type: ignore[attr-defined]
                return None
            known[eqn.outvars[0]] = frozenset({0, 1})
        else:
            return None
    result = jaxpr.outvars[0]
    is_product = isinstance(result, core.Var) and known.get(result) == frozenset({0, 1})
    return tuple(factors) if is_product else None


def _number(atom: Any, held: dict[Any, Held]) -> "Held | float | None":
    """Returns a factor that is one number: a literal, or what a term closes over."""
    if isinstance(atom, core.Literal):
        return float(atom.val) if not jnp.shape(atom.val) else None
    return held.get(atom) if not atom.aval.shape else None


def factor(attention: Attention, held: list[Any]) -> tuple[float, Any]:
    """Returns the factor of the scores: what is known now, and the rest or None."""
    known, dynamic = 1.0, None
    for factor, divides in attention.factors:
        value = held[factor.number] if isinstance(factor, Held) else factor
        if isinstance(value, float):
            known = known / value if divides else known * value
            continue
        value = jnp.asarray(value, jnp.float32)
        value = 1 / value if divides else value
        dynamic = value if dynamic is None else dynamic * value
    return known, dynamic
