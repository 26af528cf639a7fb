"""Transformers on graphs: attention that reads edges, or their place in the graph.

Edge features join keys and values; a relation such as the distance in hops is a bias of
the score, a number a label and head. Either works on listed edges and on a rule.

Shapes: H heads, *lead leading axes of the graph, N nodes, E edges, D width, K width of a
head, L labels.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.feed_forward import FeedForward
from relational.blocks.graph_attention import dense, joined_heads, split_heads
from relational.blocks.residual import Residual
from relational.graphs import EDGE
from relational.relations import Rows


class EdgeAttention(hk.Module):
    """Attention whose keys and values read edge features (Shi et al. 2021, eq. 3 and 4).

        v'_i = W_1 v_i + sum over senders j of  a_ij (W_2 v_j + W_6 e_ij)
        a_ij = softmax_j(W_3 v_i . (W_4 v_j + W_6 e_ij) / sqrt(K) + b_label(i, j))

    W_2, W_3 and W_4 have offsets, as in PyTorch Geometric's `TransformerConv`. b is the
    spatial encoding of Graphormer (Ying et al. 2021, equation 6).

    Args:
      num_heads: H.
      head_width: K.
      reads_edges: whether there are edge features to read, W_6.
      biases: relations of the edge set that have a learned bias b, such as `distance`.
      with_skip: whether W_1 v_i, with its offset, is added.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import EdgeAttention
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=jnp.ones([2, 5]), globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: EdgeAttention(
    ...     num_heads=2, head_width=4, reads_edges=True)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> block.apply(params, None, graph).nodes.shape
    (3, 8)
    """

    def __init__(
        self,
        *,
        num_heads: int,
        head_width: int,
        reads_edges: bool = False,
        biases: Sequence[str] = (),
        with_skip: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_heads", num_heads, least=1, advice="It counts heads.")
        check_count("head_width", head_width, least=1, advice="It counts channels.")
        if isinstance(biases, str):
            raise TypeError(
                f"`biases` must be a list of relations, such as ['{biases}']; got "
                f"{shown(biases)}."
            )
        self.num_heads = num_heads
        self.head_width = head_width
        self.reads_edges = reads_edges
        self.biases = tuple(biases)
        self.with_skip = with_skip
        self.over = over

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, H K].

        Args:
          graph: features [*lead, N, D] and, where they are read, [*lead, E, D'].
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
        """
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        sender = parts.node_features(whole, edge_set.senders, "EdgeAttention")
        receiver = parts.node_features(whole, edge_set.receivers, "EdgeAttention")
        sides: dict[str, Any] = {
            "receivers": {
                "query": self._heads(receiver, "query") / math.sqrt(self.head_width)
            },
            "senders": {
                "key": self._heads(sender, "key"),
                "value": self._heads(sender, "value"),
            },
        }
        score: list[Any] = [lambda receiver, sender: rl.dot(receiver.query, sender.key)]
        message: list[Any] = [lambda sender: sender.value]
        topology: Any = parts.within_graphs(whole, self.over)
        if self.reads_edges:
            features = parts.edge_features(whole, self.over, "EdgeAttention")
            sides["edges"] = self._heads(features, "edge", with_bias=False)
            score.append(lambda receiver, edge: rl.dot(receiver.query, edge))
            message.append(lambda edge: edge)
            topology = parts.listed(whole, self.over)
        relations = {}
        for name in self.biases:
            relation = headed(self._relation(name, edge_set), whole, edge_set)
            relations[name] = self._bias_rows(name, relation, whole.batch_axes)
            score.append(_bias_term(name))
            if isinstance(relation, rl.Difference):
                add_attribute(sides, relation.attribute, whole, edge_set)
        heard = rl.propagate(
            topology,
            batch_axes=whole.batch_axes + 1,
            aggregator=rl.Softmax(),
            score=score,
            message=message,
            relations=relations,
            dropout=rl.Dropout(dropout_rate, hk.next_rng_key())
            if dropout_rate
            else None,
            lowering=lowering,
            **sides,
        )
        result = joined_heads(heard, "concatenated")
        if self.with_skip:
            result = result + dense(receiver, result.shape[-1], "skip", True)
        return back(whole.with_features(edge_set.receivers, result))

    @hk.transparent
    def _heads(self, value: jax.Array, name: str, *, with_bias: bool = True) -> Any:
        width = self.num_heads * self.head_width
        return split_heads(dense(value, width, name, with_bias), self.num_heads)

    def _relation(self, name: str, edge_set: rl.EdgeSet) -> Any:
        if name not in edge_set.relations:
            names = ", ".join(edge_set.relations) or "none"
            raise ValueError(
                f"`biases` name relations of the edge set `{self.over}`, {names}; got "
                f"`{name}`."
            )
        relation: Any = edge_set.relations[name]
        if relation.num_labels is None:
            raise ValueError(
                f"the relation `{name}` must be bounded to have biases; got {relation}. "
                "Give it `clip` or `limit`."
            )
        return relation

    @hk.transparent
    def _bias_rows(self, name: str, relation: Any, batch_axes: int) -> Rows:
        shape = (self.num_heads, relation.num_labels)
        table = hk.get_parameter(f"bias_{name}", shape, jnp.float32, jnp.zeros)
        ones = (1,) * batch_axes
        return relation.rows(bias=table.reshape(shape[0], *ones, shape[1]))


