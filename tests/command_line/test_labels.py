"""A user's own labels, from files to a trained model, by the commands alone."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from relational.command_line import app

SPEC = """\
name: parsed
model:
  nodes: {word: {vocabulary: 8, width: 16}}
  edges:
    self: {from: word, to: word, topology: complete, relations: {parse: {labels: 2}}}
  blocks: [{attention: {over: self, heads: 2, kv_heads: 1, biases: [parse]}}]
  read_out: {node: word}
data: {token_arrays: {train: [a.npz, b.npz], validation: [c.npz]}}
training:
  steps: 120
  batch_size: 32
  evaluate_every: 60
  checkpoint_every: 60
  schedule: {constant: {rate: 0.03}}
"""


def sentences(seed, num, length=6):
    """Each word is to say its head, which only the parse tells."""
    rng = np.random.default_rng(seed)
    words, lengths = rng.integers(0, 8, (num, length)), rng.integers(3, length + 1, num)
    heads = rng.integers(0, lengths[:, None], (num, length))
    return {
        "previous": words,
        "token": np.take_along_axis(words, heads, axis=1),
        "parse": (heads[..., None] == np.arange(length)).astype(np.int8),
        "length": lengths,
    }


@pytest.fixture
def invoke(tmp_path):
    for seed, name in enumerate(("a", "b", "c")):
        np.savez(tmp_path / f"{name}.npz", **sentences(seed, num=200))
    (tmp_path / "spec.yaml").write_text(SPEC, "utf-8")

    def run(*words):
        given = [*words, "--data", str(tmp_path)]
        found = CliRunner(env={"COLUMNS": "300"}).invoke(app, list(map(str, given)))
        assert found.exit_code == 0, found.output
        return found.output

    return run


def test_a_model_is_trained_on_labels_that_a_user_gives(invoke, tmp_path):
    trained = invoke("train", tmp_path / "spec.yaml", "--run", tmp_path / "run")
    assert "Complete: 120 steps" in trained
    found = invoke("evaluate", tmp_path / "run")
    nats = float(re.search(r"^validation +([\d.]+)", found, re.MULTILINE)[1])
    assert nats < 0.5  # Of log 8 = 2.1; without labels no head is known.
