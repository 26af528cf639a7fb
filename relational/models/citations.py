"""The one graph of a citation set, as the training loop reads it.

Each batch is the whole graph but for its edges, which are the same in all; splits differ
in the papers that are counted.

Shapes: none of its own; see `graph_batches`.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jraph

from relational import specs
from relational.models.graph_batches import KnownEdges, as_batch, labelled
from relational.models.graph_sets import check_split, digest
from relational.models.positions import prepare
from relational.training.tasks import Batch, Batches

_FOR_EVER = 2**32  # Steps.


@dataclasses.dataclass(frozen=True)
class CitationData:
    """The one graph of a set of papers, as the training loop reads it.

    Attributes:
      spec: which set.
      model: the network that the graph is prepared for.
      data_source: as for `datasets.load_planetoid`.
    """

    spec: specs.PlanetoidSpec
    model: specs.NetworkSpec
    data_source: str | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the graph and its labels."""
        known = _citations(self.spec.name, self.data_source)
        return digest(self.spec, (known.graph, known.labels))

    @property
    def splits(self) -> tuple[str, ...]:
        """The two parts that are not trained on."""
        return ("validation", "test")

    def training(self, seed: int) -> Batches:
        """Returns the graph again and again."""
        import grain

        del seed
        whole = grain.MapDataset.source([self._batch("train")]).repeat(_FOR_EVER)
        found: Batches = iter(whole.to_iter_dataset(grain.ReadOptions(0, 0)))
        return found

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns the graph once, with the papers of a part to be counted."""
        check_split(split, ("train", "validation", "test"))
        return [self._batch(split)]

    def _batch(self, split: str) -> Batch:
        known = _citations(self.spec.name, self.data_source)
        labels = {"true": known.labels, "counted": getattr(known, split)}
        return as_batch(labelled(self._prepared, nodes=labels), has_edges=False)

    @functools.cached_property
    def edges(self) -> KnownEdges:
        """The edges of the graph, which no batch repeats."""
        return KnownEdges.of(_citations(self.spec.name, self.data_source).graph)

    @functools.cached_property
    def _prepared(self) -> jraph.GraphsTuple:
        known = _citations(self.spec.name, self.data_source)
        return prepare(self.model, known.graph)


@functools.lru_cache(maxsize=4)
def _citations(name: str, data_source: str | None) -> Any:
    from relational import datasets

    return datasets.load_planetoid(name, data_source=data_source)
