"""From a spec's data to labelled graphs: generated tasks and molecules.

Models import no data set; this file imports them inside its functions.

Shapes: N nodes, E edges, G graphs of a tuple, D width.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jraph
import numpy as np

from relational import specs
from relational._checks import shown
from relational.models.graph_batches import labelled
from relational.models.graph_data import Graphs
from relational.models.positions import prepare

HELD_OUT = {"validation": 2**32 - 1, "test": 2**32 - 2, "larger": 2**32 - 3}
"""Seeds of the splits that generated tasks are not trained on; `train` has the run's."""

_MOST_GRAPHS = 1_000_000  # Of a training; then they come again.

GeneratedSpec = specs.ShortestPathSpec | specs.SortingSpec | specs.SpringsSpec


@dataclasses.dataclass(frozen=True)
class Mapped:
    """What a function makes of the items of a sequence, one at a time.

    >>> Mapped([1, 2, 3], lambda x: 10 * x)[1]
    20
    """

    items: Any
    function: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.function(self.items[index])


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What a function makes of the items of a short sequence, each made once.

    >>> made = []
    >>> items = Remembered([1, 2], lambda x: made.append(x) or 10 * x)
    >>> items[1], items[1], made
    (20, 20, [2])
    """

    items: Any
    function: Callable[[Any], Any]
    found: dict[int, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if index not in self.found:
            self.found[index] = self.function(self.items[index])
        return self.found[index]


@dataclasses.dataclass(frozen=True)
class Generated:
    """A generated task: every graph follows from the split's seed and its number.

    Attributes:
      spec: which task, and the sizes of its graphs.
      model: the network that they are prepared for.
    """

    spec: GeneratedSpec
    model: specs.NetworkSpec

    @property
    def fingerprint(self) -> str:
        """A digest of the spec and of a graph."""
        pair = self._source("validation", 1)[0]
        return digest(self.spec, pair)

    @property
    def splits(self) -> tuple[str, ...]:
        """At the size of the training, and larger."""
        return ("test", "larger")

    def training(self, seed: int) -> Graphs:
        """Returns the graphs of a seed."""
        return Mapped(self._source(seed, _MOST_GRAPHS), self._labelled)

    def held_out(self, split: str) -> Graphs:
        """Returns the graphs of a split."""
        check_split(split, tuple(HELD_OUT))
        return Mapped(self._source(split, self.spec.held_out), self._labelled)

    def _labelled(self, pair: Any) -> jraph.GraphsTuple:
        spec = self.spec
        sizes = spec.masses if isinstance(spec, specs.SpringsSpec) else spec.nodes
        most = max(*sizes, *spec.larger)
        return prepare(self.model, _labelled_pair(pair), most_nodes=most)

    def _source(self, split: str | int, count: int) -> Any:
        from relational import datasets

        spec = self.spec
        sizes = spec.masses if isinstance(spec, specs.SpringsSpec) else spec.nodes
        common: dict[str, Any] = {
            "seed": HELD_OUT[split] if isinstance(split, str) else split,
            "num_graphs": count,
        }
        chosen = spec.larger if split == "larger" else sizes
        chosen = (chosen[0], chosen[1])
        if isinstance(spec, specs.SpringsSpec):
            return datasets.Springs(**common, num_masses=chosen)
        if isinstance(spec, specs.SortingSpec):
            return datasets.Sorting(**common, num_nodes=chosen)
        return datasets.ShortestPath(**common, num_nodes=chosen)


@dataclasses.dataclass(frozen=True)
class MoleculeSet:
    """Molecules with a number each, normalised by the training part.

    Attributes:
      spec: which set, and the split.
      model: the network that they are prepared for.
      data_source: as for `datasets.load_molecules`.
    """

    spec: specs.MoleculesSpec
    model: specs.NetworkSpec
    data_source: str | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the spec and of all molecules."""
        known = _molecules(self.spec.name, self.data_source)
        return digest(self.spec, (known.graphs, known.targets))

    @property
    def splits(self) -> tuple[str, ...]:
        """The two parts that are not trained on."""
        return ("validation", "test")

    @property
    def std(self) -> float:
        """The standard deviation of the training targets, in their unit."""
        return self._scale.std

    @property
    def unit(self) -> str:
        """The unit of the targets."""
        return _molecules(self.spec.name, self.data_source).unit

    def training(self, seed: int) -> Graphs:
        """Returns the training part, whatever the seed."""
        del seed
        return self.held_out("train")

    def held_out(self, split: str) -> Graphs:
        """Returns the molecules of a part."""
        check_split(split, ("train", "validation", "test"))
        known = _molecules(self.spec.name, self.data_source)

        most = max(len(graph.nodes) for graph in known.graphs)

        def one(index: int) -> jraph.GraphsTuple:
            graph = known.graphs[index]._replace(globals=np.zeros([1, 1], np.float32))
            true = self._scale.normalised(known.targets[index])
            true = np.asarray(true, np.float32).reshape(1, 1)
            named = labelled(graph, globals={"true": true})
            return prepare(self.model, named, most_nodes=most)

        return Remembered(getattr(self._split, split).tolist(), one)

    @property
    def _split(self) -> Any:
        from relational import datasets

        count = len(_molecules(self.spec.name, self.data_source).graphs)
        return datasets.random_split(count, self.spec.split)

    @property
    def _scale(self) -> Any:
        from relational import datasets

        known = _molecules(self.spec.name, self.data_source)
        return datasets.scale_of(known.targets[self._split.train])


@functools.lru_cache(maxsize=4)
def _molecules(name: str, data_source: str | None) -> Any:
    from relational import datasets

    return datasets.load_molecules(name, data_source=data_source)


def _labelled_pair(pair: Any) -> jraph.GraphsTuple:
    return labelled(
        pair.inputs,
        nodes={"true": pair.targets.nodes},
        edges={"true": pair.targets.edges},
    )


def check_split(split: str, known: tuple[str, ...]) -> None:
    """Raises a ValueError unless a split is one of those there are."""
    if split not in known:
        listed = ", ".join(f"`{name}`" for name in known)
        raise ValueError(f"`split` must be one of {listed}; got {shown(split)}.")


def digest(spec: Any, arrays: Any) -> str:
    """Returns a short text that changes with a spec, or with arrays."""
    total = hashlib.sha256(repr(spec).encode())
    for leaf in jax.tree.leaves(arrays):
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()[:16]
