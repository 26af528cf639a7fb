"""Graph tuples from matrices, sparse and dense, and back.

Entry (i, j) is an edge from sender i to receiver j, as in networkx and in
`scipy.sparse.csgraph`. Its value is the feature of the edge.

Shapes: N nodes, E edges.
"""

from typing import TYPE_CHECKING, Any

import jax
import jraph
import numpy as np

from relational._checks import shown
from relational.graph_tuples.checking import checked
from relational.graph_tuples.features import Array, narrowed

if TYPE_CHECKING:
    import scipy.sparse


def from_scipy(matrix: Any, *, nodes: Any = None) -> jraph.GraphsTuple:
    """A graph tuple of one graph, whose edges are the stored entries of a sparse matrix.

    Edges come in the order in which entries are stored. Stored zeros are edges of weight
    0, and entries stored twice are two edges.

    Args:
      matrix: [N, N], sparse, of any format; sender by receiver.
      nodes: None, or a pytree of [N, ...].

    Returns:
      A tuple whose `edges` are the weights, [E, 1]: float32, int32 or booleans.

    Raises:
      ValueError: if the matrix is no square sparse matrix of numbers, or holds NaN.

    >>> import numpy as np, scipy.sparse
    >>> matrix = scipy.sparse.csr_array(np.array([[0.0, 2.5], [1.0, 0.0]]))
    >>> graph = from_scipy(matrix)
    >>> graph.senders, graph.receivers, graph.edges[:, 0]
    (array([0, 1], dtype=int32), array([1, 0], dtype=int32), array([2.5, 1. ], dtype=float32))

    We differ from `sparse_matrix_to_graphs_tuple` in jraph, which takes values for
    numbers of parallel edges.
    """
    import scipy.sparse

    if not scipy.sparse.issparse(matrix):
        raise TypeError(
            f"`matrix` must be a sparse matrix of scipy; got {shown(matrix)}. Dense ones "
            "go to `from_dense`."
        )
    _check_square(matrix.shape)
    entries = matrix.tocoo()
    return _graph(entries.row, entries.col, entries.data, matrix.shape[0], nodes)


def to_scipy(
    graph: jraph.GraphsTuple, *, weights: Any = None
) -> "scipy.sparse.coo_array":
    """The sparse matrix of a graph tuple, [N, N], sender by receiver.

    A batch is block-diagonal. Parallel edges are stored apart; most operations of scipy
    add them up.

    Args:
      graph: one or more graphs.
      weights: [E] or [E, 1] numbers; by default `graph.edges` if that is what they are,
        else ones.

    Raises:
      ValueError: if weights do not fit.

    >>> import numpy as np
    >>> pair = jraph.GraphsTuple(
    ...     nodes=None, edges=np.array([[2.5]]), globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> to_scipy(pair).toarray()
    array([[0. , 2.5],
           [0. , 0. ]])
    """
    import scipy.sparse

    graph = checked(graph)
    num_nodes = int(np.sum(np.asarray(graph.n_node)))
    senders, receivers = (
        np.zeros(0, np.int32) if side is None else np.asarray(side)
        for side in (graph.senders, graph.receivers)
    )
    values = _weights(graph, weights, len(senders))
    return scipy.sparse.coo_array(
        (values, (senders, receivers)), shape=(num_nodes, num_nodes)
    )


def from_dense(matrix: Any, *, nodes: Any = None) -> jraph.GraphsTuple:
    """A graph tuple of one graph, whose edges are the entries that are not zero.

    Args:
      matrix: [N, N] numbers or booleans; sender by receiver.
      nodes: None, or a pytree of [N, ...].

    Returns:
      A tuple whose `edges` are the weights, [E, 1], sorted by sender, then by receiver.

    Raises:
      ValueError: if the matrix is not square, or holds NaN.

    >>> import numpy as np
    >>> graph = from_dense(np.array([[0, 2], [1, 0]]))
    >>> graph.senders, graph.receivers, graph.edges[:, 0]
    (array([0, 1], dtype=int32), array([1, 0], dtype=int32), array([2, 1], dtype=int32))
    """
    array = np.asarray(matrix)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
        raise ValueError(f"`matrix` must hold numbers; got {shown(matrix)}.")
    _check_square(array.shape)
    senders, receivers = np.nonzero(array)
    return _graph(senders, receivers, array[senders, receivers], len(array), nodes)


def to_dense(graph: jraph.GraphsTuple, *, weights: Any = None) -> Array:
    """The matrix of a graph tuple, [N, N], sender by receiver; parallel edges add up.

    Args:
      graph, weights: as for `to_scipy`. Booleans of parallel edges are joined by "or".

    Raises:
      ValueError: if weights do not fit.

    >>> import numpy as np
    >>> to_dense(from_dense(np.array([[0, 2], [1, 0]])))
    array([[0, 2],
           [1, 0]], dtype=int32)
    """
    matrix = to_scipy(graph, weights=weights)
    dense = np.zeros(matrix.shape, matrix.dtype)
    np.add.at(dense, (matrix.row, matrix.col), matrix.data)
    return dense


def _graph(
    senders: Array, receivers: Array, weights: Array, num_nodes: int, nodes: Any
) -> jraph.GraphsTuple:
    def at(edge: int) -> str:
        return f"`matrix[{senders[edge]}, {receivers[edge]}]`"

    if np.issubdtype(weights.dtype, np.complexfloating):
        raise ValueError(
            f"`matrix` must hold real numbers; got {weights.dtype}. Take its parts as two "
            "features."
        )
    return checked(
        jraph.GraphsTuple(
            nodes=nodes,
            edges=narrowed(weights, at)[:, None],
            globals=None,
            senders=senders.astype(np.int32),
            receivers=receivers.astype(np.int32),
            n_node=np.array([num_nodes], np.int32),
            n_edge=np.array([len(senders)], np.int32),
        )
    )


def _check_square(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            "`matrix` must be [N, N], sender by receiver; got shape "
            f"{tuple(map(int, shape))}. One graph has one set of nodes."
        )


def _weights(graph: jraph.GraphsTuple, weights: Any, num_edges: int) -> Array:
    if weights is None:
        leaves = jax.tree.leaves(graph.edges)
        if len(leaves) != 1 or leaves[0].shape not in ((num_edges,), (num_edges, 1)):
            return np.ones(num_edges, np.float32)
        weights = leaves[0]
    values = np.asarray(weights)
    if values.shape not in ((num_edges,), (num_edges, 1)):
        raise ValueError(
            f"`weights` must be [{num_edges}] or [{num_edges}, 1], a number an edge; got "
            f"{shown(weights)}."
        )
    return values.reshape(num_edges)
