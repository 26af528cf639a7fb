"""The shapes of a typical batch of a spec, without its data: for checks and for `explain`.

Shapes: none of its own; see `graph_batches`.
"""

from typing import Any

import jax
import jraph
import numpy as np

from relational import specs
from relational.models.graph_batches import as_batch
from relational.models.graph_data import GraphData
from relational.models.graph_sets import Generated, GeneratedSpec
from relational.training.tasks import Batch

_MEAN_SIZES = {"esol": (13.3, 27.4), "freesolv": (8.7, 16.8)}
"""Atoms and directed bonds of a mean molecule."""


def typical_batch(spec: specs.Spec) -> Batch:
    """Returns the shapes of a typical batch; no data set is read.

    Generated graphs are made. Of what is downloaded, sizes are known.

    >>> from relational import specs
    >>> typical_batch(specs.load("cora_gat"))["nodes.features"].shape
    (1, 2708, 1433)
    """
    from relational.datasets import molecules, planetoid

    data, size = spec.data, spec.training.batch_size
    if isinstance(data, GeneratedSpec):
        batches = GraphData(Generated(data), size).evaluation("test")
        return jax.tree.map(_shape, dict(next(iter(batches))))
    if isinstance(data, specs.PlanetoidSpec):
        known = planetoid.SIZES[data.name]
        nodes = {
            "features": _array(known.num_nodes, known.num_words),
            "true": _array(known.num_nodes, dtype=np.int32),
            "counted": _array(known.num_nodes, dtype=np.bool_),
        }
        return _shapes(_empty(nodes, None, None, known.num_nodes, 2 * known.num_edges))
    assert isinstance(data, specs.MoleculesSpec)
    atoms, bonds = (round(size * mean) for mean in _MEAN_SIZES[data.name])
    width = sum(map(len, molecules.ATOM_FEATURES.values())) + data.random_walk
    return _shapes(
        _empty(
            {"features": _array(atoms, width)},
            {"features": _array(bonds, len(molecules.BOND_TYPES))},
            {"features": _array(size + 1, 1), "true": _array(size + 1, 1)},
            atoms,
            bonds,
            num_graphs=size + 1,
        )
    )


def _empty(
    nodes: Any,
    edges: Any,
    globals_: Any,
    num_nodes: int,
    num_edges: int,
    num_graphs: int = 1,
) -> jraph.GraphsTuple:
    return jraph.GraphsTuple(
        nodes=nodes,
        edges=edges,
        globals=globals_,
        senders=_array(num_edges, dtype=np.int32),
        receivers=_array(num_edges, dtype=np.int32),
        n_node=_array(num_graphs, dtype=np.int32),
        n_edge=_array(num_graphs, dtype=np.int32),
    )


def _array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Returns an array that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _shapes(graph: jraph.GraphsTuple) -> Batch:
    return jax.tree.map(_shape, dict(as_batch(graph)))


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
