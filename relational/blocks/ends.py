"""An edge set and its two ends: what most blocks of the family read, and give back.

Shapes: *lead leading axes of the graph, R receivers, S senders, E edges, D width.
"""

from typing import Any

import jax

from relational.blocks import parts
from relational.topologies import Topology


class Ends:
    """An edge set of a graph, whichever way the graph came.

    Features are looked for when they are read, so that others need not exist.

    Args:
      graph: an `rl.Graph` or a `jraph.GraphsTuple`.
      over: the edge set.
      read_by: the name of the block, for errors.

    >>> import jax.numpy as jnp, relational as rl
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 2])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Causal())})
    >>> ends = Ends(graph, "edge", "example")
    >>> ends.with_receivers(2 * ends.sender).nodes["node"].tolist()
    [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    """

    def __init__(self, graph: Any, over: str, read_by: str) -> None:
        self.graph, self._back = parts.as_graph(graph)
        self.edge_set = self.graph.edge_set(over)
        self.over = over
        self.batch_axes = self.graph.batch_axes
        self._read_by = read_by

    @property
    def sender(self) -> jax.Array:
        """The features of the senders, [*lead, S, D]."""
        return parts.node_features(self.graph, self.edge_set.senders, self._read_by)

    @property
    def receiver(self) -> jax.Array:
        """The features of the receivers, [*lead, R, D]."""
        return parts.node_features(self.graph, self.edge_set.receivers, self._read_by)

    @property
    def edge(self) -> jax.Array:
        """The features of the edges, [*lead, E, D]."""
        return parts.edge_features(self.graph, self.over, self._read_by)

    @property
    def topology(self) -> Topology:
        """Who may hear whom, within each graph of a tuple."""
        return parts.within_graphs(self.graph, self.over)

    @property
    def is_bipartite(self) -> bool:
        """Whether senders are another node set than receivers."""
        return self.edge_set.senders != self.edge_set.receivers

    @property
    def counts(self) -> tuple[int, int]:
        """R and S."""
        sides = (self.edge_set.receivers, self.edge_set.senders)
        receivers, senders = map(self.graph.num_nodes, sides)
        return receivers, senders

    def with_receivers(self, features: jax.Array) -> Any:
        """Returns the graph as it came, with other features of its receivers."""
        return self._back(self.graph.with_features(self.edge_set.receivers, features))
