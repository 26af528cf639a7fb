import collections
import itertools

import networkx as nx
import numpy as np
import pytest

from relational.datasets import ShortestPath, shortest_path


def networks(inputs, theta):
    """The graph of an example, made again by networkx from positions and weights."""
    size = len(inputs.nodes)
    nodes = inputs.nodes.astype(float)
    positions = {node: tuple(nodes[node, :2]) for node in range(size)}
    weights = {node: nodes[node, 2] for node in range(size)}
    near = nx.geographical_threshold_graph(
        size, theta, pos=positions, weight=weights, seed=0
    )
    complete = nx.complete_graph(size)
    for one, other in complete.edges:
        complete.edges[one, other]["distance"] = np.linalg.norm(
            nodes[one, :2] - nodes[other, :2]
        )
    tree = nx.minimum_spanning_tree(complete, weight="distance")
    return complete.edge_subgraph([*near.edges, *tree.edges])


@pytest.mark.parametrize("theta", [20.0, 5.0, 500.0])
def test_graphs_and_paths_are_those_of_networkx(theta):
    task = ShortestPath(seed=7, num_nodes=(2, 24), theta=theta)
    for index in range(40):
        inputs, targets = task[index]
        network = networks(inputs, theta)
        edges = list(zip(inputs.senders, inputs.receivers, strict=True))
        assert set(edges) == {*network.edges, *(edge[::-1] for edge in network.edges)}
        lengths = [network.edges[edge]["distance"] for edge in edges]
        np.testing.assert_allclose(inputs.edges[:, 0], lengths, rtol=1e-4)
        (start,), (end,) = (np.flatnonzero(inputs.nodes[:, c] == 1) for c in (3, 4))
        path = nx.dijkstra_path(network, start, end, weight="distance")
        assert set(np.flatnonzero(targets.nodes[:, 1])) == set(path)
        on_path = {
            edge for edge, on in zip(edges, targets.edges[:, 1], strict=True) if on
        }
        assert on_path == set(itertools.pairwise(path))
        assert (targets.nodes.sum(axis=1) == 1).all()
        assert (targets.edges.sum(axis=1) == 1).all()


def test_all_numbers_of_hops_are_equally_likely_and_then_all_pairs():
    chain = nx.path_graph(4)
    chain.add_edges_from([(3, 4), (3, 5)])  # Distances of 1 to 4, unequally many pairs.
    edges = shortest_path._sparse(nx.to_numpy_array(chain) * 0.5)
    hops = dict(nx.all_pairs_shortest_path_length(chain))
    rng = np.random.default_rng(0)
    pairs = collections.Counter(shortest_path._ends(edges, rng) for _ in range(8000))
    expected = collections.Counter(
        hops[one][other] for one in hops for other in hops[one] if one != other
    )
    assert set(expected) == {1, 2, 3, 4}
    assert len(pairs) == 30  # All ordered pairs of six nodes.
    for (start, end), count in pairs.items():
        mean = 8000 / 4 / expected[hops[start][end]]
        assert abs(count - mean) < 4.5 * mean**0.5


def test_weights_are_exponential_and_positions_uniform():
    task = ShortestPath(seed=1, rate=2.0)
    nodes = np.concatenate([task[index].inputs.nodes for index in range(300)])
    assert nodes[:, 2].mean() == pytest.approx(0.5, abs=0.03)
    assert nodes[:, 2].std() == pytest.approx(0.5, abs=0.04)
    assert nodes[:, :2].mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.03)
    assert nodes[:, :2].std(axis=0) == pytest.approx([12**-0.5] * 2, abs=0.02)
