"""Attention as a block: a graph in, the same graph with updated nodes out.

The topology, the relations and the attributes that they read come with the graph; the
block owns the projections and the relations' tables. Its decoder is derived: the same
terms, one node at a time.

Shapes: *lead leading axes of the graph (a batch), H heads, C heads of senders, R
receivers, S senders, D width, K width of a head, L labels.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import haiku as hk
import jax
import jraph

import relational as rl
from relational._checks import shown
from relational.blocks import attention_decoding as decoding
from relational.blocks.attention_saying import Saying, heads_of, spread_init, terms_of
from relational.blocks.attention_terms import CONTENT
from relational.blocks.heads import all_heads
from relational.blocks.linear import Linear
from relational.blocks.rotary import Rotary
from relational.blocks.said import Listen, Said, softmax_of
from relational.topologies import Topology


class Attention(hk.Module):
    """Multi-head attention over an edge set (Vaswani et al. 2017, section 3.2).

    A score is the sum of what `score` names: "content" is query . key, a relation is
    query . row (Shaw et al. 2018, equation 4; Huang et al. 2018, equation 3), and of
    what `sender_score` names: key . row (He et al. 2021, equation 4), all over sqrt(K).
    A message is the sum of what `message` names: "content" is the value, a relation is
    its row (Shaw et al. 2018, equation 3). To a score may be added a number of each
    label, learned for each head (Raffel et al. 2020, section 2.1), and a fall with the
    distance of positions, fixed for each head (Press et al. 2022, "Train short, test
    long", section 3).

    A relation that comes with features, `relation.rows(features=[L, D])`, has no rows of
    this block's own: its features are projected to rows, as those of nodes are. A sender
    then looks up the label that the receiver has to it (He et al. 2021, section 3.1).

    Args:
      over: the edge set.
      num_heads: H.
      num_key_heads: C, of keys and values, which divides H; each is heard by H / C heads
        (Ainslie et al. 2023, "GQA"; with 1, Shazeer 2019). By default H.
      head_width: K; by default the receivers' width / H.
      score, message: what they are sums of.
      sender_score: relations whose rows are multiplied with the key.
      tables: whether each head has rows of its own, or all heads share them.
      biases: relations with one learned number a label and head, added to the score.
      with_slopes: whether scores fall with the distance; see `slopes`.
      rotary: turns queries and keys for each other, by the integer attribute `position`
        of their nodes if they have it, and otherwise by their places, 0, 1, 2, ...
      scale: what the terms of a score are divided by: sqrt(K), or sqrt(n K) for n terms
        in `score` and `sender_score` together, as He et al. have it.
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
        num_key_heads: int | None = None,
        head_width: int | None = None,
        score: Sequence[str] = (CONTENT,),
        message: Sequence[str] = (CONTENT,),
        sender_score: Sequence[str] = (),
        tables: Literal["per_head", "shared"] = "per_head",
        biases: Sequence[str] = (),
        with_slopes: bool = False,
        rotary: Rotary | None = None,
        scale: Literal["width", "terms"] = "width",
        with_bias: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.over = over
        self.saying = Saying(
            over=over,
            heads=heads_of(num_heads, num_key_heads),
            head_width=head_width,
            score=terms_of("score", score, least=1),
            message=terms_of("message", message, least=1),
            sender_score=terms_of("sender_score", sender_score, least=0),
            tables=tables,
            biases=terms_of("biases", biases, least=0),
            with_slopes=with_slopes,
            rotary=rotary,
            scale=scale,
            with_bias=with_bias,
        )

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
        positions: jax.Array | None = None,
        listen: Listen | None = None,
    ) -> Any:
        """Returns the graph with the receivers' features replaced by what they heard.

        Args:
          graph: features [*lead, N, D] of the node sets of the edge set; a graph
            tuple has the node set `node` and the edge set `edge`.
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
          positions: integers [*lead, N], for `rotary` where nodes do not say theirs.
          listen: another way to hear what is said, as `step` has; by default
            `rl.propagate` over the edge set.
        """
        if isinstance(graph, jraph.GraphsTuple):
            converted = rl.Graph.of(graph)
            result = self(
                converted,
                dropout_rate=dropout_rate,
                lowering=lowering,
                positions=positions,
                listen=listen,
            )
            return result.to_graphs_tuple()
        if not isinstance(graph, rl.Graph):
            raise TypeError(
                "`graph` must be an `rl.Graph` or a `jraph.GraphsTuple`; got "
                f"{shown(graph)}."
            )
        said = self.saying.said(graph, positions)
        if listen is not None:
            return self._finish(graph, listen(said))
        dropout = None
        if dropout_rate:
            dropout = rl.Dropout(dropout_rate, hk.next_rng_key())
        heard = rl.propagate(
            all_heads(graph.edge_set(self.over).topology, said.num_head_axes),
            batch_axes=said.batch_axes,
            dropout=dropout,
            lowering=lowering,
            **said.sides,
            **said.terms,
        )
        return self._finish(graph, heard)

    @hk.transparent
    def start(
        self, graph: rl.Graph, *, length: int, stepped: Topology | None = None
    ) -> rl.Cache:
        """Returns an empty cache for sequences of at most `length` nodes.

        Args:
          graph: a graph of the right shapes, with one node or more.
          length: the longest sequence.
          stepped: who hears whom where nodes come one by one; by default who does so in
            the graph. Behind a prefix, whose nodes hear ahead, nobody does.
        """
        topology = stepped or graph.edge_set(self.over).topology
        return self._through(
            graph, lambda said: decoding.start(said, topology, length)
        )[1]

    @hk.transparent
    def start_fixed(
        self, graph: rl.Graph, lengths: jax.Array | None = None
    ) -> rl.Cache:
        """Returns a cache of senders that are all there, their keys and values.

        Args:
          graph: features of the senders, and of one or more receivers.
          lengths: [batch], how many senders count for each sequence.
        """
        topology = graph.edge_set(self.over).topology
        return self._through(
            graph, lambda said: decoding.start_fixed(said, topology, lengths)
        )[1]

    @hk.transparent
    def prefill(
        self,
        cache: rl.Cache,
        graph: rl.Graph,
        lengths: jax.Array | None = None,
        *,
        stepped: Topology | None = None,
    ) -> tuple[rl.Graph, rl.Cache]:
        """Takes a whole prime in one parallel pass.

        Args:
          cache: an empty cache, or a fixed one, which stays as it is.
          graph: the prime's nodes, from position 0 on; of senders that a fixed cache
            holds, none need be there.
          lengths: [batch], how many nodes count for each sequence.
          stepped: as for `start`, now that the prime is there; by default as before.

        Returns:
          What `__call__` returns, and the cache after the prime.
        """
        topology = graph.edge_set(self.over).topology
        return self._through(
            graph,
            lambda said: decoding.prefill(said, cache, topology, stepped, lengths),
        )

    @hk.transparent
    def step(
        self, cache: rl.Cache, graph: rl.Graph, position: jax.Array
    ) -> tuple[rl.Graph, rl.Cache]:
        """Takes one node of each sequence.

        Args:
          cache: of the nodes before, or of fixed senders.
          graph: a graph whose node set has one node, [*lead, 1, D]. Given labels are
            those of this node to all senders, [*lead, 1, S].
          position: [batch], where each sequence stands.
        """
        lead = (1,) * (graph.batch_axes - 1)
        return self._through(
            graph,
            lambda said: decoding.step(said, cache, position),
            positions=position.reshape(-1, *lead, 1),
        )

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

        def listen(said: Said) -> tuple[jax.Array, jax.Array]:
            return said.nothing(), softmax_of(said, graph.edge_set(self.over))

        found: jax.Array = self._through(graph, listen)[1]
        return found

    @hk.transparent
    def _through(
        self,
        graph: rl.Graph,
        listen: Callable[[Said], tuple[jax.Array, Any]],
        **how: Any,
    ) -> tuple[rl.Graph, Any]:
        """Returns the graph after another way to hear, and what else that gives."""
        extras = []

        def keep(said: Said) -> jax.Array:
            heard, extra = listen(said)
            extras.append(extra)
            return heard

        return self(graph, listen=keep, **how), extras[0]

    @hk.transparent
    def _finish(self, graph: rl.Graph, heard: jax.Array) -> rl.Graph:
        receivers = graph.edge_set(self.over).receivers
        width = graph.features(receivers).shape[-1]
        joined = self.saying.heads.join(heard)  # [*lead, R, H K]
        layer = Linear(
            width, self.saying.with_bias, w_init=spread_init(), name="output"
        )
        flat = layer(joined.reshape(-1, joined.shape[-1]))
        return graph.with_features(receivers, flat.reshape(*joined.shape[:-1], width))
