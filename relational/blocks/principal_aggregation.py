"""Principal neighbourhood aggregation: several aggregators, scaled by the degree.

One call of `rl.propagate` with a tuple of aggregators, which share one pass.

Shapes: *lead leading axes of the graph, N nodes, E edges, D width.
"""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.aggregators import Aggregator
from relational.blocks import parts
from relational.blocks.graph_network import check_aggregators
from relational.blocks.listening import degrees
from relational.graphs import EDGE

_PNA = (rl.Mean(), rl.Min(), rl.Max(), rl.Std())


class PrincipalAggregation(hk.Module):
    """Principal neighbourhood aggregation (Corso et al. 2020, equations 5 to 8).

        v'_i = U(v_i, for each scaler s and each rho:  s(d_i) rho({M(v_i, v_j)}))

    M is linear, of the receiver and the sender (and the edge, if it is `read`); the
    scalers are 1, log(d + 1) / delta and delta / log(d + 1).

    We differ from the paper in having one tower; U is a dense layer.

    Args:
      width: of the result.
      average_log_degree: delta, the mean of log(d + 1) over the nodes of the training
        set, for example `jnp.log(degrees + 1).mean()`.
      aggregators: the paper's are mean, minimum, maximum and standard deviation.
      message_width: of M; by default the width of the senders.
      reads_edges: whether M reads the features of edges.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import PrincipalAggregation
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(
    ...     lambda graph: PrincipalAggregation(width=5, average_log_degree=1.0)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params["principal_aggregation/output"]["w"].shape  # 2 + 3 scalers x 4 x 2.
    (26, 5)
    """

    def __init__(
        self,
        *,
        width: int,
        average_log_degree: float,
        aggregators: tuple[Aggregator, ...] = _PNA,
        message_width: int | None = None,
        reads_edges: bool = False,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        check_aggregators("aggregators", aggregators)
        if not float(average_log_degree) > 0:
            raise ValueError(
                "`average_log_degree` must be above 0; got "
                f"{shown(average_log_degree)}. It is the mean of log(degree + 1)."
            )
        self.width = width
        self.average_log_degree = float(average_log_degree)
        self.aggregators = aggregators
        self.message_width = message_width
        self.reads_edges = reads_edges
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, width]."""
        whole, back = parts.as_graph(graph)
        edge_set = whole.edge_set(self.over)
        sender = parts.node_features(whole, edge_set.senders, "PrincipalAggregation")
        own = parts.node_features(whole, edge_set.receivers, "PrincipalAggregation")
        width = self.message_width or sender.shape[-1]
        sides: dict[str, Any] = {
            "receivers": parts.by_rows(hk.Linear(width, name="receiver"), own),
            "senders": parts.by_rows(hk.Linear(width, False, name="sender"), sender),
        }
        said = [lambda receiver: receiver, lambda sender: sender]
        if self.reads_edges:
            edges = parts.edge_features(whole, self.over, "PrincipalAggregation")
            sides["edges"] = parts.by_rows(hk.Linear(width, False, name="edge"), edges)
            said.append(lambda edge: edge)
        topology = parts.within_graphs(whole, self.over)
        heard = parts.joined(
            rl.propagate(
                topology,
                batch_axes=whole.batch_axes,
                message=said,
                aggregator=tuple(self.aggregators),
                lowering=lowering,
                **sides,
            )
        )
        sizes = (own.shape[-2], sender.shape[-2])
        count = degrees(topology, *sizes, whole.batch_axes)
        scales = self._scales(count.astype(heard.dtype))
        scaled = [heard, *(heard * scale[..., None] for scale in scales)]
        output = hk.Linear(self.width, name="output")
        result = parts.by_rows(output, jnp.concatenate([own, *scaled], -1))
        return back(whole.with_features(edge_set.receivers, result))

    @hk.transparent
    def _scales(self, count: jax.Array) -> Sequence[jax.Array]:
        # A node that nobody speaks to hears zeros, whatever they are scaled by.
        log = jnp.log(jnp.maximum(count, 1) + 1)
        return log / self.average_log_degree, self.average_log_degree / log
