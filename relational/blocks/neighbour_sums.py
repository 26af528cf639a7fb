"""GraphSAGE and graph isomorphism networks: a node, and what its neighbours add up to.

Each is one call of `rl.propagate` whose message is what the sender says, beside layers.

Shapes: *lead leading axes of the graph, N nodes, D width.
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
from relational.blocks.ends import Ends
from relational.blocks.listening import check_aggregators, heard_nodes
from relational.graphs import EDGE

_MEAN = rl.Mean()


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
        ends = Ends(graph, self.over, "GraphSAGE")
        value = ends.sender
        if self.pool_width is not None:
            pool = hk.Linear(self.pool_width, name="pool")
            value = jax.nn.relu(parts.by_rows(pool, value))
        layer = hk.Linear(self.width, with_bias=False, name="heard")
        # A sum of weights times values may come after the matrix, if that is narrower.
        is_linear = isinstance(self.aggregator, Weighting)
        goes_first = is_linear and value.shape[-1] > self.width
        if goes_first:
            value = parts.by_rows(layer, value)
        heard = heard_nodes(ends, value, self.aggregator, lowering)
        if not goes_first:
            heard = parts.by_rows(layer, heard)
        own_layer = hk.Linear(self.width, with_bias=self.with_bias, name="own")
        result = heard + parts.by_rows(own_layer, ends.receiver)
        if self.normalises:
            square = jnp.sum(result * result, -1, keepdims=True)
            result = result * jax.lax.rsqrt(jnp.maximum(square, 1e-24))
        return ends.with_receivers(result)


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
        ends = Ends(graph, self.over, "GraphIsomorphism")
        own = ends.receiver
        heard = heard_nodes(ends, ends.sender, rl.Sum(), lowering)
        epsilon: Any = self.epsilon
        if epsilon == "learned":
            epsilon = hk.get_parameter("epsilon", (), own.dtype, jnp.zeros)
        return ends.with_receivers(
            parts.by_rows(self.update, (1 + epsilon) * own + heard)
        )
