"""Packing: a stream of graphs as padded batches of few shapes.

Graphs are taken as they come. A batch is closed when the next graph would not fit the
largest bucket, and is padded to the smallest bucket that holds it. Every shape is
counted, since each is one compilation.

Shapes: none of its own; see `buckets`.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import jraph

from relational._checks import shown
from relational.graph_tuples.batching import batch
from relational.graph_tuples.buckets import (
    NUM_DUMMY_NODES,
    Bucket,
    Buckets,
    OwnBucket,
    Refuse,
    size_of,
)

if TYPE_CHECKING:
    import grain

Oversize = Refuse | OwnBucket


class Packed(Iterable[jraph.GraphsTuple]):
    """An iterable of padded batches that counts the shapes it has given.

    Made by `pack`. `str` shows the counts, with the share of rows that were real.

    >>> from relational.graph_tuples import fully_connected
    >>> buckets = Buckets(sizes=(Bucket(num_nodes=8, num_edges=16, num_graphs=3),))
    >>> packed = pack([fully_connected([n]) for n in (2, 3, 4)], buckets)
    >>> [batch.n_node.tolist() for batch in packed]
    [[2, 3, 3], [4, 4, 0]]
    >>> print(packed)
    2 batches of 1 shape, so 1 compilation
      2 of 8 nodes, 16 edges, 3 graphs: 56 % of nodes and 91 % of edges real
    """

    def __init__(
        self,
        graphs: Iterable[jraph.GraphsTuple],
        buckets: Buckets,
        oversize: Oversize,
        names: Sequence[str] | None,
    ):
        _check(buckets, oversize)
        self._graphs = graphs
        self._buckets = buckets
        self._oversize = oversize
        self._names = names
        self.shapes: Counter[Bucket] = Counter()
        """How many batches of each shape there were so far."""
        self._real: Counter[tuple[Bucket, str]] = Counter()

    @property
    def num_shapes(self) -> int:
        """How many shapes there were so far: what was compiled at most."""
        return len(self.shapes)

    def __iter__(self) -> Iterator[jraph.GraphsTuple]:
        filling = Filling(buckets=self._buckets, oversize=self._oversize)
        for index, graph in enumerate(self._graphs):
            if not filling.takes(graph):
                yield self._closed(filling)
                filling = Filling(buckets=self._buckets, oversize=self._oversize)
            filling.add(graph, self._name(index))
        if filling.graphs:
            yield self._closed(filling)

    def __str__(self) -> str:
        total, num_shapes = self.shapes.total(), self.num_shapes
        batches = _counted(total, "batch", "batches")
        shapes = _counted(num_shapes, "shape", "shapes")
        programs = _counted(num_shapes, "compilation", "compilations")
        lines = [f"{batches} of {shapes}, so {programs}"]
        for bucket, count in sorted(self.shapes.items()):
            shares = [
                f"{self._real[bucket, rows] / (count * max(size, 1)):.0%}"
                for rows, size in (
                    ("nodes", bucket.num_nodes),
                    ("edges", bucket.num_edges),
                )
            ]
            nodes, edges = (share.replace("%", " %") for share in shares)
            lines.append(
                f"{count:,} of {bucket}: {nodes} of nodes and {edges} of edges real"
            )
        return "\n  ".join(lines)

    def _closed(self, filling: "Filling") -> jraph.GraphsTuple:
        bucket = filling.bucket()
        self.shapes[bucket] += 1
        self._real[bucket, "nodes"] += filling.size[0]
        self._real[bucket, "edges"] += filling.size[1]
        return bucket.pad(batch(filling.graphs))

    def _name(self, index: int) -> str:
        if self._names is None or index >= len(self._names):
            return f"graph {index}"
        return f"graph {index}, `{self._names[index]}`,"


def pack(
    graphs: Iterable[jraph.GraphsTuple],
    buckets: Buckets,
    *,
    oversize: Oversize = Refuse(),  # noqa: B008  # A value without state.
    names: Sequence[str] | None = None,
) -> Packed:
    """Packs graphs greedily into padded batches of the buckets' sizes.

    Args:
      graphs: any iterable; a list can be gone through again.
      buckets: the sizes.
      oversize: what to do with a graph that the largest bucket does not hold:
        `Refuse()`, or `OwnBucket()` for a batch of its own, in a larger shape.
      names: what errors call the graphs, in their order, beside their numbers.

    Returns:
      An iterable of padded batches, which counts shapes (`shapes`, `num_shapes`, `str`).
      All graphs come in order, each once.

    Raises:
      ValueError: while iterating, if a graph is refused; the batch before it is given
        first.

    >>> from relational.graph_tuples import fully_connected
    >>> buckets = Buckets(sizes=(Bucket(num_nodes=8, num_edges=16, num_graphs=3),))
    >>> for batch in pack([fully_connected([9])], buckets):
    ...     pass
    Traceback (most recent call last):
    ...
    ValueError: graph 0 must fit the largest bucket, 8 nodes, 16 edges, 3 graphs, of which \
