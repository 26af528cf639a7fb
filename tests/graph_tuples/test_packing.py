import itertools
import json
import re

import grain
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relational import graph_tuples as gt
from relational.graph_tuples.buckets import runs_of_least_padding
from tests.graph_tuples.tuples import assert_equal, graph_lists, random_tuple

ONE = gt.Buckets(sizes=(gt.Bucket(num_nodes=14, num_edges=16, num_graphs=4),))
THREE = gt.Buckets(
    sizes=(
        gt.Bucket(num_nodes=14, num_edges=16, num_graphs=4),
        gt.Bucket(num_nodes=6, num_edges=6, num_graphs=4),
        gt.Bucket(num_nodes=10, num_edges=10, num_graphs=4),
    )
)


def graphs_of(sizes):
    rng = np.random.default_rng(0)
    return [random_tuple(rng, [nodes], [edges]) for nodes, edges in sizes]


def many(num_graphs=200, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, num_graphs)
    return graphs_of([(int(n), int(2 * n)) for n in sizes])


@given(graph_lists(max_size=9))
def test_packing_into_one_size_equals_jraph(graphs):
    ours = [gt.unpad(batch) for batch in gt.pack(graphs, ONE)]
    # Of 14 nodes we leave two for padding, where jraph leaves one of 13.
    theirs = jraph.dynamically_batch(iter(graphs), n_node=13, n_edge=16, n_graph=4)
    for one, other in zip(ours, theirs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, jraph.unpad_with_graphs(other))


@given(graph_lists(max_size=12))
def test_every_graph_comes_once_in_order_in_the_smallest_bucket(graphs):
    packed = gt.pack(graphs, THREE)
    batches = list(packed)
    again = [one for batch in batches for one in gt.unbatch(gt.unpad(batch))]
    for one, other in zip(graphs, again, strict=True):
        assert_equal(one, other)
    for batch in batches:
        real = [int(gt.unpad(batch).n_node.sum()), int(gt.unpad(batch).n_edge.sum())]
        size = (batch.nodes["x"].shape[0], len(batch.senders))
        smallest = min(
            (bucket.num_nodes, bucket.num_edges)
            for bucket in THREE.sizes
            if bucket.holds(*real, int(gt.graph_mask(batch).sum()))
        )
        assert size == smallest
        assert batch.n_node[gt.graph_mask(batch).sum()] >= 2
    assert sum(packed.shapes.values()) == len(batches)


def test_a_training_run_compiles_once_for_each_shape():
    graphs = many()
    buckets = gt.Buckets.fit(graphs, batch_size=16, num_buckets=3)
    packed = gt.pack(graphs, buckets)
    num_traces = 0

    @jax.jit
    def step(graph):
        nonlocal num_traces
        num_traces += 1
        return jnp.sum(gt.zero_padding(graph).nodes["x"])

    for batch in packed:
        step(batch)
    assert 1 <= num_traces == packed.num_shapes <= 3
    words = str(packed)
    assert words.startswith(
        f"{sum(packed.shapes.values())} batches of {num_traces} shape"
    )
    assert f"so {num_traces} compilation" in words
    assert "nodes and" in words
    assert "edges real" in words


def test_learned_buckets_waste_no_more_than_one_bucket():
    graphs = many()
    waste = []
    for num_buckets in (1, 2, 4):
        buckets = gt.Buckets.fit(graphs, batch_size=4, num_buckets=num_buckets)
        assert len(buckets.sizes) <= num_buckets
        packed = gt.pack(graphs, buckets)
        batches = list(packed)
        waste.append(sum(len(b.senders) + len(b.nodes["x"]) for b in batches))
    assert waste[0] > waste[1] > waste[2]
    real = sum(len(g.senders) + len(g.nodes["x"]) for g in graphs)
    assert waste[2] < 1.35 * real


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 40)), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_the_cut_of_the_sample_is_the_best_of_all_cuts(sizes, num_runs):
    totals = np.array(sorted(sizes, key=sum))

    def cost(runs):
        assert [end for _, end in runs[:-1]] == [begin for begin, _ in runs[1:]]
        assert (runs[0][0], runs[-1][1]) == (0, len(totals))
        return sum((b - a) * totals[a:b].max(axis=0).sum() for a, b in runs)

    costs = [
        cost(list(itertools.pairwise([0, *cuts, len(totals)])))
        for k in range(min(num_runs, len(totals)))
        for cuts in itertools.combinations(range(1, len(totals)), k)
    ]
    assert cost(runs_of_least_padding(totals, num_runs)) == min(costs)


def test_every_graph_of_the_sample_fits_the_fitted_buckets():
    graphs = [*many(30), *graphs_of([(90, 10), (3, 200)])]
    buckets = gt.Buckets.fit(graphs, batch_size=2, num_buckets=2)
    batches = list(gt.pack(graphs, buckets))
    assert sum(int(gt.graph_mask(batch).sum()) for batch in batches) == 32


