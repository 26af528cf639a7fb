"""What the documentation says is true: examples run, commands exist, links lead somewhere."""

import contextlib
import doctest
import importlib
import io
import pathlib
import re
import runpy
import shlex
import subprocess
import sys
import types

import nbformat
import pytest
import typer.main
import typer.testing

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "relational"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "demos").glob("*.ipynb")),
]
PUBLIC = (
    "",
    ".blocks",
    ".decoding",
    ".graph_tuples",
    ".lowerings",
    ".models",
    ".plotting",
    ".weights",
)
HEAVY = (
    "grain matplotlib music21 networkx optax orbax tensorboardX tensorflow "
    "tensorflow_datasets"
)


def text_of(page):
    """Returns the prose of a page; of a notebook that of its markdown cells."""
    if page.suffix == ".ipynb":
        cells = nbformat.read(page, as_version=4).cells
        text = "\n\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown"
        )
    else:
        text = page.read_text("utf-8")
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def blocks_of(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def modules_with_examples():
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text("utf-8"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(Near(), optionflags=doctest.ELLIPSIS)
    report = io.StringIO()
    for example in doctest.DocTestFinder().find(module):
        runner.run(example, out=report.write)
    found = runner.summarize(verbose=False)
    assert found.attempted > 0
    assert found.failed == 0, report.getvalue()


class Near(doctest.OutputChecker):
    """Takes numbers for equal that differ by rounding: 0.625 and 0.62500006."""

    def check_output(self, want, got, optionflags):
        if super().check_output(want, got, optionflags):
            return True
        numbers = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?")
        if numbers.sub("#", want) != numbers.sub("#", got):
            return False
        found, wanted = (list(map(float, numbers.findall(t))) for t in (got, want))
        return found == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def exported():
    for suffix in PUBLIC:
        module = importlib.import_module(f"relational{suffix}")
        source = pathlib.Path(module.__file__).read_text("utf-8")
        for name, public in re.findall(
            r"^from .* import (\w+) as (\w+)$", source, re.MULTILINE
        ):
            assert name == public, f"{module.__name__} renames {name}"
            if not isinstance(getattr(module, name), types.ModuleType):
                yield pytest.param(module, name, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize(("module", "name"), list(exported()))
def test_what_is_exported_is_documented_with_an_example(module, name):
    words = getattr(module, name).__doc__ or ""
    assert words.strip(), f"{module.__name__}.{name} has no docstring"
    assert ">>> " in words, f"{module.__name__}.{name} has no example"


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/attention.md",
        "docs/graph_tuples.md",
        "docs/systems.md",
        "docs/weights.md",
    ],
)
def test_the_python_of_a_page_prints_what_it_says(tmp_path, page):
    text = text_of(ROOT / page)
    program = tmp_path / "page.py"
    program.write_text("".join(blocks_of(text, "python")), "utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(program))
    assert printed.getvalue()
    assert printed.getvalue() == "".join(blocks_of(text, "text"))


@pytest.mark.parametrize(
    ("command", "words"),
    [("demo", "'.[music]' && .venv/bin/relational demo"), ("test", "-m pytest -n 2")],
)
def test_the_readme_gives_the_two_commands(command, words):
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(
        rf"^<!-- command: {command} -->\n```bash\n(.*)\n```$", text, re.MULTILINE
    )
    assert len(found) == 1
    assert found[0].startswith("python3 -m venv .venv")
    assert words in found[0]


def commands_of(page):
    """Returns the calls of `relational` on a page, each as its words."""
    text = text_of(page).replace("\\\n", " ")  # Calls that go on in the next line.
    lines = "".join(blocks_of(text, "bash")).splitlines()
    lines += re.findall(r"^    (relational .*)$", text, re.MULTILINE)
    lines += re.findall(r"`(relational [^`]*)`", text)
    calls = [re.split(r"[>|&]", line.strip())[0] for line in lines]
    return [
        shlex.split(call, comments=True)[1:]
        for call in calls
        if call.startswith("relational ")
    ]


def documented_commands():
    calls = {shlex.join(words) for page in PAGES for words in commands_of(page)}
    return sorted(call for call in calls if call)


@pytest.mark.parametrize("call", documented_commands())
def test_commands_on_the_pages_exist(call):
    from relational.command_line import app

    command, path = typer.main.get_command(app), []
    words = shlex.split(call)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no `relational {call}`"
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    options = {name for parameter in command.params for name in parameter.opts}
    named = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert named <= options | {"--help"}
    result = typer.testing.CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output


def links():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
            if not re.match(r"https?:|mailto:", target):
                yield pytest.param(page, target, id=f"{page.name}: {target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_links_lead_to_files(page, target):
    path, _, anchor = target.partition("#")
    linked = page.parent / path if path else page
    assert linked.exists(), f"{page.name} links to {target}"
    if anchor:
        headings = re.findall(r"^#+ (.*)$", text_of(linked), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{page.name} links to {target}"


def test_files_named_on_the_pages_exist():
    pattern = r"`((?:relational|tests|demos|docs|\.ci)/[\w./]*)`"
    for page in PAGES:
        for name in re.findall(pattern, text_of(page)):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_importing_the_library_loads_nothing_heavy():
    program = (
        "import sys, relational, relational.blocks, relational.models;"
        f"print([name for name in '{HEAVY}'.split() if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_the_picture_of_the_architecture_can_be_drawn_again(tmp_path):
    script = ROOT / "docs" / "images" / "make_architecture.py"
    subprocess.run([sys.executable, "-W", "error", script, tmp_path], check=True)
    assert (tmp_path / "architecture.svg").stat().st_size > 10_000
