"""The commands that translate: what they write, how they go on, what they refuse."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from relational import command_line, datasets, decoding
from relational.command_line import app
from tests.datasets.texts import sentences

ENGLISH, GERMAN = sentences()
SHORT = [index for index in range(60) if index % 3 == 0]  # Those without a place.
TEST = SHORT[-6:]
SPEC = """\
name: tiny_pairs
model:
  nodes:
    source: {vocabulary: 300, width: 16, positions: sinusoid}
    target: {vocabulary: 300, width: 16, positions: sinusoid, embedding: source}
  edges:
    read: {from: source, to: source, topology: complete}
    write: {from: target, to: target, topology: causal}
    cross: {from: source, to: target, topology: complete}
  blocks:
    - attention: {over: read, heads: 2}
    - attention: [{over: write, heads: 2}, {over: cross, heads: 2}]
  read_out: {node: target}
data:
  parallel_text:
    train: [a.en, a.de]
    validation: [a.tsv]
    test: [b.en, b.de]
    vocabulary: 300
    shapes: 1
training:
  steps: 30
  batch_size: 16
  evaluate_every: 10
  checkpoint_every: 10
  schedule: {constant: {rate: 0.02}}
"""
FEW = ("--batch", "8", "--extra", "6")


def invoke(*words, **options):
    return CliRunner(env={"COLUMNS": "300"}).invoke(
        app, list(map(str, words)), **options
    )


def printed(*words, **options):
    found = invoke(*words, catch_exceptions=False, **options)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of two languages."""
    made = tmp_path_factory.mktemp("pairs")
    files = {
        "a.en": ENGLISH[:50],
        "a.de": GERMAN[:50],
        "a.tsv": map("\t".join, zip(ENGLISH[50:54], GERMAN[50:54], strict=True)),
        "b.en": [ENGLISH[index] for index in TEST],
        "b.de": [GERMAN[index] for index in TEST],
        "long.en": [*(ENGLISH[index] for index in SHORT), ""] * 16,
        "pairs.yaml": [SPEC],
    }
    for name, lines in files.items():
        (made / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return made


@pytest.fixture(scope="module")
def run(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELATIONAL_CACHE", str(folder / "cache"))
        made = folder / "run"
        trained = printed(
            "train", folder / "pairs.yaml", "--run", made, "--data", folder
        )
        assert "Complete: 30 steps" in trained
        yield made


@pytest.fixture(scope="module")
def greedy(run, folder):
    """What the model makes of `b.en`, line by line."""
    text = printed("translate", run, folder / "b.en", "--beam", 1, *FEW)
    return text.split("\n")[:-1]


def test_a_run_keeps_the_vocabulary_that_its_tokens_are_numbered_by(run):
    words = datasets.Subwords((run / "subwords.model").read_bytes())
    assert words.size == 300
    assert words.decode(words.encode(GERMAN[0])) == GERMAN[0]


def test_lines_come_out_in_their_order_whatever_is_beside_them(run, folder, greedy):
    assert len(greedy) == 6
    assert len(set(greedy)) > 1
    order = [3, 0, 5, 1]
    lines = [ENGLISH[TEST[index]] for index in order]
    given = "\n".join([*lines[:2], "", "  ", *lines[2:]])
    text = printed("translate", run, "--beam", 1, *FEW, input=given)
    expected = [greedy[index] for index in order]
    assert text.split("\n") == [*expected[:2], "", "", *expected[2:], ""]


def test_a_file_that_was_cut_anywhere_becomes_what_it_was(
    run, folder, tmp_path, greedy
):
    path = tmp_path / "new" / "b.de"
    words = ("translate", run, folder / "b.en", "--beam", 1, *FEW, "--output", path)
    assert printed(*words) == ""
    whole = path.read_bytes()
    assert whole.decode().split("\n")[:-1] == greedy
    made_of = json.loads((path.parent / "b.de.json").read_text("utf-8"))
    assert (made_of["beam"], made_of["lines"], made_of["checkpoint"]) == (1, 6, 30)
    for cut in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:cut])
        printed(*words)
        assert path.read_bytes() == whole
    refused = invoke(*words, "--alpha", 1)
    assert "alpha: 0.6 there, 1.0 now" in str(refused.exception)
    assert path.read_bytes() == whole


def test_the_best_few_are_ranked_and_numbered(run, folder):
    text = printed("translate", run, folder / "b.en", "--beam", 3, "--nbest", 3, *FEW)
    rows = [line.split("\t") for line in text.split("\n")[:-1]]
    assert [int(row[0]) for row in rows] == [n for n in range(1, 7) for _ in range(3)]
    for _, group in itertools.groupby(rows, lambda row: row[0]):
        scores = [float(score) for _, score, _ in group]
        assert scores == sorted(scores, reverse=True)


def test_samples_follow_from_their_seed(run, folder, greedy):
    def drawn(*words):
        return printed("translate", run, folder / "b.en", "--sample", *FEW, *words)

    first = drawn("--seed", 1)
    assert drawn("--seed", 1) == first
    assert drawn("--seed", 2) != first
    assert drawn("--temperature", 0).split("\n")[:-1] == greedy


def test_given_translations_are_as_likely_as_an_evaluation_finds(run, folder):
    text = printed("score", run, folder / "b.en", folder / "b.de")
    rows = [line.split("\t") for line in text.split("\n")[:-1]]
    words = datasets.Subwords((run / "subwords.model").read_bytes())
    tokens = [len(words.encode(GERMAN[index])) + 1 for index in TEST]
    assert [int(count) for _, count in rows] == tokens
    nats = -sum(float(log_probability) for log_probability, _ in rows)
    table = printed("evaluate", run, "--split", "test", "--data", folder)
    row = dict(
        zip(table.split("\n")[0].split(), table.split("\n")[1].split(), strict=False)
    )
    assert row["split"] == "test"
    assert nats / sum(tokens) == pytest.approx(float(row["nats/token"]), abs=2e-4)


