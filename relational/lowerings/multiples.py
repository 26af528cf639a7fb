"""What a term is a multiple of, read from its jaxpr.

A message that is a number times what its sender says is a product with a sparse matrix;
a score that is a number times the dot of both ends is one that such products give.
Nothing is assumed: a term whose equations do not show it is none of these.
"""

from typing import Any

import jax.numpy as jnp
from jax.extend import core

from relational.terms import Term

_SAME = ("convert_element_type", "copy", "neg")  # Multiples stay so.
_SPREADS = ("broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy")
_NUMBER, _RECEIVER, _SENDER, _PAIRS, _DOT = range(5)


def of_sender(term: Term) -> int | None:
    """Returns which leaf of the sender a message is a multiple of; None if none.

    The factor is one number an edge, whatever else it depends on.
    """
    at = [index for site, index in term.reads if site == "sender"]
    if len(at) != 1:
        return None
    states = [_SENDER if site == "sender" else _NUMBER for site, _ in term.reads]
    return at[0] if _result(term, states) == _SENDER else None


def of_both_ends(term: Term) -> tuple[int, int] | None:
    """Returns which leaves of receiver and sender a score is a multiple of the dot of.

    The factor is one number a leading index. None for any other score.
    """
    known = {"receiver": _RECEIVER, "sender": _SENDER, "context": _NUMBER}
    sites = [site for site, _ in term.reads]
    if not set(sites) <= set(known) or sites.count("receiver") != 1:
        return None
    if sites.count("sender") != 1:
        return None
    if _result(term, [known[site] for site in sites]) != _DOT:
        return None
    leaves = dict(term.reads)
    return leaves["receiver"], leaves["sender"]


def _result(term: Term, states: list[int]) -> int | None:
    """Returns what the result is, given what the inputs are; None for anything else."""
    known: dict[core.Var, int] = {}
    inputs = [*zip(term.inputs, states, strict=True)]
    inputs += [(var, _NUMBER) for var in term.held]
    for var, state in inputs:
        if state != _NUMBER or not _shape(var):  # Vectors of numbers are no number.
            known[var] = state
    for eqn in term.jaxpr.eqns:
        made = _after(eqn, [_state(atom, known) for atom in eqn.invars])
        if made is None:
            return None
        known.update(dict.fromkeys(eqn.outvars, made))
    return _state(term.jaxpr.outvars[0], known)


def _state(atom: Any, known: dict[core.Var, int]) -> int | None:
    if isinstance(atom, core.Var):
        return known.get(atom)
    return None if _shape(atom) else _NUMBER


def _shape(atom: Any) -> tuple[int, ...]:
    return tuple(getattr(atom.aval, "shape", ()))


def _after(eqn: core.JaxprEqn, states: list[int | None]) -> int | None:
    """Returns what an equation makes of what its inputs are; None if nothing known."""
    name, kinds = eqn.primitive.name, sorted(at for at in states if at is not None)
    if len(kinds) != len(states):
        return None
    if all(at == _NUMBER for at in kinds):
        is_scalar = not any(_shape(atom) for atom in (*eqn.invars, *eqn.outvars))
        return _NUMBER if is_scalar or name in (*_SPREADS, "neg") else None
    made: Any = eqn.outvars[0].aval
    is_real = jnp.issubdtype(made.dtype, jnp.floating)  # Integers round.
    if len(kinds) == 1:
        if name == "reduce_sum" and kinds == [_PAIRS]:
            return None if _shape(eqn.outvars[0]) else _DOT
        return kinds[0] if name in _SAME and is_real else None
    if len(kinds) == 2 and kinds[0] == _NUMBER:
        is_divided = name == "div" and states[1] == _NUMBER and is_real
        is_scaled = name == "mul" or is_divided
        kept = _shape(eqn.outvars[0]) == _shape(eqn.invars[states.index(kinds[1])])
        return kinds[1] if is_scaled and kept else None
    if kinds == [_RECEIVER, _SENDER]:
        shapes = [_shape(atom) for atom in eqn.invars]
        if shapes[0] != shapes[1] or len(shapes[0]) != 1:
            return None
        if name == "dot_general":
            contracting, _ = eqn.params["dimension_numbers"]
            return _DOT if len(contracting[0]) == 1 else None
        return _PAIRS if name == "mul" else None
    return None
