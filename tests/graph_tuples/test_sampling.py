import itertools
import pickle
import tracemalloc

import grain
import jax
import jraph
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import relational as rl
from relational import graph_tuples as gt
from relational.graph_tuples.drawing import counted, subsets
from tests.graph_tuples.tuples import assert_equal


def large(num_nodes=60, num_edges=400, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "senders": rng.integers(num_nodes, size=num_edges),
        "receivers": rng.integers(num_nodes, size=num_edges) // 2,  # Some hear nobody.
        "num_nodes": num_nodes,
    }


def sampler_of(listed, **changes):
    fields = {"fan_outs": (3, 2), "batch_size": 4, "seed": 7}
    return gt.NeighbourSampler(
        adjacency=gt.Adjacency.of(**listed), **(fields | changes)
    )


def real(sample):
    """Returns the sample's edges in the large graph: senders, receivers, numbers."""
    mask = gt.edge_mask(sample.graph)
    senders, receivers = (
        sample.node_ids[side[mask]]
        for side in (sample.graph.senders, sample.graph.receivers)
    )
    return senders, receivers, sample.edge_ids[mask]


def equal(one, other):
    return all(
        np.array_equal(left, right)
        for left, right in zip(
            jax.tree.leaves(one), jax.tree.leaves(other), strict=True
        )
    )


@settings(max_examples=40)
@given(
    st.integers(0, 2**63), st.integers(0, 2**63), st.integers(1, 4), st.integers(1, 4)
)
def test_a_sample_is_a_part_of_the_graph_with_at_most_the_fan_outs(
    seed, step, one, two
):
    edges = large()
    seeds = np.array([3, 11, 40, 11])
    sampler = sampler_of(edges, fan_outs=(one, two), seed=seed)
    sample = sampler.sample(seeds, step)
    senders, receivers, numbers = real(sample)
    np.testing.assert_array_equal(edges["senders"][numbers], senders)
    np.testing.assert_array_equal(edges["receivers"][numbers], receivers)
    assert len(np.unique(numbers)) == len(numbers)  # Without replacement.
    np.testing.assert_array_equal(sample.node_ids[sample.seed_rows], seeds)
    nodes = sample.node_ids[gt.node_mask(sample.graph)]
    assert len(np.unique(nodes)) == len(nodes)
    assert (sample.node_ids[len(nodes) :] == -1).all()
    # Hop by hop: who hears, and how many.
    degrees = np.bincount(edges["receivers"], minlength=60)
    heard = np.bincount(receivers, minlength=60)
    first = np.unique(seeds)
    np.testing.assert_array_equal(heard[first], np.minimum(degrees[first], one))
    second = np.setdiff1d(senders[np.isin(receivers, first)], first)
    np.testing.assert_array_equal(heard[second], np.minimum(degrees[second], two))
    assert heard.sum() == heard[first].sum() + heard[second].sum()
    assert set(nodes) == {*first, *senders}


def test_full_fan_outs_give_the_neighbourhood_and_nothing_else():
    edges, seeds = large(num_edges=120), [3, 11]
    sampler = sampler_of(edges, fan_outs=(120, 120, 120), batch_size=2)
    sample = sampler.sample(seeds, 0)
    hears, reached = set(), set(seeds)
    for _ in range(3):
        hears |= reached
        reached |= {
            int(s)
            for s, r in zip(edges["senders"], edges["receivers"], strict=True)
            if r in hears
        }
    expected = np.flatnonzero(np.isin(edges["receivers"], list(hears)))
    np.testing.assert_array_equal(np.sort(real(sample)[2]), expected)
    assert set(sample.node_ids[sample.node_ids >= 0].tolist()) == reached


def test_full_fan_outs_give_the_seeds_what_the_large_graph_gives_them():
    edges = large()
    features = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)

    def layers(nodes, senders, receivers):
        for _ in range(2):
            nodes = np.tanh(
                nodes
                + rl.propagate(
                    rl.Edges(senders, receivers, len(nodes)),
                    senders=nodes,
                    message=lambda sender: sender,
                    aggregator=rl.Mean(),
                    lowering=rl.lowerings.Edges(),
                )
            )
        return np.asarray(nodes)

    sampler = sampler_of(edges, fan_outs=(400, 400), nodes=features)
    sample = sampler.sample([5, 9, 30, 59], 0)
    whole = layers(features, edges["senders"], edges["receivers"])
    graph = sample.graph
    part = layers(graph.nodes, graph.senders, graph.receivers)
    np.testing.assert_allclose(part[sample.seed_rows], whole[[5, 9, 30, 59]], atol=1e-6)


def test_every_subset_is_equally_likely():
    # 20 = 6 over 3 subsets; one draw of 20 000 nodes. The seed is fixed.
    taken, is_real = subsets(counted(0, 0), np.full(20_000, 6), 3)
    assert is_real.all()
    keys = [tuple(sorted(row)) for row in taken.tolist()]
    counts = [keys.count(subset) for subset in itertools.combinations(range(6), 3)]
    assert sum(counts) == 20_000
    assert scipy.stats.chisquare(counts).pvalue > 0.01
    # And a biased draw would be seen:
    counts[0], counts[1] = counts[0] + 150, counts[1] - 150
    assert scipy.stats.chisquare(counts).pvalue < 1e-3


