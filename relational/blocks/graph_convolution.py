"""Convolutions on graphs: what neighbours have in common, times a matrix.

Graph convolution, GraphSAGE and graph isomorphism networks: each is one call of
`rl.propagate` whose message is what the sender says, beside dense layers.

Shapes: *lead leading axes of the graph, R receivers, S senders, N nodes, D width.
"""

from collections.abc import Callable
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np

import relational as rl
from relational._checks import check_count, shown
from relational.aggregators import Aggregator, Weighting
from relational.blocks import parts
from relational.blocks.graph_network import check_aggregators
from relational.blocks.listening import degrees, heard_by, heard_nodes, with_bias
from relational.graphs import EDGE
from relational.topologies import Topology

_MEAN = rl.Mean()


class GraphConvolution(hk.Module):
    """A graph convolution (Kipf and Welling 2017, equation 2), without its activation.

        v'_i = b + sum over senders j of  W v_j / sqrt(d_i d_j)

    W begins as Glorot and Bengio 2010, equation 16, have it, as in the paper.

    Args:
      width: of the result.
      self_edges: whether each node hears itself as well, once; edges from a node to
        itself that were there are taken away.
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
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        value = parts.node_features(whole, edge_set.senders, "GraphConvolution")
        topology = heard_by(whole, self.over, self_edges=self.self_edges)
        glorot = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
        layer = hk.Linear(self.width, with_bias=False, w_init=glorot, name="linear")
        is_narrower = value.shape[-1] < self.width  # Sums of fewer numbers are cheaper.
        if not is_narrower:
            value = parts.by_rows(layer, value)
        heard = self._heard(whole, topology, value, lowering)
        if is_narrower:
            heard = parts.by_rows(layer, heard)
        if self.with_bias:
            heard = with_bias(heard)
        return back(whole.with_features(edge_set.receivers, heard))

    @hk.transparent
    def _heard(
        self, graph: rl.Graph, topology: Topology, value: jax.Array, lowering: Any
    ) -> jax.Array:
        edge_set = graph.edge_set(self.over)
        sizes = (graph.num_nodes(edge_set.receivers), graph.num_nodes(edge_set.senders))
        at_sender = at_receiver = None
        if self.degrees is not None:
            ended = degrees(topology, *sizes, graph.batch_axes)
            begun = ended
            if self.degrees == "own":
                begun = degrees(topology.T, *sizes[::-1], graph.batch_axes)
            elif edge_set.senders != edge_set.receivers:
                raise ValueError(
                    "`degrees='received'` counts edges that end in senders, which an "
                    f"edge set from `{edge_set.senders}` to `{edge_set.receivers}` has "
                    "none of. Use 'own'."
                )
            at_receiver, at_sender = (
                _inverse_root(count).astype(value.dtype) for count in (ended, begun)
            )
        if at_sender is not None:
            value = value * at_sender[..., None]
        heard = rl.propagate(
            topology,
            batch_axes=graph.batch_axes,
            senders=value,
            num_receivers=sizes[0],
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=lowering,
        )
        return heard if at_receiver is None else heard * at_receiver[..., None]


def _inverse_root(count: jax.Array) -> jax.Array:
    """Returns 1 / sqrt(d), and 0 where d is 0, as PyTorch Geometric has it."""
    return jnp.where(count > 0, jax.lax.rsqrt(jnp.maximum(count, 1)), 0)


class GraphSAGE(hk.Module):
    """Sample and aggregate (Hamilton et al. 2017, algorithm 1, line 5).

        v'_i = b + W_1 rho({v_j : j speaks to i}) + W_2 v_i

    W_1 and W_2 are the halves of the paper's matrix on the concatenation. The
    activation is not included; with `normalises` the result has length 1 (line 7).

    Args:
      width: of the result.
      aggregator: rho; `rl.Mean()`, or `rl.Max()`, to which the paper applies a layer
        first, `pool_width`.
      pool_width: of a dense layer with ReLU on what senders say (equation 3).
      normalises: whether results have length 1.
      with_bias: whether b is there.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import GraphSAGE
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [3.0], [5.0]]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: GraphSAGE(width=1, with_bias=False)(graph))
    >>> params = jax.tree.map(jnp.ones_like, block.init(jax.random.key(0), graph))
    >>> block.apply(params, None, graph).nodes.tolist()  # The last: 2 + 5.
    [[1.0], [3.0], [7.0]]
    """

    def __init__(
        self,
        *,
        width: int,
        aggregator: Aggregator | tuple[Aggregator, ...] = _MEAN,
        pool_width: int | None = None,
        normalises: bool = False,
        with_bias: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        check_aggregators("aggregator", aggregator)
        self.width = width
        self.aggregator = aggregator
        self.pool_width = pool_width
        self.normalises = normalises
        self.with_bias = with_bias
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, width]."""
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        value = parts.node_features(whole, edge_set.senders, "GraphSAGE")
        own = parts.node_features(whole, edge_set.receivers, "GraphSAGE")
        if self.pool_width is not None:
            pool = hk.Linear(self.pool_width, name="pool")
            value = jax.nn.relu(parts.by_rows(pool, value))
        layer = hk.Linear(self.width, with_bias=False, name="heard")
        # A sum of weights times values may come after the matrix, if that is narrower.
        is_linear = isinstance(self.aggregator, Weighting)
        goes_first = is_linear and value.shape[-1] > self.width
        if goes_first:
            value = parts.by_rows(layer, value)
        heard = heard_nodes(whole, self.over, value, self.aggregator, lowering)
        if not goes_first:
            heard = parts.by_rows(layer, heard)
        own_layer = hk.Linear(self.width, with_bias=self.with_bias, name="own")
        result = heard + parts.by_rows(own_layer, own)
        if self.normalises:
            square = jnp.sum(result * result, -1, keepdims=True)
            result = result * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
        return back(whole.with_features(edge_set.receivers, result))


class GraphIsomorphism(hk.Module):
    """The graph isomorphism network (Xu et al. 2019, equation 4.1).

        v'_i = update((1 + epsilon) v_i + sum over senders j of v_j)

    Args:
      update: a function of [rows, D], in the paper an MLP of two layers.
      epsilon: a number, or "learned", which begins at 0.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import GraphIsomorphism
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [3.0], [5.0]]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: GraphIsomorphism(update=jnp.sqrt)(graph))
    >>> block.apply({}, None, graph).nodes[2].tolist()  # The root of 5 + 1 + 3.
    [3.0]
    """

    def __init__(
        self,
        *,
        update: Callable[[jax.Array], jax.Array],
        epsilon: float | Literal["learned"] = 0.0,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if epsilon != "learned" and not isinstance(epsilon, int | float | np.number):
            raise ValueError(
                f"`epsilon` must be a number or 'learned'; got {shown(epsilon)}."
            )
        self.update = update
        self.epsilon = epsilon
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers."""
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        value = parts.node_features(whole, edge_set.senders, "GraphIsomorphism")
        own = parts.node_features(whole, edge_set.receivers, "GraphIsomorphism")
        heard = heard_nodes(whole, self.over, value, rl.Sum(), lowering)
        epsilon: Any = self.epsilon
        if epsilon == "learned":
            epsilon = hk.get_parameter("epsilon", (), own.dtype, jnp.zeros)
        result = parts.by_rows(self.update, (1 + epsilon) * own + heard)
        return back(whole.with_features(edge_set.receivers, result))
