"""How commands leave the program when they were stopped."""

from typing import NoReturn

import typer


class Told(SystemExit):
    """The user has been told why; nothing more is printed."""


def stop(message: str, signal_number: int) -> NoReturn:
    """Prints why a command stopped, and leaves as shells have it: 128 + the signal."""
    typer.echo(message, err=True)
    raise Told(128 + signal_number)