def test_edges_of_a_sampled_graph_are_uniform_over_the_steps():
    hub = {"senders": np.arange(1, 11), "receivers": np.zeros(10, int), "num_nodes": 11}
    sampler = sampler_of(hub, fan_outs=(4,), batch_size=1)
    numbers = np.concatenate(
        [real(sampler.sample([0], step))[2] for step in range(600)]
    )
    counts = np.bincount(numbers, minlength=10)
    assert counts.sum() == 2400
    # Drawn without replacement, counts vary less than independent ones: by 6/9.
    assert (
        0.001
        < scipy.stats.chi2.sf(((counts - 240) ** 2 / 240).sum() * 9 / 6, 9)
        < 0.999
    )


def test_the_seed_and_the_step_decide_everything():
    edges = large()
    one, same, other = (sampler_of(edges, seed=seed) for seed in (1, 1, 2))
    seeds = [0, 1, 2, 3]
    later = one.sample(seeds, 9)  # Not the first call: there is no hidden state.
    assert equal(same.sample(seeds, 9), later)
    assert equal(pickle.loads(pickle.dumps(one)).sample(seeds, 9), later)
    assert not equal(other.sample(seeds, 9), later)
    assert not equal(one.sample(seeds, 10), later)


def test_random_numbers_are_these_on_every_machine():
    # Philox4x64-10 is specified to the bit; numbers change only if our use of it does.
    taken, _ = subsets(counted(3, 5), np.array([1000, 50, 10**9]), 2)
    assert taken.tolist() == [[89, 371], [16, 19], [165208976, 951402916]]


def test_all_samples_have_one_shape_and_the_shape_is_the_bound():
    sampler = sampler_of(large(), fan_outs=(2, 2), batch_size=3)
    assert (sampler.num_nodes, sampler.num_edges) == (3 + 6 + 12 + 2, 6 + 12)
    shapes = {
        tuple(np.shape(leaf) for leaf in jax.tree.leaves(sampler.sample(seeds, 0)))
        for seeds in ([0, 1, 2], [59, 59, 59], [0, 0, 30])
    }
    assert len(shapes) == 1
    small = sampler_of(large(num_nodes=10, num_edges=15), fan_outs=(9, 9), batch_size=3)
    assert (small.num_nodes, small.num_edges) == (10 + 2, 15)


def test_features_of_nodes_and_edges_go_along_and_are_zero_in_padding():
    edges = large()
    nodes = {"x": np.arange(60.0), "label": np.arange(60)}
    sampler = sampler_of(edges, nodes=nodes, edges=np.arange(400.0)[:, None])
    sample = sampler.sample([8, 7, 6, 5], 1)
    mask = gt.node_mask(sample.graph)
    np.testing.assert_array_equal(
        sample.graph.nodes["label"][mask], sample.node_ids[mask]
    )
    assert not sample.graph.nodes["x"][~mask].any()
    mask = gt.edge_mask(sample.graph)
    np.testing.assert_array_equal(sample.graph.edges[mask, 0], sample.edge_ids[mask])


def test_in_grain_every_batch_is_a_function_of_its_number():
    sampler = sampler_of(large(), batch_size=4)
    seeds = np.arange(20, 32)
    dataset = sampler.dataset(seeds)
    epochs = [
        np.concatenate(
            [
                sample.node_ids[sample.seed_rows]
                for sample in map(dataset.__getitem__, three)
            ]
        )
        for three in ([0, 1, 2], [3, 4, 5])
    ]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), seeds)
    assert not np.array_equal(*epochs)
    odd = sampler.dataset(np.arange(7))  # Batches of 4 reach over the ends of epochs.
    together = np.concatenate([odd[i].node_ids[odd[i].seed_rows] for i in range(7)])
    np.testing.assert_array_equal(
        np.sort(together.reshape(4, 7), axis=1), np.tile(np.arange(7), (4, 1))
    )
    in_order = iter(dataset.to_iter_dataset(grain.ReadOptions(2, 4)))
    for step in range(5):
        assert equal(next(in_order), dataset[step])
    assert not equal(dataset[0], sampler_of(large(), seed=8).dataset(seeds)[0])


def test_the_adjacency_lists_the_in_edges_of_each_node():
    edges = large(num_nodes=9, num_edges=30)
    adjacency = gt.Adjacency.of(**edges)
    assert (adjacency.num_nodes, adjacency.num_edges) == (9, 30)
    for node in range(9):
        own = slice(adjacency.starts[node], adjacency.starts[node + 1])
        numbers = np.flatnonzero(edges["receivers"] == node)
        np.testing.assert_array_equal(adjacency.edges[own], numbers)
        np.testing.assert_array_equal(adjacency.senders[own], edges["senders"][numbers])
    graph = jraph.GraphsTuple(
        None,
        None,
        edges["receivers"],
        edges["senders"],
        None,
        np.array([9]),
        np.array([30]),
    )
    again = gt.Adjacency.of_graph(graph)
    np.testing.assert_array_equal(again.senders, adjacency.senders)
    np.testing.assert_array_equal(
        again.degrees, np.bincount(edges["receivers"], minlength=9)
    )


