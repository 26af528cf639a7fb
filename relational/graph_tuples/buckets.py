"""Buckets: the few padded sizes that a training run compiles for.

A program is compiled for one number of nodes, edges and graphs. Batches differ in all
three, so they are padded to the smallest of a few sizes, which are learned from a
sample: those that waste least.

Shapes: S batches of the sample, K buckets.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jraph
import numpy as np

from relational._checks import check_count, check_seed, shown
from relational.graph_tuples.batching import batch
from relational.graph_tuples.padding import pad

NUM_DUMMY_NODES = 2  # One to speak and one to hear: see `pad`.
_MULTIPLE = 8  # Sizes are rounded up to it.
_MOST_BATCHES = 256  # Simulated to learn from; the search takes the square of it.
_Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, order=True, kw_only=True)
class Bucket:
    """A padded size. Of its nodes two are left for padding, of its graphs one.

    >>> bucket = Bucket(num_nodes=10, num_edges=16, num_graphs=3)
    >>> bucket.holds(8, 16, 2), bucket.holds(9, 16, 2)
    (True, False)
    """

    num_nodes: int
    """Nodes of a padded batch."""

    num_edges: int
    """Edges of a padded batch."""

    num_graphs: int
    """Graphs of a padded batch."""

    def __post_init__(self) -> None:
        least = {"num_nodes": NUM_DUMMY_NODES, "num_edges": 0, "num_graphs": 2}
        for name, minimum in least.items():
            check_count(
                f"Bucket.{name}",
                getattr(self, name),
                least=minimum,
                advice="It counts what there is after padding.",
            )

    def holds(self, num_nodes: int, num_edges: int, num_graphs: int) -> bool:
        """Says whether so much fits, with room for padding."""
        return (
            num_nodes <= self.num_nodes - NUM_DUMMY_NODES
            and num_edges <= self.num_edges
            and num_graphs <= self.num_graphs - 1
        )

    def pad(self, graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
        """Pads a graph tuple to this size."""
        return pad(
            graph,
            num_nodes=self.num_nodes,
            num_edges=self.num_edges,
            num_graphs=self.num_graphs,
        )

    def __str__(self) -> str:
        return (
            f"{self.num_nodes:,} nodes, {self.num_edges:,} edges, "
            f"{self.num_graphs:,} graphs"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refuse:
    """A graph that no bucket holds is refused, with its name and size.

    >>> Refuse()
    Refuse()
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnBucket:
    """A graph that no bucket holds gets one of its own: the largest, enlarged.

    Each size is the largest bucket's times a power of `growth`, so that however large
    graphs come, shapes are few.

    >>> OwnBucket(growth=1.5)
    OwnBucket(growth=1.5)
    """

    growth: float = 2.0
    """Above 1: the factor from one size to the next."""

    def __post_init__(self) -> None:
        is_number = isinstance(self.growth, int | float | np.number)
        if not is_number or not 1 < self.growth < np.inf:
            raise ValueError(
                "`OwnBucket.growth` must be a number above 1; got "
                f"{shown(self.growth)}. 2 doubles the sizes."
            )

    def bucket(
        self, largest: Bucket, num_nodes: int, num_edges: int, num_graphs: int
    ) -> Bucket:
        """Returns the bucket for a graph of this size."""
        return Bucket(
            num_nodes=self._grown(largest.num_nodes, num_nodes + NUM_DUMMY_NODES),
            num_edges=self._grown(max(largest.num_edges, _MULTIPLE), num_edges),
            num_graphs=self._grown(largest.num_graphs, num_graphs + 1),
        )

    def _grown(self, size: int, needed: int) -> int:
        grown = float(size)
        while grown < needed:
            grown *= self.growth
        return max(int(grown), needed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buckets:
    """A few padded sizes, from small to large; each batch takes the first that holds it.

    Args:
      sizes: the buckets, in any order; all of one number of graphs or of several.

    Raises:
      ValueError: if there is none.

    >>> small = Bucket(num_nodes=16, num_edges=32, num_graphs=5)
    >>> large = Bucket(num_nodes=64, num_edges=96, num_graphs=5)
    >>> print(Buckets(sizes=(large, small)))
    2 buckets
      16 nodes, 32 edges, 5 graphs
      64 nodes, 96 edges, 5 graphs
    """

    sizes: tuple[Bucket, ...]

    def __post_init__(self) -> None:
        sizes = self.sizes if isinstance(self.sizes, Sequence) else ()
        if not sizes or not all(isinstance(size, Bucket) for size in sizes):
            raise ValueError(
                "`Buckets.sizes` must be one or more `Bucket`s; got "
                f"{shown(self.sizes)}. `Buckets.fit` learns them from graphs."
            )
        object.__setattr__(self, "sizes", tuple(sorted(set(sizes))))

    @classmethod
    def fit(
        cls,
        graphs: Iterable[jraph.GraphsTuple],
        *,
        batch_size: int,
        num_buckets: int = 3,
        seed: int = 0,
    ) -> "Buckets":
        """Learns the sizes that waste least padding on batches drawn from a sample.

        Batches of `batch_size` graphs of the sample are drawn at random and sorted by
        size. Of all ways to cut this list into at most K runs, each padded to its
        largest number of nodes and of edges, the one with the fewest padded nodes and
        edges is found by dynamic programming. Every graph of the sample fits.

        Args:
          graphs: a sample, such as the training graphs themselves.
          batch_size: graphs in a batch.
          num_buckets: K, the most programs that a run compiles.
          seed: of the drawing.

        Raises:
          ValueError: if the sample is empty or a number is out of range.

        >>> from relational.graph_tuples import fully_connected
        >>> graphs = [fully_connected([n]) for n in (2, 3, 4, 5, 6)]
        >>> print(Buckets.fit(graphs, batch_size=1, num_buckets=2))
        2 buckets
          8 nodes, 16 edges, 2 graphs
          8 nodes, 40 edges, 2 graphs
        """
        check_count("batch_size", batch_size, least=1, advice="It counts graphs.")
        check_count("num_buckets", num_buckets, least=1, advice="It counts programs.")
        check_seed("seed", seed)
        sample = np.array([size_of(graph) for graph in graphs])
        if not len(sample):
            raise ValueError(
                "`graphs` must hold at least one graph to learn from; got none."
            )
        totals = _totals(sample, batch_size, np.random.default_rng(seed))
        largest = sample[:, :2].max(axis=0)  # Fits alone, whatever was drawn.
        totals[-1] = np.maximum(totals[-1], largest)
        num_graphs = int(sample[:, 2].max()) * batch_size + 1
        runs = runs_of_least_padding(totals, num_buckets)
        return cls(
            sizes=tuple(
                Bucket(
                    num_nodes=_rounded(nodes + NUM_DUMMY_NODES),
                    num_edges=_rounded(edges),
                    num_graphs=num_graphs,
                )
                for nodes, edges in _tops(totals, runs)
            )
        )

    @property
    def largest(self) -> Bucket:
        """The bucket that a batch may fill: with the most nodes, then edges."""
        return self.sizes[-1]

    def bucket_of(
        self, num_nodes: int, num_edges: int, num_graphs: int
    ) -> Bucket | None:
        """Returns the smallest bucket that holds so much, or None."""
        fitting = (b for b in self.sizes if b.holds(num_nodes, num_edges, num_graphs))
        return next(fitting, None)

    def collate(
        self,
        graphs: Sequence[jraph.GraphsTuple],
        *,
        oversize: Refuse | OwnBucket = Refuse(),  # Without state.
    ) -> jraph.GraphsTuple:
        """Batches graphs and pads them to the smallest bucket that holds them all.

        This is the `batch_fn` of grain's `dataset.batch`, where batches are of one number
        of graphs and stay randomly accessible. Packing (`pack`) instead closes a batch
        that would not fit.

        Args:
          graphs: one batch.
          oversize: what to do with a batch that no bucket holds: `Refuse()`, or
            `OwnBucket()` for a larger shape.

        Raises:
          ValueError: if no bucket holds them, and none is made.

        >>> from relational.graph_tuples import fully_connected
        >>> buckets = Buckets(sizes=(Bucket(num_nodes=8, num_edges=16, num_graphs=3),))
        >>> buckets.collate([fully_connected([2]), fully_connected([3])]).n_node
        array([2, 3, 3])
        """
        together = batch(graphs)
        sizes = size_of(together)
        bucket = self.bucket_of(*sizes)
        if bucket is None and isinstance(oversize, OwnBucket):
            bucket = oversize.bucket(self.largest, *sizes)
        if bucket is None:
            raise ValueError(
                f"`graphs` must fit the largest bucket, {self.largest}, of which "
                f"{NUM_DUMMY_NODES} nodes and a graph are padding; got {_words(*sizes)}. "
                "Fit buckets to a larger sample, batch fewer graphs, pass "
                "`oversize=OwnBucket()`, or use `pack`."
            )
        return bucket.pad(together)

    def __str__(self) -> str:
        lines = [f"{len(self.sizes)} bucket{'s' * (len(self.sizes) != 1)}"]
        return "\n  ".join([*lines, *map(str, self.sizes)])


def size_of(graph: jraph.GraphsTuple) -> tuple[int, int, int]:
    """Returns how many nodes, edges and graphs a tuple has."""
    if not isinstance(graph, jraph.GraphsTuple):
        raise TypeError(f"`graphs` must be `jraph.GraphsTuple`s; got {shown(graph)}.")
    n_node, n_edge = np.asarray(graph.n_node), np.asarray(graph.n_edge)
    return int(n_node.sum()), int(n_edge.sum()), len(n_node)


def _words(num_nodes: int, num_edges: int, num_graphs: int) -> str:
    return f"{num_nodes:,} nodes, {num_edges:,} edges and {num_graphs:,} graphs"


def _rounded(size: int) -> int:
    return max(-(-int(size) // _MULTIPLE), 1) * _MULTIPLE


def _totals(sample: _Array, batch_size: int, rng: np.random.Generator) -> _Array:
    """Returns nodes and edges of drawn batches, sorted by their sum: [S, 2]."""
    if batch_size == 1 and len(sample) <= _MOST_BATCHES:
        totals = sample[:, :2]
    else:
        drawn = rng.integers(len(sample), size=(_MOST_BATCHES, batch_size))
        totals = sample[drawn, :2].sum(axis=1)
    return np.array(totals[np.argsort(totals.sum(axis=1), kind="stable")])


def runs_of_least_padding(totals: _Array, num_runs: int) -> list[tuple[int, int]]:
    """Cuts a sorted list of sizes into at most K runs, each padded to its largest.

    cost[j] of the first j sizes in k runs is the least, over the beginning i of the last
    run, of cost[i] in k - 1 runs + (j - i) * (what that run is padded to).

    Args:
        totals: [S, 2], nodes and edges.
        num_runs: K.

    Returns:
        Where each run begins and ends, in order. More runs never cost more, so there are
        min(K, S).

    >>> runs_of_least_padding(np.array([[1, 1], [2, 1], [9, 9]]), 2)
    [(0, 2), (2, 3)]
    """
    size = len(totals)
    padded = np.full((size + 1, size + 1), np.inf)  # [i, j]
    for i in range(size):
        tops = np.maximum.accumulate(totals[i:], axis=0).sum(axis=1)
        padded[i, i + 1 :] = tops * np.arange(1, len(tops) + 1)
    cost = np.full(size + 1, np.inf)
    cost[0] = 0
    begins = []
    for _ in range(min(num_runs, size)):
        candidates = cost[:, None] + padded
        begins.append(np.argmin(candidates, axis=0))
        cost = candidates.min(axis=0)
    end, runs = size, []
    for begin in reversed(begins):
        runs.append((int(begin[end]), end))
        end = int(begin[end])
    return runs[::-1]


def _tops(totals: _Array, runs: Sequence[tuple[int, int]]) -> _Array:
    """Returns what each run is padded to, [K, 2], grown so that each holds the last."""
    tops = [totals[begin:end].max(axis=0) for begin, end in runs]
    return np.maximum.accumulate(np.array(tops), axis=0)
