"""Several graph tuples as one, and apart again; which graph a row belongs to.

A batch is one graph with more nodes: features are laid end to end, and indices of nodes
are moved past the graphs before. NumPy stays NumPy; as soon as one array is JAX's, all
are.

Shapes: N nodes, E edges, G graphs.
"""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from relational._checks import shown
from relational.graph_tuples.checking import (
    FEATURES,
    SIDES,
    array,
    checked,
    library,
    num_rows,
    owners,
)


def batch(graphs: Iterable[jraph.GraphsTuple]) -> jraph.GraphsTuple:
    """Lays graph tuples end to end.

    Graphs may be empty, batches themselves, and without features (None); features are
    any pytrees. Under `jit`, shapes give the offsets.

    Args:
      graphs: one or more, with the same fields, nested in the same way.

    Returns:
      One tuple of all their graphs, in order. Types of numbers are kept.

    Raises:
      ValueError: if there is no graph, one contradicts itself, or two differ in their
        fields; the message names the graph.

    >>> import jraph, numpy as np
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2, 3]), edges=None, globals=None,
    ...     senders=np.array([0]), receivers=np.array([1]),
    ...     n_node=np.array([2]), n_edge=np.array([1]))
    >>> both = batch([pair, pair])
    >>> both.nodes.shape, both.receivers, both.n_node
    ((4, 3), array([1, 3]), array([2, 2]))
    """
    parts = [checked(graph, f"graphs[{i}]") for i, graph in enumerate(graphs)]
    if not parts:
        raise ValueError(
            "`graphs` must hold at least one graph tuple; got none. Their fields say "
            "which the batch has."
        )
    rows = _row_types(parts[0])
    for i, part in enumerate(parts[1:], start=1):
        if _row_types(part) != rows:
            _check_alike(parts[0], part, i)
    xp = library(parts)
    offsets = _offsets(parts)
    return jraph.GraphsTuple(
        **{field: _joined(parts, field, xp) for field in FEATURES},
        **{side: _moved(parts, side, offsets, xp) for side in SIDES},
        n_node=xp.concatenate([part.n_node for part in parts]),
        n_edge=xp.concatenate([part.n_edge for part in parts]),
    )


def unbatch(graph: jraph.GraphsTuple) -> list[jraph.GraphsTuple]:
    """Takes a batch apart: the inverse of `batch`, one tuple for each graph.

    Sizes must be known: not under `jit`.

    Raises:
      ValueError: if the tuple contradicts itself, or an edge leads from one graph to
        another.
      TypeError: if the counts are traced.

    >>> import jraph, numpy as np
    >>> both = jraph.GraphsTuple(
    ...     nodes=np.arange(3.0), edges=None, globals=None,
    ...     senders=np.array([0, 2]), receivers=np.array([1, 2]),
    ...     n_node=np.array([2, 1]), n_edge=np.array([1, 1]))
    >>> [(part.nodes.tolist(), part.senders.tolist()) for part in unbatch(both)]
    [([0.0, 1.0], [0]), ([2.0], [0])]
    """
    refuse_traced(graph, "unbatch")
    graph = checked(graph)
    num_graphs = int(graph.n_node.shape[0])
    node_ends, edge_ends = _ends(graph.n_node), _ends(graph.n_edge)

    def part(i: int) -> jraph.GraphsTuple:
        nodes = slice(node_ends[i], node_ends[i + 1])
        edges = slice(edge_ends[i], edge_ends[i + 1])
        return jraph.GraphsTuple(
            nodes=rows_of(graph.nodes, nodes),
            edges=rows_of(graph.edges, edges),
            globals=rows_of(graph.globals, slice(i, i + 1)),
            senders=_moved_back(graph.senders, edges, node_ends[i]),
            receivers=_moved_back(graph.receivers, edges, node_ends[i]),
            n_node=graph.n_node[i : i + 1],
            n_edge=graph.n_edge[i : i + 1],
        )

    return [part(i) for i in range(num_graphs)]


def node_graph_ids(graph: jraph.GraphsTuple) -> Any:
    """Says of each node which graph of the tuple it is in: [N] integers, ascending.

    With it a sum over the nodes of each graph is one segment sum. Works under `jit`
    where nodes have features, whose shape says how many there are.

    Raises:
      ValueError: if the tuple contradicts itself, or nothing says how many nodes there are.

    >>> import jraph, numpy as np
    >>> node_graph_ids(jraph.GraphsTuple(
    ...     nodes=None, edges=None, globals=None, senders=None, receivers=None,
    ...     n_node=np.array([2, 0, 1]), n_edge=np.array([0, 0, 0])))
    array([0, 0, 2], dtype=int32)
    """
    graph = checked(graph)
    return owners(graph.n_node, num_rows(graph, "nodes"))


