"""Every mistake is told at its place, in words that say what to do."""

import copy
import dataclasses
import pathlib
import random
import re

import pytest

from relational import specs
from relational.specs.problems import Place, dotted
from relational.specs.reader import build
from relational.specs.writer import plain
from relational.specs.yaml_text import Document, Plain
from tests import fuzzing

_GOOD = """\
name: small
model:
  nodes: {token: {vocabulary: 48, width: 256, embed: {voice: 4}, positions: none}}
  edges:
    self:
      from: token
      to: token
      topology: causal
      relations: {offset: {limit: 8}, pitch: {difference: pitch, clip: 3}}
  blocks:
    - attention: {over: self, heads: 8, score: [content, offset, pitch]}
      feed_forward: {width: 64}
  read_out: {node: token}
data: {chorales: {window: 64}}
training: {steps: 20, batch_size: 2, schedule: {warmup_cosine: {peak: 0.1, warmup: 4}}}
"""

_SCORE = "model.blocks[0].attention.score"

# What is replaced in the good spec, by what, and all that is said about it.
_WRONG = [
    # Numbers.
    (
        "heads: 8",
        "heads: 7",
        (
            "model.blocks[0].attention.heads: 7 does not divide width 256; take 4 heads, or "
            "give `head_width`."
        ),
    ),
    (
        "heads: 8",
        "heads: 8, kv_heads: 3",
        "model.blocks[0].attention.kv_heads: must divide `heads`, 8; got 3. Take 1.",
    ),
    (
        "heads: 8",
        "heads: 8, rotary: {width: 34}",
        (
            "model.blocks[0].attention.rotary.width: must be even, and at most the 32 "
            "channels of a head; got 34. Take 32 or fewer."
        ),
    ),
    (
        "heads: 8",
        "heads: 8, head_width: 5, rotary: {}",
        (
            "model.blocks[0].attention.rotary.width: must be even, and at most the 5 "
            "channels of a head; got 5. Take 4 or fewer."
        ),
    ),
    (
        "heads: 8",
        "heads: 8, sender_score: [ofset]",
        (
            "model.blocks[0].attention.sender_score[0]: `ofset` is no relation of edge set "
            "`self`. Did you mean `offset`?"
        ),
    ),
    (
        "{difference: pitch, clip: 3}}\n  blocks:\n    - attention: {",
        (
            "{buckets: 4, later: false, width: 2}}\n  blocks:\n"
            "    - attention: {sender_score: [offset, pitch], "
        ),
        (
            "model.blocks[0].attention.sender_score[1]: `pitch` is known one way only, and "
            "with `width` both ends look into the same rows. Remove its `width`."
        ),
    ),
    (
        "heads: 8",
        "heads: 0",
        "model.blocks[0].attention.heads: must be more than 0; got 0.",
    ),
    (
        "width: 256",
        "width: wide",
        "model.nodes.token.width: must be a whole number; got 'wide'.",
    ),
    (
        "width: 256",
        "width: 256.0",
        "model.nodes.token.width: must be a whole number; got 256.0.",
    ),
    (
        "width: 256",
        "width: true",
        "model.nodes.token.width: must be a whole number; got true.",
    ),
    (
        "width: 256",
        "width: 99999999999",
        "model.nodes.token.width: must be 2147483647 or less; got 99999999999.",
    ),
    (
        "window: 64",
        "window: 62",
        "data.chorales.window: must be a multiple of 4; got 62.",
    ),
    (
        "batch_size: 2",
        "batch_size: -1",
        "training.batch_size: must be more than 0; got -1.",
    ),
    (
        "peak: 0.1",
        "peak: .inf",
        "training.schedule.warmup_cosine.peak: must be a finite number; got inf.",
    ),
    (
        "peak: 0.1",
        "peak: 1e-1e",
        "training.schedule.warmup_cosine.peak: must be a number; got '1e-1e'.",
    ),
    (
        "warmup: 4",
        "warmup: 21",
        (
            "training.schedule.warmup_cosine.warmup: must be at most `training.steps`; got 21 "
            "of 20 steps. Shorten the warm-up or train longer."
        ),
    ),
    (
        "warmup: 4",
        "warmup: 4, floor: 1",
        (
            "training.schedule.warmup_cosine.floor: must be at most `peak`, 0.1; got 1. The "
            "rate falls from `peak` to `floor`."
        ),
    ),
    (
        "read_out",
        "dropout: 1\n  read_out",
        "model.dropout: must be less than 1; got 1.",
    ),
    (
        "voice: 4",
        "voice: 3",
        (
            "model.nodes.token.embed.voice: must be the number of values of `voice`, at least "
            "4; got 3."
        ),
    ),
    (
        "positions: none",
        "positions: {sinusoid: {width: 6}}",
        (
            "model.nodes.token.positions.sinusoid.width: must be left out with `combine: add`; "
            "got 6. Sinusoids that are added are as wide as the node."
        ),
    ),
    (
        "positions: none",
        "positions: {sinusoid: {combine: concatenate, width: 7}}",
        (
            "model.nodes.token.positions.sinusoid.width: must be even, a sine and a cosine "
            "each; got 7. Take 8."
        ),
    ),
    (
        "positions: none",
        "positions: {sinusoid: {combine: concatenate, width: 256}}",
        (
            "model.nodes.token.positions.sinusoid.width: must leave channels for the "
            "embedding; got 256 of 256. Take fewer, for example 128."
        ),
    ),
    # Fields.
    ("steps: 20", "stepz: 20", "training.stepz: unknown field. Did you mean `steps`?"),
    (
        "steps: 20",
        "steps: 20, zzz: 1",
        (
            "training.zzz: unknown field. There are `optimizer`, `schedule`, `steps`, "
            "`batch_size`, `accumulate`, `seed`, `precision`, `label_smoothing`, "
            "`clip_norm`, `log_every`, `evaluate_every`, `patience` and 2 more."
        ),
    ),
    ("steps: 20, ", "", "training.steps: is missing. Give it a value."),
    (
        "data: {chorales: {window: 64}}\n",
        "",
        "data: is missing. Give it a value.",
    ),
    (
        "feed_forward: {width: 64}",
        "feed_forward: 64",
        "model.blocks[0].feed_forward: must be a mapping of names to values; got 64.",
    ),
    (
        "  blocks:\n",
        "  blocks:\n    - repeat: 2\n",
        (
            "model.blocks[0]: must have `attention`, `feed_forward` or `experts`; got none "
            "of them. Give it one, or remove the block."
        ),
    ),
    (
        "limit: 8",
        "limit: 8, clip: 8",
        (
            "model.edges.self.relations.offset: must have exactly one of `clip` and `limit`; "
            "got both. `clip` uses the last row for differences beyond it, `limit` gives them "
            "zero."
        ),
    ),
    (
        ", clip: 3",
        "",
        (
            "model.edges.self.relations.pitch: must have exactly one of `clip` and `limit`; "
            "got neither. `clip` uses the last row for differences beyond it, `limit` gives "
            "them zero."
        ),
    ),
    (
        "score: [content, offset, pitch]",
        "score: offset",
        f"{_SCORE}: must be a list; got 'offset'.",
    ),
    (
        "score: [content,",
        "message: [], score: [content,",
        "model.blocks[0].attention.message: must have 1 or more; got 0.",
    ),
    (
        "name: small",
        "name: Small",
        (
            "name: must be a name: a small letter, then small letters, digits and `_`; got "
            "'Small'."
        ),
    ),
    (
        "{limit: 8}, pitch",
        "{limit: 8}, Pitch",
        (
            "model.edges.self.relations.Pitch: must be a name: a small letter, then small "
            "letters, digits and `_`; got 'Pitch'."
        ),
    ),
    # Kinds.
    (
        "causal",
        "casual",
        (
            "model.edges.self.topology: must be one of `complete`, `causal`, `self`, `band`, "
            "`blocks`, `strided`, `prefix`, `and`, `or`, `minus`; got `casual`. Did you "
            "mean `causal`?"
        ),
    ),
    (
        "causal",
        "{band: {}}",
        "model.edges.self.topology.band.before: is missing. Give it a value.",
    ),
    (
        "causal",
        "{and: [causal, {or: [self, {band: {befor: 1}}]}]}",
        (
            "model.edges.self.topology.and[1].or[1].band.befor: unknown field. Did you mean "
            "`before`?"
        ),
    ),
    (
        "causal",
        "band",
        "model.edges.self.topology.band.before: is missing. Give it a value.",
    ),
    (
        "causal",
        "and",
        "model.edges.self.topology.and: is missing. Give it a value.",
    ),
    (
        "causal",
        "{minus: [causal]}",
        "model.edges.self.topology.minus: must have 2 or more; got 1.",
    ),
    (
        "causal",
        "{minus: [causal, self, self]}",
        "model.edges.self.topology.minus: must have at most 2; got 3.",
    ),
    (
        "causal",
        "{and: causal}",
        ("model.edges.self.topology.and: must be a list; got 'causal'."),
    ),
    (
        "warmup_cosine: {peak: 0.1, warmup: 4}",
        "constant: {rate: 1}, warmup_rsqrt: {width: 3}",
        (
            "training.schedule: must have one kind; got `constant`, `warmup_rsqrt`. Keep one "
            "of them."
        ),
    ),
    (
        "chorales",
        "chorale",
        "data: must be one of `chorales`, `shortest_path`, `sorting`, `springs`, `planetoid`, `molecules`, `multi30k`, `parallel_text`, `tfds_text`, `plain_text`, `token_arrays`, `none`; got `chorale`. Did you mean `chorales`?",
    ),
    (
        "steps: 20",
        "steps: 20, precision: float16",
        "training.precision: must be one of 'float32' or 'bfloat16'; got 'float16'.",
    ),
    # Names that refer to something.
    (
        "over: self",
        "over: selv",
        "model.blocks[0].attention.over: `selv` is no edge set. Did you mean `self`?",
    ),
    (
        "to: token",
        "to: tokens",
        "model.edges.self.to: `tokens` is no node set. Did you mean `token`?",
    ),
    (
        "from: token",
        "sender_set: token",
        (
            "model.edges.self.from: is missing. Give it a value.\n"
            "model.edges.self.sender_set: unknown field. There are `from`, `to`, "
            "`relations`, `topology`."
        ),
    ),
    (
        "node: token",
        "node: bar",
        "model.read_out.node: `bar` is no node set. There is `token`.",
    ),
    (
        "[content, offset, pitch]",
        "[content, offzet, pitch]",
        f"{_SCORE}[1]: `offzet` is no relation of edge set `self`. Did you mean `offset`?",
    ),
    (
        "[content, offset, pitch]",
        "[content, offset, pitch, offset]",
        f"{_SCORE}[3]: has `offset` a second time. Remove it.",
    ),
    (
        "[content, offset, pitch]",
        "[content, pitch]",
        (
            "model.edges.self.relations.offset: no `score`, `message`, `sender_score` or `biases` "
            "has it. Use it or remove it."
        ),
    ),
    (
        "    self:\n",
        "    other: {from: token, to: token, topology: causal}\n    self:\n",
        "model.edges.other: no block's attention is over it. Use it or remove it.",
    ),
    (
        "{token: {voc",
        "{bar: {vocabulary: 2, width: 4}, token: {voc",
        "model.nodes.bar: no edge set begins or ends in it. Use it or remove it.",
    ),
    (
        "difference: pitch",
        "difference: pitches",
        (
            "model.edges.self.relations.pitch.difference: `pitches` is no attribute of "
            "chorales. Did you mean `pitch`?"
        ),
    ),
    (
        "voice: 4",
        "zzz: 4",
        (
            "model.nodes.token.embed.zzz: `zzz` is no attribute of chorales. There are "
            "`voice`, `beat`, `onset`, `pitch`."
        ),
    ),
    (
        "read_out",
        "normalization: both\n  read_out",
        "model.normalization: must be one of 'pre' or 'post'; got 'both'.",
    ),
    # The text itself.
    (
        "name: small",
        "name: small\nname: two",
        "name: is given twice, on line 1 and line 2. Keep one.",
    ),
    (
        "name: small",
        "name: small\n1: 2",
        (
            "the spec: line 2: '1' is no name of a field: those begin with a letter, then "
            "letters, digits and `_`."
        ),
    ),
    (
        "name: small",
        "name: &a small",
        "file.yaml:1: has an anchor or alias; write the value out.",
    ),
    (
        "name: small",
        "name: !!str small",
        "file.yaml:1: has a tag; specs have none, remove it.",
    ),
    (
        "window: 64",
        "window: [64",
        "file.yaml:14: is no YAML: while parsing a flow sequence, expected ',' or ']', but got '}'.",
    ),
    (
        "window: 64",
        "window: " + "9" * 5000,
        "file.yaml:14: has a number of 5000 digits.",
    ),
    (
        "window: 64",
        "window: " + "[" * 5000,
        "file.yaml:14: is more than 32 levels deep.",
    ),
    (
        "name: small",
        "name: small\n---",
        "file.yaml:2: begins a second document; a file holds one.",
    ),
    (
        "name: small",
        'name: "\\ud800"',
        "file.yaml:1: has half a surrogate pair; write the letter.",
    ),
    (
        "name: small",
        "name: small #" + "-" * 70000,
        "file.yaml: must have at most 65536 characters.",
    ),
]


