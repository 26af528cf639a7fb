"""The command line says what it found, and mistakes in short."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from relational import command_line, specs, training
from relational.models import tasks


def _printed(*arguments: str) -> str:
    result = CliRunner().invoke(command_line.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def _left(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Runs `main` with these arguments; returns the exit status."""
    monkeypatch.setattr(sys, "argv", ["relational", *arguments])
    with pytest.raises(SystemExit) as leaving:
        command_line.main()
    return leaving.value.code


def test_the_version_is_printed() -> None:
    assert _printed("--version").startswith("relational-nets ")


def test_the_module_is_the_command_line() -> None:
    module = [sys.executable, "-m", "relational", "--version"]
    printed = subprocess.run(module, capture_output=True, text=True, check=True)
    assert printed.stdout == _printed("--version")


def test_all_shipped_specs_are_listed() -> None:
    printed = _printed("spec", "list")
    assert all(name in printed for name in specs.names())


@pytest.mark.parametrize("name", specs.names())
def test_a_spec_is_shown_as_its_file(name: str) -> None:
    assert specs.loads(_printed("spec", "show", name)) == specs.load(name)


def test_settings_are_shown_in_the_spec() -> None:
    printed = _printed("spec", "show", "demo", "--set", "training.seed=3")
    assert specs.loads(printed).training.seed == 3


def test_a_good_file_is_well(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "mine.yaml"
    specs.save(specs.load("demo"), path)
    assert _printed("spec", "check", str(path)) == f"{path}: all is well with `demo`\n"


def test_the_difference_is_printed() -> None:
    assert _printed(
        "spec", "diff", "transformer", "music_transformer"
    ).splitlines() == [
        "--- transformer",
        "+++ music_transformer",
        "+ model.edges.self.relations.offset: {limit: 512}",
        "- model.blocks[0].attention.score: [content]",
        "+ model.blocks[0].attention.score: [content, offset]",
    ]
    assert _printed("spec", "diff", "demo", "demo") == "no difference\n"


def test_the_schema_is_json() -> None:
    assert json.loads(_printed("spec", "schema")) == specs.schema()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["spec", "check", "demo", "--set", "training.stepz=3"],
            "error: training.stepz: unknown field. Did you mean `steps`?\n",
        ),
        (
            ["spec", "check", "demo", "--set", "training.keep=0", "--set", "x"],
            (
                "error:\n  x: must be a path, `=` and a value, such as `training.steps=200`."
                "\n  training.keep: must be more than 0; got 0.\n"
            ),
        ),
        (
            ["spec", "show", "music_transfomer"],
            (
                "error: music_transfomer: is neither a file nor a shipped spec. Did you mean "
                "`music_transformer`?\n"
            ),
        ),
        (
            ["spec", "check", "no/such.yaml"],
            "error: no/such.yaml: there is no such file.\n",
        ),
    ],
)
def test_a_mistake_is_told_in_short(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _left(monkeypatch, *arguments) == 2
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["spec", "chec", "demo"], "Did you mean 'check'"),
        (["spec", "show", "demo", "--sett", "a=1"], "No such option: --sett"),
        (["spec", "show"], "Missing argument"),
    ],
)
def test_wrong_arguments_leave_with_status_2(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _left(monkeypatch, *arguments) == 2
    assert told in capsys.readouterr().err


def _failing(error: BaseException) -> Any:
    def names() -> list[str]:
        raise error

    return names


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ValueError("`x` must be 1; got 2."), 2, "error: `x` must be 1; got 2.\n"),
        (ValueError(), 2, "error: ValueError\n"),
        (
            PermissionError(13, "Permission denied", "a"),
            2,
            "error: a: Permission denied\n",
        ),
        (OSError("disk is full"), 2, "error: disk is full\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_errors_of_a_command_are_told_in_short(
    error: BaseException,
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(specs, "names", _failing(error))
    assert _left(monkeypatch, "spec", "list") == status
    assert capsys.readouterr().err == told


def test_a_training_that_was_stopped_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Any,
) -> None:
    def train(*arguments: Any, **named: Any) -> None:
        raise training.Interrupted("Stopped after step 7.", signal_number=2)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(tasks, "from_spec", lambda *spec, **source: (None, None))
    module = sys.modules["relational.command_line.train"]
    monkeypatch.setattr(module, "_baselines", lambda *spec: {})
    run = "--run", str(tmp_path / "run")
    assert _left(monkeypatch, "train", "demo", *run) == 130
    assert capsys.readouterr().err == "Stopped after step 7.\n"


def test_a_traceback_is_shown_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELATIONAL_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["relational", "spec", "show", "nope"])
    with pytest.raises(specs.SpecError, match="neither a file nor a shipped spec"):
        command_line.main()


def test_mistakes_in_our_own_code_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(specs, "names", _failing(ZeroDivisionError()))
    monkeypatch.setattr(sys, "argv", ["relational", "spec", "list"])
    with pytest.raises(ZeroDivisionError):
        command_line.main()


_START = "import relational.command_line; relational.command_line.main()"


def _run(code: str, *arguments: str, **kwargs: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def test_a_process_leaves_with_the_message_and_the_status() -> None:
    process = _run(_START, "spec", "check", "demo", "--set", "model.dropout=2")
    told = "error: model.dropout: must be less than 1; got 2.\n"
    assert process.communicate() == ("", told)
    assert process.returncode == 2


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = _run(_START, "spec", "schema", env={**os.environ, "PYTHONUNBUFFERED": ""})
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


def test_the_command_line_starts_without_what_is_heavy() -> None:
    code = (
        "import sys, relational; before = set(sys.modules); "
        "import relational.command_line; print(*set(sys.modules) - before)"
    )
    modules = _run(code).communicate()[0].split()
    assert "typer" in modules
    heavy = {"jax", "haiku", "pydantic", "ruamel", "matplotlib", "orbax", "grain"}
    assert not heavy & {name.split(".")[0] for name in modules}
