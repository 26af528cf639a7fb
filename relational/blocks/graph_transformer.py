"""A transformer on graphs: attention that reads edges, then a feed-forward network.

Shapes: *lead leading axes of the graph, N nodes, D width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import haiku as hk
import jraph

import relational as rl
from relational._checks import check_count
from relational.blocks import parts
from relational.blocks.dense import dense
from relational.blocks.edge_attention import EdgeAttention
from relational.blocks.feed_forward import FeedForward
from relational.blocks.residual import Residual
from relational.graphs import EDGE


class GraphTransformer(hk.Module):
    """A block of a graph transformer: attention, then a feed-forward network.

        h  = v + W_o attention(norm(v)),    v' = h + feed_forward(norm(h))     ("pre")

    "pre" is Graphormer's (Ying et al. 2021, equations 8 and 9), "post", where norms come
    after the sums, that of Dwivedi and Bresson 2021.

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