def _told(text: str) -> list[str]:
    """Returns all that is said about a wrong spec."""
    with pytest.raises(specs.SpecError) as caught:
        specs.loads(text, "file.yaml")
    assert str(caught.value).splitlines() == [str(p) for p in caught.value.problems]
    return str(caught.value).splitlines()


def test_the_good_spec_is_good() -> None:
    assert specs.loads(_GOOD).name == "small"


@pytest.mark.parametrize(("right", "wrong", "told"), _WRONG)
def test_a_mistake_is_told_and_no_consequence_of_it(
    right: str, wrong: str, told: str
) -> None:
    assert right in _GOOD
    assert _told(_GOOD.replace(right, wrong, 1)) == told.splitlines()


def test_all_mistakes_are_told_at_once() -> None:
    text = _GOOD
    for right, wrong in [
        ("vocabulary: 48", "vocabulary: many"),
        ("heads: 8", "heads: 7"),
        ("limit: 8", "limit: 8, colour: red"),
        ("node: token", "nod: token"),
        ("window: 64", "window: 63"),
        ("batch_size: 2", "batch_size: 2, seed: -1"),
        ("warmup: 4", "warmup: 40"),
        ("name: small", "name: small\nname: big"),
    ]:
        text = text.replace(right, wrong, 1)
    assert {line.split(": ")[0] for line in _told(text)} == {
        "model.nodes.token.vocabulary",
        "model.blocks[0].attention.heads",
        "model.edges.self.relations.offset.colour",
        "model.read_out.nod",
        "data.chorales.window",
        "training.seed",
        "training.schedule.warmup_cosine.warmup",
        "name",
    }
    assert len(_told(text)) == 8


