"""Words for what goes wrong outside the program: disks, folders, signals, numbers."""

import contextlib
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

    >>> with naming(Path("/proc/none"), "write the curves"):
    ...     open("/proc/none", "w")
    Traceback (most recent call last):
    OSError: Cannot write the curves at `/proc/none`: No such file or directory. ...
    """
    try:
        yield
    except OSError as error:
        raise unwritten(path, purpose, error) from error


def unwritten(path: Path, purpose: str, error: BaseException) -> OSError:
    """Returns the one line that says that `path` could not be used for `purpose`."""
    reason = error.strerror if isinstance(error, OSError) else None
    line = OSError(
        f"Cannot {purpose} at `{path}`: {reason or first_line(error)}. What was saved "
        "before is untouched: put this right (space, permission, a folder rather than "
        "a file) and start the same run again."
    )
    line.errno = error.errno if isinstance(error, OSError) else None
    return line


def first_line(error: BaseException) -> str:
    """Returns what `error` says first, without its closing full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
