"""The runs behind docs/graph_results.md: they can be stopped, and their tables are true."""

import functools
import json
import pathlib
import time

import jax
import numpy as np
import pytest

from benchmarks.generalisation import report
from benchmarks.generalisation.chains import Chains
from benchmarks.generalisation.puzzles import Puzzle
from benchmarks.generalisation.settings import SETTINGS, Setting
from benchmarks.generalisation.training import Run, batched
from relational import graph_tuples
from relational.datasets import ShortestPath, Sorting

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "generalisation.jsonl"
FAR = time.monotonic() + 1e6
TINY = Setting(iterations=8, batch_size=4, processing=1, width=4, decays=True)


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    return Chains("springs", TINY, folder, num_batches=3, num_tests=2)


@pytest.fixture(scope="module")
def sorting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    return Puzzle("sorting", TINY, folder, num_batches=3, num_tests=6)


def leaves(run):
    return jax.tree.leaves(jax.device_get((run.params, run.state)))


def test_a_run_that_was_stopped_goes_on_to_the_same_parameters(chains, tmp_path):
    whole = chains.trainer.start(seed=1)
    chains.trainer.train(whole, 1, 7, FAR)
    part = chains.trainer.start(seed=1)
    chains.trainer.train(part, 1, 4, FAR)
    part.save(tmp_path / "run.pickle")
    part = Run.load(tmp_path / "run.pickle")
    chains.trainer.train(part, 1, 7, FAR)
    assert (whole.step, part.step) == (7, 7)
    for one, other in zip(leaves(whole), leaves(part), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_stops_at_its_deadline_and_seeds_differ(chains):
    run = chains.trainer.start(seed=1)
    chains.trainer.train(run, 1, 7, time.monotonic() - 1)
    assert run.step == 0
    other = chains.trainer.start(seed=2)
    same = map(np.array_equal, leaves(run), leaves(other))
    assert not all(same)


@pytest.mark.parametrize("task", [Sorting, ShortestPath])
def test_batches_hold_every_graph_once_and_have_few_shapes(task):
    source = task(seed=3, num_graphs=20)
    pairs = [source[i] for i in range(20)]
    found = batched(pairs, 4, num_buckets=2)
    assert len(found) == 5
    assert len({pair.inputs.edges.shape for pair in found}) <= 2
    for part in (0, 1):
        unpadded = [
            graph
            for pair in found
            for graph in graph_tuples.unbatch(graph_tuples.unpad(pair[part]))
        ]
        for one, other in zip(unpadded, pairs, strict=True):
            for field in ("nodes", "edges", "senders", "receivers"):
                np.testing.assert_array_equal(
                    getattr(one, field), getattr(other[part], field)
                )


def test_what_is_measured_of_puzzles_counts_all_graphs(sorting):
    run = sorting.trainer.start(seed=0)
    found = sorting.measure(run)
    for name, most in (("8 to 16", 16), ("16 to 32", 32)):
        assert found[name]["num_graphs"] == 6
        nodes, edges = found[name]["num_nodes"], found[name]["num_edges"]
        assert nodes**2 / 6 <= edges <= nodes * most  # n^2 a graph.
        assert found[name]["nodes_right"] <= nodes


def test_the_error_of_a_roll_out_begins_at_zero_and_baselines_fall_behind(chains):
    found = chains.measure(chains.trainer.start(seed=0))
    assert list(found) == ["4 masses", "6 masses", "9 masses"]
    for one in found.values():
        assert [len(values) for values in one.values()] == [51] * len(one)
        assert one["error"][0] == one["constant_velocity"][0] == 0
        # At rest for a tenth of a second: gravity alone moves a mass by 0.1 m.
        assert 0.05 < one["constant_velocity"][1] < 0.15
        assert one["free_fall"][50] > 10 > one["constant_velocity"][50]
        assert one["energy_error"][0] < 1e-3


@pytest.mark.parametrize(
    ("task", "outputs", "count"),
    [("sorting", {"node": 2, "edge": 2}, 8116), ("springs", {"node": 2}, 8178)],
)
def test_the_published_setting_has_the_published_number_of_parameters(
    task, outputs, count, chains, sorting
):
    problem = {"sorting": sorting, "springs": chains}[task]
    setting = SETTINGS[task]["published"]
    trainer = type(problem.trainer)(
        setting, outputs, lambda *_: None, problem.trainer.batches
    )
    init = functools.partial(trainer.model.init, steps=1)
    inputs = problem.trainer.batches[0].inputs
    params = jax.eval_shape(init, jax.random.key(0), inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_tables_have_means_over_seeds_and_their_range():
    answers = dict.fromkeys(("nodes_right", "edges_right"), 9)
    answers |= dict.fromkeys(("num_nodes", "num_edges", "num_graphs"), 10)
    lines = []
    for seed, solved in enumerate((4, 8)):
        sizes = dict.fromkeys(
            ("8 to 16", "16 to 32"), answers | {"graphs_solved": solved}
        )
        line = {"task": "sorting", "setting": "tuned", "seed": seed, "iterations": 1000}
        lines.append(line | {"cpu_seconds": 90.0, "found": sizes, "found_twice": sizes})
    page = "before\n<!-- results: sorting -->\nold\n<!-- end -->\nafter\n"
    page = report.written(page, lines)
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert (
        "| tuned | 2 | 8 to 16 | 10 | 90.0 % | 90.0 % | 60.0 % | 40.0 % to 80.0 % |"
        in page
    )
    assert "1,000 iterations, 90 ms each, 1.5 minutes a run; seeds: 0, 1" in page


def test_the_page_has_the_tables_of_the_results():
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    page = (ROOT / "docs" / "graph_results.md").read_text(encoding="utf-8")
    assert report.written(page, lines) == page
    kinds = [(line["task"], line["setting"], line["seed"]) for line in lines]
    assert len(set(kinds)) == len(kinds)
    for line in lines:
        setting = SETTINGS[line["task"]][line["setting"]]
        assert line["iterations"] == setting.iterations
