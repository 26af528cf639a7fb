"""What all functions on graph tuples ask of one, and the array library they answer in.

`relational.graphs.check_graphs_tuple` compares counts with rows; here the edges are
looked at as well: each must stay within its own graph. What is traced cannot be looked
at, and is taken as it is.

Shapes: N nodes, E edges, G graphs.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from relational._checks import check_array, shown
from relational.graphs import check_graphs_tuple

FEATURES = ("nodes", "edges", "globals")
SIDES = ("senders", "receivers")


def checked(graph: jraph.GraphsTuple, at: str = "graph") -> jraph.GraphsTuple:
    """Returns a graph tuple whose counts, rows and edges agree, or says what does not.

    Empty lists of edges become integers: `jnp.array([])` is of float32, and would make
    float indices of all that it is batched with.

    Args:
      graph: any value.
      at: how errors name it.

    Raises:
      TypeError, ValueError: if something is wrong; the message names the field.
    """
    if _is_surely_sound(graph):
        return graph
    try:
        if isinstance(graph, jraph.GraphsTuple):
            for field in (*FEATURES, *SIDES):
                _check_arrays(graph, field)
        check_graphs_tuple(graph)
        for side in SIDES:
            _check_side(graph, side)
        graph = graph._replace(**{side: _indices(graph, side) for side in SIDES})
        if not is_traced(graph):
            _check_edges(graph)
    except (TypeError, ValueError) as error:
        if at == "graph":
            raise
        raise type(error)(f"`{at}`: {error}") from None
    return graph


def is_traced(graph: jraph.GraphsTuple) -> bool:
    """Says whether the structure of a graph tuple has no values yet."""
    fields = (graph.n_node, graph.n_edge, graph.senders, graph.receivers)
    return any(isinstance(field, jax.core.Tracer) for field in fields)


def library(*values: Any) -> ModuleType:
    """Returns `jax.numpy` if any leaf is an array of JAX, else `numpy`."""
    leaves = jax.tree.leaves(values)
    return jnp if any(isinstance(leaf, jax.Array) for leaf in leaves) else np


def array(xp: ModuleType, values: Any, dtype: Any) -> Any:
    """Returns an array of the library; JAX may hold 64 bits as 32."""
    if xp is jnp:
        dtype = jax.dtypes.canonicalize_dtype(dtype)
    return xp.asarray(values, dtype)


def num_rows(graph: jraph.GraphsTuple, field: str) -> int:
    """Returns how many `nodes` or `edges` there are, from shapes where they say it.

    Raises:
      TypeError: if only traced counts say it.
    """
    rows = (graph.nodes,) if field == "nodes" else (graph.senders, graph.edges)
    leaves = jax.tree.leaves(rows)
    if leaves:
        return int(jnp.shape(leaves[0])[0])
    count = graph.n_node if field == "nodes" else graph.n_edge
    if isinstance(count, jax.core.Tracer):
        raise TypeError(
            f"`graph.{field}` must be arrays where counts are traced, so that their "
            f"shapes say how many {field} there are; got None. Give each a feature, "
            "such as a zero."
        )
    return int(np.sum(np.asarray(count)))


def owners(counts: Any, total: int) -> Any:
    """Returns the graph of each row: `counts` [G] rows a graph, [total] in all."""
    if isinstance(counts, jax.Array):
        graphs = jnp.arange(counts.shape[0], dtype=jnp.int32)
        return jnp.repeat(graphs, counts, total_repeat_length=total)
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def _is_surely_sound(graph: Any) -> bool:
    """Says yes at once to most single graphs of NumPy; a no is to be looked into.

    Pipelines batch small graphs by the thousand, where the checks below take longer than
    the batching.
    """
    if not isinstance(graph, jraph.GraphsTuple):
        return False
    structure = (graph.n_node, graph.n_edge, graph.senders, graph.receivers)
    if not all(type(a) is np.ndarray and a.dtype.kind == "i" for a in structure):
        return False
    if graph.n_node.shape != (1,) or graph.n_edge.shape != (1,):
        return False
    num_nodes, num_edges = graph.n_node.item(), graph.n_edge.item()
    for indices in (graph.senders, graph.receivers):
        if indices.shape != (num_edges,):
            return False
        if num_edges and not (indices.min() >= 0 and indices.max() < num_nodes):
            return False
    counts = zip(FEATURES, (num_nodes, num_edges, 1), strict=True)
    return num_nodes >= 0 and all(
        type(leaf) is np.ndarray
        and leaf.dtype.kind in "biuf"
        and leaf.shape[:1] == (count,)
        for field, count in counts
        for leaf in jax.tree.leaves(getattr(graph, field))
    )


def _check_arrays(graph: jraph.GraphsTuple, field: str) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(getattr(graph, field))
    for path, leaf in leaves:
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise TypeError(
                f"`{field}{jax.tree_util.keystr(path)}` must be an array of NumPy or "
                f"JAX; got {shown(leaf)}. Make one array of a list."
            )
        check_array(f"{field}{jax.tree_util.keystr(path)}", leaf, "Text stays outside.")


def _check_side(graph: jraph.GraphsTuple, side: str) -> None:
    indices = getattr(graph, side)
    if (graph.senders is None) != (graph.receivers is None):
        raise ValueError(
            "`senders` and `receivers` must both be arrays, or both None in a graph "
            f"without edges; got `{side}` = "
            f"{'None' if indices is None else 'an array'} alone."
        )
    if indices is None:
        if not isinstance(graph.n_edge, jax.core.Tracer) and np.sum(graph.n_edge):
            raise ValueError(
                f"`{side}` must have sum(n_edge) = {int(np.sum(graph.n_edge))} entries; "
                "got None."
            )
        return
    if jnp.size(indices) and not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(
            f"`{side}` must be integers; got {indices.dtype}. They are numbers of nodes, "
            "from 0."
        )


def _indices(graph: jraph.GraphsTuple, side: str) -> Any:
    indices = getattr(graph, side)
    if indices is None or jnp.issubdtype(indices.dtype, jnp.integer):
        return indices
    return indices.astype(np.int32)  # Empty, as `_check_side` saw.


def _check_edges(graph: jraph.GraphsTuple) -> None:
    if graph.senders is None or not jnp.size(graph.senders):
        return
    n_node = np.asarray(graph.n_node, np.int64)
    ends = np.repeat(np.cumsum(n_node), np.asarray(graph.n_edge))  # [E]
    firsts = ends - np.repeat(n_node, np.asarray(graph.n_edge))
    for side in SIDES:
        indices = np.asarray(getattr(graph, side))
        wrong = np.flatnonzero((indices < firsts) | (indices >= ends))
        if wrong.size:
            edge = int(wrong[0])
            raise ValueError(
                f"`{side}[{edge}]` must be {_span(firsts[edge], ends[edge])}; got "
                f"{int(indices[edge])}. {wrong.size} of {indices.size} edges lead out of "
                "their graph."
            )


def _span(first: int, end: int) -> str:
    if first == end:
        return "absent, since its graph has no nodes"
    return f"from {first} to {end - 1}, a node of its graph"
