"""Words for what goes wrong outside the program: disks, folders, signals, numbers."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, saved a checkpoint, and stopped.

    The attribute `signal_number` is that of the signal, so that a program may leave
    with the customary exit status, 128 + `signal_number`.
    """

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@contextlib.contextmanager
def naming(path: Path, purpose: str) -> Iterator[None]:
    """Turns an OSError of the block into one line that names `path` and the way out.

    >>> try:
    ...     with naming(Path("run"), "write the curves"):
    ...         raise OSError(28, "No space left on device")
    ... except OSError as error:
    ...     print(str(error)[:62])
    Cannot write the curves at `run`: No space left on device. Wha
    """
    try:
        yield
    except OSError as error:
        raise unwritten(path, purpose, error) from error


def unwritten(path: Path, purpose: str, error: BaseException) -> OSError:
    """Returns the one line that says that `path` could not be used for `purpose`."""
    number = _system_error(error)
    reason = os.strerror(number) if number else first_line(error)
    line = OSError(
        f"Cannot {purpose} at `{path}`: {reason}. What was saved before is untouched: "
        "put this right (space, permission, a folder rather than a file) and start the "
        "same run again."
    )
    line.errno = number
    return line


def _system_error(error: BaseException) -> int | None:
    """Returns the number of the system's error; tensorstore has it in its text."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def first_line(error: BaseException) -> str:
    """Returns what `error` says first, without its closing full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
