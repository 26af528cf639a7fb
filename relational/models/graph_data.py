"""The graphs of a spec as the training loop reads them: padded batches of a few shapes.

Batches are made in threads beside the training; where one is in the walk over them is its
number alone. What the graphs are, a `GraphSet` says (`graph_sets`).

Shapes: none of its own; see `graph_batches`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import jraph

from relational import graph_tuples
from relational.models.graph_batches import as_batch
from relational.training.tasks import Batch, Batches

_NUM_BUCKETS = 3  # Programs that a training compiles, but for rare large batches.
_SAMPLE = 512  # Graphs from which the sizes of batches are learned.
_FOR_EVER = 2**32  # Epochs, as in `datasets.pipelines`.
_NUM_THREADS, _NUM_AHEAD = 2, 4  # Threads, and batches that they make ahead.


class Graphs(Protocol):
    """Labelled graphs, one at a time."""

    def __len__(self) -> int:
        """Returns how many there are."""

    def __getitem__(self, index: int) -> jraph.GraphsTuple:
        """Returns one of them, always the same for the same index."""


class GraphSet(Protocol):
    """Labelled graphs by split (see `graph_batches`); it can be hashed."""

    @property
    def fingerprint(self) -> str:
        """A short text that changes when the graphs change."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by which a trained model is judged."""

    def training(self, seed: int) -> Graphs:
        """Returns the graphs that are trained on."""

    def held_out(self, split: str) -> Graphs:
        """Returns the graphs of a split."""


@dataclasses.dataclass(frozen=True)
class GraphData:
    """Padded batches of a set of graphs.

    Attributes:
      graphs: the set.
      batch_size: graphs in a batch.
      num_buckets: how many shapes batches have, but for rare larger ones.
    """

    graphs: GraphSet
    batch_size: int
    num_buckets: int = _NUM_BUCKETS

    @property
    def fingerprint(self) -> str:
        """That of the set."""
        return self.graphs.fingerprint

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by which a trained model is judged."""
        return self.graphs.splits

    def training(self, seed: int) -> Batches:
        """Returns an endless walk over shuffled graphs, which are made in threads."""
        import grain

        examples, buckets = self.graphs.training(seed), _buckets(self, seed)

        def collate(graphs: Sequence[jraph.GraphsTuple]) -> Batch:
            # A batch larger than all of the sample is padded by itself.
            oversize = graph_tuples.OwnBucket(growth=1.25)
            return as_batch(buckets.collate(graphs, oversize=oversize))

        walk = grain.MapDataset.source(examples).seed(seed).shuffle().repeat(_FOR_EVER)
        ahead = grain.ReadOptions(_NUM_THREADS, _NUM_AHEAD)
        batches = walk.batch(self.batch_size, batch_fn=collate)
        found: Batches = iter(batches.to_iter_dataset(ahead))
        return found

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every graph of a split once, in batches of one shape.

        Raises:
          ValueError: if there is no such split.
        """
        return _evaluation(self, split)


@functools.lru_cache(maxsize=8)
def _buckets(data: GraphData, seed: int) -> graph_tuples.Buckets:
    examples = data.graphs.training(seed)
    sample = [examples[index] for index in range(min(len(examples), _SAMPLE))]
    return graph_tuples.Buckets.fit(
        sample, batch_size=data.batch_size, num_buckets=data.num_buckets
    )


@functools.lru_cache(maxsize=8)
def _evaluation(data: GraphData, split: str) -> list[Batch]:
    """Returns the batches of a split; they are kept, since they are asked for often."""
    joined = [graph_tuples.batch(part) for part in _parts(data, split)]
    largest = graph_tuples.Buckets.fit(joined, batch_size=1, num_buckets=1).largest
    return [as_batch(largest.pad(part)) for part in joined]


def _parts(data: GraphData, split: str) -> Iterator[list[jraph.GraphsTuple]]:
    graphs = data.graphs.held_out(split)
    for first in range(0, len(graphs), data.batch_size):
        last = min(first + data.batch_size, len(graphs))
        yield [graphs[index] for index in range(first, last)]