def test_a_wrong_value_causes_no_other_message() -> None:
    text = _GOOD.replace("width: 256", "width: 255.5").replace("heads: 8", "heads: 7")
    assert _told(text) == [
        "model.nodes.token.width: must be a whole number; got 255.5."
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "file.yaml: is empty; a spec says name, model, data, ..."),
        ("# nothing", "file.yaml: is empty; a spec says name, model, data, ..."),
        ("[1, 2]", "the spec: must be a mapping with name, model, data and training; got a list of 2."),
        ("music", "the spec: must be a mapping with name, model, data and training; got 'music'."),
        ("a: 1\n\tb: 2", "file.yaml:2: is no YAML: while scanning for the next token, found character '\\t' that cannot start any token."),
        ("a: \x07", "file.yaml: is no YAML: unacceptable character #x0007: special characters are not allowed."),
        ("? [a]\n: b", "file.yaml:1: has a key that is no name."),
    ],
)  # fmt: skip
def test_what_is_no_spec_at_all_is_refused(text: str, told: str) -> None:
    assert _told(text) == [told]


_WRONG_SETTINGS = [
    ("training.stepz=3", "training.stepz: unknown field. Did you mean `steps`?"),
    ("trainig.steps=3", "trainig: unknown field. Did you mean `training`?"),
    (
        "training.steps",
        "training.steps: must be a path, `=` and a value, such as `training.steps=200`.",
    ),
    ("=3", "=3: must be a path, `=` and a value, such as `training.steps=200`."),
    (
        "training..steps=3",
        (
            "training..steps=3: must be a path, `=` and a value, such as "
            "`training.steps=200`."
        ),
    ),
    ("training.steps=many", "training.steps: must be a whole number; got 'many'."),
    ("training.steps=", "training.steps: must be a whole number; got nothing."),
    ("model.blocks[7].repeat=2", "model.blocks: has no [7]; got a list of 1."),
    ("model.nodes[0]=2", "model.nodes: is no list and has no [0]."),
    (
        "name.first=3",
        "name: has no field `first`; it is 'demo'. Set `name` as a whole.",
    ),
    (
        "training.schedule.constant.rate=1",
        (
            "training.schedule: must have one kind; got `warmup_cosine`, `constant`. Keep one "
            "of them."
        ),
    ),
    (
        "training.seed=[1",
        (
            "the value of training.seed:1: is no YAML: while parsing a flow sequence, "
            "expected ',' or ']', but got '<stream end>'."
        ),
    ),
    (
        "model.blocks[0].attention.heads=7",
        (
            "model.blocks[0].attention.heads: 7 does not divide width 128; take 4 heads, or "
            "give `head_width`."
        ),
    ),
    (
        "training.steps=3",
        (
            "training.schedule.warmup_cosine.warmup: must be at most `training.steps`; got "
            "60 of 3 steps. Shorten the warm-up or train longer."
        ),
    ),
]


