"""`relational train` and `relational evaluate`, on the toy in place of chorales."""

import dataclasses
import os
import signal

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from relational.command_line import app
from relational.training import Outcome

_SETTINGS = (
    "training.steps=4",
    "training.schedule={constant: {rate: 0.05}}",
    "training.log_every=2",
    "training.checkpoint_every=2",
)


@pytest.fixture
def invoke(toy, tmp_path, monkeypatch):
    """Runs a command in an empty folder, with a task and data of the test's own."""

    @dataclasses.dataclass(frozen=True)
    class Data(toy.Made):
        def pieces(self, split):
            del split
            beat = np.arange(4, dtype=np.int32)
            return [{"pitch": np.full((4, 4), 60, np.int32), "beat": beat, "index": 0}]

    made = {"task": toy.Bigrams(), "data": Data()}
    monkeypatch.setattr(
        "relational.models.tasks.from_spec",
        lambda spec, **_: (made["task"], made["data"]),
    )
    monkeypatch.chdir(tmp_path)

    def run(*words, **replacements):
        made.update(replacements)
        return CliRunner().invoke(app, list(words))

    return run


def _train(invoke, *words, **replacements):
    settings = [word for setting in _SETTINGS for word in ("--set", setting)]
    return invoke("train", "demo", *settings, *words, **replacements)


def test_train_then_evaluate(invoke):
    trained = _train(invoke)
    assert trained.exit_code == 0, trained.output
    assert "Complete: 4 steps in `runs/demo`" in trained.output
    assert "Next: relational evaluate runs/demo" in trained.output
    words = ("--split", "validation", "--split", "test", "--checkpoint", "newest")
    found = invoke("evaluate", "runs/demo", *words)
    heading, *rows = found.output.splitlines()
    assert heading.split() == [
        "split",
        "nats/token",
        "standard",
        "error",
        "tokens",
        "pieces",
        "checkpoint",
        "step",
    ]
    assert [row.split()[0] for row in rows] == ["validation", "test"]
    assert [row.split()[-2:] for row in rows] == [["4", "4"]] * 2


def test_run_is_taken_up_by_its_folder(invoke):
    _train(invoke, "--run", "mine")
    again = invoke("train", "mine", "--set", "training.steps=6")
    assert "Going on with `mine` after step 4: 6 steps" in again.output
    assert again.exit_code == 0


def test_signal_is_told_and_becomes_the_exit_status(invoke, toy):
    class Stopping(toy.Made):
        def evaluation(self, split):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluation(split)

        def pieces(self, split):
            return [{"pitch": np.full((4, 4), 60), "beat": np.arange(4), "index": 0}]

    result = _train(invoke, data=Stopping())
    assert "Stopped by SIGTERM before the first step." in result.output
    assert result.exit_code == 128 + signal.SIGTERM


def test_divergence_is_a_message_not_a_traceback(invoke, toy):
    @dataclasses.dataclass(frozen=True)
    class Exploding(toy.Bigrams):
        def outcome(self, params, key, batch, *, is_training):
            out = super().outcome(params, key, batch, is_training=is_training)
            loss = out.loss * (jnp.nan if is_training else 1.0)
            return Outcome(loss=loss, weight=out.weight)

    result = _train(invoke, task=Exploding())
    assert isinstance(result.exception, ValueError)
    assert "Training stopped at step 1: the loss is nan" in str(result.exception)


def test_other_data_are_pointed_out(invoke, toy):
    _train(invoke)
    result = invoke("evaluate", "runs/demo", data=toy.Made(fingerprint="made-2"))
    assert "these are not the data that the run was trained on" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "nowhere"), "RUN must be the folder of a run"),
        (
            ("evaluate", "runs/demo", "--checkpoint", "last"),
            "`best`, `newest` or a step",
        ),
        (("evaluate", "runs/demo", "--checkpoint", "3"), "kept: 2, 4; got 3"),
        (("train", "nowhere"), "neither a file nor a shipped spec"),
    ],
)
def test_mistake_is_told(invoke, words, message):
    _train(invoke)
    result = invoke(*words)
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
