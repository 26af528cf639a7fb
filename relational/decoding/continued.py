"""A file of results that is written line by line, and continued after a kill.

Beside `translated.de` lies `translated.de.json`, which says what its lines are made of. A
process that finds both, and would make the same, keeps the complete lines and goes on
after them; one that would make something else refuses. So no line is lost or doubled.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20  # Bytes that are looked through at once.


class ContinuedFile:
    """The end of a file to which groups of lines are added.

    A group is what belongs to one input: one line, or the best few. Those that were not
    complete when a process was killed are taken away.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     _ = file.write(b"first best\\nfirst other\\nsecond best\\n")
    ...     kept = ContinuedFile(file, lines_in_group=2)
    ...     kept.add(["second best", "second other"])
    ...     kept.num_groups, kept.read()[2:]
    (2, ['second best', 'second other'])
    """

    def __init__(self, file: io.BufferedRandom, lines_in_group: int) -> None:
        self._file = file
        self._lines = lines_in_group
        self.num_groups = self._keep_complete()
        """How many groups there are."""

    def add(self, lines: list[str]) -> None:
        """Adds a group.

        Raises:
            ValueError: it has another number of lines, or a line holds a newline.
        """
        if len(lines) != self._lines:
            raise ValueError(f"`lines` must be {self._lines}; got {len(lines)}.")
        for line in lines:
            if "\n" in line:
                raise ValueError(f"`lines` must hold no newlines; got {line!r}.")
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self.num_groups += 1

    def flush(self) -> None:
        """Hands what was added to the operating system, where a kill cannot reach it."""
        self._file.flush()

    def read(self) -> list[str]:
        """Returns all lines."""
        self.flush()
        self._file.seek(0)
        lines = self._file.read().decode().split("\n")
        return lines[:-1]

    def _keep_complete(self) -> int:
        """Cuts off what follows the last complete group, and counts them."""
        end = place = count = 0
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            found = -1
            while (found := block.find(b"\n", found + 1)) >= 0:
                count += 1
                if count % self._lines == 0:
                    end = place + found + 1
            place += len(block)
        self._file.truncate(end)
        self._file.seek(end)
        return count // self._lines


@contextlib.contextmanager
def continued(
    path: Path, made_of: Mapping[str, Any], *, lines_in_group: int = 1
) -> Iterator[ContinuedFile]:
    """Yields a file to go on with, which no other process writes meanwhile.

    Args:
        path: the file. A new one is begun with its `.json` beside it.
        made_of: whatever its lines depend on, as JSON holds it: the model, the input, the
            options.
        lines_in_group: lines that belong to one input.

    Raises:
        ValueError: if the file is there and is made of something else, or by another
            program, or another process is writing it.
        OSError: if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x.de"
    ...     with continued(path, {"model": "a"}) as file:
    ...         file.add(["eins"])
    ...     with path.open("a") as other:
    ...         _ = other.write("zw")  # It was killed in the middle of a line.
    ...     with continued(path, {"model": "a"}) as file:
    ...         file.num_groups, file.read()
    (1, ['eins'])
    """
    import fcntl  # Not on every system; nothing but this and training needs it.

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.json")
    text = json.dumps(made_of, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    with path.open("a+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"`{path}` is being written by another process. Wait for it, or choose "
                "another file."
            ) from None
        if path.stat().st_size:
            _refuse_other(path, beside, json.loads(text))
        fresh = beside.with_name(f".{beside.name}")
        fresh.write_text(text, "utf-8")
        fresh.replace(beside)
        # Opened anew, since what is opened to append cannot be cut and written over.
        with path.open("r+b") as file:
            kept = ContinuedFile(file, lines_in_group)
            yield kept
            kept.flush()


def _refuse_other(path: Path, beside: Path, made_of: Mapping[str, Any]) -> None:
    try:
        before = dict(json.loads(beside.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"`{path}` is there already, and no `{beside.name}` that can be read says what "
            "it is made of. Choose another file, or delete this one."
        ) from error
    if before == made_of:
        return
    names = [
        name
        for name in sorted({*before, *made_of})
        if before.get(name) != made_of.get(name)
    ]
    lines = [
        f"  {name}: {_short(before.get(name))} there, {_short(made_of.get(name))} now"
        for name in names
    ]
    raise ValueError(
        f"`{path}` is made of something else:\n"
        + "\n".join(lines)
        + "\nChoose another file, or delete this one."
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
