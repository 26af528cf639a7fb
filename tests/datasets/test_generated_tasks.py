import dataclasses
import itertools
import pickle

import grain
import jax
import jraph
import numpy as np
import pytest

from relational.datasets import (
    ShortestPath,
    Sorting,
    Springs,
    shortest_path,
    sorting,
    springs,
)

TASKS = [
    ShortestPath(seed=3, num_graphs=40),
    Sorting(seed=3, num_graphs=40),
    Springs(seed=3, num_graphs=40),
]
NAMES = [type(task).__name__ for task in TASKS]


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_an_example_follows_from_seed_and_number_alone(task):
    forwards = [task[index] for index in range(12)]
    again = dataclasses.replace(task, num_graphs=10**9)  # Another object and length.
    backwards = [again[np.int64(index)] for index in reversed(range(12))]
    assert all(map(equal, forwards, reversed(backwards)))
    assert not any(map(equal, forwards[:-1], forwards[1:]))
    others = dataclasses.replace(task, seed=4)
    assert not any(equal(forwards[index], others[index]) for index in range(12))


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_workers_make_the_same_examples(task):
    assert equal(pickle.loads(pickle.dumps(task))[5], task[5])
    threads = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)
    made = list(grain.MapDataset.source(task).to_iter_dataset(threads))
    assert len(made) == 40
    assert all(equal(example, task[index]) for index, example in enumerate(made))


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_graphs_are_sorted_typed_and_batched_by_jraph(task):
    pairs = [task[index] for index in range(8)]
    for inputs, targets in pairs:
        for name in ("senders", "receivers", "n_node", "n_edge"):
            assert np.array_equal(getattr(inputs, name), getattr(targets, name))
        edges = list(zip(inputs.receivers, inputs.senders, strict=True))
        assert edges == sorted(set(edges))
        dtypes = {leaf.dtype.name for leaf in jax.tree.leaves((inputs, targets))}
        assert dtypes == {"float32", "int32"}
        assert targets.globals is None
    batch = jraph.batch_np([inputs for inputs, _ in pairs])
    goals = jraph.batch_np([targets for _, targets in pairs])
    assert len(batch.nodes) == len(goals.nodes) == batch.n_node.sum()
    assert batch.globals.shape[0] == 8


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        (shortest_path.TRAINING, range(8, 17)),
        (shortest_path.GENERALISATION, range(16, 33)),
        (sorting.TRAINING, range(8, 17)),
        (sorting.GENERALISATION, range(16, 33)),
        (springs.TRAINING, range(5, 9)),
    ],
)
def test_all_sizes_of_the_demonstration_occur(task, sizes):
    found = {int(task[index].inputs.n_node[0]) for index in range(200)}
    assert found == set(sizes)


def test_sorting_marks_the_smallest_and_links_each_number_to_the_next():
    for index in range(40):
        inputs, targets = TASKS[1][index]
        numbers, size = inputs.nodes[:, 0], len(inputs.nodes)
        order = sorted(range(size), key=lambda node: numbers[node])
        links = set(itertools.pairwise(order))
        assert len(inputs.senders) == size**2
        for edge, ends in enumerate(zip(inputs.senders, inputs.receivers, strict=True)):
            assert targets.edges[edge].tolist() == [ends not in links, ends in links]
        assert targets.nodes[:, 1].tolist() == [
            node == order[0] for node in range(size)
        ]
        assert (targets.nodes.sum(axis=1) == 1).all()
        assert not inputs.edges.any()
        assert not inputs.globals.any()
        assert numbers.min() >= 0
        assert numbers.max() < 1


def test_one_number_is_the_smallest_and_follows_nothing():
    _, targets = Sorting(seed=0, num_nodes=(1, 1))[0]
    assert targets.nodes.tolist() == [[0, 1]]
    assert targets.edges.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Sorting(seed=-1),
            r"`Sorting.seed` must be 0 to 4294967295; got -1. S",
        ),
        (lambda: Sorting(seed=2**32), r"`Sorting.seed` must .*got 4294967296"),
        (lambda: Springs(seed=1.5), r"`Springs.seed` must be .*got 1.5"),
        (lambda: Sorting(seed=True), r"`Sorting.seed` must be .*got True"),
        (
            lambda: Sorting(seed=0, num_graphs=0),
            r"`Sorting.num_graphs` must be 1 or mo",
        ),
        (
            lambda: Sorting(seed=0, num_nodes=(9, 8)),
            r"`Sorting.num_nodes` must be \(fewest, most\).*got \(9, 8\). It counts",
        ),
        (lambda: Sorting(seed=0, num_nodes=8), r"must be \(fewest, most\).*got 8"),
        (
            lambda: ShortestPath(seed=0, num_nodes=(1, 4)),
            r"`ShortestPath.num_nodes\[0\]` must be 2 or more; got 1. A path has a",
        ),
        (
            lambda: ShortestPath(seed=0, theta=0.0),
            r"`ShortestPath.theta` must be a finite number above 0; got 0.0. The demo",
        ),
        (
            lambda: ShortestPath(seed=0, rate=float("inf")),
            r"`ShortestPath.rate` must be a finite number above 0; got inf",
        ),
        (
            lambda: Springs(seed=0, num_masses=(2, 4)),
            r"`Springs.num_masses\[0\]` must be 3 or more; got 2. Both ends are fixed",
        ),
        (
            lambda: Springs(seed=0, spacings=(1.0, 0.2)),
            r"`Springs.spacings` must be \(smallest, largest\).*got \(1.0, 0.2\). The",
        ),
        (
            lambda: Springs(seed=0, num_steps=0),
            r"`Springs.num_steps` must be 1 or more",
        ),
    ],
)
def test_wrong_settings_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("index", [-1, 40])
@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_there_is_nothing_beyond_the_ends(task, index):
    with pytest.raises(
        IndexError, match=rf"`index` must be 0 to 39; got {index}. A lo"
    ):
        task[index]
