"""A spec and the text of its file say the same."""

import copy
import dataclasses
import pathlib
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relational import specs
from relational.specs.writer import in_line
from relational.specs.yaml_text import parse, scalar

_LIBRARY = pathlib.Path(specs.__file__).parent / "library"
_FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@_FEW
@given(st.data())
def test_what_is_written_is_read_back(
    whole_specs: st.SearchStrategy[specs.Spec], data: st.DataObject
) -> None:
    spec = data.draw(whole_specs)
    text = specs.dumps(spec)
    assert specs.loads(text) == spec
    assert specs.dumps(specs.loads(text)) == text
    assert specs.override(spec, []) == spec
    assert specs.difference(spec, spec) == []
    assert specs.difference(spec, specs.loads(text)) == []


@_FEW
@given(st.data())
def test_specs_are_values(
    whole_specs: st.SearchStrategy[specs.Spec], data: st.DataObject
) -> None:
    spec = data.draw(whole_specs)
    same = pickle.loads(pickle.dumps(spec))
    assert same == copy.deepcopy(spec) == spec
    assert hash(same) == hash(spec)


@pytest.mark.parametrize("name", specs.names())
def test_shipped_files_are_as_they_would_be_written(name: str) -> None:
    text = (_LIBRARY / f"{name}.yaml").read_text("utf-8")
    assert specs.dumps(specs.load(name)) == text, "write it with `relational spec show`"
    assert len(text.splitlines()) <= 50
    assert specs.load(name).name == name
    assert specs.load(name).source


def test_saved_specs_are_loaded_again(tmp_path: pathlib.Path) -> None:
    spec = specs.override(specs.load("demo"), ["source='Händel, “Suite” 🎼'"])
    specs.save(spec, tmp_path / "spec.yaml")
    assert specs.load(tmp_path / "spec.yaml") == spec


def test_a_shipped_name_is_the_shipped_spec_and_a_path_is_a_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = specs.override(specs.load("demo"), ["training.seed=7"])
    specs.save(other, "demo")
    assert specs.load("demo").training.seed == 0
    assert specs.load("./demo").training.seed == 7
    assert specs.load(pathlib.Path("demo")).training.seed == 7


def test_specs_cannot_be_changed() -> None:
    spec = specs.load("demo")
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot be changed; make a new spec"):
        spec.model.nodes["other"] = spec.model.nodes["token"]
    with pytest.raises(TypeError, match="cannot be changed"):
        spec.model.nodes.clear()


def test_a_replaced_part_is_checked() -> None:
    attention = specs.load("demo").model.blocks[0].attention
    assert attention is not None
    with pytest.raises(ValueError, match="greater than 0"):
        dataclasses.replace(attention, heads=0)
    model = specs.load("demo").model
    with pytest.raises(
        ValueError, match=r"model\.read_out\.node: `bar` is no node set"
    ):
        dataclasses.replace(model, read_out=specs.ReadOutSpec(node="bar"))


def test_the_relation_is_all_that_makes_a_music_transformer() -> None:
    before, after = specs.load("transformer"), specs.load("music_transformer")
    assert specs.difference(before, after) == [
        "+ model.edges.self.relations.offset: {limit: 512}",
        "- model.blocks[0].attention.score: [content]",
        "+ model.blocks[0].attention.score: [content, offset]",
    ]


def test_differences_follow_the_kinds_and_the_lists() -> None:
    before = specs.load("music_transformer_local")
    changes = [
        "model.edges.self.topology={and: [{blocks: {size: 64}}, complete]}",
        "training.schedule.warmup_rsqrt.warmup=9",
        "training.optimizer={adamw: {weight_decay: 0.5}}",
        "data.chorales.source=jsb",
        (
            "model.blocks=[{feed_forward: {width: 2}}, {attention: {over: self, heads: 8, "
            "score: [content, offset]}, feed_forward: {width: 1024}, repeat: 5}]"
        ),
    ]
    assert specs.difference(before, specs.override(before, changes)) == [
        "- model.edges.self.topology.and[0].blocks.size: 128",
        "+ model.edges.self.topology.and[0].blocks.size: 64",
        "- model.edges.self.topology.and[1]: causal",
        "+ model.edges.self.topology.and[1]: complete",
        "- model.blocks[0].repeat: 5",
        "+ model.blocks[0].repeat: 1",
        "- model.blocks[0].attention: {over: self, heads: 8, score: [content, offset]}",
        "+ model.blocks[0].attention: null",
        "- model.blocks[0].feed_forward.width: 1024",
        "+ model.blocks[0].feed_forward.width: 2",
        (
            "+ model.blocks[1]: {repeat: 5, attention: {over: self, heads: 8, score: "
            "[content, offset]}, feed_forward: {width: 1024}}"
        ),
        "- data.chorales.source: music21",
        "+ data.chorales.source: jsb",
        "- training.optimizer: adam",
        "+ training.optimizer: {adamw: {weight_decay: 0.5}}",
        "- training.schedule.warmup_rsqrt.warmup: 4000",
        "+ training.schedule.warmup_rsqrt.warmup: 9",
    ]


def test_values_are_overridden_and_the_rest_is_kept() -> None:
    spec = specs.override(
        specs.load("demo"),
        [
            "training.steps=200",
            "model.blocks[0].attention.heads = 2",
            "training.schedule={constant: {rate: 1e-3}}",
            "training.clip_norm=null",
            "model.nodes.token.embed.beat=16",
            "model.nodes.token.positions={sinusoid: {combine: concatenate}}",
        ],
    )
    demo = specs.load("demo")
    assert spec.training == dataclasses.replace(
        demo.training,
        steps=200,
        schedule=specs.ConstantSpec(rate=1e-3),
        clip_norm=None,
    )
    assert spec.model.blocks[0].attention == dataclasses.replace(
        demo.model.blocks[0].attention, heads=2
    )
    assert spec.model.nodes["token"].embed == {"voice": 4, "beat": 16}
    assert spec.model.nodes["token"].positions == specs.SinusoidSpec(
        combine="concatenate"
    )
    assert (spec.data, spec.model.edges) == (demo.data, demo.model.edges)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-7", -7),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("yes", "yes"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("True", True),
        ("false", False),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " a",
        "1",
        "1e3",
        "null",
        "a: b",
        "#",
        "é",
        "\n",
        "\x85",
        "🎼",
        '"\\"',
        "a  b",
    ],
)
def test_texts_keep_their_type_in_a_line(text: str) -> None:
    assert parse(f"a: {in_line(text)}", "text").data == {"a": text}
