"""Edges of several types: a matrix a type, made of a few common ones.

A receiver listens to each type by itself: it is as many receivers as there are types,
and one call of `rl.propagate` serves all.

Shapes: *lead leading axes of the graph, N nodes, E edges, T types, B bases, D width.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np

import relational as rl
from relational._checks import check_count, shown
from relational.aggregators import Aggregator
from relational.blocks import parts
from relational.blocks.dense import with_bias
from relational.blocks.ends import Ends
from relational.blocks.listening import check_aggregators
from relational.graphs import EDGE

_MEAN = rl.Mean()


class RelationalConvolution(hk.Module):
    """R-GCN (Schlichtkrull et al. 2018, equations 2 and 3), without its activation.

        v'_i = b + W_0 v_i + sum over types t of  W_t mean {v_j : j speaks to i as t}
        W_t  = sum over bases b of  a_tb V_b

    We differ from the paper in the offset b.

    Args:
      width: of the result.
      num_types: T.
      num_bases: B; None gives each type a matrix of its own.
      aggregator: of the edges of one type; the paper's is the mean.
      types: where the type of an edge, an integer from 0 to T - 1, is found: the name of
        a relation of the edge set that is `rl.Labels`. None: it is the edge's feature,
        [E] integers.
      with_root: whether W_0 v_i is added.
      with_bias: whether b is.
      over: the edge set. The edges of a rule are listed.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import RelationalConvolution
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [3.0], [5.0]]), edges=jnp.array([0, 0, 1]),
    ...     globals=None, senders=jnp.array([0, 1, 2]), receivers=jnp.array([2, 2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([3]))
    >>> block = hk.transform(lambda graph: RelationalConvolution(
    ...     width=1, num_types=2, with_root=False)(graph))
    >>> params = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(0), graph))
    >>> params["relational_convolution"]["w"] += jnp.array([[[1.0]], [[10.0]]])
    >>> block.apply(params, None, graph).nodes[2].tolist()  # (1 + 3) / 2 + 10 * 5.
    [52.0]
    """

    def __init__(
        self,
        *,
        width: int,
        num_types: int,
        num_bases: int | None = None,
        aggregator: Aggregator = _MEAN,
        types: str | None = None,
        with_root: bool = True,
        with_bias: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        check_count("num_types", num_types, least=1, advice="It counts types.")
        if num_bases is not None:
            check_count("num_bases", num_bases, least=1, advice="It counts matrices.")
        check_aggregators("aggregator", (aggregator,))
        self.width = width
        self.num_types = num_types
        self.num_bases = num_bases
        self.aggregator = aggregator
        self.types = types
        self.with_root = with_root
        self.with_bias = with_bias
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, width]."""
        ends = Ends(graph, self.over, "RelationalConvolution")
        sender, topology = ends.sender, parts.listed(ends.graph, self.over)
        heard = rl.propagate(
            by_type(topology, self._types(ends, topology), self.num_types),
            batch_axes=ends.batch_axes,
            senders=sender,
            message=lambda sender: sender,
            aggregator=self.aggregator,
            lowering=lowering,
        )  # [*lead, N T, D]
        lead, width = heard.shape[:-2], sender.shape[-1]
        each = heard.reshape(*lead, ends.counts[0], self.num_types * width)
        matrices = self._matrices(width, heard.dtype).reshape(-1, self.width)
        result = parts.by_rows(lambda rows: rows @ matrices, each)
        if self.with_root:
            root = hk.Linear(self.width, with_bias=False, name="root")
            result = result + parts.by_rows(root, ends.receiver)
        return ends.with_receivers(with_bias(result) if self.with_bias else result)

    @hk.transparent
    def _matrices(self, width: int, dtype: Any) -> jax.Array:
        """Returns a matrix a type: [T, D, width]."""
        count = self.num_types if self.num_bases is None else self.num_bases
        init = hk.initializers.VarianceScaling(
            1.0, "fan_avg", "uniform", fan_in_axes=[1]
        )
        shape = (count, width, self.width)
        rows: jax.Array = hk.get_parameter("w", shape, dtype, init)
        if self.num_bases is None:
            return rows
        spread = hk.initializers.RandomNormal(self.num_bases**-0.5)
        shares = hk.get_parameter(
            "shares", (self.num_types, self.num_bases), dtype, spread
        )
        return jnp.einsum("tb,bdf->tdf", shares, rows)

    @hk.transparent
    def _types(self, ends: Ends, topology: rl.Edges) -> Any:
        """Returns the type of each listed edge, [*lead, E] integers."""
        types = ends.edge_set.features
        if self.types is not None:
            labels = ends.edge_set.relations.get(self.types)
            if not isinstance(labels, rl.Labels):
                raise ValueError(
                    f"`types` must name a relation of the edge set `{self.over}` that is "
                    f"`rl.Labels`; got `{self.types}`, which is {shown(labels)}."
                )
            types = labels.labels
            if np.shape(types)[-2:] == topology.counts():
                types = types[..., topology.receivers, topology.senders]
        dtype = getattr(types, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
            raise ValueError(
                f"the types of edges must be integers [E] from 0 to {self.num_types - 1}"
                f"; got {shown(types)}. They are the features of the edge set "
                f"`{self.over}`, or the relation that `types` names."
            )
        return types


def by_type(topology: rl.Edges, types: Any, num_types: int) -> rl.Edges:
    """Returns edges that lead to one of `num_types` receivers in place of each.

    Receiver i, type t is receiver `i * num_types + t`. Types that there are not lead
    nowhere, where they are traced, and are an error else.

    >>> import numpy as np, relational as rl
    >>> by_type(rl.Edges([0, 1], [1, 0], 2), np.array([0, 1]), 2).receivers
    array([2, 1])
    """
    receivers, senders = topology.receivers, topology.senders
    num_receivers, num_senders = topology.counts()
    assert num_receivers is not None
    arrays = (receivers, senders, types)
    if not any(isinstance(array, jax.core.Tracer) for array in arrays):
        types = np.asarray(types)
        wrong = np.flatnonzero((types < 0) | (types >= num_types))
        if wrong.size:
            raise ValueError(
                f"the types of edges must be from 0 to {num_types - 1}; got "
                f"{types.reshape(-1)[wrong[0]]} at edge {wrong[0]}."
            )
        receivers = np.asarray(receivers) * num_types + types
    else:
        inside = (types >= 0) & (types < num_types)
        inside &= (receivers >= 0) & (receivers < num_receivers)
        found = receivers * num_types + types.astype(receivers.dtype)
        receivers = jnp.where(inside, found, num_receivers * num_types)
    senders = (
        jnp.broadcast_to(senders, receivers.shape)
        if (receivers.shape != senders.shape)
        else senders
    )
    return rl.Edges(senders, receivers, num_receivers * num_types, num_senders)
