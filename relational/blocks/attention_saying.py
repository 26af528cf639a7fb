"""What nodes and edges of an attention say, from its settings and a graph.

Queries, keys and values are projected, turned where positions are rotary, and put beside
the attributes that relations read; scores and messages are named after relations.

Shapes: *lead leading axes of the graph, H heads, C heads of senders, N nodes, K width of
a head.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational._checks import check_count, shown
from relational.blocks.attention_rows import Asked, relations_with_rows, turned_name
from relational.blocks.attention_terms import (
    CONTENT,
    DISTANCE,
    bias_term,
    fall,
    message_term,
    score_term,
    sender_term,
    slopes,
)
from relational.blocks.heads import Heads
from relational.blocks.linear import Linear
from relational.blocks.rotary import Rotary
from relational.blocks.said import Said
from relational.relations import Relation, Rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saying:
    """The settings of an attention, as `blocks.Attention` describes them."""

    over: str
    heads: Heads
    head_width: int | None
    score: tuple[str, ...]
    message: tuple[str, ...]
    sender_score: tuple[str, ...]
    tables: Literal["per_head", "shared"]
    biases: tuple[str, ...]
    with_slopes: bool
    rotary: Rotary | None
    scale: Literal["width", "terms"]
    with_bias: bool

    def __post_init__(self) -> None:
        if self.head_width is not None:
            advice = "It counts the channels of a head."
            check_count("head_width", self.head_width, least=1, advice=advice)
        for field, known in (
            ("tables", ("per_head", "shared")),
            ("scale", ("width", "terms")),
        ):
            value = getattr(self, field)
            if value not in known:
                raise ValueError(
                    f"`{field}` must be '{known[0]}' or '{known[1]}'; got "
                    f"{shown(value)}."
                )

    def said(self, graph: rl.Graph, positions: Any) -> Said:
        """Returns arrays and terms as `rl.propagate` takes them.

        Called within the attention, whose parameters are made here.
        """
        edge_set, rank = graph.edge_set(self.over), graph.batch_axes
        for node_set in (edge_set.receivers, edge_set.senders):
            _check_features(graph, node_set)
        width = self._key_width(graph.features(edge_set.receivers).shape[-1])
        num_terms = len(self.score) + len(self.sender_score)
        scale = math.sqrt(width * (num_terms if self.scale == "terms" else 1))
        receivers, senders = self._ends(graph, width, scale, positions)
        relations = self._relations(graph, width, scale)
        score = [score_term(name, self.rotary is not None) for name in self.score]
        for name in self.sender_score:
            back = turned_name(name)
            score.append(sender_term(back if back in relations else name))
        score += [bias_term(name) for name in self.biases]
        context: dict[str, Any] = {}
        if self.with_slopes:
            falls = jnp.asarray(slopes(self.heads.receivers), jnp.float32)
            context = {"context": {"slope": self.heads.of_each(falls, rank)}}
            relations[DISTANCE] = rl.Offset()
            score.append(fall)
        return Said(
            sides={"receivers": receivers, "senders": senders},
            terms={
                "relations": relations,
                "score": score,
                "message": [message_term(name) for name in self.message],
                **context,
                "aggregator": rl.Softmax(),
            },
            heads=self.heads,
            batch_axes=rank + len(self.heads.axes),
        )

    def _key_width(self, width: int) -> int:
        if self.head_width is not None:
            return self.head_width
        if width % self.heads.receivers:
            raise ValueError(
                f"`num_heads` must divide the width of the nodes, {width}; got "
                f"{self.heads.receivers}. Or give `head_width`."
            )
        return width // self.heads.receivers

    def _ends(
        self, graph: rl.Graph, width: int, scale: float, positions: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns what receivers and senders bring along."""
        edge_set, heads = graph.edge_set(self.over), self.heads
        of = edge_set.receivers, edge_set.senders
        receivers = {"query": self._project(graph, of[0], "query", width, heads.axes)}
        receivers["query"] = receivers["query"] / scale
        senders = {}
        if CONTENT in self.score or self.sender_score:
            senders["key"] = self._project(
                graph, of[1], "key", width, heads.sender_axes
            )
        if CONTENT in self.message:
            senders["value"] = self._project(
                graph, of[1], "value", width, heads.sender_axes
            )
        if self.rotary is not None and CONTENT in self.score:
            at = [_places(graph, name, positions, len(heads.axes)) for name in of]
            receivers["turned"] = self.rotary.turned(receivers["query"], at[0])
            key = senders["key"] if self.sender_score else senders.pop("key")
            senders["turned"] = self.rotary.turned(key, at[1])
        needed = _attributes_read(edge_set, self.score + self.message + self.biases)
        needed |= _attributes_read(edge_set, self.sender_score)
        for sides, node_set in zip((receivers, senders), of, strict=True):
            attributes = graph.attributes(node_set)
            for attribute in needed & set(attributes):
                sides[attribute] = _spaced(
                    attributes[attribute], graph, len(heads.axes)
                )
        return receivers, senders

    def _project(
        self,
        graph: rl.Graph,
        node_set: str,
        name: str,
        width: int,
        axes: tuple[int, ...],
    ) -> jax.Array:
        """Returns [*lead, *axes, N, K] of the features of a node set."""
        x = graph.features(node_set)
        # One product of two matrices: the gradient of the batched form is twice as slow.
        flat = x.reshape(-1, x.shape[-1])
        layer = Linear(
            math.prod(axes) * width, self.with_bias, w_init=spread_init(), name=name
        )
        # Sizes are named, since a step may come without senders.
        channels = layer(flat).reshape(*x.shape[:-1], math.prod(axes) * width)
        return self.heads.split(channels, axes)

    def _relations(
        self, graph: rl.Graph, width: int, scale: float
    ) -> dict[str, Relation | Rows]:
        """Returns the relations that are named, each with the rows that terms read."""
        edge_set = graph.edge_set(self.over)
        roles = {
            "bias": self.biases,
            "score": tuple(name for name in self.score if name != CONTENT),
            "sender_score": self.sender_score,
            "message": tuple(name for name in self.message if name != CONTENT),
        }
        num_nodes = (
            graph.num_nodes(edge_set.receivers),
            graph.num_nodes(edge_set.senders),
        )
        found: dict[str, Relation | Rows] = {}
        for name in dict.fromkeys(
            (*roles["score"], *self.sender_score, *roles["message"], *self.biases)
        ):
            if name not in edge_set.relations:
                known = ", ".join(edge_set.relations) or "none"
                raise ValueError(
                    "`score`, `sender_score`, `message` and `biases` name relations of "
                    f"the edge set `{self.over}`, {known}; got `{name}`."
                )
            asked = Asked(
                name=name,
                roles=tuple(role for role, names in roles.items() if name in names),
                width=width,
                scale=scale,
                heads=self.heads,
                is_shared=self.tables == "shared",
            )
            found |= relations_with_rows(asked, edge_set, num_nodes, graph.batch_axes)
        return found


