"""Attention as a block: a graph in, the same graph with updated nodes out.

The topology, the relations and the attributes that they read come with the graph; the
block owns the projections and the relations' tables. Its decoder is derived: the same
terms, one node at a time.

Shapes: *lead leading axes of the graph (a batch), H heads, R receivers, S senders, D
width, K width of a head, L labels.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks.attention_terms import (
    CONTENT,
    DISTANCE,
    bias_term,
    fall,
    message_term,
    narrowed,
    score_term,
    slopes,
)
from relational.blocks.heads import all_heads, all_heads_labelled
from relational.blocks.linear import Linear
from relational.relations import Relation, Rows


class Attention(hk.Module):
    """Multi-head attention over an edge set (Vaswani et al. 2017, section 3.2).

    A score is the sum of what `score` names: "content" is query . key, a relation is
    query . row (Shaw et al. 2018, equation 4; Huang et al. 2018, equation 3), all over
    sqrt(K). A message is the sum of what `message` names: "content" is the value, a
    relation is its row (Shaw et al. 2018, equation 3). To a score may be added a number
    of each label, learned for each head (Raffel et al. 2020, section 2.1), and a fall
    with the distance of positions, fixed for each head (Press et al. 2022, "Train
    short, test long", section 3).

    Args:
      over: the edge set.
      num_heads: H.
      head_width: K; by default the receivers' width / H.
      score, message: what they are sums of.
      tables: whether each head has rows of its own, or all heads share them.
      biases: relations with one learned number a label and head, added to the score.
      with_slopes: whether scores fall with the distance; see `slopes`.
      with_bias: whether projections have biases.

    Example:

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import Attention
    >>> graph = rl.Graph(
    ...     nodes={"word": jnp.ones([2, 7, 16])}, batch_axes=1,
    ...     edges={"self": rl.EdgeSet(senders="word", receivers="word",
    ...                               topology=rl.Causal(),
    ...                               relations={"offset": rl.Offset(clip=4)})})
    >>> block = hk.transform(
    ...     lambda graph: Attention(over="self", num_heads=4,
    ...                             score=["content", "offset"])(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params["attention"]["score_offset"].shape  # A causal graph needs no later rows.
    (4, 5, 4)
    >>> block.apply(params, None, graph).nodes["word"].shape
    (2, 7, 16)
    """

    def __init__(
        self,
        *,
        over: str,
        num_heads: int,
        head_width: int | None = None,
        score: Sequence[str] = (CONTENT,),
        message: Sequence[str] = (CONTENT,),
        tables: Literal["per_head", "shared"] = "per_head",
        biases: Sequence[str] = (),
        with_slopes: bool = False,
        with_bias: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_heads", num_heads, least=1, advice="It counts heads.")
        if head_width is not None:
            advice = "It counts the channels of a head."
            check_count("head_width", head_width, least=1, advice=advice)
        _check_terms("score", score)
        _check_terms("message", message)
        if tables not in ("per_head", "shared"):
            raise ValueError(
                f"`tables` must be 'per_head' or 'shared'; got {shown(tables)}."
            )
        self.over = over
        self.num_heads = num_heads
        self.head_width = head_width
        self.score = tuple(score)
        self.message = tuple(message)
        if biases:
            _check_terms("biases", biases)
        self.biases = tuple(biases)
        self.with_slopes = with_slopes
        self.tables = tables
        self.with_bias = with_bias

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
        listen: "Listen | None" = None,
    ) -> Any:
        """Returns the graph with the receivers' features replaced by what they heard.

        Args:
          graph: features [*lead, N, D] of the node sets of the edge set; a graph
            tuple has the node set `node` and the edge set `edge`.
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
          listen: another way to hear what is said, as `step` has; by default
            `rl.propagate` over the edge set.
        """
        if isinstance(graph, jraph.GraphsTuple):
            converted = rl.Graph.of(graph)
            result = self(converted, dropout_rate=dropout_rate, lowering=lowering)
            return result.to_graphs_tuple()
        if not isinstance(graph, rl.Graph):
            raise TypeError(
                "`graph` must be an `rl.Graph` or a `jraph.GraphsTuple`; got "
                f"{shown(graph)}."
            )
        said = self._say(graph, rank=graph.batch_axes)
        if listen is not None:
            return self._finish(graph, listen(said))
        dropout = None
        if dropout_rate:
            dropout = rl.Dropout(dropout_rate, hk.next_rng_key())
        heard = rl.propagate(
            all_heads(graph.edge_set(self.over).topology),
            batch_axes=graph.batch_axes + 1,
            dropout=dropout,
            lowering=lowering,
            **said.sides,
            **said.terms,
        )
        return self._finish(graph, heard)

    @hk.transparent
    def start(self, graph: rl.Graph, *, length: int) -> rl.Cache:
        """Returns an empty cache for sequences of at most `length` nodes.

        Args:
          graph: a graph of the right shapes, with one node or more.
          length: the longest sequence.
        """
        topology, axes = graph.edge_set(self.over).topology, graph.batch_axes + 1
        caches = []

        def listen(said: Said) -> jax.Array:
            senders = said.sides["senders"]
            caches.append(rl.start(topology, senders, length=length, batch_axes=axes))
            return jnp.zeros_like(said.sides["receivers"]["query"])

        self(graph, listen=listen)
        return caches[0]

    @hk.transparent
    def start_fixed(
        self, graph: rl.Graph, lengths: jax.Array | None = None
    ) -> rl.Cache:
        """Returns a cache of senders that are all there, their keys and values.

        Args:
          graph: features of the senders, and of one or more receivers.
          lengths: [batch], how many senders count for each sequence.
        """
        topology, axes = graph.edge_set(self.over).topology, graph.batch_axes + 1
        caches = []

        def listen(said: Said) -> jax.Array:
            senders = said.sides["senders"]
            caches.append(
                rl.start_fixed(topology, senders, batch_axes=axes, lengths=lengths)
            )
            return jnp.zeros_like(said.sides["receivers"]["query"])

        self(graph, listen=listen)
        return caches[0]

    @hk.transparent
    def prefill(
        self, cache: rl.Cache, graph: rl.Graph, lengths: jax.Array | None = None
    ) -> tuple[rl.Graph, rl.Cache]:
        """Takes a whole prime in one parallel pass.

        Args:
          cache: an empty cache, or a fixed one, which stays as it is.
          graph: the prime's nodes, from position 0 on; of senders that a fixed cache
            holds, none need be there.
          lengths: [batch], how many nodes count for each sequence.

        Returns:
          What `__call__` returns, and the cache after the prime.
        """
        caches = []

        def listen(said: Said) -> jax.Array:
            sides, topology = dict(said.sides), cache.topology
            if cache.is_fixed:
                sides["senders"] = cache.senders
                held = (cache.positions >= 0).sum(axis=-1, dtype=jnp.int32)
                topology = topology & all_heads(rl.Lengths(senders=held))
                caches.append(cache)
            else:
                caches.append(rl.prefill(cache, sides["senders"], lengths))
            heard: jax.Array = rl.propagate(
                topology, batch_axes=cache.batch_axes, **sides, **said.terms
            )
            return heard

        return self(graph, listen=listen), caches[0]

    @hk.transparent
    def step(
        self, cache: rl.Cache, graph: rl.Graph, position: jax.Array
    ) -> tuple[rl.Graph, rl.Cache]:
        """Takes one node of each sequence.

        Args:
          cache: of the nodes before, or of fixed senders.
          graph: a graph whose node set has one node, [*lead, 1, D].
          position: [batch], where each sequence stands.
        """
        caches = []

        def listen(said: Said) -> jax.Array:
            heard: jax.Array
            sides = dict(said.sides)
            if cache.is_fixed:
                del sides["senders"]
            heard, after = rl.step(cache, position, **sides, **said.terms)
            caches.append(after)
            return heard

        return self(graph, listen=listen), caches[0]

    @hk.transparent
    def weights(self, graph: rl.Graph) -> jax.Array:
        """Returns how much each node listens to each other: [*lead, H, R, S].

        The softmax of the scores over the edges that end in a node (Vaswani et al.
        2017, equation 1); 0 where there is no edge. For looking at, on small graphs:
        it computes edge by edge what `__call__` never stores.

        Args:
          graph: as for `__call__`.

        Raises:
          ValueError: as `rl.per_edge`, for graphs with too many edges.
        """
        found = []

        def listen(said: Said) -> jax.Array:
            found.append(_weights(graph, graph.edge_set(self.over), said))
            return jnp.zeros_like(said.sides["receivers"]["query"])

        self(graph, listen=listen)
        return found[0]

    @hk.transparent
    def _say(self, graph: rl.Graph, rank: int) -> "Said":
        """Returns arrays and terms as `rl.propagate` takes them."""
        edge_set = graph.edge_set(self.over)
        for node_set in (edge_set.receivers, edge_set.senders):
            _check_features(graph, node_set)
        width = graph.features(edge_set.receivers).shape[-1]
        key_width = self._key_width(width)
        receivers = {
            "query": self._project(graph, edge_set.receivers, "query", key_width)
            / math.sqrt(key_width)
        }
        senders = {}
        if CONTENT in self.score:
            senders["key"] = self._project(graph, edge_set.senders, "key", key_width)
        if CONTENT in self.message:
            senders["value"] = self._project(
                graph, edge_set.senders, "value", key_width
            )
        relations: dict[str, Relation | Rows] = {}
        for name in dict.fromkeys((*self.score, *self.message, *self.biases)):
            if name != CONTENT:
                relations[name] = self._rows(name, graph, key_width)
        needed = {
            rows.relation.attribute
            for rows in relations.values()
            if isinstance(rows, Rows) and isinstance(rows.relation, rl.Difference)
        }
        score = [score_term(name) for name in self.score]
        score += [bias_term(name) for name in self.biases]
        context: dict[str, Any] = {}
        if self.with_slopes:
            falls = slopes(self.num_heads).reshape((1,) * rank + (self.num_heads,))
            context = {"context": {"slope": jnp.asarray(falls, jnp.float32)}}
            relations[DISTANCE] = rl.Offset()
            score.append(fall)
        for sides, node_set in (
            (receivers, edge_set.receivers),
            (senders, edge_set.senders),
        ):
            attributes = graph.attributes(node_set)
            for attribute in needed & set(attributes):
                sides[attribute] = jnp.expand_dims(attributes[attribute], rank)
        return Said(
            sides={"receivers": receivers, "senders": senders},
            terms={
                "relations": relations,
                "score": score,
                "message": [message_term(name) for name in self.message],
                **context,
                "aggregator": rl.Softmax(),
            },
        )

    def _key_width(self, width: int) -> int:
        if self.head_width is not None:
            return self.head_width
        if width % self.num_heads:
            raise ValueError(
                f"`num_heads` must divide the width of the nodes, {width}; got "
                f"{self.num_heads}. Or give `head_width`."
            )
        return width // self.num_heads

    @hk.transparent
    def _project(self, graph: rl.Graph, node_set: str, name: str, width: int) -> Any:
        x = graph.features(node_set)
        *lead, nodes, _ = x.shape
        # One product of two matrices: the gradient of the batched form is twice as slow.
        flat = x.reshape(-1, x.shape[-1])
        layer = Linear(
            self.num_heads * width, self.with_bias, w_init=_spread_init(), name=name
        )
        split = layer(flat).reshape(*lead, nodes, self.num_heads, width)
        return jnp.moveaxis(split, -2, -3)  # [*lead, H, N, K]

    @hk.transparent
    def _rows(self, name: str, graph: rl.Graph, width: int) -> Rows:
        edge_set, rank = graph.edge_set(self.over), graph.batch_axes
        num_nodes = (
            graph.num_nodes(edge_set.receivers),
            graph.num_nodes(edge_set.senders),
        )
        if name not in edge_set.relations:
            names = ", ".join(edge_set.relations) or "none"
            raise ValueError(
                "`score`, `message` and `biases` name relations of the edge set "
                f"`{self.over}`, {names}; got `{name}`."
            )
        relation = narrowed(edge_set.relations[name], edge_set.topology)
        relation = all_heads_labelled(relation, num_nodes)
        num_labels = relation.num_labels
        if num_labels is None:
            raise ValueError(
                f"the relation `{name}` must be bounded to have a table; got {relation}. "
                "Give it `clip` or `limit`."
            )
        heads = self.num_heads if self.tables == "per_head" else 1
        tables = {}
        if name in self.biases:
            learned = hk.get_parameter(
                f"bias_{name}", (heads, num_labels), jnp.float32, jnp.zeros
            )
            tables["bias"] = learned.reshape((1,) * rank + learned.shape)
        for role, used in (("score", self.score), ("message", self.message)):
            if name in used:
                table = hk.get_parameter(
                    f"{role}_{name}",
                    (heads, num_labels, width),
                    jnp.float32,
                    hk.initializers.RandomNormal(width**-0.5),
                )
                tables[role] = table.reshape((1,) * rank + table.shape)
        return relation.rows(**tables)

    @hk.transparent
    def _finish(self, graph: rl.Graph, heard: jax.Array) -> rl.Graph:
        receivers = graph.edge_set(self.over).receivers
        width = graph.features(receivers).shape[-1]
        joined = jnp.moveaxis(heard, -3, -2)  # [*lead, R, H, K]
        *lead, nodes, heads, key_width = joined.shape
        layer = Linear(width, self.with_bias, w_init=_spread_init(), name="output")
        out = layer(joined.reshape(-1, heads * key_width)).reshape(*lead, nodes, width)
        return graph.with_features(receivers, out)


def _check_terms(name: str, terms: Any) -> None:
    if isinstance(terms, str) or not isinstance(terms, Sequence) or not terms:
        raise ValueError(
            f"`{name}` must be a list of '{CONTENT}' and names of relations, such as "
            f"['{CONTENT}', 'offset']; got {shown(terms)}."
        )
    twice = [term for index, term in enumerate(terms) if term in terms[:index]]
    if twice:
        raise ValueError(f"`{name}` has `{twice[0]}` a second time. Remove it.")


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


@dataclasses.dataclass(frozen=True)
class Said:
    """What nodes bring along, and what edges say of it."""

    sides: Mapping[str, Any]
    terms: Mapping[str, Any]


def _weights(graph: rl.Graph, edge_set: rl.EdgeSet, said: Said) -> jax.Array:
    """Returns the softmax of all scores, [*lead, H, R, S], edge by edge."""
    num_receivers = graph.num_nodes(edge_set.receivers)
    num_senders = graph.num_nodes(edge_set.senders)
    scores = rl.per_edge(
        all_heads(edge_set.topology),
        said.terms["score"],
        relations=said.terms["relations"],
        context=said.terms.get("context"),
        batch_axes=graph.batch_axes + 1,
        **said.sides,
    )  # [*lead, H, E]
    senders, receivers = edge_set.topology.edges(num_receivers, num_senders)
    lead = scores.shape[:-1]
    largest = jnp.full((*lead, num_receivers), -jnp.inf, scores.dtype)
    largest = largest.at[..., receivers].max(scores)
    lifted = jnp.exp(scores - largest[..., receivers])
    heard = jnp.zeros((*lead, num_receivers, num_senders), scores.dtype)
    heard = heard.at[..., receivers, senders].add(lifted)  # Edges may be repeated.
    total = heard.sum(axis=-1, keepdims=True)
    return heard / jnp.where(total == 0, jnp.ones_like(total), total)


Listen = Callable[[Said], jax.Array]


def _spread_init() -> hk.initializers.Initializer:
    """Keeps the size of what passes: variance 1 / inputs (fan-in scaling)."""
    return hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
