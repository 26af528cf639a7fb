"""Pairs of sentences as the training loop reads them, from the files of a spec."""

import dataclasses

import numpy as np
import pytest

from relational import specs
from relational.datasets import learn_subwords
from relational.models import tasks
from relational.models.text_data import SUBWORDS, ParallelData
from relational.models.translation import Translation
from tests.datasets.texts import sentences
from tests.models import pairs

ENGLISH, GERMAN = sentences()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files of two languages; what is learned from them is kept beside them."""
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path / "cache"))
    write(tmp_path)
    return tmp_path


def write(folder, *, last="Das ist alles."):
    for split, (first, end) in {
        "train": (0, 50),
        "val": (50, 55),
        "test": (55, 60),
    }.items():
        english, german = ENGLISH[first:end], GERMAN[first:end]
        if split == "test":  # Longer than all that is trained on.
            english, german = [*english, " ".join(ENGLISH)], [*german, "Kurz."]
        if split == "val":
            english, german = [*english, "That is all."], [*german, last]
        for name, lines in (("en", english), ("de", german)):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{split}.{name}").write_text(text, "utf-8")


def spec_of(**changes):
    fields = {
        "train": ("train.en", "train.de"),
        "validation": ("val.en", "val.de"),
        "test": ("test.en", "test.de"),
        "vocabulary": 300,
        "tokens": 256,
        "shapes": 3,
        **changes,
    }
    return specs.ParallelTextSpec(**fields)


def data_of(folder, *, batch_size=16, accumulate=1, **changes):
    spec = spec_of(**changes)
    return ParallelData(spec, batch_size, accumulate, data_source=str(folder))


def test_batches_hold_the_sentences_of_the_files(folder):
    data = data_of(folder)
    words = data.subwords
    assert words.size == 300
    assert dict(data.kept) == {SUBWORDS: words.model}
    seen, shapes = set(), set()
    walk = data.training(seed=0)
    for _ in range(40):
        batch = next(walk)
        shapes.add(batch["source"].shape)
        assert 2 * batch["source"].size <= 256
        for source, target in zip(batch["source"], batch["target"], strict=True):
            seen.add((words.decode(source), words.decode(target)))
    assert seen == set(zip(ENGLISH[:50], GERMAN[:50], strict=True))
    assert len(shapes) <= 3


def test_each_pair_of_a_split_is_evaluated_once_however_long(folder):
    data = data_of(folder)
    words = data.subwords
    assert data.splits == ("test",)
    for split in ("validation", "test"):
        text, found = data.text(split), {}
        for batch in data.evaluation(split):
            for piece, source, target in zip(
                batch["piece"].tolist(), batch["source"], batch["target"], strict=True
            ):
                if piece >= 0:
                    assert piece not in found
                    found[piece] = words.decode(source), words.decode(target)
        assert found == dict(enumerate(zip(*text, strict=True)))
    assert len(text.source) == 6
    assert data_of(folder, test=None).splits == ("validation",)
    with pytest.raises(ValueError, match="one of `train`, `validation`; got 'test'"):
        data_of(folder, test=None).text("test")


def test_the_batches_of_a_step_have_one_shape(folder):
    walk = data_of(folder, accumulate=3).training(seed=0)
    for _ in range(5):
        assert len({next(walk)["source"].shape for _ in range(3)}) == 1


def test_without_a_bound_of_tokens_a_batch_has_its_number_of_pairs(folder):
    walk = data_of(folder, batch_size=7, tokens=None).training(seed=0)
    assert {len(next(walk)["source"]) for _ in range(20)} == {7}


def test_the_fingerprint_is_that_of_the_sentences(folder, tmp_path):
    first = data_of(folder).fingerprint
    assert data_of(folder, tokens=None, shapes=2).fingerprint == first
    assert data_of(folder, subwords="unigram").fingerprint != first
    other = tmp_path / "other"
    other.mkdir()
    write(other, last="Das ist nicht alles.")
    assert data_of(other).fingerprint != first
    write(other)
    again = tmp_path / "again"
    other.rename(again)  # Files are read once; a new place is read anew.
    assert data_of(again).fingerprint == first


def test_the_vocabulary_of_a_run_is_taken_whatever_would_be_learned_now(folder):
    (folder / "run").mkdir()
    spec = whole(with_vocabulary(300))
    _, first = tasks.from_spec(spec, data_source=folder, run=folder / "run")
    assert first.vocabulary is None  # The run is new.
    other = learn_subwords(GERMAN, vocabulary=290)
    (folder / "run" / SUBWORDS).write_bytes(other.model)
    _, data = tasks.from_spec(spec, data_source=folder, run=folder / "run")
    assert data.subwords == other
    found = [
        other.decode(row)
        for batch in data.evaluation("validation")
        for row in batch["target"][batch["piece"] >= 0]
    ]
    assert sorted(found) == sorted(data.text("validation").target)
    assert data.fingerprint != first.fingerprint


def test_no_sentence_so_short_is_told(folder):
    with pytest.raises(
        ValueError, match=r"data.longest: must be \d+ or more, .* got 2"
    ):
        data_of(folder, longest=2).training(seed=0)


def whole(model=None, data=None, **training):
    return specs.Spec(
        name="pairs",
        model=pairs.absolute() if model is None else model,
        data=data or spec_of(),
        training=specs.TrainingSpec(steps=2, batch_size=8, **training),
    )


def with_vocabulary(size, **changes):
    model = pairs.absolute()
    nodes = {
        name: dataclasses.replace(node, vocabulary=size, **changes)
        for name, node in model.nodes.items()
    }
    return dataclasses.replace(model, nodes=nodes)


def test_a_spec_of_pairs_makes_a_translation(folder):
    spec = whole(with_vocabulary(300), accumulate=2, label_smoothing=0.1)
    task, data = tasks.from_spec(spec, data_source=folder)
    assert task == Translation(spec.model, 0.1)
    assert data == ParallelData(spec.data, 8, 2, str(folder))
    assert specs.loads(specs.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: whole(),
            r"model.nodes.source.vocabulary: must be 300 or more, .* got 14",
        ),
        (
            lambda: whole(
                with_vocabulary(8000),
                specs.Multi30kSpec(source="en", target="en"),
            ),
            r"data.multi30k.target: must be another language .*; got `en` twice",
        ),
        (
            lambda: whole(with_vocabulary(300, embed={"voice": 4})),
            "model.nodes.source.embed.voice: words have no attributes",
        ),
        (
            lambda: dataclasses.replace(specs.load("cora_gcn"), data=spec_of()),
            "data: must be what the model reads; got sequences of tokens",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_model_of_one_node_set_translates_nothing(folder):
    model = specs.load("transformer").model
    node = dataclasses.replace(model.nodes["token"], vocabulary=300, embed={})
    model = dataclasses.replace(model, nodes={"token": node})
    with pytest.raises(ValueError, match=r"model.nodes: must be two, a source and a"):
        tasks.from_spec(whole(model), data_source=folder)


def test_evaluation_reads_batches_of_several_shapes(folder):
    """Sums over pairs, whatever their batches, by a model that needs no compiling."""
    import jax.numpy as jnp

    from relational.training import Outcome, evaluate

    class Lengths:
        traces = 0

        def outcome(self, params, key, batch, *, is_training):
            Lengths.traces += 1
            loss = jnp.asarray(batch["source_length"], jnp.float32)
            return Outcome(loss=loss, weight=jnp.asarray(batch["target_length"]))

    data = data_of(folder)
    shapes = {batch["source"].shape for batch in data.evaluation("train")}
    assert len(shapes) > 1
    found = evaluate(Lengths(), {}, data, "train")
    encode = data.subwords.encode_all
    source, target = (encode(lines).lengths for lines in data.text("train"))
    assert found.loss == pytest.approx(source.sum() / target.sum())
    assert (found.tokens, found.pieces) == (int(target.sum()), 50)
    assert Lengths.traces == len(shapes)
    assert np.isfinite(found.standard_error)
