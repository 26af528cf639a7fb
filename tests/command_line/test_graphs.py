"""The commands on graph networks: what they print, and what makes no sense."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from relational import datasets, specs, training
from relational.command_line import app
from relational.models import tasks

_SETTINGS = [
    "data={sorting: {nodes: [2, 4], larger: [5, 5], held_out: 6}}",
    "model.process.steps=1",
    "training.steps=4",
    "training.batch_size=3",
]


def _run(*words, **options):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sorting"
    settings = [word for each in _SETTINGS for word in ("--set", each)]
    trained = _run("train", "sorting", "--run", str(folder), *settings)
    assert trained.exit_code == 0, trained.output
    assert "Complete: 4 steps" in trained.output
    return folder


def test_a_run_is_judged_at_its_size_and_larger(run):
    heading, *rows = _run("evaluate", str(run)).output.splitlines()
    names = "split, nodes right, edges right, graphs solved, nats/graph, graphs"
    assert heading.split() == [*names.replace(",", "").split(), "checkpoint", "step"]
    assert [row.split()[0] for row in rows] == ["test", "larger"]
    assert all(row.count("%") == 3 for row in rows)


def test_springs_are_rolled_out_beside_a_baseline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.spring_roll_outs, "MASSES", (6,))
    settings = ["data={springs: {held_out: 4}}", "training.steps=2"]
    settings.append("training.batch_size=3")
    words = [word for each in settings for word in ("--set", each)]
    folder = str(tmp_path / "run")
    assert _run("train", "springs", "--run", folder, *words).exit_code == 0
    found = _run("evaluate", folder, catch_exceptions=False).output.splitlines()
    at = next(i for i, line in enumerate(found) if line.startswith("masses"))
    (row,) = [line.split() for line in found[at + 1 :]]

    task, _ = tasks.from_spec(specs.load(tmp_path / "run" / "spec.yaml"))
    params = training.load(tmp_path / "run").params
    start = datasets.starts(6)

    def model(graph):
        outputs = task.network.apply(params, None, graph, is_training=False)
        return outputs[-1].nodes

    found = datasets.drift(datasets.roll_out(model, start, 50), start)
    means = found.error[1:].mean(), found.constant_velocity[1:].mean()
    wanted = [*(found.error[step] for step in (1, 10, 25, 50)), *means]
    assert row[0] == "6"
    np.testing.assert_allclose([float(each) for each in row[1::2]], wanted, atol=1e-3)
    assert set(row[2::2]) == {"m"}
    assert "masses" not in _run("evaluate", folder, "--split", "test").output


def test_a_split_that_there_is_not_is_told(run):
    found = _run("evaluate", str(run), "--split", "train")
    assert "must be one of `validation`, `test`, `larger`" in str(found.exception)


def test_a_network_that_answers_makes_no_music(run):
    found = _run("generate", str(run))
    assert isinstance(found.exception, ValueError)
    assert "must be a run whose model makes sequences" in str(found.exception)
    assert len(str(found.exception).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("cora_gat", {"batch": 1, "nodes": 2708, "edges": 10556}),
        ("esol_mpnn", {"batch": 32, "nodes": 425, "edges": 875}),
    ],
)
def test_a_network_is_explained_without_its_data(name, sizes):
    facts = json.loads(_run("explain", name, "--json", catch_exceptions=False).output)
    assert {key: facts[key] for key in sizes} == sizes
    assert facts["plans"]


def test_the_propagation_of_a_task_is_explained():
    words = ["--set", "model.process.steps=2", "--batch", "2"]
    printed = _run("explain", "shortest_path", *words, catch_exceptions=False).output
    assert "shortest_path: 8,180 parameters; one forward pass over 2 graphs" in printed
    assert "edges `edge`: those of the graphs" in printed


def test_graphs_have_no_length():
    found = _run("explain", "cora_gcn", "--length", "5")
    assert "--length counts the nodes of a sequence" in str(found.exception)


def test_two_networks_differ_in_a_line():
    before, after = specs.load("cora_gcn"), specs.load("citeseer_gcn")
    assert specs.difference(before, after) == [
        "- model.layers[4].graph_convolution.width: 7",
        "+ model.layers[4].graph_convolution.width: 6",
        "- data.planetoid.name: cora",
        "+ data.planetoid.name: citeseer",
    ]
