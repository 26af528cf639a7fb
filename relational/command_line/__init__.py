"""The command `relational`: one module a command, listed in one table.

The modules import nothing heavy when they are imported; what a command needs it imports
when it runs. So `relational --help` answers at once.
"""

import importlib
import os
import sys
from typing import Annotated, NoReturn

import typer

from relational.command_line.leaving import Told

_GROUPS = ("spec",)
"""Modules here with an `app` of several commands."""

_COMMANDS: tuple[str, ...] = (
    "train",
    "evaluate",
    "generate",
    "translate",
    "bleu",
    "score",
    "explain",
    "import_",
    "demo",
)
"""Modules here with a function of their own name, which is the command; what is a word of
Python has a `_` more."""

_TRACEBACK = "RELATIONAL_TRACEBACK"  # Set to 1, it shows where an error comes from.
_MISTAKE, _INTERRUPTED = 2, 130  # Exit statuses; 130 is what shells give to Ctrl-C.


def main() -> None:
    """Runs the command line; a user's mistake is told in a short message."""
    try:
        app(prog_name="relational")
    except (ValueError, OSError, ImportError) as error:  # Of extras that are absent.
        if os.environ.get(_TRACEBACK) == "1":
            raise
        _leave(_words(error), _MISTAKE)
    except KeyboardInterrupt:
        _leave(" interrupted", _INTERRUPTED)
    except Told:
        raise
    except SystemExit as leaving:
        if leaving.code != _INTERRUPTED:
            raise
        _leave(" interrupted", _INTERRUPTED)  # Typer has made this of Ctrl-C.
    finally:
        _flush()


def _version(is_wanted: bool) -> None:
    if is_wanted:
        import importlib.metadata

        typer.echo(f"relational-nets {importlib.metadata.version('relational-nets')}")
        raise typer.Exit


def _start(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and leave.",
        ),
    ] = False,
) -> None:
    """Models that are graph networks, built from short specs."""
    del version  # Its callback has done all.


def _application() -> typer.Typer:
    application = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_start)
    for name in _GROUPS:
        module = importlib.import_module(f"relational.command_line.{name}")
        application.add_typer(module.app, name=name)
    for name in _COMMANDS:
        module = importlib.import_module(f"relational.command_line.{name}")
        application.command(name.rstrip("_"))(getattr(module, name))
    return application


def _words(error: ValueError | OSError | ImportError) -> str:
    """Returns what an error says, as a message to a user."""
    if isinstance(error, OSError) and error.filename is not None:
        return f" {error.filename}: {error.strerror}"
    lines = str(error).splitlines() or [type(error).__name__]
    return f" {lines[0]}" if len(lines) == 1 else "\n  ".join(["", *lines])


def _leave(message: str, status: int) -> NoReturn:
    typer.secho(f"error:{message}", err=True, fg=typer.colors.RED)
    sys.exit(status)


def _flush() -> None:
    """Writes out what is printed; if nobody reads it any more, it is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = _application()