def edge_graph_ids(graph: jraph.GraphsTuple) -> Any:
    """Says of each edge which graph of the tuple it is in: [E] integers, ascending.

    Raises:
      ValueError: if the tuple contradicts itself.

    >>> import jraph, numpy as np
    >>> edge_graph_ids(jraph.GraphsTuple(
    ...     nodes=None, edges=None, globals=None, senders=np.array([0, 1, 2]),
    ...     receivers=np.array([1, 0, 2]), n_node=np.array([2, 1]),
    ...     n_edge=np.array([2, 1])))
    array([0, 0, 1], dtype=int32)
    """
    graph = checked(graph)
    return owners(graph.n_edge, num_rows(graph, "edges"))


def refuse_traced(graph: jraph.GraphsTuple, function: str) -> None:
    """Raises a TypeError if counts are traced, where shapes follow from them."""
    counts = (getattr(graph, "n_node", None), getattr(graph, "n_edge", None))
    if any(isinstance(count, jax.core.Tracer) for count in counts):
        raise TypeError(
            f"`{function}` must know the counts of its graph, since shapes follow from "
            "them; got traced ones. Call it outside of `jit`, and use masks within."
        )


def _row_types(graph: jraph.GraphsTuple) -> Any:
    """Returns how features are nested, and the shape and type of a row of each."""
    fields = [getattr(graph, field) for field in (*FEATURES, *SIDES)]
    leaves, structure = jax.tree.flatten(fields)
    return structure, [(leaf.shape[1:], leaf.dtype) for leaf in leaves]


def _check_alike(first: jraph.GraphsTuple, other: jraph.GraphsTuple, i: int) -> None:
    for field in (*FEATURES, *SIDES):
        one: Any = jax.tree.structure(getattr(first, field))
        two: Any = jax.tree.structure(getattr(other, field))
        if one != two:
            raise ValueError(
                f"`graphs[{i}].{field}` must be nested as `graphs[0].{field}`, "
                f"{_kind(first, field)}; got {_kind(other, field)}. Give every graph the "
                "same fields."
            )
        leaves = jax.tree_util.tree_leaves_with_path(getattr(other, field))
        for (path, leaf), like in zip(
            leaves, jax.tree.leaves(getattr(first, field)), strict=True
        ):
            if jnp.shape(leaf)[1:] != jnp.shape(like)[1:]:
                raise ValueError(
                    f"`graphs[{i}].{field}{jax.tree_util.keystr(path)}` must have rows of "
                    f"shape {jnp.shape(like)[1:]}, as in `graphs[0]`; got "
                    f"{jnp.shape(leaf)[1:]}."
                )
            if leaf.dtype != like.dtype and field in FEATURES:
                raise ValueError(
                    f"`graphs[{i}].{field}{jax.tree_util.keystr(path)}` must be "
                    f"{like.dtype}, as in `graphs[0]`; got {leaf.dtype}. Convert it."
                )


def _kind(graph: jraph.GraphsTuple, field: str) -> str:
    value = getattr(graph, field)
    if value is None:
        return "None"
    leaves = jax.tree_util.tree_leaves_with_path(value)
    if len(leaves) == 1 and not leaves[0][0]:
        return "an array"
    paths = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves)
    return f"arrays {paths}" if paths else shown(value)


def _offsets(parts: list[jraph.GraphsTuple]) -> list[Any]:
    """Returns how many nodes come before each part: numbers, if shapes or counts say."""
    offsets: list[Any] = [0]
    for part in parts[:-1]:
        known = jax.tree.leaves(part.nodes) or not isinstance(
            part.n_node, jax.core.Tracer
        )
        size = num_rows(part, "nodes") if known else jnp.sum(part.n_node)
        offsets.append(offsets[-1] + size)
    return offsets


def _joined(parts: list[jraph.GraphsTuple], field: str, xp: ModuleType) -> Any:
    def join(*leaves: Any) -> Any:
        return xp.concatenate(leaves)

    return jax.tree.map(join, *(getattr(part, field) for part in parts))


def _moved(
    parts: list[jraph.GraphsTuple], side: str, offsets: list[Any], xp: ModuleType
) -> Any:
    if getattr(parts[0], side) is None:
        return None
    indices = [getattr(part, side) for part in parts]
    dtype = np.result_type(*(index.dtype for index in indices))
    return xp.concatenate(
        [
            array(xp, index, dtype) + array(xp, offset, dtype)
            for index, offset in zip(indices, offsets, strict=True)
        ]
    )


def _ends(counts: Any) -> list[int]:
    return [0, *np.cumsum(np.asarray(counts)).tolist()]


def rows_of(tree: Any, rows: slice) -> Any:
    """Returns some rows of each array."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _moved_back(indices: Any, edges: slice, offset: int) -> Any:
    if indices is None:
        return None
    return indices[edges] - np.asarray(offset, indices.dtype)
