"""The notebooks run from top to bottom, and are shipped with their outputs."""

import importlib.util
import pathlib

import nbformat
import pytest

from tests.datasets.texts import sentences
from tests.sources import folder

DEMOS = pathlib.Path(__file__).parent.parent / "demos"
NOTEBOOKS = sorted(DEMOS.glob("*.ipynb"))
SOURCES = {  # Of notebooks that read published files: where these are.
    "citations": ("RELATIONAL_PLANETOID_SOURCE", "planetoid"),
    "molecules": ("RELATIONAL_MOLECULES_SOURCE", "molecules"),
}
TRANSLATION = """\
name: tiny
model:
  nodes:
    source: {vocabulary: 300, width: 16}
    target: {vocabulary: 300, width: 16, embedding: source}
  edges:
    source_self:
      {from: source, to: source, topology: complete, relations: {offset: {clip: 3}}}
    target_self: {from: target, to: target, topology: causal}
    cross: {from: source, to: target, topology: complete}
  blocks:
    - attention:
        {over: source_self, heads: 2, score: [content, offset], message: [content, offset]}
    - attention: [{over: target_self, heads: 2}, {over: cross, heads: 2}]
  read_out: {node: target}
data:
  parallel_text:
    {train: [pairs.tsv], validation: [few.tsv], test: [few.tsv], vocabulary: 300, shapes: 1}
training:
  {steps: 3, batch_size: 16, evaluate_every: 1, keep: 2, schedule: {constant: {rate: 0.02}}}
"""


@pytest.fixture
def small(monkeypatch):
    """A kernel that trains for a moment and compiles quickly."""
    monkeypatch.setenv("NUM_STEPS", "3")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def execute(path):
    spec = importlib.util.spec_from_file_location("execute", DEMOS / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.executed(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, small, monkeypatch, tmp_path):
    if path.stem in SOURCES:
        variable, name = SOURCES[path.stem]
        monkeypatch.setenv(variable, str(folder(variable, name)))
        monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path))
    if path.stem == "translation":
        tiny_translation(monkeypatch, tmp_path)
    notebook = execute(path)  # Raises where a cell does.
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    gaps = differences(notebook)
    assert len(gaps) == len(differences(nbformat.read(path, as_version=4)))
    assert max(gaps, default=0) < 1e-5


def tiny_translation(monkeypatch, folder):
    """Has the notebook train a tiny model on made-up pairs, in a folder of its own."""
    lines = ["\t".join(pair) for pair in zip(*sentences(), strict=True)]
    (folder / "pairs.tsv").write_text("\n".join(lines), "utf-8")
    (folder / "few.tsv").write_text("\n".join(lines[:6]), "utf-8")
    paths = {name: str(folder / name) for name in ("pairs.tsv", "few.tsv")}
    spec = TRANSLATION
    for name, path in paths.items():
        spec = spec.replace(name, f'"{path}"')
    (folder / "tiny.yaml").write_text(spec, "utf-8")
    monkeypatch.setenv("TRANSLATION_SPEC", str(folder / "tiny.yaml"))
    monkeypatch.setenv("TRANSLATION_RUN", str(folder / "run"))
    monkeypatch.setenv("RELATIONAL_CACHE", str(folder / "cache"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_shipped_executed_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert path.stat().st_size < 2**20


def test_there_is_a_notebook():
    assert NOTEBOOKS


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def differences(notebook):
    """Returns the numbers that cells print after `largest difference:`."""
    printed = "".join(
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    )
    lines = [line for line in printed.splitlines() if "largest difference:" in line]
    return [float(line.rpartition(":")[2]) for line in lines]