@pytest.mark.parametrize(("setting", "told"), _WRONG_SETTINGS)
def test_a_wrong_setting_is_told(setting: str, told: str) -> None:
    demo = specs.override(
        specs.load("demo"),
        [
            "model.nodes.token.width=128",
            (
                "model.blocks=[{attention: {over: self, heads: 4, score: [content, offset, "
                "pitch, time]}}]"
            ),
            "training.schedule={warmup_cosine: {peak: 0.1, warmup: 60}}",
        ],
    )
    with pytest.raises(specs.SpecError) as caught:
        specs.override(demo, [setting])
    assert str(caught.value) == told


def test_several_settings_are_checked_as_a_whole() -> None:
    demo = specs.load("demo")
    settings = ["model.nodes.token.width=12", "model.blocks[0].attention.heads=3"]
    assert specs.override(demo, settings).model.nodes["token"].width == 12
    with pytest.raises(specs.SpecError) as caught:
        specs.override(demo, [*settings, "nonsense", "a.b=1", "training.keep=0"])
    assert [problem.path for problem in caught.value.problems] == [
        "nonsense",
        "training.keep",
        "a",
    ]


def test_settings_below_one_wrong_place_have_one_problem() -> None:
    settings = ["data.plain_text.train=[a]", "data.plain_text.validation=[b]"]
    imported = dataclasses.replace(specs.load("demo"), data=specs.NoDataSpec())
    with pytest.raises(specs.SpecError) as caught:
        specs.override(imported, settings)
    assert [problem.path for problem in caught.value.problems] == ["data"]


