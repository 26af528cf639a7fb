"""Topologies keep what they promise: tile classes, ranges, degrees, set algebra."""

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.topologies.base import first_edge_from_later

PRIMITIVES = st.one_of(
    st.sampled_from([rl.Complete(), rl.Causal(), rl.Self()]),
    st.builds(
        lambda a, b: rl.Band(before=a, after=b), st.integers(0, 4), st.integers(0, 3)
    ),
    st.builds(
        lambda a, b: rl.Blocks(size=a, before=b), st.integers(1, 4), st.integers(0, 2)
    ),
    st.builds(
        lambda ids: rl.SameSegment(np.array(ids)),
        st.lists(st.integers(0, 2), min_size=7, max_size=7),
    ),
    st.builds(
        lambda pairs: rl.Edges([a for a, _ in pairs], [b for _, b in pairs], 7),
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=9),
    ),
)
TOPOLOGIES = st.recursive(
    PRIMITIVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda a: a.T, inner),
    ),
    max_leaves=4,
)
SPANS = st.tuples(st.integers(0, 6), st.integers(1, 7)).filter(lambda s: s[0] < s[1])


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
@hypothesis.given(TOPOLOGIES, SPANS, SPANS)
def test_promises_hold_of_the_adjacency_matrix(topology, rows, columns):
    mask = topology.mask(7, 7)
    part = mask[slice(*rows), slice(*columns)]
    tile = topology.classify(range(*rows), range(*columns))
    assert tile != 0 or not part.any()
    assert tile != 2 or part.all()
    heard = np.flatnonzero(mask[slice(*rows)].any(axis=0))
    assert set(heard) <= set(topology.sender_range(range(*rows), 7))
    hearers = np.flatnonzero(mask[:, slice(*columns)].any(axis=1))
    assert set(hearers) <= set(topology.receiver_range(range(*columns), 7))
    offsets = [sender - receiver for receiver, sender in np.argwhere(mask)]
    reach, ahead = topology.reach(), topology.ahead()
    assert reach is None or all(-offset < reach for offset in offsets)
    assert ahead is None or all(offset <= ahead for offset in offsets)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
@hypothesis.given(TOPOLOGIES)
def test_edges_degrees_and_skeleton_follow_the_matrix(topology):
    mask = topology.mask(7, 7)
    senders, receivers = topology.edges(7, 7)
    listed = np.zeros((7, 7), bool)
    listed[receivers, senders] = True
    np.testing.assert_array_equal(listed, mask)
    assert (mask <= topology.skeleton().mask(7, 7)).all()
    ahead = first_edge_from_later(topology, 7)
    above = np.triu(mask, 1)
    assert (ahead is None) == (not above.any())
    assert ahead is None or above[ahead[1], ahead[0]]


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(PRIMITIVES, PRIMITIVES)
def test_set_algebra_is_that_of_matrices(a, b):
    left, right = a.mask(7, 7), b.mask(7, 7)
    np.testing.assert_array_equal((a & b).mask(7, 7), left & right)
    np.testing.assert_array_equal((a | b).mask(7, 7), left | right)
    np.testing.assert_array_equal((a - b).mask(7, 7), left & ~right)
    np.testing.assert_array_equal(a.T.mask(7, 7), left.T)


def test_a_list_of_edges_keeps_repeated_edges():
    graph = rl.Edges([0, 0, 1], [1, 1, 0], num_receivers=2)
    np.testing.assert_array_equal(graph.degrees(), [1, 2])
    np.testing.assert_array_equal((graph & rl.Complete()).degrees(), [1, 2])


def test_tiles_of_a_long_band_are_mostly_empty():
    tiles = rl.Band(before=256).tiles(128, 4096)
    assert (tiles == 0).mean() > 0.9
    assert tiles[10, 9] == 2
    assert tiles[10, 10] == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rl.Band(before=-1), r"`Band.before` must be 0 or more; got -1"),
        (lambda: rl.Blocks(size=0), r"`Blocks.size` must be 1 or more; got 0"),
        (
            lambda: rl.Edges([0, 7], [1, 0], 3),
            r"`Edges.senders\[1\]` must be from 0 to 2",
        ),
        (lambda: rl.Edges([0], [-1], 3), r"`Edges.receivers\[0\]` must be from 0 to 2"),
        (
            lambda: rl.Edges([0.5], [1]),
            r"`Edges.senders` must be integers; got float64",
        ),
        (
            lambda: rl.Edges([0, 1], [1]),
            r"must have one shape .* got \(2,\) and \(1,\)",
        ),
        (lambda: rl.Causal().edges(), r"`num_receivers` must be given: Causal\(\)"),
    ],
)
def test_wrong_topologies_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_set_operation_needs_two_topologies():
    with pytest.raises(TypeError, match="both sides of a set operation"):
        rl.Causal() & 3


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_lists_of_several_graphs_meet_the_data_of_their_own_graph(kind):
    senders = kind([[0, 1, 2], [3, 4, 0]])
    receivers = kind([[1, 1, 2], [3, 0, 0]])
    ids = kind([[0, 0, 1, 1, 1], [0, 1, 1, 2, 2]])
    graph = rl.Edges(senders, receivers, 5)
    same = graph & rl.SameSegment(ids)
    assert np.asarray(same.listed(5, 5).valid).tolist() == [
        [True, True, True],
        [True, False, True],
    ]
    short = graph - rl.Lengths(senders=kind([2, 4]))
    assert np.asarray(short.listed(5, 5).valid).tolist() == [
        [False, False, True],
        [False, True, False],
    ]
