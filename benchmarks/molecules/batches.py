"""Batches of molecules: graph tuples packed to one shape, or atoms padded to a few.

Shapes: B molecules of a batch, N atoms of the largest of them, D features.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jraph
import numpy as np

from relational import blocks, graph_tuples

LIMIT = 8  # Distances in bonds have labels of their own up to here.
_MULTIPLE = 8  # Padded numbers of atoms.


class Packed:
    """Batches as graph tuples, padded to one shape; the target is the graph's globals."""

    def __init__(self, graphs: Sequence[jraph.GraphsTuple], targets: Any, size: int):
        self.graphs = [
            graph._replace(globals=np.full([1, 1], target, np.float32))
            for graph, target in zip(graphs, targets, strict=True)
        ]
        self.buckets = graph_tuples.Buckets.fit(graphs, batch_size=size, num_buckets=1)

    def batches(
        self, chosen: np.ndarray, rng: np.random.Generator | None
    ) -> Iterator[jraph.GraphsTuple]:
        order = chosen if rng is None else rng.permutation(chosen)
        yield from graph_tuples.pack([self.graphs[at] for at in order], self.buckets)

    def targets(self, batch: jraph.GraphsTuple) -> tuple[jax.Array, jax.Array]:
        return batch.globals[:, 0], graph_tuples.graph_mask(batch)


class Atoms(NamedTuple):
    """Molecules side by side, each padded to N atoms."""

    nodes: Any  # [B, N, D]
    counts: Any  # [B], atoms that there are.
    distance: Any  # [B, N, N], labels.
    bond: Any  # [B, N, N], labels: 0 for none, then the types.
    targets: Any  # [B]
    real: Any  # [B], whether a molecule counts.


class Padded:
    """Batches of molecules of about one size, so that there is little padding."""

    def __init__(self, graphs: Sequence[jraph.GraphsTuple], targets: Any, size: int):
        self.size = size
        counts = np.array([len(graph.nodes) for graph in graphs])
        tops = np.unique(-(-np.quantile(counts, [0.5, 0.8, 1]) // _MULTIPLE))
        tops = (tops * _MULTIPLE).astype(int)
        self.group = np.searchsorted(tops, counts)
        self.atoms = [
            _atoms(graph, tops[group], target)
            for graph, group, target in zip(graphs, self.group, targets, strict=True)
        ]

    def batches(
        self, chosen: np.ndarray, rng: np.random.Generator | None
    ) -> Iterator[Atoms]:
        order = chosen if rng is None else rng.permutation(chosen)
        made = []
        for group in np.unique(self.group):
            members = order[self.group[order] == group]
            made += [
                members[begin : begin + self.size]
                for begin in range(0, len(members), self.size)
            ]
        for at in range(len(made)) if rng is None else rng.permutation(len(made)):
            yield self._batch(made[at])

    def _batch(self, members: np.ndarray) -> Atoms:
        filled = np.resize(members, self.size)  # The first ones again.
        batch = Atoms(
            *map(np.stack, zip(*(self.atoms[i] for i in filled), strict=True))
        )
        return batch._replace(real=np.arange(self.size) < len(members))

    def targets(self, batch: Atoms) -> tuple[jax.Array, jax.Array]:
        return batch.targets, batch.real


def _atoms(graph: jraph.GraphsTuple, size: int, target: float) -> Atoms:
    count = len(graph.nodes)
    distance = np.full([size, size], LIMIT + 1, np.int32)
    known = blocks.shortest_path_distances(
        graph.senders, graph.receivers, count, limit=LIMIT
    )
    distance[:count, :count] = known.labels
    bond = np.zeros([size, size], np.int32)
    bond[graph.receivers, graph.senders] = 1 + graph.edges.argmax(-1)
    nodes = np.zeros([size, graph.nodes.shape[-1]], np.float32)
    nodes[:count] = graph.nodes
    return Atoms(nodes, np.int32(count), distance, bond, np.float32(target), True)
