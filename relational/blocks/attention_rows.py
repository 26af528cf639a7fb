"""The relations of an attention with their rows: learned for itself, or projected.

A relation of the graph comes bare, and the attention owns a row for each label and head;
or it comes with features of its labels, which all attentions share, and each projects
them to its heads, as it projects nodes.

Shapes: H heads, L labels, K width of a head, D width of a label's features.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.blocks.attention_terms import narrowed
from relational.blocks.heads import Heads, all_heads_labelled
from relational.blocks.linear import Linear
from relational.relations import Relation, Rows

FEATURES = "features"
"""The table of a relation that attentions project: `relation.rows(features=...)`."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an attention asks of one relation.

    Attributes:
      name: of the relation.
      roles: among "score", "sender_score", "message" and "bias".
      width: K.
      scale: what rows that keys are multiplied with are divided by.
      heads: H and C.
      is_shared: whether all heads have the same rows.
    """

    name: str
    roles: tuple[str, ...]
    width: int
    scale: float
    heads: Heads
    is_shared: bool

    @property
    def num_tables(self) -> int:
        return 1 if self.is_shared else self.heads.receivers


def relations_with_rows(
    asked: Asked, edge_set: rl.EdgeSet, num_nodes: tuple[int, int], rank: int
) -> dict[str, Rows]:
    """Returns the relations that terms of `asked` name, by these names.

    Called within the attention, whose parameters the rows are.

    Args:
      asked: of one relation of the edge set.
      edge_set: with the relation, bare or with features.
      num_nodes: of receivers and senders.
      rank: leading axes of the graph.
    """
    given = edge_set.relations[asked.name]
    features = None
    if isinstance(given, Rows):
        features, relation = _features(asked.name, given), given.relation
    else:
        relation = narrowed(given, edge_set.topology)
    num_axes = len(asked.heads.axes)
    relation = all_heads_labelled(relation, num_nodes, rank, num_axes)
    if relation.num_labels is None:
        raise ValueError(
            f"the relation `{asked.name}` must be bounded to have a table; got "
            f"{relation}. Give it `clip` or `limit`."
        )
    tables = _tables(asked, relation.num_labels, features)
    led = {role: asked.heads.of_each(table, rank) for role, table in tables.items()}
    if features is None or "sender_score" not in led:
        return {asked.name: relation.rows(**led)}
    # Both ends look into the same features: a sender for the receiver's label to it.
    back, order = turned(relation)
    rows = jnp.take(led.pop("sender_score"), order, axis=rank + num_axes)
    found = {turned_name(asked.name): back.rows(sender_score=rows)}
    return {asked.name: relation.rows(**led), **found} if led else found


def turned_name(name: str) -> str:
    """Returns what a relation is called as the sender has it to the receiver."""
    return f"_{name}_turned"


def _features(name: str, given: Rows) -> Any:
    found = dict(given.tables)
    features = found.pop(FEATURES, None)
    wanted = (given.relation.num_labels,)
    if found or features is None or jnp.shape(features)[:-1] != wanted:
        came = {key: jnp.shape(table) for key, table in given.tables.items()}
        raise ValueError(
            f"the relation `{name}` must come bare, or with one table `{FEATURES}`, "
            f"[{wanted[0]}, D], which the attention projects; got {came}."
        )
    return features


def _tables(asked: Asked, num_labels: int, features: Any) -> Mapping[str, Any]:
    """Returns a table for each role, [H or 1, L, K], biases [H or 1, L]."""
    tables = {}
    for role in asked.roles:
        if role == "bias":
            tables[role] = hk.get_parameter(
                f"bias_{asked.name}",
                (asked.num_tables, num_labels),
                jnp.float32,
                jnp.zeros,
            )
            continue
        name = f"{role}_{asked.name}"
        if features is None:
            init = hk.initializers.RandomNormal(asked.width**-0.5)
            shape = (asked.num_tables, num_labels, asked.width)
            table = hk.get_parameter(name, shape, jnp.float32, init)
        else:
            table = _projected(name, asked, features)
        tables[role] = table / asked.scale if role == "sender_score" else table
    return tables


def _projected(name: str, asked: Asked, features: Any) -> jax.Array:
    """Returns the rows of all heads, [H or 1, L, K], of features [L, D]."""
    init = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
    layer = Linear(
        asked.num_tables * asked.width, with_bias=False, w_init=init, name=name
    )
    rows = layer(features).reshape(-1, asked.num_tables, asked.width)
    return jnp.moveaxis(rows, 1, 0)


@functools.singledispatch
def turned(relation: Relation) -> tuple[Relation, np.ndarray]:
    """Returns the relation that a sender has to its receiver, and where its rows are.

    Label l of the result has the row `order[l]` of the relation that was given.

    Raises:
      ValueError: if the labels do not say how the ends lie the other way round.

    >>> import relational as rl
    >>> back, order = turned(rl.Offset(clip=(-1, 2)))
    >>> back, order.tolist()
    (Offset(clip=(-2, 1), limit=None), [3, 2, 1, 0])
    """
    raise ValueError(
        f"`sender_score` cannot look up `{type(relation).__name__}`, whose labels lead one "
        "way only, in rows that both ends share. Let each attention have rows of its own."
    )


@turned.register
def _(relation: rl.Offset) -> tuple[Relation, np.ndarray]:
    clip, limit = _mirrored(relation.clip), _mirrored(relation.limit)
    assert relation.num_labels is not None
    return rl.Offset(clip=clip, limit=limit), np.arange(relation.num_labels)[::-1]


@turned.register
def _(relation: rl.Difference) -> tuple[Relation, np.ndarray]:
    clip, limit = _mirrored(relation.clip), _mirrored(relation.limit)
    assert relation.num_labels is not None
    order = np.arange(relation.num_labels)[::-1]
    return rl.Difference(relation.attribute, clip=clip, limit=limit), order


@turned.register
def _(relation: rl.Buckets) -> tuple[Relation, np.ndarray]:
    if not relation.later:
        raise ValueError(
            "`sender_score` needs buckets on both sides, since where a receiver looks "
            "back its senders look ahead. Give `later: true`."
        )
    side = relation.num_buckets // 2
    order = np.arange(relation.num_buckets)
    order = np.where(order < side, order + side, order - side)
    order[0] = 0  # A node itself lies on no side.
    return relation, order


def _mirrored(bound: Any) -> Any:
    return (-bound[1], -bound[0]) if isinstance(bound, tuple) else bound
