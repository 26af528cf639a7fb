"""An imported model as the folder of a run, with which the commands go on."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from relational import command_line, datasets, decoding, specs, training, weights
from relational.datasets.subwords import EOS
from relational.models.text_data import kept_vocabulary
from tests.weights.hugging_face import GOLDEN, imported, inputs_of, model_of

LINES = ["a dog runs on the grass", "two men sit by the sea", "a cat sleeps", "snow"]


def relational(*arguments):
    result = CliRunner().invoke(command_line.app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A small T5 with a vocabulary beside it, as its tokenizer leaves it."""
    folder = tmp_path_factory.mktemp("models") / "t5_tiny"
    folder.mkdir()
    words = datasets.learn_subwords(LINES, vocabulary=280)
    tensors = load_file(GOLDEN / "t5" / "model.safetensors")
    rng = np.random.default_rng(0)
    tensors["shared.weight"] = rng.normal(size=(words.size, 16)).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((GOLDEN / "t5" / "config.json").read_text("utf-8"))
    config["vocab_size"] = words.size
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "spiece.model").write_bytes(words.model)
    return folder


def test_a_run_holds_what_was_imported(tmp_path):
    spec = weights.write_run(imported("bert"), tmp_path / "run")
    assert specs.load(tmp_path / "run" / "spec.yaml") == spec
    assert spec.model == imported("bert").spec
    loaded = training.load(tmp_path / "run")
    assert loaded.position.step == 0
    jax.tree.map(
        np.testing.assert_array_equal, loaded.params, dict(imported("bert").params)
    )
    with pytest.raises(ValueError, match=r"must be new; .* is a run with checkpoints"):
        weights.write_run(imported("bert"), tmp_path / "run")


def test_settings_must_leave_the_model(tmp_path):
    with pytest.raises(ValueError, match="`settings` must leave the model as it is"):
        weights.write_run(imported("gpt2"), tmp_path, ["model.dropout=0.5"])


def test_without_data_nothing_can_be_trained(tmp_path):
    relational("import", GOLDEN / "gpt2", "--run", tmp_path / "run")
    with pytest.raises(ValueError, match="data: must be a data set to train on"):
        relational("train", tmp_path / "run")
    network = specs.load("cora_gcn")
    with pytest.raises(ValueError, match=r"data: must be graphs.* got `none`"):
        dataclasses.replace(network, data=specs.NoDataSpec())


def test_the_command_tells_what_it_made(tmp_path):
    result = relational("import", GOLDEN / "marian", "--run", tmp_path / "run")
    count = sum(leaf.size for leaf in jax.tree.leaves(imported("marian").params))
    assert f"marian: {count:,} parameters in {tmp_path / 'run'}" in result.output
    with pytest.raises(ValueError, match="`folder` must be a model that Hugging Face"):
        relational("import", tmp_path, "--run", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_imported_t5_translates_and_is_trained_further(tmp_path, t5, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation"):
        for side in ("source", "target"):
            text = "".join(f"{line}\n" for line in LINES)
            (tmp_path / f"{split}.{side}").write_text(text, "utf-8")
    more = ("training.steps=1", "training.batch_size=4", "training.evaluate_every=1")
    settings = [part for each in more for part in ("--set", each)]
    result = relational("import", t5, *settings)
    assert "Next: relational translate runs/t5_tiny" in result.output
    run = tmp_path / "runs" / "t5_tiny"
    assert kept_vocabulary(run) == (t5 / "spiece.model").read_bytes()

    (tmp_path / "lines").write_text("a dog\n", "utf-8")
    options = ("--beam", "1", "--extra", "3", "--output", "out", "lines")
    relational("translate", run, *options)
    known, words = weights.load(t5), datasets.Subwords(kept_vocabulary(run))
    source = np.array([[*words.encode("a dog"), EOS]])
    length = np.array([source.shape[1]])
    model = weights_model(known)
    found = decoding.translate(
        model, known.params, source, length, how=decoding.GREEDY, extra_length=3
    )
    written = (tmp_path / "out").read_text("utf-8")
    assert written == words.decode(found.tokens[0][0]) + "\n"

    relational("train", run)
    assert training.load(run, checkpoint=0).position.fingerprint == ""
    after = training.load(run, checkpoint=1).params
    moved = [
        float(jnp.abs(new - old).max())
        for new, old in zip(
            jax.tree.leaves(after), jax.tree.leaves(dict(known.params)), strict=True
        )
    ]
    assert 0 < max(moved) < 2e-4  # One step of Adam at a rate of 1e-4.


def weights_model(known):
    from relational import models

    return models.build(known.spec)


def test_marian_begins_and_ends_with_its_own_tokens():
    """Greedy decoding, with its start of 40 and its end of 0, against full passes."""
    model, params = model_of("marian"), imported("marian").params
    inputs = inputs_of("marian")["source"]
    extra, capacity = 4, 16
    found = decoding.translate(
        model,
        params,
        inputs["token"],
        inputs["length"],
        how=decoding.GREEDY,
        extra_length=extra,
    )
    full = jax.jit(lambda given: model.apply(params, None, given, is_training=False))
    for row, length in enumerate(inputs["length"]):
        source = {"token": inputs["token"][row : row + 1], "length": length[None]}
        written, total = [40], 0.0
        while len(written) <= length + extra and written[-1] != 0:
            padded = np.pad(written, (0, capacity + 1 - len(written)))[None]
            logits = full({"source": source, "target": {"token": padded}})
            log_p = jax.nn.log_softmax(logits[0, len(written) - 1])
            written.append(int(log_p.at[40].set(-jnp.inf).argmax()))
            total += float(log_p[written[-1]])
        wanted = [token for token in written[1:] if token != 0]
        assert found.tokens[row][0].tolist() == wanted
        assert found.is_finished[row][0] == (written[-1] == 0)
        np.testing.assert_allclose(found.scores[row][0], total, atol=1e-3)