def headed(relation: Any, graph: rl.Graph, edge_set: rl.EdgeSet) -> Any:
    """Returns a relation whose labels, if each graph has its own, are for all heads."""
    if not isinstance(relation, rl.Labels):
        return relation
    shape = jnp.shape(relation.labels)
    sides = (graph.num_nodes(edge_set.receivers), graph.num_nodes(edge_set.senders))
    own_axes = len(shape) - (2 if shape[-2:] == sides else 1)
    if not own_axes:
        return relation  # All graphs share them.
    return rl.Labels(relation.labels[None], relation.count)


def add_attribute(
    sides: dict[str, Any], name: str, graph: rl.Graph, edge_set: rl.EdgeSet
) -> None:
    """Adds an attribute that a relation reads to both ends: [1, *lead, N]."""
    for side in ("receivers", "senders"):
        attributes = graph.attributes(getattr(edge_set, side))
        if name in attributes:
            sides[side][name] = jnp.expand_dims(attributes[name], 0)


def _bias_term(relation: str) -> Any:
    """Returns a score term that declares the relation's own name as its argument."""

    def bias(**row: Any) -> Any:
        return row[relation].bias

    parameter = inspect.Parameter(relation, inspect.Parameter.KEYWORD_ONLY)
    bias.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]  # PEP 362.
    return bias


class GraphTransformer(hk.Module):
    """A block of a graph transformer: attention, then a feed-forward network.

        h  = v + W_o attention(norm(v)),    v' = h + feed_forward(norm(h))     ("pre")

    "pre" is Graphormer's (Ying et al. 2021, equations 8 and 9), "post", where norms come
    after the sums, that of Dwivedi and Bresson 2021, equations 8 to 11.

    We differ from both in not updating edges: their features are read by every block.

    Args:
      num_heads: H, which divides the width of the nodes.
      feed_forward_width: of the hidden layer.
      reads_edges, biases: as for `EdgeAttention`.
      order: "pre" or "post".
      activation: of the hidden layer.
      over: the edge set, from a node set to itself.

    >>> import haiku as hk, jax, jax.numpy as jnp, numpy as np, relational as rl
    >>> from relational.blocks import GraphTransformer, shortest_path_distances
    >>> distance = shortest_path_distances([0, 1], [1, 2], 3, limit=4)
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 8])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Complete(),
    ...     relations={"distance": distance})})
    >>> block = hk.transform(lambda graph: GraphTransformer(
    ...     num_heads=2, feed_forward_width=16, biases=["distance"])(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params["graph_transformer/attention"]["bias_distance"].shape
    (2, 6)
    """

    def __init__(
        self,
        *,
        num_heads: int,
        feed_forward_width: int,
        reads_edges: bool = False,
        biases: Sequence[str] = (),
        order: Literal["pre", "post"] = "pre",
        activation: Literal["relu", "gelu", "silu"] = "gelu",
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_heads", num_heads, least=1, advice="It counts heads.")
        self.num_heads = num_heads
        self.feed_forward_width = feed_forward_width
        self.reads_edges = reads_edges
        self.biases = biases
        self.order: Any = order
        self.activation: Any = activation
        self.over = over

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
    ) -> Any:
        """Returns the graph with other features of its nodes, as wide as before.

        Args:
          graph: as for `EdgeAttention`.
          dropout_rate: of weights and of what is added; needs a key.
          lowering: as for `rl.propagate`.
        """
        whole, back = parts.as_graph(graph)
        node_set = whole.edge_set(self.over).receivers
        width = parts.node_features(whole, node_set, "GraphTransformer").shape[-1]
        if width % self.num_heads:
            raise ValueError(
                f"`num_heads` must divide the width of the nodes, {width}; got "
                f"{self.num_heads}."
            )
        attention = EdgeAttention(
            num_heads=self.num_heads,
            head_width=width // self.num_heads,
            reads_edges=self.reads_edges,
            biases=self.biases,
            with_skip=False,
            over=self.over,
            name="attention",
        )

        def attend(inner: rl.Graph) -> tuple[rl.Graph, None]:
            heard = attention(inner, dropout_rate=dropout_rate, lowering=lowering)
            output = dense(heard.features(node_set), width, "output", True)
            return inner.with_features(node_set, output), None

        feed_forward = FeedForward(
            width=self.feed_forward_width, activation=self.activation
        )
        wrap = Residual(self.order, node_set, dropout_rate)
        whole, _ = wrap(whole, attend, "attention_norm")
        whole, _ = wrap(
            whole,
            lambda inner: (feed_forward(inner, node_set), None),
            "feed_forward_norm",
        )
        return back(whole)
