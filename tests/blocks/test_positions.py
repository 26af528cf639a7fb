"""Positions on graphs are what their definitions say, on graphs known by heart."""

import numpy as np
import pytest

from relational import blocks


def ring(count):
    one = np.arange(count)
    return np.concatenate([one, (one + 1) % count]), np.concatenate(
        [(one + 1) % count, one]
    )


def test_laplacian_positions_are_eigenvectors_of_a_path():
    # A path of n nodes, normalised: eigenvalues 1 - cos(pi k / (n - 1)).
    count, width = 7, 3
    found = blocks.laplacian_positions(range(6), range(1, 7), count, width=width)
    adjacency = np.diag(np.ones(6), 1) + np.diag(np.ones(6), -1)
    scale = 1 / np.sqrt(adjacency.sum(1))
    laplacian = np.eye(7) - scale[:, None] * adjacency * scale
    values = 1 - np.cos(np.pi * np.arange(1, width + 1) / 6)
    np.testing.assert_allclose(laplacian @ found, found * values, atol=1e-6)
    np.testing.assert_allclose(found.T @ found, np.eye(width), atol=1e-6)
    assert (found[np.abs(found).round(5).argmax(0), np.arange(width)] > 0).all()
    assert found.dtype == np.float32


def test_laplacian_positions_of_small_graphs_are_filled_with_zeros():
    found = blocks.laplacian_positions([0], [1], 2, width=3)
    np.testing.assert_allclose(np.abs(found[:, 0]), np.sqrt([0.5, 0.5]), atol=1e-6)
    np.testing.assert_array_equal(found[:, 1:], 0)
    np.testing.assert_array_equal(blocks.laplacian_positions([], [], 1, width=2), 0)


def test_walks_on_a_ring_come_back_as_often_as_coins_fall_even():
    # After 2 m steps of +-1, fewer than the ring is long: (2 m choose m) / 4^m.
    found = blocks.random_walk_positions(*ring(9), 9, width=6)
    np.testing.assert_allclose(found, [[0, 1 / 2, 0, 3 / 8, 0, 5 / 16]] * 9, atol=1e-6)


def test_a_walk_that_cannot_begin_is_never_back():
    found = blocks.random_walk_positions([0], [1], 3, width=2)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("is_directed", [False, True])
def test_distances_are_those_of_walks(is_directed):
    rng = np.random.default_rng(3)
    adjacency = rng.random((12, 12)) < 0.12
    senders, receivers = np.nonzero(adjacency)
    labels = blocks.shortest_path_distances(
        senders, receivers, 12, limit=3, is_directed=is_directed
    )
    assert labels.num_labels == 5
    steps = adjacency if is_directed else adjacency | adjacency.T
    reached, hops = np.eye(12, dtype=bool), np.full((12, 12), 12)
    for count in range(12):
        hops = np.where(reached, np.minimum(hops, count), hops)
        reached = reached | (reached.astype(int) @ steps.astype(int) > 0)
    wanted = np.where(hops == 12, 4, np.minimum(hops, 3))  # Senders x receivers.
    assert {0, 1, 2, 3, 4} == set(wanted.flat)
    np.testing.assert_array_equal(labels.labels, wanted.T)


def test_degrees_are_counted_up_to_a_limit():
    assert blocks.degree_labels([0, 0, 0, 2], 4, limit=2).tolist() == [2, 0, 1, 0]


def test_wrong_lists_are_named():
    with pytest.raises(ValueError, match=r"`Edges.receivers\[0\]` must be from 0 to 2"):
        blocks.laplacian_positions([0], [3], 3, width=1)
    with pytest.raises(ValueError, match="`width` must be 1 or more; got 0"):
        blocks.random_walk_positions([0], [1], 3, width=0)
    with pytest.raises(ValueError, match="`limit` must be 1 or more; got 0"):
        blocks.shortest_path_distances([0], [1], 3, limit=0)
