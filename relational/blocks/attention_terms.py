"""What one edge of an attention says: the terms of its score and of its message.

A term is named by a relation of the edge set, or is the content itself. All are functions
of one edge, as `rl.propagate` takes them.

Shapes: H heads, K width of a head.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.relations import Relation
from relational.topologies import Topology

CONTENT = "content"
"""The term that needs no relation: query . key, and the value."""

DISTANCE = "_distance"
"""The relation of ALiBi; names in specs begin with a letter."""


def narrowed(relation: Relation, topology: Topology) -> Relation:
    """Returns a relation without rows for offsets that the topology never has.

    >>> import relational as rl
    >>> narrowed(rl.Offset(limit=512), rl.Causal() & rl.Band(before=8))
    Offset(clip=None, limit=(-8, 0))
    """
    if not isinstance(relation, rl.Offset):
        return relation
    reach, ahead = topology.reach(), topology.ahead()
    far = 2**30
    return relation.within(
        -far if reach is None else 1 - reach, far if ahead is None else ahead
    )


def score_term(name: str, is_turned: bool = False) -> Any:
    """Returns query . key, or query . row of a relation.

    Rows know nothing of positions, so that queries are turned for keys alone.
    """
    if name != CONTENT:
        return _named(
            name, "receiver", lambda row, receiver: rl.dot(receiver.query, row.score)
        )
    if is_turned:
        return lambda receiver, sender: rl.dot(receiver.turned, sender.turned)
    return lambda receiver, sender: rl.dot(receiver.query, sender.key)


def sender_term(name: str) -> Any:
    """Returns key . row of a relation (He et al. 2021, position to content)."""
    return _named(
        name, "sender", lambda row, sender: rl.dot(sender.key, row.sender_score)
    )


def bias_term(name: str) -> Any:
    """Returns a number of a relation's label."""
    return _named(name, None, lambda row: row.bias)


def fall(context: Any, _distance: Any) -> Any:
    """Returns how much less is heard with the distance, at the slope of the head."""
    return -context.slope * jnp.abs(_distance).astype(jnp.float32)


def slopes(num_heads: int) -> np.ndarray:
    """Returns how steeply the scores of each head fall with the distance, [H].

    2^(-8 i / H) for head i = 1 to H, where H is a power of two; otherwise those of the
    power below it, then every other one of the next power (Press et al. 2022, section
    3, and the authors' code).

    >>> slopes(6).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]
    """
    power = 1 << (num_heads.bit_length() - 1)
    own = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8 * np.arange(1, 2 * power, 2) / (2 * power))
    return np.concatenate([own, between])[:num_heads]


def message_term(name: str) -> Any:
    """Returns the value of the sender, or the row of a relation."""
    if name == CONTENT:
        return lambda sender: sender.value
    return _named(name, None, lambda row: row.message)


def _named(relation: str, end: str | None, term: Callable[..., Any]) -> Any:
    """Returns a term that declares the relation's own name as its argument."""

    def call(**arguments: Any) -> Any:
        row = arguments.pop(relation)
        return term(row, *arguments.values())

    names = [relation] if end is None else [end, relation]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # PEP 362.
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    )
    return call