def test_files_that_cannot_be_read_are_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: h\xe4ndel".encode("latin-1"))
    for path, told in [
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "is a folder, and a spec is a file"),
        (tmp_path / "latin.yaml", r"is not UTF-8 \(byte 8\)\. Save it as UTF-8"),
        ("a\0b", "is no path"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("demos", "is neither a file nor a shipped spec. Did you mean `demo`?"),
        ("/dev/zero", "must have at most 65536 characters"),
    ]:
        with pytest.raises(specs.SpecError, match=told) as caught:
            specs.load(path)
        assert len(str(caught.value).splitlines()) == 1


_BITS = re.split(
    " ",
    "{ } [ ] : - &a *a ! | > ' \" # % ? ~ 1 -1 0.5 1e999 .nan 0x \0 \u2028 \x85 é name and: "
    "{minus:[causal]} null true [] {} --- ... \\ 999999999999999999999999 causal none "
    "(parts): (offset): [key]: difference: clip: content self token and band or "
    "warmup_cosine sinusoid",
)


_KEYS = ["name", "and", "minus", "band", "none", "clip", "difference", "content", "x"]

_NUM_SEEDS = 20


@pytest.mark.parametrize("seed", range(_NUM_SEEDS))
def test_a_mutated_spec_is_read_or_refused(seed: int) -> None:
    chance = random.Random(seed)
    all_specs = [specs.load(name) for name in specs.names()]
    outcomes = [
        _tried(chance, chance.choice(all_specs))
        for _ in range(fuzzing.num_specs(_NUM_SEEDS))
    ]
    assert 0.02 < sum(outcomes) / len(outcomes) < 0.98


