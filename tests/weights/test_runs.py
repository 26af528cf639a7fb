"""An imported model as the folder of a run, with which the commands go on."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from relational import (
    command_line,
    datasets,
    decoding,
    specs,
    training,
    weights,
)
from relational.models.text_data import kept_vocabulary
from relational.models.translation import Translation
from tests.weights.hugging_face import GOLDEN, imported, inputs_of, model_of

LINES = ["a dog runs on the grass", "two men sit by the sea", "a cat sleeps", "snow"]


def relational(*arguments):
    result = CliRunner().invoke(command_line.app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def grown(folder, name, count, **config):
    """A recorded model with more tokens, as many as a vocabulary has."""
    folder.mkdir()
    tensors = load_file(GOLDEN / name / "model.safetensors")
    rng = np.random.default_rng(0)
    for key, value in tensors.items():
        if 41 in value.shape:
            shape = [count if size == 41 else size for size in value.shape]
            tensors[key] = rng.normal(size=shape).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    known = json.loads((GOLDEN / name / "config.json").read_text("utf-8"))
    text = json.dumps(known | {"vocab_size": count} | config)
    (folder / "config.json").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A small T5 with a vocabulary beside it, as its tokenizer leaves it."""
    words = datasets.learn_subwords(LINES, vocabulary=280)
    folder = grown(tmp_path_factory.mktemp("models") / "t5_tiny", "t5", words.size)
    (folder / "spiece.model").write_bytes(words.model)
    return folder


@pytest.fixture(scope="module")
def pair():
    """The models of two languages, and a table of the pieces of both, but for one."""
    source = datasets.learn_subwords(LINES, vocabulary=280)
    target = datasets.learn_subwords(["zwei Hunde", "das Meer"], vocabulary=275)
    pieces = [*source.pieces(range(3, 280)), *target.pieces(range(3, 275))]
    pieces.remove("z")
    names = list(dict.fromkeys(["</s>", "<unk>", *pieces, "<pad>"]))
    return source, target, {name: number for number, name in enumerate(names)}


@pytest.fixture(scope="module")
def marian(tmp_path_factory, pair):
    """A small Marian with a vocabulary beside it, as its tokenizer leaves it."""
    source, target, table = pair
    folder = tmp_path_factory.mktemp("models") / "marian_tiny"
    start = len(table) - 1
    more = {"pad_token_id": start, "decoder_start_token_id": start}
    grown(folder, "marian", len(table), decoder_vocab_size=len(table), **more)
    (folder / "source.spm").write_bytes(source.model)
    (folder / "target.spm").write_bytes(target.model)
    (folder / "vocab.json").write_text(json.dumps(table), "utf-8")
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
    with pytest.raises(ValueError, match=r"`gpt2`.* has tokens of its own"):
        relational("generate", tmp_path / "run")
    network = specs.load("cora_gcn")
    with pytest.raises(ValueError, match=r"data: must be graphs.* got `none`"):
        dataclasses.replace(network, data=specs.NoDataSpec())


def test_the_command_tells_what_it_made(tmp_path):
    result = relational("import", GOLDEN / "marian", "--run", tmp_path / "run")
    count = sum(leaf.size for leaf in jax.tree.leaves(imported("marian").params))
    assert f"marian: {count:,} parameters in {tmp_path / 'run'}" in result.output
    assert "No vocabulary lies beside the weights (`spiece.model`;" in result.output
    with pytest.raises(ValueError, match=r"a vocabulary; .* was imported without one"):
        relational("translate", tmp_path / "run")
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

    assert_translates(run, weights.load(t5))
    known = weights.load(t5)
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


