"""What must hold between an attention of a spec and the edge set that it is over."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from relational.specs.claims import Claim, known_claims
from relational.specs.problems import Place, shortened, suggestion
from relational.specs.relation import BucketsSpec, LabelsSpec

if TYPE_CHECKING:  # This module is imported by the checks, which theirs calls.
    from relational.specs.model import AttentionSpec, EdgeSetSpec, ModelSpec

CONTENT = "content"
"""The term that every attention has beside the relations: query.key, and the value."""

TERMS = ("score", "message", "sender_score", "biases")
"""The fields of an attention that name relations."""

_EDGES: Place = ("model", "edges")
_NODES: Place = ("model", "nodes")


def attention_claims(
    attention: "AttentionSpec", place: Place, model: "ModelSpec"
) -> Iterator[Claim]:
    """Yields what is wrong with one attention of a model."""
    over = (*place, "over")
    yield from known_claims(attention.over, "edge set", over, model.edges, _EDGES)
    if attention.kv_heads is not None and attention.heads % attention.kv_heads:
        yield Claim(
            place=(*place, "kv_heads"),
            message=f"must divide `heads`, {attention.heads}; got "
            f"{attention.kv_heads}. Take {math.gcd(attention.heads, attention.kv_heads)}.",
            rests_on=((*place, "heads"),),
        )
    edge_set = model.edges.get(attention.over)
    if edge_set is None:
        return
    yield from _term_claims(attention, place, edge_set)
    yield from _turned_claims(attention, place, edge_set)
    receivers = model.nodes.get(edge_set.receiver_set)
    if receivers is not None:
        yield from _width_claims(attention, place, receivers.width, edge_set)


def _term_claims(
    attention: "AttentionSpec", place: Place, edge_set: "EdgeSetSpec"
) -> Iterator[Claim]:
    """Yields terms that are no relations of the edge set, or that come twice."""
    for field in TERMS:
        terms = getattr(attention, field)
        content = (CONTENT,) if field in ("score", "message") else ()
        known = (*content, *edge_set.relations)
        for index, term in enumerate(terms):
            here = (*place, field, index)
            if term not in known:
                yield Claim(
                    place=here,
                    message=f"`{shortened(term)}` is no relation of edge set "
                    f"`{attention.over}`. {suggestion(term, known)}",
                    rests_on=(
                        (*place, "over"),
                        (*_EDGES, attention.over, "relations"),
                    ),
                )
            elif term in terms[:index]:
                yield Claim(
                    place=here, message=f"has `{term}` a second time. Remove it."
                )


def _turned_claims(
    attention: "AttentionSpec", place: Place, edge_set: "EdgeSetSpec"
) -> Iterator[Claim]:
    """Yields relations with shared rows that a sender cannot look up the other way."""
    for index, term in enumerate(attention.sender_score):
        relation = edge_set.relations.get(term)
        one_way = isinstance(relation, LabelsSpec) or (
            isinstance(relation, BucketsSpec) and not relation.later
        )
        if relation is not None and relation.width is not None and one_way:
            yield Claim(
                place=(*place, "sender_score", index),
                message=f"`{term}` is known one way only, and with `width` both ends "
                "look into the same rows. Remove its `width`.",
                rests_on=(
                    (*place, "over"),
                    (*_EDGES, attention.over, "relations", term),
                ),
            )


def _width_claims(
    attention: "AttentionSpec", place: Place, width: int, edge_set: "EdgeSetSpec"
) -> Iterator[Claim]:
    """Yields what does not fit the width of a head."""
    rests_on = (
        (*place, "over"),
        (*_EDGES, attention.over, "to"),
        (*_NODES, edge_set.receiver_set, "width"),
        (*place, "head_width"),
    )
    if attention.head_width is None and width % attention.heads:
        yield Claim(
            place=(*place, "heads"),
            message=f"{attention.heads} does not divide width {width}; take "
            f"{_fewer_heads(width, attention.heads)} heads, or give `head_width`.",
            rests_on=rests_on,
        )
        return
    own = attention.head_width or width // attention.heads
    rotary = attention.rotary
    if rotary is None:
        return
    turned = own if rotary.width is None else rotary.width
    if turned > own or turned % 2:
        yield Claim(
            place=(*place, "rotary", "width"),
            message=f"must be even, and at most the {own} channels of a head; got "
            f"{turned}. Take {own - own % 2} or fewer."
            if own > 1
            else "needs heads of two channels or more; got 1. Take fewer heads.",
            rests_on=(*rests_on, (*place, "heads")),
        )


def _fewer_heads(width: int, heads: int) -> int:
    """Returns a number of heads below `heads` that divides `width`: a power of two."""
    return math.gcd(width, 1 << (heads.bit_length() - 1))
