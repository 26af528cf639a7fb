"""Metrics of a run as a table: one row a line, the same rows however often it stopped.

The file holds only what a run computes (no times or speeds, which differ from one
day to the next), and numbers as the shortest text that means the same float32. So a run that was killed and resumed has the file of a run that was not.
"""

import csv
import io
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from relational.training.evaluation import Evaluation
from relational.training.failures import naming

COLUMNS = (
    "step",
    "split",
    "loss",
    "standard_error",
    "tokens",
    "gradient_norm",
    "learning_rate",
)
"""Columns of every run; the names of auxiliary terms, and of what is noted, follow.

In rows of the split `train`, `loss` is nats per token over the steps since the row
before, `tokens` are those of these steps, the gradient's norm (before clipping) and
the other terms are means, and the rate is that of the step itself.
"""

_PURPOSE = "write the metrics"

Row = Mapping[str, float | int | str]


class MetricsFile:
    """Appends rows to the table of a run. A context manager: it closes the file."""

    def __init__(self, path: Path, *, auxiliary: Sequence[str], step: int) -> None:
        """Opens the table and takes away the rows after `step`.

        Args:
          path: the file, made if there is none.
          auxiliary: names of the task's auxiliary terms.
          step: the step at which the run is taken up again, 0 for a new run.

        Raises:
          OSError: the file cannot be written.
        """
        self._path = path
        self._columns = (*COLUMNS, *sorted(auxiliary))
        with naming(path, _PURPOSE):
            rows = _rows_until(path, step)
            fresh = path.with_name(f".{path.name}")
            fresh.write_text(
                "".join([_line(self._columns), *rows]), encoding="utf-8", newline=""
            )
            fresh.replace(path)  # Never a moment without the rows that were there.
            self._file = path.open("a", encoding="utf-8", newline="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._file.close()

    def write(self, row: Row) -> None:
        """Appends a row, and hands it to the operating system at once.

        Raises:
          OSError: the file cannot be written.
        """
        cells = [_cell(row.get(name, "")) for name in self._columns]
        with naming(self._path, _PURPOSE):
            self._file.write(_line(cells))
            self._file.flush()


def added(totals: Mapping[str, float], report: Mapping[str, float]) -> dict[str, float]:
    """Returns the sums over the steps since the last row, with one more step in them.

    They are added one step at a time, in float64, so they are the same numbers
    whether or not they were kept in a checkpoint in between.
    """
    sums = {name: totals.get(name, 0.0) + value for name, value in report.items()}
    sums["steps"] = totals.get("steps", 0.0) + 1
    sums["learning_rate"] = report["learning_rate"]  # Of the step itself.
    return sums


def training_row(step: int, totals: Mapping[str, float]) -> Row:
    """Returns one row for the steps since the row before, from their sums."""
    means = {name: total / totals["steps"] for name, total in totals.items()}
    return {
        **means,
        "step": step,
        "split": "train",
        "loss": totals["loss"] / totals["tokens"],
        "tokens": round(totals["tokens"]),
        "learning_rate": totals["learning_rate"],
    }


def evaluation_row(step: int, evaluation: Evaluation) -> Row:
    """Returns one row for an evaluation."""
    return {
        "step": step,
        "split": evaluation.split,
        "loss": evaluation.loss,
        "standard_error": evaluation.standard_error,
        "tokens": evaluation.tokens,
    }


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a run's table, each a dict from column to text."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _rows_until(path: Path, step: int) -> list[str]:
    """Returns the complete lines of the table up to `step`, without its heading."""
    if step == 0 or not path.exists():
        return []
    # In bytes, since a full disk may have torn the last line apart anywhere.
    lines = path.read_bytes().splitlines(keepends=True)[1:]
    complete = [line.decode("utf-8") for line in lines if line.endswith(b"\n")]
    return [line for line in complete if int(line.split(",", 1)[0]) <= step]


def _cell(value: float | str) -> str:
    return str(np.float32(value)) if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
