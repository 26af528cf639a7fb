"""The shapes of a typical batch of a spec, without its data: for checks and for `explain`.

Shapes: none of its own; see `graph_batches`.
"""

from typing import Any

import jax
import jraph
import numpy as np

from relational import specs
from relational.models.graph_batches import KnownEdges, as_batch
from relational.models.graph_data import GraphData
from relational.models.graph_sets import Generated, GeneratedSpec
from relational.models.positions import asked_of, attribute, empty
from relational.training.tasks import Batch


def typical_batch(spec: specs.Spec) -> Batch:
    """Returns the shapes of a typical batch; no data set is read.

    Generated graphs are made. Of what is downloaded, sizes are known.

    >>> from relational import specs
    >>> typical_batch(specs.load("cora_gat"))["nodes.features"].shape
    (1, 2708, 1433)
    """
    from relational.datasets import molecules, planetoid

    data, model, size = spec.data, spec.model, spec.training.batch_size
    assert not isinstance(model, specs.ModelSpec)
    if isinstance(data, GeneratedSpec):
        batches = GraphData(Generated(data, model), size).evaluation("test")
        return jax.tree.map(_shape, dict(next(iter(batches))))
    if isinstance(data, specs.PlanetoidSpec):
        known = planetoid.SIZES[data.name]
        nodes = {
            "features": _array(known.num_nodes, known.num_words),
            "true": _array(known.num_nodes, dtype=np.int32),
            "counted": _array(known.num_nodes, dtype=np.bool_),
            **_given(model, known.num_nodes, known.num_nodes),
        }
        num_edges = 2 * known.num_edges
        graph = _empty(nodes, None, None, known.num_nodes, num_edges)
        return _shapes(graph, has_edges=False)
    assert isinstance(data, specs.MoleculesSpec)
    sizes = molecules.SIZES[data.name]
    atoms, bonds = (
        round(size * count / sizes.num_molecules)
        for count in (sizes.num_atoms, sizes.num_edges)
    )
    width = sum(map(len, molecules.ATOM_FEATURES.values()))
    return _shapes(
        _empty(
            {
                "features": _array(atoms, width),
                **_given(model, atoms, sizes.most_atoms),
            },
            {"features": _array(bonds, len(molecules.BOND_TYPES))},
            {"features": _array(size + 1, 1), "true": _array(size + 1, 1)},
            atoms,
            bonds,
            num_graphs=size + 1,
        )
    )


def typical_edges(spec: specs.Spec) -> KnownEdges | None:
    """Returns edges that stand for those that the task of a spec knows, if it knows any.

    There are as many as in the data, between nodes drawn at random, in both directions.
    """
    from relational.datasets import planetoid

    if not isinstance(spec.data, specs.PlanetoidSpec):
        return None
    known = planetoid.SIZES[spec.data.name]
    rng = np.random.default_rng(0)
    shape = 2, known.num_edges
    one, other = rng.integers(0, known.num_nodes, shape).astype(np.int32)
    senders, receivers = np.concatenate([[one, other], [other, one]], axis=1)
    order = np.lexsort((senders, receivers))
    return KnownEdges.of(
        jraph.GraphsTuple(
            nodes=None,
            edges=None,
            globals=None,
            senders=senders[order],
            receivers=receivers[order],
            n_node=np.array([known.num_nodes], np.int32),
            n_edge=np.array([2 * known.num_edges], np.int32),
        )
    )


def _given(model: specs.NetworkSpec, num_nodes: int, most: int) -> dict[str, Any]:
    """Returns what `prepare` adds to the nodes."""
    return {
        attribute(asked): empty(asked, num_nodes, most) for asked in asked_of(model)
    }


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


def _shapes(graph: jraph.GraphsTuple, *, has_edges: bool = True) -> Batch:
    return jax.tree.map(_shape, dict(as_batch(graph, has_edges=has_edges)))


def _shape(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
