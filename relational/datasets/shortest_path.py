"""Shortest paths: which nodes and edges lie on the shortest way between two places.

One of the three tasks of Battaglia et al. (2018), drawn as their demonstration draws it.
A model hears of the whole graph only by passing messages, so that the paths it finds
show how far it reasons.

Shapes: N nodes, E edges.
"""

import dataclasses
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import distance

from relational.datasets.graph_pairs import (
    GraphPair,
    check_positive,
    check_range,
    check_task,
    generator,
    graph,
    one_hot,
    pair,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShortestPath:
    r"""Random graphs in the plane, each with a start, an end and the path between them.

    Nodes i have uniform positions x_i in the unit square and exponential weights w_i. An
    edge joins i and j if (w_i + w_j) / |x_i - x_j|^2 >= theta (a geographical threshold
    graph), or if it is in the Euclidean minimum spanning tree, which connects the graph.
    Start and end are drawn so that all numbers of hops that occur between two nodes of
    the graph are equally likely. The path is the shortest by Euclidean length.

    Inputs: nodes [N, 5] are x, y, weight, is start, is end; edges [E, 1] the distance, in
    both directions; globals [1, 1] zero. Targets: of each node and of each edge whether it
    is on the path, as two classes (column 1 is true).

    An edge on the path is true in the direction of travel only, its sender nearer to
    the start. The published demonstration turns every edge round when it writes features,
    so that its true edges lead from end to start. The two tasks are one: exchange the
    marks of start and end.

    Attributes:
        seed: of the set, 0 to 2^32 - 1. Sets that must not share examples are given
            different seeds.
        num_graphs: how many examples there are.
        num_nodes: the fewest and the most nodes, both included.
        theta: the threshold; a larger one gives fewer edges.
        rate: the rate of the exponential distribution of weights.

    Raises:
        ValueError: if an attribute is out of range.

    >>> inputs, targets = ShortestPath(seed=0)[3]
    >>> inputs.nodes.shape, inputs.edges.shape
    ((9, 5), (26, 1))
    >>> on_path = targets.edges[:, 1] == 1
    >>> print(inputs.senders[on_path], inputs.receivers[on_path])
    [8 1] [2 8]
    >>> int(inputs.nodes[:, 3].argmax()), int(inputs.nodes[:, 4].argmax())
    (1, 2)

    References: P. Battaglia et al., Relational inductive biases, deep learning, and graph
    networks, arXiv 1806.01261, 2018, and its demonstration in Graph Nets; N. Masuda,
    H. Miwa and N. Konno, Geographical threshold graphs with small-world and scale-free
    properties, Physical Review E 71, 2005.
    """

    seed: int
    num_graphs: int = 1_000_000
    num_nodes: tuple[int, int] = (8, 16)
    theta: float = 20.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        check_task("ShortestPath", self.seed, self.num_graphs)
        check_range(
            "ShortestPath.num_nodes",
            self.num_nodes,
            least=2,
            advice="A path has a start and an end.",
        )
        check_positive("ShortestPath.theta", self.theta, "The demonstration has 20.")
        check_positive("ShortestPath.rate", self.rate, "The demonstration has 1.")

    def __len__(self) -> int:
        return self.num_graphs

    def __getitem__(self, index: SupportsIndex) -> GraphPair:
        rng = generator(self.seed, index, self.num_graphs)
        size = int(rng.integers(*self.num_nodes, endpoint=True))
        positions = rng.random((size, 2))
        weights = rng.exponential(1 / self.rate, size)
        distances = distance.squareform(distance.pdist(positions))
        lengths = np.where(
            _adjacency(distances, weights, self.theta), distances, 0.0
        )  # [N, N]; 0 is no edge.
        edges = _sparse(lengths)
        start, end = _ends(edges, rng)
        path = _path(edges, start, end)
        return _pair(positions, weights, lengths, path)


TRAINING = ShortestPath(seed=0)
"""What the demonstration trains on: 8 to 16 nodes."""

GENERALISATION = ShortestPath(seed=1, num_graphs=1000, num_nodes=(16, 32))
"""What it tests on beside that: twice as many nodes."""


def _adjacency(
    distances: Float[np.ndarray, "N N"], weights: Float[np.ndarray, " N"], theta: float
) -> Bool[np.ndarray, "N N"]:
    sums = weights[:, np.newaxis] + weights
    near = sums >= theta * distances**2  # As networkx has it, without dividing by 0.
    np.fill_diagonal(near, False)
    tree = csgraph.minimum_spanning_tree(_sparse(distances)).toarray() > 0
    return near | tree | tree.T


def _ends(edges: sparse.csr_matrix, rng: np.random.Generator) -> tuple[int, int]:
    """A start and an end: first a number of hops, then a pair that is so far apart."""
    hops = csgraph.dijkstra(edges, unweighted=True).astype(int)
    num_hops = 1 + rng.integers(hops.max())  # All numbers up to the largest occur.
    starts, ends = np.nonzero(hops == num_hops)
    chosen = rng.integers(len(starts))
    return int(starts[chosen]), int(ends[chosen])


def _path(edges: sparse.csr_matrix, start: int, end: int) -> Int[np.ndarray, " K"]:
    """The nodes of the shortest path, from the start to the end."""
    _, before = csgraph.dijkstra(edges, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _sparse(lengths: Float[np.ndarray, "N N"]) -> sparse.csr_matrix:
    """The edges, as SciPy's functions want them: it converts dense ones slowly."""
    receivers, senders = np.nonzero(lengths)
    starts = np.searchsorted(receivers, np.arange(len(lengths) + 1))
    return sparse.csr_matrix(
        (lengths[receivers, senders], senders, starts), shape=lengths.shape
    )


def _pair(
    positions: Float[np.ndarray, "N 2"],
    weights: Float[np.ndarray, " N"],
    lengths: Float[np.ndarray, "N N"],
    path: Int[np.ndarray, " K"],
) -> GraphPair:
    receivers, senders = np.nonzero(lengths)
    size = len(weights)
    nodes = np.zeros([size, 5])
    nodes[:, :2] = positions
    nodes[:, 2] = weights
    nodes[path[0], 3] = nodes[path[-1], 4] = 1
    on_path = np.zeros(size, bool)
    on_path[path] = True
    travelled = np.zeros([size, size], bool)  # By receiver and sender.
    travelled[path[1:], path[:-1]] = True
    inputs = graph(
        nodes=nodes,
        edges=lengths[receivers, senders][:, np.newaxis],
        globals_=np.zeros([1, 1]),
        senders=senders,
        receivers=receivers,
        num_nodes=size,
    )
    return pair(
        inputs,
        nodes=one_hot(on_path),
        edges=one_hot(travelled[receivers, senders]),
    )
