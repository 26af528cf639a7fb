"""Attention on graphs: GAT and GATv2.

A score is one number an edge, a softmax over the edges that end in a node makes weights
of scores, and a message is what the sender says: so both are one call of
`rl.propagate`, on listed edges or on a rule.

Shapes: H heads, *lead leading axes of the graph, N nodes, E edges, D width, K width of a
head. Heads stand in front, since a topology's data have no heads.
"""

from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_choice, check_count
from relational.blocks.dense import dense, glorot, with_bias
from relational.blocks.ends import Ends
from relational.blocks.heads import joined_heads, split_heads
from relational.blocks.self_edges import heard_by, listed_with_features, mean_of_others
from relational.graphs import EDGE
from relational.topologies import Topology

_SLOPE = 0.2  # Of the LeakyReLU: Velickovic et al. 2018, section 2.1.


class GraphAttention(hk.Module):
    """Graph attention, GAT (Velickovic et al. 2018, equations 1 to 6), or GATv2.

        v'_i = b + sum over senders j of  softmax_j(score_ij) W v_j

        GAT:    score_ij = LeakyReLU(a . [W v_i, W v_j, W_e e_ij])
        GATv2:  score_ij = a . LeakyReLU(W_r v_i + W v_j + W_e e_ij)

    GATv2 is equation 7 of Brody et al. 2022. Heads stand side by side, or are averaged.
    The activation after it is not included.

    We differ from the papers in adding an offset b, as their code does, and in W_e e_ij,
    which is there if edges are read; both as PyTorch Geometric has them.

    Args:
      num_heads: H.
      head_width: K.
      kind: "gat", whose ranking of senders is the same for all receivers, or "gatv2".
      heads: "concatenated" to H K, or their "mean", K, as in the last layer.
      self_edges: whether each node hears itself as well, once. Where edges are read,
        that edge has the mean of the features of the others that end in the node.
      reads_edges: whether scores read the features of edges, which are then listed.
      shares_weights: of GATv2, whether W_r is W.
      with_bias: whether there is an offset b (GATv2: also of W and W_r).
      over: the edge set.

    Example, of scores that are all equal:

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import GraphAttention
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [3.0], [8.0]]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: GraphAttention(num_heads=2, head_width=1)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params = jax.tree.map(jnp.zeros_like, params)
    >>> params["graph_attention/sender"]["w"] += 1.0
    >>> block.apply(params, None, graph).nodes.tolist()
    [[1.0, 1.0], [3.0, 3.0], [4.0, 4.0]]
    """

    def __init__(
        self,
        *,
        num_heads: int,
        head_width: int,
        kind: Literal["gat", "gatv2"] = "gat",
        heads: Literal["concatenated", "mean"] = "concatenated",
        self_edges: bool = True,
        reads_edges: bool = False,
        shares_weights: bool = False,
        with_bias: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_heads", num_heads, least=1, advice="It counts heads.")
        check_count("head_width", head_width, least=1, advice="It counts channels.")
        check_choice("kind", kind, ("gat", "gatv2"))
        check_choice("heads", heads, ("concatenated", "mean"))
        self.num_heads = num_heads
        self.head_width = head_width
        self.kind = kind
        self.heads = heads
        self.self_edges = self_edges
        self.reads_edges = reads_edges
        self.shares_weights = shares_weights
        self.with_bias = with_bias
        self.over = over

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
    ) -> Any:
        """Returns the graph with other features of its receivers.

        Args:
          graph: features [*lead, N, D] of the node sets of the edge set, and of its
            edges [*lead, E, D'], where they are read.
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
        """
        ends = Ends(graph, self.over, "GraphAttention")
        topology, edges = self._edges(ends)
        say = self._gat if self.kind == "gat" else self._gatv2
        heard = rl.propagate(
            topology,
            batch_axes=ends.batch_axes + 1,
            aggregator=rl.Softmax(),
            message=lambda sender: sender.value,
            dropout=dropout_of(dropout_rate),
            lowering=lowering,
            **say(ends, edges),
        )
        result = joined_heads(heard, self.heads)
        return ends.with_receivers(with_bias(result) if self.with_bias else result)

    @hk.transparent
    def _edges(self, ends: Ends) -> tuple[Topology, jax.Array | None]:
        """Returns who hears whom, and W_e e, [H, *lead, E, K], or None."""
        if not self.reads_edges:
            return heard_by(ends, self_edges=self.self_edges), None
        own = mean_of_others(ends, ends.edge) if self.self_edges else None
        topology, features = listed_with_features(ends, ends.edge, own)
        return topology, self._project(features, "edge", with_bias=False)

    @hk.transparent
    def _gat(self, ends: Ends, edges: jax.Array | None) -> dict[str, Any]:
        value = self._project(ends.sender, "sender", with_bias=False)
        other = value
        if ends.is_bipartite:
            other = self._project(ends.receiver, "receiver", with_bias=False)
        # a . [x, y, z] is a sum of one number a receiver, one a sender and one an edge.
        return {
            "receivers": {"logit": self._logit(other, "receiver_score")},
            "senders": {"logit": self._logit(value, "sender_score"), "value": value},
            "edges": None if edges is None else self._logit(edges, "edge_score"),
            "score": _gat_score if edges is None else _gat_edge_score,
        }

    @hk.transparent
    def _gatv2(self, ends: Ends, edges: jax.Array | None) -> dict[str, Any]:
        value = self._project(ends.sender, "sender", with_bias=self.with_bias)
        other = value
        if ends.is_bipartite or not self.shares_weights:
            other = self._project(ends.receiver, "receiver", with_bias=self.with_bias)
        rows = self._rows("score", value)
        return {
            "receivers": {"query": other},
            "senders": {"value": value},
            "edges": edges,
            "context": rows.reshape(self.num_heads, *(1,) * (value.ndim - 3), -1),
            "score": _gatv2_score if edges is None else _gatv2_edge_score,
        }

    @hk.transparent
    def _project(self, value: jax.Array, name: str, *, with_bias: bool) -> jax.Array:
        width = self.num_heads * self.head_width
        return split_heads(dense(value, width, name, with_bias), self.num_heads)

    @hk.transparent
    def _logit(self, value: jax.Array, name: str) -> jax.Array:
        return jnp.einsum("h...k,hk->h...", value, self._rows(name, value))

    @hk.transparent
    def _rows(self, name: str, value: jax.Array) -> jax.Array:
        shape = (self.num_heads, self.head_width)
        rows: jax.Array = hk.get_parameter(name, shape, value.dtype, glorot())
        return rows


def dropout_of(rate: float) -> rl.Dropout | None:
    """Returns the dropout of weights at a rate, with a key if it is not 0."""
    return rl.Dropout(rate, hk.next_rng_key()) if rate else None


def _gat_score(receiver: Any, sender: Any) -> Any:
    return jax.nn.leaky_relu(receiver.logit + sender.logit, _SLOPE)


def _gat_edge_score(receiver: Any, sender: Any, edge: Any) -> Any:
    return jax.nn.leaky_relu(receiver.logit + sender.logit + edge, _SLOPE)


def _gatv2_score(receiver: Any, sender: Any, context: Any) -> Any:
    return rl.dot(jax.nn.leaky_relu(receiver.query + sender.value, _SLOPE), context)


def _gatv2_edge_score(receiver: Any, sender: Any, edge: Any, context: Any) -> Any:
    total = receiver.query + sender.value + edge
    return rl.dot(jax.nn.leaky_relu(total, _SLOPE), context)
