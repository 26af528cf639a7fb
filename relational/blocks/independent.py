"""Maps: edges, nodes and globals updated each by itself, without hearing each other."""

from typing import Any

import haiku as hk
import jraph

import relational as rl
from relational.blocks.graph_network import Function, GraphNetwork
from relational.graphs import EDGE


class Independent(hk.Module):
    """Updates edges, nodes and globals each by itself: `GraphIndependent`.

    Args:
      update_edge, update_node, update_global: functions of [rows, D], or None to leave
        what was there.
      over: the edge set; nodes are those that its edges lead to.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import Independent
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: Independent(update_node=hk.Linear(5))(graph))
    >>> block.apply(block.init(jax.random.key(0), graph), None, graph).nodes.shape
    (3, 5)
    """

    def __init__(
        self,
        *,
        update_edge: Function = None,
        update_node: Function = None,
        update_global: Function = None,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.update_edge = update_edge
        self.update_node = update_node
        self.update_global = update_global
        self.over = over

    def __call__(self, graph: rl.Graph | jraph.GraphsTuple) -> Any:
        """Returns the graph with other features."""
        block = GraphNetwork(
            update_edge=self.update_edge,
            update_node=self.update_node,
            update_global=self.update_global,
            edge_inputs=("edge",),
            node_inputs=("node",),
            global_inputs=("globals",),
            over=self.over,
            name="map",
        )
        return block(graph)