def _tried(chance: random.Random, spec: specs.Spec) -> bool:
    """Mutates a spec, checks what comes of it, and says whether it was read."""
    mutant: Plain
    kind = chance.choices(["text", "settings", "data"], [5, 25, 70])[0]
    if kind == "text":  # Few, since reading YAML takes ten times as long as the rest.
        mutant = _mutated_text(chance, specs.dumps(spec))
    elif kind == "settings":
        data = plain(spec, with_defaults=True)
        mutant = [_mutated_setting(chance, data) for _ in range(chance.randint(1, 3))]
    else:
        mutant = _mutated_data(chance, plain(spec))
    with fuzzing.trying((kind, mutant)):
        outcome = _outcome(kind, spec, copy.deepcopy(mutant))
        if isinstance(outcome, specs.SpecError):
            assert outcome.problems
            lines = str(outcome).splitlines()
            assert lines == [str(problem) for problem in outcome.problems]
            assert str(outcome).encode("utf-8")
        elif chance.random() < 0.1:
            assert specs.loads(specs.dumps(outcome)) == outcome
    return isinstance(outcome, specs.Spec)


def _outcome(
    kind: str, spec: specs.Spec, mutant: Plain
) -> specs.Spec | specs.SpecError:
    try:
        match kind:
            case "text":
                return specs.loads(mutant)
            case "settings":
                return specs.override(spec, mutant)
            case _:
                return build(Document(data=mutant))
    except specs.SpecError as error:
        return error


def _mutated_text(chance: random.Random, text: str) -> str:
    """Returns a text with some pieces replaced, removed, put in, or moved."""
    for _ in range(chance.randint(1, 4)):
        begin = chance.randrange(len(text) + 1)
        end = begin + chance.choice([0, 0, 1, 5, 20])
        piece = chance.choice(["", *_BITS, "\n", "\t", "  ", text[end : end + 20]])
        text = text[:begin] + piece + text[end:]
    return text


def _mutated_setting(chance: random.Random, data: Plain) -> str:
    """Returns a setting of some value in `data`, which may itself be garbled."""
    place: Place = ()
    while isinstance(data, dict | list) and data and chance.random() < 0.9:
        keys = range(len(data)) if isinstance(data, list) else list(data)
        place = (*place, chance.choice(keys))
        data = data[place[-1]]
    setting = f"{dotted(place)}={chance.choice([*_BITS, str(data)])}"
    return setting if chance.random() < 0.5 else _mutated_text(chance, setting)


def _mutated_data(chance: random.Random, data: Plain) -> Plain:
    """Returns data in which some value, deep or not, is another one."""
    if isinstance(data, dict) and data and chance.random() < 0.9:
        key = chance.choice(list(data))
        new_key = key if chance.random() < 0.8 else chance.choice(_KEYS)
        return {**data, new_key: _mutated_data(chance, data[key])}
    if isinstance(data, list) and data and chance.random() < 0.9:
        index = chance.randrange(len(data))
        return [*data[:index], _mutated_data(chance, data[index]), *data[index + 1 :]]
    others = [None, True, 0, -1, 7, 10**30, 0.5, float("nan"), [], {}, [data], [[]]]
    return chance.choice([*others, *_BITS, {"and": [data, data]}, {"minus": [data]}])


def test_a_mistake_inside_a_list_hides_none_beside_it() -> None:
    text = specs.dumps(specs.load("demo"))
    text = text.replace("heads: 4", "heads: 7").replace("{width: 512}", "{widht: 512}")
    with pytest.raises(specs.SpecError) as caught:
        specs.loads(text)
    assert [problem.path for problem in caught.value.problems] == [
        f"model.blocks[{block}].{field}"
        for field in ("feed_forward.widht", "attention.heads")
        for block in (0, 1)
    ]