def assert_translates(run, known):
    """Greedily, what the command writes is what the model says of the same tokens."""
    folder, words = run.parent, datasets.vocabulary_of(kept_vocabulary(run))
    (folder / "lines").write_text("a dog\n", "utf-8")
    options = (
        "--beam",
        "1",
        "--extra",
        "3",
        "--batch",
        "1",
        "--output",
        folder / "out",
    )
    relational("translate", run, folder / "lines", *options)
    tokens = [*words.encode("a dog"), known.spec.read_out.end]
    found = decoding.translate(
        Translation(known.spec).model,  # It is compiled for the command already.
        known.params,
        np.pad(tokens, (0, 16 - len(tokens)))[None],
        np.array([len(tokens)]),
        how=decoding.GREEDY,
        extra_length=3,
    )
    assert len(found.tokens[0][0]) > 0
    written = (folder / "out").read_text("utf-8")
    assert written == words.target.decode(found.tokens[0][0]) + "\n"


def test_an_imported_marian_translates_between_its_two_vocabularies(tmp_path, marian):
    run = tmp_path / "run"
    relational("import", marian, "--run", run)
    assert_translates(run, weights.load(marian))
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("a dog\n", "utf-8")
    target.write_text("Hunde\n", "utf-8")
    scored = relational("score", run, source, target).output.split("\t")
    words = datasets.vocabulary_of(kept_vocabulary(run))
    assert int(scored[1].split()[0]) == len(words.target.encode("Hunde")) + 1


def test_languages_of_a_pair_are_cut_apart_and_numbered_together(pair):
    source, target, table = pair
    words = datasets.paired(source.model, target.model, table)
    assert words.size == len(table)
    line, other = "a dog runs by the sea", "das Meer"
    pieces = source.pieces(source.encode(line))
    assert words.encode(line) == [table[piece] for piece in pieces]
    pieces = target.pieces(target.encode(other))
    assert words.target.encode(other) == [table[piece] for piece in pieces]
    assert words.target.encode(other) != words.encode(other)
    assert words.decode([*words.encode(line), table["</s>"], table["<pad>"]]) == line
    assert words.target.decode(words.target.encode(other)) == other
    assert table["<unk>"] in words.target.encode("z")  # It has no number.
    known = {**table, ">>deu<<": len(table)}
    named = datasets.paired(source.model, target.model, known)
    assert named.encode(f">>deu<< {line}")[0] == len(table)
    assert named.encode(f">>deu<<{line}")[1:] == words.encode(line)
    lists = words.encode_all([line, ""])
    assert lists[0].tolist() == [*words.encode(line), table["</s>"]]
    assert lists[1].tolist() == [table["</s>"]]
    with pytest.raises(ValueError, match=r"`tokens` must be 0 to \d+; got 9999"):
        words.decode([9999])


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"</s>": 0, "<unk>": 1, "<pad>": 3}, "`numbers` must be 0 to 2, .* for 3"),
        ({"</s>": 0, "<unk>": 1, "<pad>": "2"}, "`numbers` must be 0 to 2, .* for '2'"),
        ({"</s>": 0, "<pad>": 1}, "`numbers` must have the piece `<unk>`"),
    ],
)
def test_a_table_that_numbers_no_pieces_is_refused(pair, numbers, words):
    with pytest.raises(ValueError, match=words):
        datasets.paired(pair[0].model, pair[1].model, numbers)


def test_a_vocabulary_of_another_model_is_refused(tmp_path, t5, marian):
    for name, change, words in (
        (t5, {"eos_token_id": 5}, r"that end with 5; it has 280, which end with 1"),
        (marian, {"eos_token_id": 7}, r"vocab.json` must be the vocabulary of the mod"),
    ):
        folder = tmp_path / name.name
        shutil.copytree(name, folder)
        fields = json.loads((name / "config.json").read_text("utf-8"))
        (folder / "config.json").write_text(json.dumps(fields | change), "utf-8")
        with pytest.raises(ValueError, match=words):
            weights.load(folder)
    (folder / "vocab.json").write_text("[]", "utf-8")
    with pytest.raises(ValueError, match=r"vocab.json` must be a vocabulary"):
        weights.load(folder)
    (tmp_path / t5.name / "spiece.model").write_bytes(b"none")
    with pytest.raises(
        ValueError, match=r"spiece.model` must be a vocabulary; `model`"
    ):
        weights.load(tmp_path / t5.name)


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