def test_fitting_is_a_function_of_the_sample_and_the_seed():
    one, same, other = (
        gt.Buckets.fit(many(), batch_size=8, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same
    assert len(one.sizes) == len(other.sizes) == 3


def test_a_graph_too_large_is_refused_by_number_name_and_size_after_the_batch_before():
    graphs = graphs_of([(3, 3), (2, 2), (13, 5), (1, 0)])
    batches = iter(gt.pack(graphs, ONE, names=["a", "b", "benzene", "d"]))
    assert gt.unpad(next(batches)).n_node.tolist() == [3, 2]
    words = (
        "graph 2, `benzene`, must fit the largest bucket, 14 nodes, 16 edges, 4 graphs, "
        "of which 2 nodes and a graph are padding; got 13 nodes and 5 edges. Fit"
    )
    with pytest.raises(ValueError, match=re.escape(words)):
        next(batches)
    unnamed = gt.pack(graphs_of([(2, 17)]), ONE)
    with pytest.raises(ValueError, match=r"graph 0 must fit.*got 2 nodes and 17 edges"):
        list(unnamed)


def test_a_graph_too_large_may_have_a_bucket_of_its_own():
    graphs = graphs_of([(3, 3), (13, 5), (20, 33), (25, 40), (2, 2), (2, 2)])
    packed = gt.pack(graphs, ONE, oversize=gt.OwnBucket())
    found = [gt.unpad(batch).n_node.tolist() for batch in packed]
    assert found == [[3], [13], [20], [25], [2, 2]]
    assert sorted(map(str, packed.shapes)) == [
        "14 nodes, 16 edges, 4 graphs",
        "28 nodes, 16 edges, 4 graphs",
        "28 nodes, 64 edges, 4 graphs",
    ]


def test_a_batch_of_graphs_may_be_packed_as_one():
    batch = gt.batch(graphs_of([(1, 0)] * 6))
    packed = gt.pack([batch], ONE, oversize=gt.OwnBucket())
    assert [gt.unpad(one).n_node.tolist() for one in packed] == [[1] * 6]
    with pytest.raises(ValueError, match="got 6 nodes and 0 edges in 6 graphs"):
        list(gt.pack([batch], ONE))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gt.Buckets(sizes=()), "`Buckets.sizes` must be one or more `Bucket`s"),
        (
            lambda: gt.Bucket(num_nodes=1, num_edges=0, num_graphs=2),
            "`Bucket.num_nodes`",
        ),
        (
            lambda: gt.Bucket(num_nodes=2, num_edges=0, num_graphs=1),
            "`Bucket.num_graphs`",
        ),
        (
            lambda: gt.OwnBucket(growth=1.0),
            "`OwnBucket.growth` must be a number above 1",
        ),
        (
            lambda: gt.Buckets.fit([], batch_size=2),
            "`graphs` must hold at least one graph",
        ),
        (
            lambda: gt.Buckets.fit(many(2), batch_size=0),
            "`batch_size` must be 1 or more",
        ),
        (
            lambda: gt.Buckets.fit(many(2), batch_size=1, seed=-1),
            "`seed` must be 0 to 4294967295; got -1",
        ),
        (
            lambda: gt.Buckets.fit(many(2), batch_size=1, num_buckets=0),
            "`num_buckets` must be 1 or more",
        ),
        (
            lambda: ONE.collate(graphs_of([(9, 1), (4, 1)])),
            "must fit the largest bucket.*got 13 nodes, 2 edges and 2 graphs",
        ),
    ],
)
def test_wrong_buckets_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"buckets": 3}, "`buckets` must be `Buckets`; got 3"),
        ({"oversize": "refuse"}, r"`oversize` must be `Refuse\(\)` or `OwnBucket\(\)`"),
        ({"graphs": [3]}, "`graphs` must be `jraph.GraphsTuple`s; got 3"),
    ],
)
def test_wrong_arguments_of_packing_are_named(arguments, words):
    with pytest.raises(TypeError, match=words):
        list(gt.pack(**({"graphs": many(2), "buckets": ONE} | arguments)))


def source(graphs):
    # A sequence of tuples would be taken apart by numpy; grain keeps elements as they are.
    return grain.MapDataset.source(graphs)


def test_in_grain_the_same_batches_come_and_a_state_resumes_exactly():
    graphs = many(40)
    buckets = gt.Buckets.fit(graphs, batch_size=4)
    dataset = gt.pack_dataset(source(graphs).to_iter_dataset(), buckets)
    expected = list(gt.pack(graphs, buckets))
    for one, other in zip(dataset, expected, strict=True):
        assert_equal(one, other)
    for num_before in (0, 1, 4, len(expected) - 1):
        interrupted = iter(dataset)
        for _ in range(num_before):
            next(interrupted)
        state = json.loads(json.dumps(interrupted.get_state()))
        resumed = iter(dataset)
        next(resumed)
        resumed.set_state(state)
        for one, other in zip(resumed, expected[num_before:], strict=True):
            assert_equal(one, other)


def test_in_grain_a_graph_too_large_is_refused_by_its_number():
    graphs = source(graphs_of([(3, 3), (13, 5)])).to_iter_dataset()
    batches = iter(gt.pack_dataset(graphs, ONE))
    next(batches)
    with pytest.raises(ValueError, match="graph 1 must fit the largest bucket"):
        next(batches)


def test_collating_keeps_random_access_in_grain():
    graphs = many(40)
    buckets = gt.Buckets.fit(graphs, batch_size=4)
    dataset = source(graphs).seed(0).shuffle().batch(4, batch_fn=buckets.collate)
    third = dataset[2]
    assert int(gt.graph_mask(third).sum()) == 4
    assert_equal(third, list(dataset)[2])
