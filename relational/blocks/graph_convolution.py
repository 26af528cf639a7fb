"""Graph convolution: what neighbours have in common, times a matrix.

One call of `rl.propagate` whose message is what the sender says, times a weight if edges
have weights, between two scalings by degrees.

Shapes: *lead leading axes of the graph, N nodes, E edges, D width.
"""

from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.dense import dense, with_bias
from relational.blocks.ends import Ends
from relational.blocks.listening import degrees
from relational.blocks.self_edges import heard_by, listed_with_features
from relational.graphs import EDGE
from relational.topologies import Topology


class GraphConvolution(hk.Module):
    """A graph convolution (Kipf and Welling 2017, equation 2), without its activation.

        v'_i = b + sum over senders j of  w_ij W v_j / sqrt(d_i d_j)

    w_ij is 1, or the weight of the edge; d adds up weights. W begins as Glorot and
    Bengio 2010, equation 16, have it, as in the paper.

    Args:
      width: of the result.
      self_edges: whether each node hears itself as well, once, with weight 1; edges
        from a node to itself that were there are taken away.
      reads_weights: whether the features of edges, [*lead, E, 1], are their weights.
      degrees: of what d counts edges. "own": of receivers those that end there, of
        senders those that begin there; "received": those that end in a node, for both,
        as PyTorch Geometric has it (a node that hears nobody then says nothing). They
        differ where edges lead one way. None leaves sums as they are.
      with_bias: whether b is there.
      over: the edge set.

    Example, with weights of one:

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import GraphConvolution
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [3.0]]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 0]),
    ...     n_node=jnp.array([2]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: GraphConvolution(width=1)(graph))
    >>> params = jax.tree.map(jnp.ones_like, block.init(jax.random.key(0), graph))
    >>> block.apply(params, None, graph).nodes.round(3).tolist()  # (1 + 3) / 2, plus 1.
    [[3.0], [3.0]]
    """

    def __init__(
        self,
        *,
        width: int,
        self_edges: bool = True,
        reads_weights: bool = False,
        degrees: Literal["own", "received"] | None = "own",
        with_bias: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        if degrees not in ("own", "received", None):
            raise ValueError(
                f"`degrees` must be 'own', 'received' or None; got {shown(degrees)}."
            )
        self.width = width
        self.self_edges = self_edges
        self.reads_weights = reads_weights
        self.degrees = degrees
        self.with_bias = with_bias
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, width].

        Args:
          graph: features [*lead, N, D] of the node sets of the edge set.
          lowering: as for `rl.propagate`.
        """
        ends = Ends(graph, self.over, "GraphConvolution")
        value = ends.sender
        is_narrower = value.shape[-1] < self.width  # Sums of fewer numbers are cheaper.
        if not is_narrower:
            value = dense(value, self.width, "linear", False)
        heard = self._heard(ends, value, lowering)
        if is_narrower:
            heard = dense(heard, self.width, "linear", False)
        return ends.with_receivers(with_bias(heard) if self.with_bias else heard)

    @hk.transparent
    def _heard(self, ends: Ends, value: jax.Array, lowering: Any) -> jax.Array:
        topology, weights = self._weighted(ends)
        at_receiver, at_sender = self._scales(ends, topology, weights)
        if at_sender is not None:
            value = value * at_sender[..., None].astype(value.dtype)
        heard: jax.Array = rl.propagate(
            topology,
            batch_axes=ends.batch_axes,
            senders=value,
            edges=weights,
            num_receivers=ends.counts[0],
            message=_plain if weights is None else _weighted,
            aggregator=rl.Sum(),
            lowering=lowering,
        )
        if at_receiver is None:
            return heard
        return heard * at_receiver[..., None].astype(heard.dtype)

    @hk.transparent
    def _weighted(self, ends: Ends) -> tuple[Topology, jax.Array | None]:
        """Returns who hears whom, and the weight of each edge, [*lead, E] or None."""
        if not self.reads_weights:
            return heard_by(ends, self_edges=self.self_edges), None
        weights = ends.edge
        if weights.shape[-1] != 1:
            raise ValueError(
                f"`edges['{self.over}'].features` must be one number an edge, its "
                f"weight; got {shown(weights)}."
            )
        *lead, _, _ = weights.shape
        own = jnp.ones([*lead, ends.counts[0], 1], weights.dtype)
        topology, weights = listed_with_features(
            ends, weights, own if self.self_edges else None
        )
        return topology, weights[..., 0]

    @hk.transparent
    def _scales(
        self, ends: Ends, topology: Topology, weights: jax.Array | None
    ) -> tuple[jax.Array | None, jax.Array | None]:
        """Returns 1 / sqrt(d) of receivers and of senders."""
        if self.degrees is None:
            return None, None
        ended = degrees(topology, *ends.counts, ends.batch_axes, weights)
        if self.degrees == "own":
            turned, sides = parts.turned(topology), ends.counts[::-1]
            begun = degrees(turned, *sides, ends.batch_axes, weights)
            return _inverse_root(ended), _inverse_root(begun)
        if ends.is_bipartite:
            raise ValueError(
                "`degrees='received'` counts edges that end in senders, which an edge "
                f"set from `{ends.edge_set.senders}` to `{ends.edge_set.receivers}` "
                "has none of. Use 'own'."
            )
        return _inverse_root(ended), _inverse_root(ended)


def _plain(sender: Any) -> Any:
    return sender


def _weighted(sender: Any, edge: Any) -> Any:
    return edge * sender


def _inverse_root(count: jax.Array) -> jax.Array:
    """Returns 1 / sqrt(d), and 0 where d is 0, as PyTorch Geometric has it."""
    return jnp.where(count > 0, jax.lax.rsqrt(jnp.where(count > 0, count, 1)), 0)
