"""Attention on graphs: GAT and GATv2.

A score is one number an edge, a softmax over the edges that end in a node makes weights
of scores, and a message is what the sender says: so both are one call of
`rl.propagate`, on listed edges or on a rule.

Shapes: H heads, *lead leading axes of the graph, R receivers, S senders, N nodes, D
width, K width of a head. Heads stand in front, since a topology's data have no heads.
"""

import math
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.listening import heard_by, with_bias
from relational.graphs import EDGE

_SLOPE = 0.2  # Of the LeakyReLU: Velickovic et al. 2018, section 2.1.


class GraphAttention(hk.Module):
    """Graph attention, GAT (Velickovic et al. 2018, equations 1 to 6), or GATv2.

        v'_i = b + sum over senders j of  softmax_j(score_ij) W v_j

        GAT:    score_ij = LeakyReLU(a . [W v_i, W v_j])
        GATv2:  score_ij = a . LeakyReLU(W_r v_i + W v_j)         (Brody et al. 2022, eq. 7)

    Heads stand side by side, or are averaged. The activation after it is not included.

    We differ from the paper in adding an offset b, as its code does.

    Args:
      num_heads: H.
      head_width: K.
      kind: "gat", whose ranking of senders is the same for all receivers, or "gatv2".
      heads: "concatenated" to H K, or their "mean", K, as in the last layer.
      self_edges: whether each node hears itself as well, once.
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
          graph: features [*lead, N, D] of the node sets of the edge set.
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
        """
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        sender = parts.node_features(whole, edge_set.senders, "GraphAttention")
        receiver = parts.node_features(whole, edge_set.receivers, "GraphAttention")
        said = self._gat if self.kind == "gat" else self._gatv2
        heard = rl.propagate(
            heard_by(whole, self.over, self_edges=self.self_edges),
            batch_axes=whole.batch_axes + 1,
            aggregator=rl.Softmax(),
            message=lambda sender: sender.value,
            dropout=rl.Dropout(dropout_rate, hk.next_rng_key())
            if dropout_rate
            else None,
            lowering=lowering,
            **said(
                receiver, sender, is_bipartite=edge_set.senders != edge_set.receivers
            ),
        )
        result = joined_heads(heard, self.heads)
        if self.with_bias:
            result = with_bias(result)
        return back(whole.with_features(edge_set.receivers, result))

    @hk.transparent
    def _gat(
        self, receiver: jax.Array, sender: jax.Array, *, is_bipartite: bool
    ) -> dict[str, Any]:
        value = self._project(sender, "sender", with_bias=False)
        other = value
        if is_bipartite:
            other = self._project(receiver, "receiver", with_bias=False)
        # a . [W v_i, W v_j] is a sum of one number a receiver and one a sender.
        return {
            "receivers": {"logit": self._logit(other, "receiver_score")},
            "senders": {"logit": self._logit(value, "sender_score"), "value": value},
            "score": lambda receiver, sender: jax.nn.leaky_relu(
                receiver.logit + sender.logit, _SLOPE
            ),
        }

    @hk.transparent
    def _gatv2(
        self, receiver: jax.Array, sender: jax.Array, *, is_bipartite: bool
    ) -> dict[str, Any]:
        value = self._project(sender, "sender", with_bias=self.with_bias)
        other = value
        if is_bipartite or not self.shares_weights:
            other = self._project(receiver, "receiver", with_bias=self.with_bias)
        rows = self._rows("score", value)
        context = rows.reshape(self.num_heads, *(1,) * (value.ndim - 3), -1)
        return {
            "receivers": {"query": other},
            "senders": {"value": value},
            "context": context,
            "score": lambda receiver, sender, context: rl.dot(
                jax.nn.leaky_relu(receiver.query + sender.value, _SLOPE), context
            ),
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
        init = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
        shape = (self.num_heads, self.head_width)
        rows: jax.Array = hk.get_parameter(name, shape, value.dtype, init)
        return rows


def dense(value: jax.Array, width: int, name: str, with_bias: bool) -> jax.Array:
    """Returns a dense layer of [*lead, N, D]: [*lead, N, width]."""
    init = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
    layer = hk.Linear(width, with_bias=with_bias, w_init=init, name=name)
    return parts.by_rows(layer, value)


def split_heads(value: jax.Array, num_heads: int) -> jax.Array:
    """Returns [*lead, N, H K] as [H, *lead, N, K]."""
    *lead, width = value.shape
    split = value.reshape(*lead, num_heads, width // num_heads)
    return jnp.moveaxis(split, -2, 0)


def joined_heads(heard: jax.Array, heads: str) -> jax.Array:
    """Returns [H, *lead, N, K] as [*lead, N, H K], or its mean [*lead, N, K]."""
    if heads == "mean":
        return heard.mean(0)
    moved = jnp.moveaxis(heard, 0, -2)
    return moved.reshape(*moved.shape[:-2], math.prod(moved.shape[-2:]))


def check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Raises a ValueError unless a value is one of those known."""
    if value not in known:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, known))}; got "
            f"{shown(value)}."
        )