2 nodes and a graph are padding; got 9 nodes and 81 edges. Fit buckets to a sample with \
such graphs, or pass `oversize=OwnBucket()`.

    Reference: the packing is that of `dynamically_batch` in jraph, which knows one size.
    """
    return Packed(graphs, buckets, oversize, names)


def pack_dataset(
    dataset: "grain.IterDataset[jraph.GraphsTuple]",
    buckets: Buckets,
    *,
    oversize: Oversize = Refuse(),  # noqa: B008  # A value without state.
) -> "grain.IterDataset[jraph.GraphsTuple]":
    """Packs a grain dataset of graphs as `pack` does, with a place that can be kept.

    For batches of one number of graphs, which stay randomly accessible, pass
    `buckets.collate` as grain's `batch_fn` instead.

    Args:
      dataset: of graph tuples, such as `map_dataset.to_iter_dataset()`.
      buckets, oversize: as for `pack`. Errors number the graphs from where iteration
        began or was resumed.

    Returns:
      A dataset of padded batches. `get_state` of its iterator is the place of the first
      graph that has not been given yet, so that no graph is lost or given twice.

    >>> from relational.graph_tuples import fully_connected
    >>> import grain
    >>> buckets = Buckets(sizes=(Bucket(num_nodes=8, num_edges=16, num_graphs=3),))
    >>> graphs = grain.MapDataset.source([fully_connected([n]) for n in (2, 3, 4)])
    >>> packed = pack_dataset(graphs.to_iter_dataset(), buckets)
    >>> [batch.n_node.tolist() for batch in packed]
    [[2, 3, 3], [4, 4, 0]]
    """
    from relational.graph_tuples.grain_packing import PackedDataset

    _check(buckets, oversize)
    return PackedDataset(dataset, buckets, oversize)


@dataclasses.dataclass(kw_only=True)
class Filling:
    """A batch that is being filled: what still fits, and what it is padded to."""

    buckets: Buckets
    oversize: Oversize
    graphs: list[jraph.GraphsTuple] = dataclasses.field(default_factory=list)
    size: tuple[int, int, int] = (0, 0, 0)
    name: str = ""
    """What errors call its first graph."""

    def takes(self, graph: jraph.GraphsTuple) -> bool:
        """Says whether a graph fits beside the others; the first always does."""
        if not self.graphs:
            return True
        return self.buckets.bucket_of(*_sum(self.size, size_of(graph))) is not None

    def add(self, graph: jraph.GraphsTuple, name: str) -> None:
        """Takes one more graph."""
        self.name = self.name or name
        self.graphs.append(graph)
        self.size = _sum(self.size, size_of(graph))

    def bucket(self) -> Bucket:
        """Returns the size to which the batch is padded.

        Raises:
          ValueError: if no bucket holds it, and no other is made.
        """
        bucket = self.buckets.bucket_of(*self.size)
        if bucket is not None:
            return bucket
        # Only the first graph was taken unseen: it is alone, and too large.
        if isinstance(self.oversize, OwnBucket):
            return self.oversize.bucket(self.buckets.largest, *self.size)
        num_nodes, num_edges, num_graphs = self.size
        several = f" in {num_graphs:,} graphs" if num_graphs != 1 else ""
        raise ValueError(
            f"{self.name} must fit the largest bucket, {self.buckets.largest}, of which "
            f"{NUM_DUMMY_NODES} nodes and a graph are padding; got {num_nodes:,} nodes "
            f"and {num_edges:,} edges{several}. Fit buckets to a sample with such graphs, "
            "or pass `oversize=OwnBucket()`."
        )


def _sum(one: tuple[int, int, int], two: tuple[int, int, int]) -> tuple[int, int, int]:
    return one[0] + two[0], one[1] + two[1], one[2] + two[2]


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _check(buckets: Buckets, oversize: Oversize) -> None:
    if not isinstance(buckets, Buckets):
        raise TypeError(
            f"`buckets` must be `Buckets`; got {shown(buckets)}. `Buckets.fit` learns "
            "them from graphs."
        )
    if not isinstance(oversize, Refuse | OwnBucket):
        raise TypeError(
            f"`oversize` must be `Refuse()` or `OwnBucket()`; got {shown(oversize)}."
        )
