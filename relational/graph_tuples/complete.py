"""Graph tuples in which every node hears every other of its graph.

The edges are listed. Where a model goes through `propagate`, `rl.Complete()` says the
same without a list.

Shapes: N nodes, E edges, G graphs.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jraph
import numpy as np

from relational._checks import shown
from relational.graph_tuples.checking import checked, library


def fully_connected(
    num_nodes_per_graph: Sequence[int] | np.ndarray[Any, Any],
    *,
    nodes: Any = None,
    globals_: Any = None,
    self_edges: bool = True,
) -> jraph.GraphsTuple:
    """A graph tuple whose graphs, of any sizes, have all edges within themselves.

    Edges are sorted by receiver. A receiver hears nodes in their order; without
    self-edges it hears those after itself, then from the first node on: jraph's order.

    Args:
      num_nodes_per_graph: [G] numbers, which must be known (not traced).
      nodes: None, or a pytree of [N, ...], the nodes of all graphs end to end.
      globals_: None, or a pytree of [G, ...].
      self_edges: whether a node hears itself.

    Returns:
      A tuple without edge features: n^2 edges for a graph of n nodes, or n (n - 1).

    Raises:
      ValueError: if a count is not a whole number of 0 or more, or features do not fit.
      TypeError: if the counts are traced.

    >>> graph = fully_connected([3, 1, 2], self_edges=False)
    >>> graph.senders, graph.receivers, graph.n_edge
    (array([1, 2, 2, 0, 0, 1, 5, 4]), array([0, 0, 1, 1, 2, 2, 4, 5]), array([6, 0, 2]))

    Reference: `get_fully_connected_graph` in jraph, for graphs of one size;
    `fully_connect_graph_static` in Graph Nets, which gives wrong edges for graphs of
    several sizes.
    """
    counts = _counts(num_nodes_per_graph)
    widths = counts if self_edges else np.maximum(counts - 1, 0)
    n_edge = counts * widths
    graph_of = np.repeat(np.arange(len(counts)), n_edge)  # [E]
    place = np.arange(graph_of.size) - (np.cumsum(n_edge) - n_edge)[graph_of]
    receivers, senders = np.divmod(place, np.maximum(widths, 1)[graph_of])
    if not self_edges:
        senders = (receivers + 1 + senders) % np.maximum(counts, 1)[graph_of]
    first = (np.cumsum(counts) - counts)[graph_of]
    xp = library(nodes, globals_)
    return checked(
        jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            globals=globals_,
            senders=xp.asarray(first + senders),
            receivers=xp.asarray(first + receivers),
            n_node=xp.asarray(counts),
            n_edge=xp.asarray(n_edge),
        )
    )


def _counts(num_nodes_per_graph: Any) -> np.ndarray[Any, Any]:
    advice = "It lists a number a graph: `[3, 3]` are two graphs of three nodes."
    if isinstance(num_nodes_per_graph, jax.core.Tracer):
        raise TypeError(
            "`num_nodes_per_graph` must be known, since shapes follow from it; got a "
            f"traced array. {advice}"
        )
    counts = np.asarray(num_nodes_per_graph)
    if not counts.size and counts.ndim == 1:
        counts = counts.astype(np.int64)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(
            "`num_nodes_per_graph` must be whole numbers [G]; got "
            f"{shown(num_nodes_per_graph)}. {advice}"
        )
    if (counts < 0).any():
        at = int(np.argmax(counts < 0))
        raise ValueError(
            f"`num_nodes_per_graph[{at}]` must be 0 or more; got {counts[at]}. {advice}"
        )
    return counts.astype(np.int64)