def test_bleu_is_that_of_what_was_translated_with_its_signature(run, folder, greedy):
    words = ("bleu", run, "--beam", 1, *FEW, "--data", folder)
    text = printed(*words)
    heading, row, *signatures = text.split("\n")
    assert heading.split() == ["split", "BLEU", "chrF2", "sentences"]
    scores = decoding.scores_of(greedy, [GERMAN[index] for index in TEST])
    assert row.split() == ["test", *(f"{score.value:.2f}" for score in scores), "6"]
    assert signatures[:2] == [f"{score.name}: {score.signature}" for score in scores]
    assert "checkpoint of step 30; greedy; translations in " in signatures[2]
    [kept] = (run / "translations").glob("test-*.target")
    assert kept.read_text("utf-8").split("\n")[:-1] == greedy
    assert printed(*words) == text  # Read back, not made again.


def test_the_mean_of_checkpoints_is_another_model(run, folder, greedy):
    words = ("score", run, folder / "b.en", folder / "b.de")
    several = printed(*words, "--checkpoint", "newest", "--average", 3)
    assert several != printed(*words)
    refused = invoke(*words, "--average", 9)
    assert "must be at most 3, the checkpoints" in str(refused.exception)


def test_no_line_is_lost_or_doubled_when_the_process_is_killed(run, folder, tmp_path):
    source, path = folder / "long.en", tmp_path / "long.de"
    words = ["translate", run, source, "--beam", 1, *FEW]
    whole = printed(*words)
    assert whole.count("\n") == source.read_text("utf-8").count("\n") == 336
    program = "from relational import command_line; command_line.main()"
    command = [sys.executable, "-c", program, *map(str, words), "--output", str(path)]
    # It computes as this process does.
    is_simple = not os.environ.get("RELATIONAL_TEST_OPTIMIZED")
    like_this = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(is_simple))}
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=like_this)
    try:
        end = time.monotonic() + 120
        while not path.is_file() or not path.stat().st_size:
            assert killed.poll() is None
            assert time.monotonic() < end
            time.sleep(0.002)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    done = path.read_bytes().count(b"\n")
    with path.open("ab") as file:
        file.write(b"halb")
    went_on = invoke(*words, "--output", path, catch_exceptions=False)
    assert done < 336
    assert f"after line {done}." in went_on.stderr
    assert path.read_text("utf-8") == whole


class Typed(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self):
        return True


def test_a_line_is_translated_when_it_is_ended(run, greedy, monkeypatch, capfdbinary):
    monkeypatch.setattr(
        sys, "stdin", Typed(f"{ENGLISH[TEST[0]]}\n{ENGLISH[TEST[3]]}\n")
    )
    monkeypatch.setattr(
        sys, "argv", ["relational", "translate", str(run), "--beam", "1", *FEW]
    )
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    assert leaving.value.code == 0
    said = capfdbinary.readouterr().out.decode()
    assert said.split("\n")[:2] == [greedy[0], greedy[3]]


_REFUSED = {
    "no run": (("translate", "."), "RUN must be the folder of a run"),
    "beam": (("translate", "RUN", "--beam", "0"), "--beam must be 1 to 64; got 0"),
    "nbest": (
        ("translate", "RUN", "--nbest", "5"),
        "--nbest must be at most --beam, 4",
    ),
    "alpha": (("translate", "RUN", "--alpha", "-1"), "--alpha must be 0 to 10; got -1"),
    "batch": (("translate", "RUN", "--batch", "0"), "--batch must be 1 to 1024"),
    "seed": (("translate", "RUN", "--seed", "1"), "go with --sample, which draws"),
    "search": (
        ("translate", "RUN", "--sample", "--beam", "8"),
        "--beam and --alpha go with a search; --sample draws",
    ),
    "negative": (
        ("translate", "RUN", "--sample", "--seed", "-1"),
        "--seed must be 0 to 4294967295; got -1",
    ),
    "two drawn": (
        ("translate", "RUN", "--sample", "--nbest", "2"),
        "--nbest must be at most 1, with --sample; got 2",
    ),
    "split": (("bleu", "RUN", "--split", "x"), "one of `train`, `validation`, `test`"),
    "count": (
        ("score", "RUN", "b.en", "a.en"),
        "'b.en' and 'a.en' must have equally many",
    ),
    "latin1": (("translate", "RUN", "latin1.en"), "'latin1.en', line 2: must be UTF-8"),
    "step": (("translate", "RUN", "b.en", "--checkpoint", "7"), "must be a step that"),
    "music": (("generate", "RUN"), "RUN must be a run that makes music"),
    "file": (("translate", "RUN", "none.en"), "none.en: No such file or directory"),
}


@pytest.mark.parametrize("case", list(_REFUSED))
def test_a_mistake_is_told_in_one_line(run, folder, case, monkeypatch, capsys):
    words, told = _REFUSED[case]
    monkeypatch.chdir(folder)
    (folder / "latin1.en").write_bytes("yes\nschön\n".encode("latin1"))
    names = ["relational", *(str(run) if word == "RUN" else word for word in words)]
    monkeypatch.setattr(sys, "argv", names)
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_run_without_its_vocabulary_is_told(run):
    path = run / "subwords.model"
    content = path.read_bytes()
    path.unlink()
    try:
        found = invoke("translate", run, input="x\n")
        assert "must be the vocabulary of the run; it is missing" in str(
            found.exception
        )
    finally:
        path.write_bytes(content)
