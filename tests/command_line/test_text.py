"""`relational generate` for a run that was trained on text: what it prints and refuses."""

import pytest
from typer.testing import CliRunner

from relational import datasets, decoding, specs, training
from relational.command_line import app
from relational.models.tasks import NextToken
from tests.datasets.texts import sentences

ENGLISH, _ = sentences()
SPEC = """\
name: tiny_text
model:
  nodes: {token: {vocabulary: 300, width: 16, positions: sinusoid}}
  edges: {self: {from: token, to: token, topology: causal}}
  blocks: [{attention: {over: self, heads: 2}}]
  read_out: {node: token, tied: false}
data:
  plain_text: {train: [a.txt], validation: [b.txt], window: 16, vocabulary: 300}
training: {steps: 2, batch_size: 4, schedule: {constant: {rate: 0.01}}}
"""


def invoke(*words):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, list(map(str, words)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    files = {"a.txt": ENGLISH[:50], "b.txt": ENGLISH[50:], "text.yaml": [SPEC]}
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELATIONAL_CACHE", str(folder / "cache"))
        made = invoke(
            *("train", folder / "text.yaml", "--run", folder / "run"),
            *("--data", folder),
        )
    assert made.exit_code == 0, made.output
    return folder / "run"


def test_a_text_is_printed_with_what_the_model_goes_on_with(run):
    found = invoke("generate", run, "--text", "a dog", "--tokens", 12, "--seed", 3)
    words = decoding.continue_text(
        NextToken(specs.load(run / "spec.yaml").model),
        training.load(run).params,
        datasets.Subwords((run / "subwords.model").read_bytes()),
        beginning="a dog",
        length=12,
        seed=3,
    )
    assert found.stdout_bytes.decode() == "".join(["a dog", *words, "\n"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--bars", 2), "--count and --audio go with a run that makes music"),
        (("--tokens", 0), "--tokens must be 1 to 100000; got 0"),
        (("--temperature", -1), "`temperature` must be a number of 0 or more"),
    ],
)
def test_a_mistake_is_told(run, words, told):
    assert told in str(invoke("generate", run, *words).exception)
