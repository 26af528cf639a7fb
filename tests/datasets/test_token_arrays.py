"""Arrays of one's own: what files hold, what is added, each example once, a kept place."""

import numpy as np
import pytest

from relational import specs
from relational.datasets import token_arrays
from relational.datasets.token_arrays import read_token_arrays
from relational.models import tasks
from relational.models.translation import Translation

TOKEN = np.array([[5, 6, 7], [8, 9, 0]])
PARSE = np.arange(18).reshape(2, 3, 3) % 4


@pytest.fixture
def saved(tmp_path):
    def save(name, **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def test_what_is_missing_is_added(saved):
    path = saved("a.npz", token=TOKEN, length=[3, 2], segment=[[0, 0, 1], [0, 0, 0]])
    arrays = read_token_arrays([path])
    assert arrays["previous"].tolist() == [[0, 5, 0], [0, 8, 9]]
    assert arrays["weight"].tolist() == [[1, 1, 1], [1, 1, 0]]
    given = saved("b.npz", token=TOKEN, previous=TOKEN, weight=[[0.5] * 3] * 2)
    arrays = read_token_arrays([given])
    np.testing.assert_array_equal(arrays["previous"], TOKEN)
    assert arrays["weight"].tolist() == [[0.5] * 3] * 2
    pairs = read_token_arrays([saved("c.npz", source=TOKEN, target=TOKEN[:, :2])])
    assert pairs["source_length"].tolist() == [3, 3]
    assert pairs["target_length"].tolist() == [2, 2]


def test_files_come_one_behind_the_other(saved):
    paths = [saved(f"{i}.npz", token=TOKEN + i, parse=PARSE) for i in range(2)]
    arrays = read_token_arrays(paths)
    assert arrays["token"].tolist() == [*TOKEN.tolist(), *(TOKEN + 1).tolist()]
    assert token_arrays.digest_of(arrays) != token_arrays.digest_of(
        arrays | {"parse": arrays["parse"] + 1}
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"word": TOKEN}, r"a.npz: must have `token`, or .* `token` is missing"),
        ({"token": TOKEN[0]}, r"whole numbers \[M, T\] .* `token` is \[3\]"),
        ({"source": TOKEN}, "`target` is missing"),
        (
            {"token": TOKEN, "parse": PARSE[:1]},
            r"`parse` must be whole numbers \[2, \.\.\.\], .* got int64 \[1, 3, 3\]",
        ),
        (
            {"token": TOKEN, "parse": PARSE / 2},
            r"`parse` must be whole numbers .* got float64",
        ),
    ],
)
def test_files_that_do_not_fit_are_told(saved, arrays, words):
    path = saved("a.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read_token_arrays([path])


def test_files_that_differ_or_cannot_be_read_are_told(saved, tmp_path):
    paths = [saved("a.npz", token=TOKEN, parse=PARSE), saved("b.npz", token=TOKEN)]
    with pytest.raises(
        ValueError, match=r"b.npz: .* `parse` is \[3, 3\] there and mis"
    ):
        read_token_arrays(paths)
    (tmp_path / "text.npz").write_text("no archive", "utf-8")
    for name, words in (
        ("text.npz", "must be a `.npz` file"),
        ("nothing.npz", "there is no such file"),
    ):
        with pytest.raises(ValueError, match=f"{name}: {words}"):
            read_token_arrays([tmp_path / name])


def test_a_walk_visits_every_example_once_an_epoch_and_goes_on_where_it_stopped():
    arrays = {"token": np.arange(10).reshape(5, 2), "weight": np.ones((5, 2))}
    first, again = (
        token_arrays.training(arrays, batch_size=3, seed=1) for _ in range(2)
    )
    seen = np.concatenate([next(first)["token"][:, 0] for _ in range(5)]).reshape(3, 5)
    assert [sorted(epoch) for epoch in seen.tolist()] == [[0, 2, 4, 6, 8]] * 3
    assert len({tuple(epoch) for epoch in seen.tolist()}) > 1
    again.set_state(first.get_state())
    for _ in range(4):
        one, other = next(first), next(again)
        np.testing.assert_array_equal(one["token"], other["token"])
        assert (one["token"].dtype, one["weight"].dtype) == (np.int32, np.float32)


def test_an_evaluation_gives_every_example_once():
    arrays = {"token": np.arange(2, 12).reshape(5, 2), "weight": np.ones((5, 2))}
    batches = list(token_arrays.evaluation(arrays, batch_size=2))
    pieces = np.concatenate([batch["piece"] for batch in batches])
    assert pieces.tolist() == [0, 1, 2, 3, 4, -1]
    weights = np.concatenate([batch["weight"] for batch in batches])
    assert weights.sum(axis=1).tolist() == [2] * 5 + [0]
    tokens = np.concatenate([batch["token"] for batch in batches])
    np.testing.assert_array_equal(tokens[:5], arrays["token"])


ONE = """\
name: labelled
model:
  nodes: {token: {vocabulary: 12, width: 8}}
  edges:
    self: {from: token, to: token, topology: complete, relations: {parse: {labels: 2}}}
  blocks: [{attention: {over: self, heads: 2, biases: [parse]}}]
  read_out: {node: token}
data: {token_arrays: {train: [a.npz], validation: [a.npz]}}
training: {steps: 2, batch_size: 2}
"""
TWO = """\
name: labelled
model:
  nodes: {source: {vocabulary: 12, width: 8}, target: {vocabulary: 12, width: 8}}
  edges:
    heard: {from: source, to: source, topology: complete, relations: {parse: {labels: 2}}}
    cross: {from: source, to: target, topology: complete}
  blocks:
    - {attention: {over: heard, heads: 2, biases: [parse]}}
    - {attention: {over: cross, heads: 2}}
  read_out: {node: target}
data: {token_arrays: {train: [a.npz], validation: [a.npz]}}
training: {steps: 2, batch_size: 2}
"""


def test_labels_reach_the_edge_set_that_has_their_relation(saved, tmp_path):
    saved("a.npz", source=TOKEN, target=TOKEN, parse=PARSE)
    task, data = tasks.from_spec(specs.loads(TWO), data_source=tmp_path)
    assert isinstance(task, Translation)
    assert data.splits == ("validation",)
    inputs = task.inputs(next(data.training(0)))
    assert inputs["heard"]["parse"].shape == (2, 3, 3)
    assert set(inputs) == {"heard", "source", "target"}
    saved("a.npz", token=TOKEN, parse=PARSE)
    task, data = tasks.from_spec(specs.loads(ONE), data_source=tmp_path)
    inputs = task.inputs(next(iter(data.evaluation("validation"))))
    np.testing.assert_array_equal(inputs["self"]["parse"], PARSE)
    assert list(inputs["token"]) == ["token"]


@pytest.mark.parametrize(
    ("spec", "arrays", "words"),
    [
        (ONE, {"token": TOKEN}, "must have `parse`, which the model reads"),
        (
            ONE,
            {"token": TOKEN, "parse": PARSE[:, :2]},
            r"`parse` must be \[M, 3, 3\], for the nodes .* got \[2, 2, 3\]",
        ),
        (
            ONE.replace("vocabulary: 12", "vocabulary: 8"),
            {"token": TOKEN, "parse": PARSE},
            "`token` must be from 0 to 7, as the model has it; got 0 to 9",
        ),
        (
            ONE,
            {"source": TOKEN, "target": TOKEN},
            "must have `token`, since the model has 1 node set;",
        ),
        (
            TWO,
            {"token": TOKEN, "parse": PARSE},
            "must have `source`, since .* has 2 node sets;",
        ),
        (
            TWO,
            {
                "source": TOKEN,
                "target": TOKEN,
                "parse": PARSE,
                "segment": np.zeros_like(TOKEN),
                "length": np.array([2, 1]),
            },
            "must not have `length`, which a model of two node sets does not read",
        ),
    ],
)
def test_arrays_that_a_model_cannot_read_are_told(saved, tmp_path, spec, arrays, words):
    saved("a.npz", **arrays)
    with pytest.raises(ValueError, match=rf"data.token_arrays.train: .*{words}"):
        tasks.from_spec(specs.loads(spec), data_source=tmp_path)


@pytest.mark.parametrize(
    ("data", "change", "words"),
    [
        (
            "{plain_text: {train: [a], validation: [b], window: 8, vocabulary: 261}}",
            (),
            r"model.edges.self.relations.parse: these data give no labels. Take `token_arr",
        ),
        (
            "{chorales: {window: 8}}",
            ("topology: complete", "topology: {or: [causal, prefix]}"),
            r"model.edges.self.topology: these data give no prefix",
        ),
    ],
)
def test_data_that_give_no_labels_and_no_prefix_are_told(data, change, words):
    text = ONE.replace("{token_arrays: {train: [a.npz], validation: [a.npz]}}", data)
    text = text.replace("vocabulary: 12", "vocabulary: 300")
    text = text.replace(*change) if change else text
    with pytest.raises(specs.SpecError, match=words):
        specs.loads(text)


def test_attributes_of_two_node_sets_cannot_be_told_apart():
    text = TWO.replace("source: {vocab", "source: {embed: {tag: 3}, vocab")
    with pytest.raises(
        specs.SpecError,
        match=r"source.embed.tag: must be left out: `token_arrays` give",
    ):
        specs.loads(text)


def test_labels_may_be_called_as_arrays_of_one_node_set(saved, tmp_path):
    labels = PARSE.clip(0)
    saved("a.npz", source=TOKEN, target=TOKEN, weight=labels)
    spec = specs.loads(TWO.replace("parse", "weight"))
    task, data = tasks.from_spec(spec, data_source=tmp_path)
    found = task.inputs(next(data.training(seed=0)))["heard"]["weight"]
    assert np.issubdtype(found.dtype, np.integer)
    assert found.shape == labels.shape


def test_a_prefix_among_two_node_sets_is_told():
    text = TWO.replace("topology: complete, relations", "topology: prefix, relations")
    with pytest.raises(
        specs.SpecError, match=r"edges.heard.topology: must have no `prefix`"
    ):
        specs.loads(text)
