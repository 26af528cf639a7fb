"""Rows of results in a file: one JSON object a line, added as they are found.

A run that was stopped goes on where it stood, since what is there is not run again.
"""

import json
import pathlib
import statistics
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def rows(path: pathlib.Path) -> list[Row]:
    """Returns what was kept, in order; nothing if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def holds(found: Iterable[Row], wanted: Row) -> bool:
    """Says whether a row has all the values that are wanted."""
    return any(wanted.items() <= row.items() for row in found)


def keep(path: pathlib.Path, row: Row) -> None:
    """Adds a row to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def spread(values: Iterable[float], places: int) -> str:
    """Returns the mean and the standard deviation, as `81.5 ± 0.5`."""
    listed = list(values)
    deviation = statistics.stdev(listed) if len(listed) > 1 else 0.0
    return f"{statistics.mean(listed):.{places}f} ± {deviation:.{places}f}"


def head(titles: Iterable[str]) -> list[str]:
    """Returns the first two lines of a table in Markdown."""
    listed = list(titles)
    return [f"| {' | '.join(listed)} |", f"|{'---|' * len(listed)}"]
