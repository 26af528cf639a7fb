"""Graph tuples as batches of the training loop: flat mappings of arrays.

An example of such a batch is a whole graph tuple, already padded, so that B is 1. Beside
its features a part of a graph has what is true of it, and whether that counts: features
of a labelled tuple are mappings of `features`, `true` and `counted`.

Shapes: B 1, N nodes, E edges, G graphs of a tuple.
"""

import dataclasses
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from relational.training.tasks import Batch

_PARTS = ("nodes", "edges", "globals")
_LABELS = ("true", "counted")
_EDGES = ("senders", "receivers", "n_node", "n_edge")


@dataclasses.dataclass(frozen=True)
class KnownEdges:
    """The edges of the one graph that every batch is, which batches leave out.

    Whoever closes over them knows them while a step is traced, and so the planner may
    sort them, or make a sparse matrix of them, once. Equal edges are equal values.

    Attributes:
      digest: of the arrays; see `of`.
      graph: its `senders`, `receivers`, `n_node` and `n_edge` are read.
    """

    digest: str
    graph: jraph.GraphsTuple = dataclasses.field(compare=False, repr=False)

    @classmethod
    def of(cls, graph: jraph.GraphsTuple) -> "KnownEdges":
        """Returns the edges of a graph tuple of NumPy arrays.

        >>> from relational.datasets import Sorting
        >>> inputs, _ = Sorting(seed=0)[0]
        >>> KnownEdges.of(inputs) == KnownEdges.of(inputs._replace(nodes=None))
        True
        """
        total = hashlib.sha256()
        for name in _EDGES:
            total.update(np.ascontiguousarray(getattr(graph, name)).tobytes())
        bare = graph._replace(nodes=None, edges=None, globals=None)
        return cls(total.hexdigest()[:16], bare)


def labelled(
    graph: jraph.GraphsTuple, **labels: dict[str, np.ndarray | None]
) -> jraph.GraphsTuple:
    """Returns a tuple whose parts hold features and labels by name, those there are.

    >>> from relational.datasets import Sorting
    >>> inputs, targets = Sorting(seed=0)[0]
    >>> sorted(labelled(inputs, nodes={"true": targets.nodes}).nodes)
    ['features', 'true']
    """
    parts = {}
    for name in _PARTS:
        features = getattr(graph, name)
        given = features if isinstance(features, dict) else {"features": features}
        each = {**given, **labels.get(name, {})}
        held = {key: value for key, value in each.items() if value is not None}
        parts[name] = held or None
    return graph._replace(**parts)


def as_batch(graph: jraph.GraphsTuple, *, has_edges: bool = True) -> Batch:
    """Returns a labelled tuple as a batch of one example.

    Without its edges, if `has_edges` says so: see `KnownEdges`.

    >>> from relational.datasets import Sorting
    >>> inputs, targets = Sorting(seed=0)[0]
    >>> batch = as_batch(labelled(inputs, nodes={"true": targets.nodes}))
    >>> batch["nodes.true"].shape
    (1, 8, 2)
    """
    flat = {
        f"{name}.{key}": value
        for name in _PARTS
        for key, value in (getattr(graph, name) or {}).items()
    }
    if has_edges:
        flat |= {name: getattr(graph, name) for name in _EDGES}
    return {name: np.asarray(leaf)[None] for name, leaf in flat.items()}


def graph_of(batch: Batch, edges: KnownEdges | None = None) -> jraph.GraphsTuple:
    """Returns the graph tuple of a batch, without its labels.

    Its edges are those that are known, if any are.

    Where nodes bring more than features (`models.prepare`), they are a mapping.
    """
    features = {name: _first(batch.get(f"{name}.features")) for name in _PARTS}
    given = {
        name.removeprefix("nodes."): _first(leaf)
        for name, leaf in batch.items()
        if name.startswith("nodes.") and name.removeprefix("nodes.") not in _LABELS
    }
    if given.keys() - {"features"}:
        features["nodes"] = given
    if edges is not None:
        return edges.graph._replace(**features)
    rest = {name: _first(batch[name]) for name in _EDGES}
    return jraph.GraphsTuple(**features, **rest)


def label_of(batch: Batch, part: str, name: str = "true") -> jax.Array:
    """Returns what is true of the `nodes`, `edges` or `globals` of a batch."""
    return _first(batch[f"{part}.{name}"])


def _first(leaf: Any) -> Any:
    return None if leaf is None else jnp.asarray(leaf)[0]
