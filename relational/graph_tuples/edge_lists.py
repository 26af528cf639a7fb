"""Graph tuples from lists of edges in CSV files.

Errors begin with the file and the number of the line, since lists are long.

Shapes: E edges, F features.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jraph
import numpy as np

from relational._checks import shown
from relational.graph_tuples.naming import Named, numbers_of

_Row = tuple[int, list[str]]  # The number of its line, its cells.


def read_edge_list(
    path: str | os.PathLike[str],
    *,
    sender: str,
    receiver: str,
    features: Sequence[str] = (),
    names: Iterable[str] | None = None,
    delimiter: str = ",",
) -> Named:
    """Reads a graph from a CSV file with a header and a line an edge.

    Args:
      path: the file, in UTF-8.
      sender, receiver: the columns with the names of nodes. Any text is a name.
      features: columns of numbers; each is one feature of the edges.
      names: the names of all nodes, in order: nodes without edges are among them, and
        other names are refused. By default nodes are numbered as they first come.
      delimiter: what separates cells.

    Returns:
      The graph, whose `edges` are [E, F] of float32 (None without features), in the order
      of the lines, and the names of its nodes.

    Raises:
      ValueError: if a column is missing or twice in the header, a line has too few or too
        many cells, a name is empty or unknown, or a feature is no finite number; the
        message begins with the file and the line.

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "trips.csv"
    >>> _ = path.write_text("from,to,minutes\\nOslo,Bergen,50\\nBergen,Oslo,55\\n")
    >>> trips = read_edge_list(path, sender="from", receiver="to", features=["minutes"])
    >>> trips.names, trips.graph.senders, trips.graph.edges[:, 0]
    (('Oslo', 'Bergen'), array([0, 1], dtype=int32), array([50., 55.], dtype=float32))
    >>> folder.cleanup()
    """
    if isinstance(features, str):
        raise TypeError(
            f"`features` must list columns; got {features!r}. Write `[{features!r}]`."
        )
    path = Path(path)
    numbers = None if names is None else numbers_of(names)
    found: dict[str, int] = {}
    ends: list[tuple[int, int]] = []
    values: list[list[float]] = []
    with path.open("rb") as file:
        text = _decoded(file, path)
        lines = _lines(csv.reader(text, delimiter=delimiter, strict=True), path)
        header, rows = _columns(next(lines, (1, [])), path), lines
        wanted = [_column(header, name, path) for name in (sender, receiver, *features)]
        for line, cells in rows:
            at = f"{path}:{line}"
            if len(cells) != len(header):
                raise ValueError(
                    f"{at}: a line must have a cell a column, {len(header)}; got "
                    f"{len(cells)}."
                )
            ends.append(
                (
                    _number(cells[wanted[0]], sender, numbers, found, at),
                    _number(cells[wanted[1]], receiver, numbers, found, at),
                )
            )
            cells_of_features = (cells[column] for column in wanted[2:])
            values.append(
                [
                    _value(cell, name, at)
                    for cell, name in zip(cells_of_features, features, strict=True)
                ]
            )
    known = found if numbers is None else numbers
    return Named(
        graph=_graph(ends, values, len(features), len(known)), names=tuple(known)
    )


def _decoded(lines: Iterable[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            # Spreadsheets begin a file with a mark, which belongs to no name.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}:{number}: this must be CSV in UTF-8; got {error}."
            ) from None


def _lines(reader: Any, path: Path) -> Iterator[_Row]:
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(
            f"{path}:{reader.line_num}: this must be CSV in UTF-8; got {error}."
        ) from None


def _columns(row: _Row, path: Path) -> list[str]:
    _, cells = row
    if not cells:
        raise ValueError(
            f"{path}:1: a header must name the columns; got an empty file."
        )
    header = [cell.strip() for cell in cells]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(
            f"{path}:1: columns must have names of their own; got `{twice[0]}` twice."
        )
    return header


def _column(header: list[str], name: str, path: Path) -> int:
    if name not in header:
        raise ValueError(
            f"{path}:1: the header must have the column `{name}`; it has "
            f"{', '.join(header)}."
        )
    return header.index(name)


def _number(
    cell: str,
    column: str,
    numbers: dict[str, int] | None,
    found: dict[str, int],
    at: str,
) -> int:
    """Returns the number of a node by its name, a new one if any name may come."""
    name = cell.strip()
    if not name:
        raise ValueError(f"{at}: `{column}` must name a node; got an empty cell.")
    if numbers is None:
        return found.setdefault(name, len(found))
    if name not in numbers:
        raise ValueError(
            f"{at}: `{column}` must be one of the {len(numbers):,} `names`; got "
            f"{shown(name)}."
        )
    return numbers[name]


def _value(cell: str, column: str, at: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(
            f"{at}: `{column}` must be a finite number; got {shown(cell.strip())}."
        )
    return value


def _graph(
    ends: list[tuple[int, int]],
    values: list[list[float]],
    num_features: int,
    num_nodes: int,
) -> jraph.GraphsTuple:
    both = np.array(ends, np.int32).reshape(-1, 2)
    edges = np.array(values, np.float32).reshape(len(ends), num_features)
    return jraph.GraphsTuple(
        nodes=None,
        edges=edges if num_features else None,
        globals=None,
        senders=both[:, 0].copy(),
        receivers=both[:, 1].copy(),
        n_node=np.array([num_nodes], np.int32),
        n_edge=np.array([len(ends)], np.int32),
    )
