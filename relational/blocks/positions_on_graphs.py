"""Where a node stands in a graph: spectra, walks, distances, degrees.

Functions on the host, once a graph, before training: they take lists of senders and
receivers, and give features of nodes, or labels of pairs of nodes.

Shapes: N nodes, E edges, K numbers a node.
"""

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.csgraph

import relational as rl
from relational._checks import check_count


def laplacian_positions(
    senders: Any, receivers: Any, num_nodes: int, *, width: int
) -> np.ndarray:
    """Returns the first eigenvectors of the normalised Laplacian: [N, width] float32.

    L = 1 - D^-1/2 A D^-1/2, of the undirected graph in which each edge counts once. The
    first eigenvector of all is left out; missing ones (small graphs) are zero.

    The sign of an eigenvector is arbitrary: here its largest entry is positive. In
    training, flip signs at random (Dwivedi et al. 2023).

    Args:
      senders, receivers: [E].
      num_nodes: N.
      width: how many eigenvectors.

    Reference: Dwivedi and Bresson 2021, on Laplacian positional encodings.

    >>> from relational.blocks import laplacian_positions
    >>> laplacian_positions([0, 1], [1, 2], 3, width=1).round(3).tolist()
    [[0.707], [0.0], [-0.707]]
    """
    check_count("width", width, least=1, advice="It counts eigenvectors.")
    adjacency = _adjacency(senders, receivers, num_nodes)
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64).toarray()
    np.fill_diagonal(adjacency, 0)
    degree = adjacency.sum(1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    laplacian = np.eye(num_nodes) - scale[:, None] * adjacency * scale[None]
    last = min(width, num_nodes - 1)
    positions = np.zeros((num_nodes, width), np.float32)
    if last > 0:
        _, vectors = scipy.linalg.eigh(laplacian, subset_by_index=[0, last])
        vectors = vectors[:, 1:]
        # Entries of one size: the first of them decides, whatever their rounding.
        largest = np.argmax(np.abs(vectors).round(6), axis=0)
        signs = np.sign(vectors[largest, np.arange(last)])
        positions[:, :last] = (vectors * signs).round(7)
    return positions


def random_walk_positions(
    senders: Any, receivers: Any, num_nodes: int, *, width: int
) -> np.ndarray:
    """Returns how likely a walk is back after 1, 2, ... steps: [N, width] float32.

    The diagonals of P, P^2, ..., where P is the chance of going from a node along one
    of the edges that begin there. A node without such edges is never back.

    Args:
      senders, receivers: [E]; for an undirected graph give both directions.
      num_nodes: N.
      width: how many steps.

    Reference: Dwivedi et al. 2022, on random walk positional encodings.

    >>> from relational.blocks import random_walk_positions
    >>> random_walk_positions([0, 1, 1, 2], [1, 0, 2, 1], 3, width=2).tolist()
    [[0.0, 0.5], [0.0, 1.0], [0.0, 0.5]]
    """
    check_count("width", width, least=1, advice="It counts steps.")
    adjacency = _adjacency(senders, receivers, num_nodes)
    degree = np.asarray(adjacency.sum(1)).reshape(-1)
    step = scipy.sparse.diags_array(1 / np.maximum(degree, 1)) @ adjacency
    walk, back = step, []
    for _ in range(width):
        back.append(walk.diagonal())
        walk = walk @ step
    return np.stack(back, -1).astype(np.float32)


def shortest_path_distances(
    senders: Any,
    receivers: Any,
    num_nodes: int,
    *,
    limit: int,
    is_directed: bool = False,
) -> rl.Labels:
    """Returns the number of hops between all pairs of nodes, as labels of edges.

    Labels are 0 for the node itself, up to `limit` for that many hops or more, and
    `limit + 1` where no path leads: `limit + 2` in all. Tie them to an edge set over
    `rl.Complete()`, and name them in `biases` of `EdgeAttention`.

    Args:
      senders, receivers: [E].
      num_nodes: N.
      limit: this distance and all longer ones share a label.
      is_directed: whether paths follow edges from sender to receiver only.

    Reference: Ying et al. 2021 (Graphormer), section 3.1.2.

    >>> from relational.blocks import shortest_path_distances
    >>> shortest_path_distances([0, 1], [1, 2], 4, limit=2).labels.tolist()
    [[0, 1, 2, 3], [1, 0, 1, 3], [2, 1, 0, 3], [3, 3, 3, 0]]
    """
    check_count("limit", limit, least=1, advice="It counts hops.")
    adjacency = _adjacency(senders, receivers, num_nodes)
    hops = scipy.sparse.csgraph.shortest_path(
        adjacency, directed=is_directed, unweighted=True
    )
    # Rows are senders there, receivers here.
    labels = np.where(np.isinf(hops.T), limit + 1, np.minimum(hops.T, limit))
    return rl.Labels(labels.astype(np.int32), limit + 2)


def degree_labels(nodes: Any, num_nodes: int, *, limit: int) -> np.ndarray:
    """Returns how many edges begin or end in each node, up to `limit`: [N] int32.

    For an embedding that is added to the nodes, `hk.Embed(limit + 1, width)`.

    Args:
      nodes: [E], the senders or the receivers of all edges.
      num_nodes: N.
      limit: larger degrees share a label.

    Reference: Ying et al. 2021 (Graphormer), equation 5.

    >>> from relational.blocks import degree_labels
    >>> degree_labels([0, 0, 0, 2], 3, limit=2).tolist()
    [2, 0, 1]
    """
    check_count("limit", limit, least=1, advice="It counts edges.")
    checked = rl.Edges(nodes, nodes, num_nodes).receivers
    counted = np.bincount(np.asarray(checked), minlength=num_nodes)
    return np.minimum(counted, limit).astype(np.int32)


def _adjacency(senders: Any, receivers: Any, num_nodes: int) -> Any:
    """Returns the matrix of edges, senders x receivers, each once, checked."""
    edges = rl.Edges(np.asarray(senders), np.asarray(receivers), num_nodes)
    ones = np.ones(len(edges.senders))
    matrix = scipy.sparse.coo_array(
        (ones, (edges.senders, edges.receivers)), shape=(num_nodes, num_nodes)
    ).tocsr()
    matrix.data[:] = 1
    return matrix
