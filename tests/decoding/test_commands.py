"""`relational demo`, `generate` and `explain`: what they leave and what they say."""

import json
import os
import pathlib
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from relational import command_line, datasets, specs
from relational.models import tasks

PIECES = [
    datasets.Piece(
        pitch=np.repeat(
            np.random.default_rng(index).integers(40, 80, (6, 4)), 4, axis=0
        ),
        beat=np.arange(24) % 16,
        index=index,
    )
    for index in range(3)
]


@pytest.fixture(scope="module")
def tiny_demo(tiny_spec, tmp_path_factory):
    """A demo of five steps, with a tiny model on three made-up pieces."""
    load = specs.load
    folder = tmp_path_factory.mktemp("runs") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_pieces", lambda *_: PIECES)
        patch.setattr(datasets, "is_prepared", lambda _: True)
        patch.setattr(
            specs, "load", lambda name: tiny_spec if name == "demo" else load(name)
        )
        first = _printed("demo", "--folder", str(folder), "--steps", "5")
        times = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
        second = _printed("demo", "--folder", str(folder))
    return folder, first, second, times


@pytest.fixture(scope="module")
def run(tiny_demo) -> pathlib.Path:
    return tiny_demo[0]


def _printed(*arguments: str) -> str:
    runner = CliRunner(env={"COLUMNS": "300"})
    result = runner.invoke(command_line.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def _refused(monkeypatch, capsys, *arguments: str) -> str:
    """Runs `main`, which must leave with status 2 and one line; returns the line."""
    monkeypatch.setattr(sys, "argv", ["relational", *arguments])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    return said


def test_the_demo_leaves_its_files(run) -> None:
    made = {"chorale.mid", "chorale.png", "attention.png", "curves.png", "demo.json"}
    assert made <= set(os.listdir(run))
    assert datasets.read_midi(run / "chorale.mid").shape[1] == 4


def test_the_demo_ends_with_losses_speeds_and_paths(tiny_demo) -> None:
    folder, first, _, _ = tiny_demo
    lines = {line.split("  ")[0]: line for line in first.splitlines()}
    assert "3.850" in lines["uniform"]
    probability = datasets.repeat_probability(PIECES)
    repeat = datasets.repeat_loss(PIECES, probability)
    assert f"{repeat:.3f}" in lines["repeat the last chord"]
    before = float(lines["the model before training"].split()[-2])
    after = float(lines["the model after 5 steps"].split()[-2])
    assert after < before
    assert int(lines["training"].split()[-1].replace(" ", "")) > 0
    assert int(lines["generation"].split()[-1].replace(" ", "")) > 0
    for name in ("chorale.mid", "chorale.png", "curves.png", "attention.png"):
        assert str(folder / name) in first


def test_a_demo_that_is_complete_shows_what_it_made(tiny_demo) -> None:
    folder, first, second, times = tiny_demo
    tables = first[first.index("on the validation pieces") :]
    assert second.endswith(tables)
    for path in ("chorale.png", "attention.png"):
        assert times[folder / path] == (folder / path).stat().st_mtime_ns


def test_the_steps_of_a_demo_are_one_or_more(monkeypatch, capsys) -> None:
    said = _refused(monkeypatch, capsys, "demo", "--steps", "0")
    assert "--steps must be 1 or more; got 0." in said


def test_pieces_are_generated(run, tmp_path, prime) -> None:
    datasets.write_midi(prime, tmp_path / "prime.mid")
    options = ["--prime", str(tmp_path / "prime.mid"), "--bars", "1", "--count", "2"]
    options += ["--temperature", "0.8", "--top-k", "9", "--top-p", "0.9", "--seed", "4"]
    printed = _printed(
        "generate", str(run), "--output", str(tmp_path / "new"), *options
    )
    for number in (1, 2):
        path = tmp_path / "new" / f"seed-4-{number}.mid"
        assert str(path) in printed
        assert str(path.with_suffix(".png")) in printed
        assert (datasets.read_midi(path)[: len(prime)] == prime).all()
    assert "nats/token" in printed
    assert "Checkpoint of step 5, " in printed
    assert printed.rstrip().endswith("tokens/s")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--bars", "0"], "--bars must be 1 to 512; got 0."),
        (["--bars", "513"], "--bars must be 1 to 512; got 513."),
        (["--count", "0"], "--count must be 1 to 100; got 0."),
        (["--temperature", "-1"], "`temperature` must be a number of 0 or more"),
        (
            ["--temperature", "nan"],
            "`temperature` must be a number of 0 or more; got nan",
        ),
        (["--top-k", "0"], "`top_k` must be a whole number of 1 or more; got 0."),
        (["--top-p", "1.5"], "`top_p` must be above 0 and at most 1; got 1.5."),
        (["--seed", "-1"], "`seed` must be 0 to 4294967295; got -1."),
        (["--prime", "none.mid"], "'none.mid' cannot be a prime: it does not exist."),
        (["--prime", __file__], "cannot be a prime: it is not a MIDI file"),
        (["--audio"], "--audio: sound needs fluidsynth"),
    ],
)
def test_what_cannot_be_generated_is_told_in_a_line(
    run, options, words, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("PATH", "")
    assert words in _refused(monkeypatch, capsys, "generate", str(run), *options)


def test_a_folder_that_is_no_run_is_told(tmp_path, monkeypatch, capsys) -> None:
    said = _refused(monkeypatch, capsys, "generate", str(tmp_path))
    assert "RUN must be the folder of a run, with a `spec.yaml`" in said


def test_a_run_without_a_checkpoint_is_told(tmp_path, monkeypatch, capsys) -> None:
    specs.save(specs.load("demo"), tmp_path / "spec.yaml")
    said = _refused(monkeypatch, capsys, "generate", str(tmp_path))
    assert "must be a run that has saved a checkpoint" in said


@pytest.fixture(scope="module")
def local_spec(tiny_spec, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("specs") / "local.yaml"
    specs.save(specs.override(tiny_spec, ["model.blocks[0].repeat=2"]), path)
    return str(path)


@pytest.mark.parametrize("length", [32, 512])
def test_plans_are_explained_for_programs(local_spec, length: int) -> None:
    options = ["--batch", "3", "--length", str(length), "--json"]
    facts = json.loads(_printed("explain", local_spec, *options))
    assert (facts["batch"], facts["length"]) == (3, length)
    assert facts["parameters"] > 48 * 16  # The embedding alone.
    (plan,) = facts["plans"]
    assert plan["topology"] == "(Blocks(size=8, before=1) & Causal())"
    assert plan["times"] == 2  # Two layers share a plan.
    assert (plan["receivers"], plan["senders"], plan["graphs"]) == (length, length, 6)
    roles = [(term["role"], term["depends"]) for term in plan["terms"]]
    assert ("score", ["receiver", "sender"]) in roles
    assert ("message", ["sender"]) in roles
    assert plan["aggregators"] == ["Softmax"]
    able = {each["lowering"] for each in plan["considered"] if "seconds" in each}
    assert plan["lowering"] in able


def test_plans_are_explained_with_pictures(local_spec) -> None:
    lines = _printed("explain", local_spec, "--length", "96").splitlines()
    assert "parameters; one forward pass over 4 x 96 nodes" in lines[0]
    assert "edges `self`: (Blocks(size=8, before=1) & Causal())" in lines
    # 8 nodes a character: the own block in part (causal), and the one before it.
    assert "  #...........         +..........." in lines
    assert "  ##..........         #+.........." in lines
    assert "  ########....         ......#+...." in lines
    assert any(line.startswith("  lowering") for line in lines)
    assert "  2 times" in lines


def test_a_short_topology_is_drawn_whole(local_spec) -> None:
    printed = _printed("explain", local_spec, "--length", "4")
    assert "\n  #...\n  ##..\n  ###.\n  ####\n" in printed


def test_values_can_be_set_for_an_explanation(local_spec) -> None:
    options = ["--set", "model.edges.self.topology=causal", "--length", "32", "--json"]
    facts = json.loads(_printed("explain", local_spec, *options))
    assert facts["plans"][0]["topology"] == "Causal()"


@pytest.mark.parametrize("name", ["--batch", "--length"])
def test_sizes_are_one_or_more(local_spec, name: str, monkeypatch, capsys) -> None:
    said = _refused(monkeypatch, capsys, "explain", local_spec, name, "0")
    assert f"{name} must be 1 to " in said
