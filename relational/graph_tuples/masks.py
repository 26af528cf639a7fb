"""Which rows of a padded graph tuple are real, and zeros where they are not.

Counts alone tell: of the graphs, the last one with nodes is the dummy graph. So masks can
be made inside a compiled program, where counts are traced.

Shapes: N nodes, E edges, G graphs, each after padding.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jraph
import numpy as np

from relational.graph_tuples.checking import library, num_rows


def node_mask(graph: jraph.GraphsTuple) -> Any:
    """Says which nodes of a padded tuple are real: [N] booleans.

    Works under `jit` and `vmap`; nodes then need features, whose shape says how many
    there are.

    Raises:
      ValueError: if the tuple has no padding graph.
      TypeError: if counts are traced and nodes have no features.

    >>> import jraph, numpy as np
    >>> from relational.graph_tuples import pad
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> node_mask(pad(pair, num_nodes=4, num_edges=1))
    array([ True,  True, False, False])
    """
    return _mask(graph, graph.n_node, num_rows(graph, "nodes"))


def edge_mask(graph: jraph.GraphsTuple) -> Any:
    """Says which edges of a padded tuple are real: [E] booleans.

    Works under `jit` and `vmap`.

    Raises:
      ValueError: if the tuple has no padding graph.

    >>> import jraph, numpy as np
    >>> from relational.graph_tuples import pad
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> edge_mask(pad(pair, num_nodes=4, num_edges=3))
    array([ True, False, False])
    """
    return _mask(graph, graph.n_edge, num_rows(graph, "edges"))


def graph_mask(graph: jraph.GraphsTuple) -> Any:
    """Says which graphs of a padded tuple are real: [G] booleans.

    Works under `jit` and `vmap`. An empty graph before the dummy graph is real.

    Raises:
      ValueError: if the tuple has no padding graph.

    >>> import jraph, numpy as np
    >>> from relational.graph_tuples import pad
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> graph_mask(pad(pair, num_nodes=4, num_edges=3, num_graphs=3))
    array([ True, False, False])
    """
    xp = library(graph.n_node)
    return xp.arange(graph.n_node.shape[0]) < num_real_graphs(graph)


def zero_padding(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Sets the features of padding to zero, whatever a network has made of them.

    Between the layers of a deep network this keeps padding small; after the last it lets
    sums over all rows count what is real only.

    Args:
      graph: a padded tuple; features of any types, nested in any way.

    Returns:
      The same tuple with zeros in padding nodes, edges and globals.

    Raises:
      ValueError: if the tuple has no padding graph.

    >>> import jraph, numpy as np
    >>> from relational.graph_tuples import pad
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> padded = pad(pair, num_nodes=4, num_edges=1)
    >>> zero_padding(padded._replace(nodes=padded.nodes + 5)).nodes
    array([6., 6., 0., 0.])
    """
    return graph._replace(
        nodes=_zeroed(graph.nodes, lambda: node_mask(graph)),
        edges=_zeroed(graph.edges, lambda: edge_mask(graph)),
        globals=_zeroed(graph.globals, lambda: graph_mask(graph)),
    )


def with_zero_padding(
    network: Callable[..., jraph.GraphsTuple],
) -> Callable[..., jraph.GraphsTuple]:
    """Returns a network from graph to graph whose results have zeros in padding.

    Args:
      network: a function that returns a padded tuple.

    >>> import jraph, numpy as np
    >>> from relational.graph_tuples import pad
    >>> add_one = with_zero_padding(lambda graph: graph._replace(nodes=graph.nodes + 1))
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> add_one(pad(pair, num_nodes=4, num_edges=1)).nodes
    array([2., 2., 0., 0.])
    """

    @functools.wraps(network)
    def zeroing(*args: Any, **kwargs: Any) -> jraph.GraphsTuple:
        return zero_padding(network(*args, **kwargs))

    return zeroing


def num_real_graphs(graph: jraph.GraphsTuple) -> Any:
    """Counts the graphs before the dummy graph, which is the last one with nodes.

    Raises:
      ValueError: if the tuple has no dummy graph.
    """
    num_graphs = graph.n_node.shape[0]
    _check_padded(graph, num_graphs)
    xp = library(graph.n_node)
    num_empty = xp.argmax(graph.n_node[::-1] > 0)
    return num_graphs - 1 - num_empty


def _check_padded(graph: jraph.GraphsTuple, num_graphs: int) -> None:
    counted = not isinstance(graph.n_node, jax.core.Tracer)
    if num_graphs >= 2 and not (counted and not np.any(np.asarray(graph.n_node))):
        return
    found = f"{num_graphs} graph{'s' * (num_graphs != 1)}"
    raise ValueError(
        "`graph` must have been padded: a dummy graph with nodes follows at least one "
        f"other graph; got {found}{' without nodes' if num_graphs >= 2 else ''}. Pad it "
        "with `pad`."
    )


def _mask(graph: jraph.GraphsTuple, counts: Any, total: int) -> Any:
    """Says which of `total` rows are in real graphs, of which there are `counts` each."""
    xp = library(graph.n_node, counts)
    is_real = graph_mask(graph)
    num_real = xp.sum(xp.where(is_real, counts, xp.zeros_like(counts)))
    return xp.arange(total) < num_real


def _zeroed(tree: Any, mask: Callable[[], Any]) -> Any:
    leaves = jax.tree.leaves(tree)
    if not leaves:
        return tree
    real = mask()

    def zero(leaf: Any) -> Any:
        xp = library(leaf, real)
        wide = real.reshape(real.shape + (1,) * (leaf.ndim - 1))
        return xp.where(wide, leaf, xp.zeros_like(leaf))

    return jax.tree.map(zero, tree)