def heads_of(num_heads: int, num_key_heads: int | None) -> Heads:
    """Returns the heads of receivers and senders, checked."""
    advice = "It counts heads."
    check_count("num_heads", num_heads, least=1, advice=advice)
    if num_key_heads is None:
        return Heads(num_heads, num_heads)
    advice = "It counts heads of keys and values."
    check_count("num_key_heads", num_key_heads, least=1, advice=advice)
    if num_heads % num_key_heads:
        raise ValueError(
            f"`num_key_heads` must divide `num_heads`, {num_heads}; got "
            f"{num_key_heads}. Each head of keys is heard by equally many."
        )
    return Heads(num_heads, num_key_heads)


def _places(graph: rl.Graph, node_set: str, positions: Any, num_axes: int) -> Any:
    """Returns where nodes stand, [*lead, *ones, N], for rotary positions."""
    given = graph.attributes(node_set).get("position", positions)
    if given is None:
        return jnp.arange(graph.num_nodes(node_set), dtype=jnp.int32)
    return _spaced(given, graph, num_axes)


def _spaced(leaf: Any, graph: rl.Graph, num_axes: int) -> Any:
    """Puts unit axes for heads behind the leading axes of a graph."""
    return jnp.expand_dims(
        leaf, tuple(range(graph.batch_axes, graph.batch_axes + num_axes))
    )


def _attributes_read(edge_set: rl.EdgeSet, names: Sequence[str]) -> set[str]:
    """Returns the attributes of nodes that relations are made of."""
    given = [edge_set.relations[name] for name in names if name in edge_set.relations]
    bare = [each.relation if isinstance(each, Rows) else each for each in given]
    return {each.attribute for each in bare if isinstance(each, rl.Difference)}


def terms_of(name: str, terms: Any, *, least: int) -> tuple[str, ...]:
    """Returns the names of terms, checked.

    Args:
      name: of the argument.
      terms: a list of names.
      least: how many there must be.
    """
    is_list = isinstance(terms, Sequence) and not isinstance(terms, str)
    if not is_list or len(terms) < least:
        raise ValueError(
            f"`{name}` must be a list of '{CONTENT}' and names of relations, such as "
            f"['{CONTENT}', 'offset']; got {shown(terms)}."
        )
    twice = [term for index, term in enumerate(terms) if term in terms[:index]]
    if twice:
        raise ValueError(f"`{name}` has `{twice[0]}` a second time. Remove it.")
    return tuple(terms)


def _check_features(graph: rl.Graph, node_set: str) -> None:
    """Refuses features that are not [*lead, N, D] floats."""
    features = graph.features(node_set)
    shape = getattr(features, "shape", None)
    is_float = shape is not None and jnp.issubdtype(features.dtype, jnp.floating)
    if shape is None or not is_float or len(shape) != graph.batch_axes + 2:
        raise ValueError(
            f"the features of the node set `{node_set}` must be floats [*lead, N, D] "
            f"with {graph.batch_axes} leading axes (`batch_axes`); got "
            f"{shown(features)}."
        )


def spread_init() -> hk.initializers.Initializer:
    """Keeps the size of what passes: variance 1 / inputs (fan-in scaling)."""
    return hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
