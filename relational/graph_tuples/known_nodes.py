"""Rows for the nodes that a sample meets, one hop after the other."""

from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]


class KnownNodes:
    """The nodes met so far, numbered by when: seeds first. Its size is the sample's.

    Rows are found by binary search in the sorted numbers of nodes; a table of all nodes
    would be faster by a little, and as large as the graph.

    >>> known = KnownNodes(np.array([50, 20]))
    >>> known.rows_of(np.array([20, 90, 10, 90])), known.ids()
    (array([1, 3, 2, 3]), array([50, 20, 10, 90]))
    """

    def __init__(self, seeds: _Array):
        self._sorted = np.zeros(0, np.int64)
        self._rows = np.zeros(0, np.int64)  # Of the sorted nodes.
        self._parts: list[_Array] = []
        self.count = 0
        unique, first = np.unique(seeds, return_index=True)
        self._add(unique, np.argsort(np.argsort(first)))
        self.rows = np.arange(self.count)

    def ids(self, rows: _Array | None = None) -> _Array:
        """Returns the nodes by row."""
        nodes = np.concatenate(self._parts) if len(self._parts) > 1 else self._parts[0]
        self._parts = [nodes]
        return nodes if rows is None else nodes[rows]

    def rows_of(self, nodes: _Array) -> _Array:
        """Returns the rows of nodes; those not met before get new ones, ascending."""
        unique, inverse = np.unique(nodes, return_inverse=True)
        places = np.searchsorted(self._sorted, unique)
        is_known = np.zeros(len(unique), bool)
        inside = places < len(self._sorted)
        is_known[inside] = self._sorted[places[inside]] == unique[inside]
        rows = np.empty(len(unique), np.int64)
        rows[is_known] = self._rows[places[is_known]]
        new = unique[~is_known]
        rows[~is_known] = self.count + np.arange(len(new))
        self._add(new, np.arange(len(new)))
        return rows[inverse]

    def _add(self, ascending: _Array, order: _Array) -> None:
        """Adds new nodes, the i-th in row count + order[i]."""
        rows = self.count + order
        by_row = np.empty(len(ascending), np.int64)
        by_row[order] = ascending
        places = np.searchsorted(self._sorted, ascending)
        self._sorted = np.insert(self._sorted, places, ascending)
        self._rows = np.insert(self._rows, places, rows)
        self._parts.append(by_row)
        self.count += len(ascending)
