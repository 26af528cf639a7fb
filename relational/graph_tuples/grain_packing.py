"""Packing as a transformation of grain; made by `packing.pack_dataset`.

The only module of graph tuples that imports grain, since it derives from its classes.
"""

from typing import Any

import grain
import jraph

from relational.graph_tuples.batching import batch
from relational.graph_tuples.buckets import Buckets
from relational.graph_tuples.packing import Filling, Oversize


class PackedDataset(grain.IterDataset[jraph.GraphsTuple]):
    """A dataset of padded batches."""

    def __init__(
        self,
        parent: "grain.IterDataset[jraph.GraphsTuple]",
        buckets: Buckets,
        oversize: Oversize,
    ):
        super().__init__(parent)
        self._buckets = buckets
        self._oversize = oversize

    def __iter__(self) -> "PackedIterator":
        return PackedIterator(iter(self._parent), self._buckets, self._oversize)


class PackedIterator(grain.DatasetIterator[jraph.GraphsTuple]):
    """Iterates over padded batches. One graph is read ahead: that which did not fit."""

    def __init__(
        self,
        parent: "grain.DatasetIterator[jraph.GraphsTuple]",
        buckets: Buckets,
        oversize: Oversize,
    ):
        super().__init__(parent)
        self._buckets = buckets
        self._oversize = oversize
        self._ahead: tuple[jraph.GraphsTuple, Any] | None = None  # And its place.
        self._num_read = 0

    def __next__(self) -> jraph.GraphsTuple:
        filling = Filling(buckets=self._buckets, oversize=self._oversize)
        if self._ahead is not None:
            filling.add(self._ahead[0], f"graph {self._num_read - 1}")
            self._ahead = None
        while True:
            place = self._parent.get_state()
            try:
                graph = next(self._parent)
            except StopIteration:
                if not filling.graphs:
                    raise
                break
            self._num_read += 1
            if not filling.takes(graph):
                self._ahead = graph, place
                break
            filling.add(graph, f"graph {self._num_read - 1}")
        return filling.bucket().pad(batch(filling.graphs))

    def get_state(self) -> Any:
        return self._parent.get_state() if self._ahead is None else self._ahead[1]

    def set_state(self, state: Any) -> None:
        self._parent.set_state(state)
        self._ahead = None
        self._num_read = 0
