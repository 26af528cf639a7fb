"""One long text: what windows hold, each token once, and a place that is kept."""

import numpy as np
import pytest

from relational import specs
from relational.datasets import text_windows
from relational.models import tasks
from relational.models.plain_text import PlainText
from relational.models.text_data import SUBWORDS
from tests.datasets.texts import sentences

ENGLISH, GERMAN = sentences()
TEXT = np.arange(100, 173)  # Every token says where it is.


def training(**changes):
    options = {"window": 8, "batch_size": 3, "seed": 0, **changes}
    return text_windows.training(TEXT, **options)


def test_a_window_is_part_of_the_text_after_the_token_before_it():
    walk = training()
    for _ in range(30):
        batch = next(walk)
        assert (np.diff(batch["token"], axis=1) == 1).all()
        before = np.where(batch["token"] == 100, 0, batch["token"] - 1)
        np.testing.assert_array_equal(batch["previous"], before)
        assert (batch["weight"] == 1).all()


def test_an_epoch_visits_every_window_of_a_cut_once_and_cuts_differ():
    walk = training()
    firsts = np.concatenate([next(walk)["token"][:, 0] for _ in range(9)])
    cuts = firsts.reshape(3, 9)  # 73 tokens have 9 windows of 8, and one is left over.
    for cut in cuts:
        assert np.diff(np.sort(cut)).tolist() == [8] * 8
        assert cut.tolist() != sorted(cut)
    starts = {int(next(training(seed=seed))["token"].min()) % 8 for seed in range(20)}
    assert len(starts) > 1


def test_a_walk_goes_on_where_it_stopped():
    first, again = training(), training()
    for _ in range(5):
        next(first)
    again.set_state(first.get_state())
    for _ in range(10):
        np.testing.assert_array_equal(next(again)["token"], next(first)["token"])


@pytest.mark.parametrize("length", [1, 7, 8, 9, 73])
def test_an_evaluation_weighs_every_token_once(length):
    text = TEXT[:length]
    batches = list(text_windows.evaluation(text, window=8, batch_size=3))
    seen = np.concatenate([batch["token"][batch["weight"] > 0] for batch in batches])
    before = np.concatenate(
        [batch["previous"][batch["weight"] > 0] for batch in batches]
    )
    assert seen.tolist() == text.tolist()
    assert before.tolist() == [0, *text[:-1]]
    pieces = np.concatenate([batch["piece"] for batch in batches])
    weights = np.concatenate([batch["weight"].sum(axis=1) for batch in batches])
    assert ((pieces >= 0) == (weights > 0)).all()
    assert {batch["token"].shape for batch in batches} == {(3, 8)}
    short = next(text_windows.training(text, window=80, batch_size=2, seed=0))
    assert short["weight"].sum(axis=1).tolist() == [length] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 0}, "`window` must be 1 or more; got 0"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more; got 0"),
        ({"seed": -1}, "`seed` must be 0 to 4294967295; got -1"),
    ],
)
def test_arguments_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        training(**changes)
    with pytest.raises(ValueError, match="`tokens` must be at least one; got none"):
        text_windows.training(TEXT[:0], window=8, batch_size=3, seed=0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path / "cache"))
    for name, lines in {
        "a.txt": ENGLISH[:40],
        "b.txt": ["", *ENGLISH[40:55]],
        "c.txt": ENGLISH[55:],
        "none.txt": ["", " "],
    }.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return tmp_path


MODEL = """\
name: text
model:
  nodes: {token: {vocabulary: 300, width: 16, positions: sinusoid}}
  edges: {self: {from: token, to: token, topology: causal}}
  blocks: [{attention: {over: self, heads: 2}}]
  read_out: {node: token}
data:
  plain_text: {train: [a.txt, b.txt], validation: [c.txt], window: 16, vocabulary: 300}
training: {steps: 2, batch_size: 4}
"""


def test_a_spec_of_files_makes_a_task_that_reads_them(folder):
    spec = specs.loads(MODEL)
    task, data = tasks.from_spec(spec, data_source=folder)
    assert isinstance(task, tasks.NextToken)
    assert isinstance(data, PlainText)
    words = data.subwords
    assert dict(data.kept) == {SUBWORDS: words.model}
    assert data.splits == ("validation",)
    batches = list(data.evaluation("validation"))
    seen = np.concatenate([batch["token"][batch["weight"] > 0] for batch in batches])
    lines = np.split(seen, np.flatnonzero(seen == 1) + 1)
    assert [words.decode(line) for line in lines[:-1]] == ENGLISH[55:]
    assert next(data.training(0))["token"].shape == (4, 16)
    assert specs.loads(specs.dumps(spec)) == spec
    (folder / "c.txt").write_text("Something else.\n", "utf-8")
    moved = folder / "moved"
    moved.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).rename(moved / name)
    _, other = tasks.from_spec(spec, data_source=moved)
    assert other.fingerprint != data.fingerprint


def test_files_without_text_are_told(folder):
    spec = specs.loads(MODEL.replace("[a.txt, b.txt]", "[none.txt]"))
    _, data = tasks.from_spec(spec, data_source=folder)
    with pytest.raises(ValueError, match=r"data.plain_text.train: must be files with"):
        data.training(0)


def test_a_model_of_two_node_sets_reads_no_plain_text(folder):
    other = "source: {vocabulary: 300, width: 16}, "
    edges = "cross: {from: source, to: token, topology: complete}, "
    text = MODEL.replace("nodes: {", f"nodes: {{{other}")
    text = text.replace("edges: {", f"edges: {{{edges}")
    text = text.replace("blocks: [", "blocks: [{attention: {over: cross, heads: 2}}, ")
    with pytest.raises(
        ValueError, match=r"model.nodes.source: a text has one node set"
    ):
        tasks.from_spec(specs.loads(text), data_source=folder)


def test_a_vocabulary_larger_than_the_models_is_refused():
    with pytest.raises(ValueError, match=r"vocabulary: must be 8000 or more, as many"):
        specs.loads(MODEL.replace(", vocabulary: 300}\n", "}\n", 2))
