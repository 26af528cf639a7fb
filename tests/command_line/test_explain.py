"""`relational explain` says what a spec costs, measures it, and draws it."""

import json
import pathlib
import sys

import pytest
from typer.testing import CliRunner

from relational import command_line

SPEC = """
name: two_sets
source: an encoder and a decoder, for these tests
model:
  nodes:
    source: {vocabulary: 48, width: 8}
    token: {vocabulary: 48, width: 8, embed: {voice: 4}}
  edges:
    inside: {from: source, to: source, topology: complete}
    self:
      from: token
      to: token
      topology: {and: [causal, {band: {before: 7}}]}
      relations: {pitch: {difference: pitch, limit: 5}}
    across: {from: source, to: token, topology: complete}
  blocks:
    - attention: {over: inside, heads: 2}
    - attention: {over: self, heads: 2, score: [content, pitch]}
    - attention: {over: across, heads: 2}
      feed_forward: {width: 8}
  read_out: {node: token}
data: {chorales: {window: 16}}
training: {steps: 5000, batch_size: 2, schedule: {warmup_rsqrt: {width: 8}}}
"""

ONE = """
name: one
source: a model of one block, which compiles quickly
model:
  nodes: {token: {vocabulary: 48, width: 8}}
  edges: {self: {from: token, to: token, topology: causal}}
  blocks: [{attention: {over: self, heads: 2}}]
  read_out: {node: token}
data: {chorales: {window: 8}}
training: {steps: 5000, batch_size: 2, schedule: {warmup_rsqrt: {width: 8}}}
"""

GIVEN = """
name: given
source: what only the data can say
model:
  nodes: {token: {vocabulary: 48, width: 8}}
  edges:
    self:
      from: token
      to: token
      topology: {or: [causal, prefix]}
      relations: {parse: {labels: 5}}
  blocks:
    - attention: {over: self, heads: 4, kv_heads: 2, rotary: {}, score: [content, parse]}
  read_out: {node: token}
data: {token_arrays: {train: [a.npz], validation: [b.npz]}}
training: {steps: 5000, batch_size: 2, schedule: {warmup_rsqrt: {width: 8}}}
"""


@pytest.fixture
def spec(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "two.yaml"
    path.write_text(SPEC, "utf-8")
    return str(path)


def _printed(*arguments: str) -> str:
    result = CliRunner().invoke(command_line.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_every_edge_set_is_explained(spec: str) -> None:
    lines = _printed("explain", spec).splitlines()
    assert "edges `inside`: Complete()" in lines
    assert "edges `self`: (Causal() & Band(before=7, after=0))" in lines
    assert "edges `across`: Complete()" in lines
    heads = [line for line in lines if "16 receivers x 16 senders" in line]
    assert [head.split(":")[0] for head in heads] == [
        "Complete()",
        "(Causal() & Band(before=7, after=0))",
    ]
    assert "  2 times" in lines  # `inside` and `across` are alike.


def test_pairs_of_sentences_are_explained_in_batches_of_so_many_tokens() -> None:
    small = [f"--set=model.blocks[{i}].repeat=1" for i in (0, 1)]
    lines = _printed("explain", "multi30k_absolute", *small).splitlines()
    assert "one forward pass over 64 x 32 nodes" in lines[0]  # 4096 tokens, both sides.
    assert "edges `cross`: Complete()" in lines


def test_what_is_measured_stands_beside_the_estimates(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(ONE, "utf-8")
    options = ["--measure", "--budget", "600", "--json"]
    facts = json.loads(_printed("explain", str(path), *options))
    assert facts["edge_sets"] == {"self": "Causal()"}
    (plan,) = facts["plans"]
    able = [each for each in plan["considered"] if "refuses" not in each]
    assert {each["lowering"] for each in able} >= {"dense", "tiles", "edges"}
    assert all(each["measured"]["both_seconds"] > 0 for each in able)


def test_no_measurement_is_begun_beyond_the_budget(spec: str) -> None:
    printed = _printed("explain", spec, "--measure", "--budget", "1e-9")
    assert "; not measured: no time was left  <- chosen" in printed


@pytest.mark.parametrize(
    ("name", "begins"), [("map.png", b"\x89PNG"), ("map.svg", b"<?xml")]
)
def test_the_tile_map_is_drawn(
    spec: str, name: str, begins: bytes, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / name
    printed = _printed("explain", spec, "--picture", str(path))
    assert printed.endswith(f"the picture is in {path}\n")
    assert path.read_bytes().startswith(begins)


def test_a_picture_leaves_json_alone(spec: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "map.png"
    json.loads(_printed("explain", spec, "--json", "--picture", str(path)))
    assert path.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--picture", "map.jpg"], "must be a file that ends in .png, .svg or .pdf"),
        (["--picture", "map"], "must be a file that ends in .png, .svg or .pdf"),
        (["--picture", "no/map.png"], "must be in a folder that exists and can be"),
        (["--picture", "folder.png"], "must be a file; got the folder 'folder.png'"),
        (["--budget", "0"], "--budget must be above 0 and at most 86400; got 0"),
        (["--budget", "nan"], "--budget must be above 0 and at most 86400; got nan"),
        (["--picture", "map.png", "--length", "5000"], "must have at most 4096 nodes"),
    ],
)
def test_mistakes_are_told_in_a_line(
    spec: str,
    options: list[str],
    words: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    monkeypatch.setattr(sys, "argv", ["relational", "explain", spec, *options])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    printed, said = capsys.readouterr()
    assert (leaving.value.code, printed) == (2, "")
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_terminal_gets_tables(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    printed = _printed("explain", spec)
    assert "\N{BOX DRAWINGS LIGHT ARC DOWN AND RIGHT}" in printed
    assert "weights @ values" in printed


def test_a_model_of_given_labels_and_prefixes_is_explained_without_them(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(GIVEN, "utf-8")
    text = _printed("explain", str(path), "--length", "16")
    assert "one forward pass over 2 x 16 nodes" in text
    assert "edges `self`: (Causal() | Lengths(senders))" in text
    assert "dot of parse, receiver: a product with the table, then gathered" in text