def test_a_saved_graph_is_pickled_as_the_names_of_its_files(tmp_path):
    edges = large(num_nodes=5_000, num_edges=50_000)
    np.save(tmp_path / "features.npy", np.arange(10_000.0).reshape(2, 5_000).T)
    features = np.load(tmp_path / "features.npy", mmap_mode="r")
    adjacency = gt.Adjacency.of(**edges).save(tmp_path / "graph")
    settings = {"fan_outs": (3, 2), "batch_size": 2, "seed": 5}
    sampler = gt.NeighbourSampler(adjacency=adjacency, nodes=features, **settings)
    pickled = pickle.dumps(sampler)
    assert len(pickled) < 4_000
    sample = sampler.sample([3, 7], 1)
    assert equal(pickle.loads(pickled).sample([3, 7], 1), sample)
    in_memory = gt.NeighbourSampler(
        adjacency=gt.Adjacency.of(**edges), nodes=np.array(features), **settings
    )
    assert equal(in_memory.sample([3, 7], 1), sample)
    # A part of a file cannot be named, and is pickled whole.
    part = gt.NeighbourSampler(adjacency=adjacency, nodes=features[:, 1:], **settings)
    again = pickle.loads(pickle.dumps(part)).sample([3, 7], 1)
    assert equal(again, part.sample([3, 7], 1))


def peak_bytes(num_nodes, num_edges):
    sampler = sampler_of(large(num_nodes, num_edges), fan_outs=(10, 5), batch_size=32)
    seeds = np.arange(32)
    sampler.sample(seeds, 0)
    tracemalloc.start()
    try:
        sampler.sample(seeds, 1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_follows_the_sample_and_not_the_graph():
    small, hundredfold = peak_bytes(4_000, 40_000), peak_bytes(400_000, 4_000_000)
    assert hundredfold < 1.25 * small < 2 * 2**20
    adjacency = gt.Adjacency.of(**large(4_000, 40_000))
    kept = adjacency.starts, adjacency.senders, adjacency.edges
    assert sum(array.nbytes for array in kept) == 4 * (4_001 + 40_000 + 40_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fan_outs": ()}, r"`fan_outs` must list a number a hop; got \(\)"),
        ({"fan_outs": 3}, "`fan_outs` must list a number a hop; got 3"),
        ({"fan_outs": (3, 0)}, r"`fan_outs\[1\]` must be 1 or more; got 0"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more; got 0"),
        ({"seed": -1}, r"`seed` must be a whole number from 0 to 2\^64 - 1; got -1"),
        (
            {"nodes": np.ones(3)},
            r"`nodes` must have a row for each of the graph's 60 nodes",
        ),
        (
            {"edges": {"w": np.ones(3)}},
            r"`edges\['w'\]` must have a row .* 400 edges; got",
        ),
    ],
)
def test_wrong_samplers_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        sampler_of(large(), **changes)


@pytest.mark.parametrize(
    ("seeds", "step", "words"),
    [
        ([0, 1, 2], 0, "`seeds` must be `batch_size`, 4, nodes; got 3"),
        ([0, 1, 2, 60], 0, r"`seeds\[3\]` must be from 0 to 59; got 60"),
        ([0.5, 1, 2, 3], 0, r"`seeds` must be integers \[B\]"),
        ([0, 1, 2, 3], -1, "`step` must be a whole number from 0"),
    ],
)
def test_wrong_seeds_are_named(seeds, step, words):
    with pytest.raises(ValueError, match=words):
        sampler_of(large()).sample(seeds, step)


def test_wrong_graphs_are_named():
    with pytest.raises(
        ValueError, match=r"`Edges.senders\[1\]` must be from 0 to 2; got 3"
    ):
        gt.Adjacency.of(senders=[0, 3], receivers=[0, 0], num_nodes=3)
    with pytest.raises(ValueError, match=r"must be \[E\]; got shape \(1, 2\)"):
        gt.Adjacency.of(senders=[[0, 1]], receivers=[[0, 0]], num_nodes=3)
    with pytest.raises(TypeError, match="`adjacency` must be an `Adjacency`"):
        gt.NeighbourSampler(adjacency=3, fan_outs=(1,), batch_size=1)
    with pytest.raises(ValueError, match="`seeds` must hold at least one node"):
        sampler_of(large()).dataset([])


def test_a_sample_passes_through_transformations():
    sample = sampler_of(large(), nodes=np.arange(60.0, dtype=np.float32)).sample(
        [1, 2, 3, 4], 0
    )
    doubled = jax.jit(lambda sample: jax.tree.map(lambda leaf: 2 * leaf, sample))(
        sample
    )
    assert isinstance(doubled, gt.Sample)
    assert_equal(
        jax.tree.map(np.asarray, jax.jit(gt.zero_padding)(sample.graph)), sample.graph
    )
