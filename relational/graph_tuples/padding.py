"""Padding to fixed sizes, so that graphs of many sizes share one compiled program.

What is missing goes into one dummy graph, with at least one node; empty graphs follow
it. This is the layout of `jraph.pad_with_graphs`, and of Graph Nets before it: padding
can be told from what is real by counts alone, under `jit` too (`masks`).

Shapes: N nodes, E edges, G graphs, each after padding.
"""

from typing import Any, Literal

import jax
import jraph
import numpy as np

from relational._checks import check_count, shown
from relational.graph_tuples.batching import batch, refuse_traced, rows_of
from relational.graph_tuples.checking import array, checked, library
from relational.graph_tuples.masks import num_real_graphs

PaddingEdges = Literal["apart", "one node"]


def pad(
    graph: jraph.GraphsTuple,
    *,
    num_nodes: int,
    num_edges: int,
    num_graphs: int = 2,
    padding_edges: PaddingEdges = "apart",
) -> jraph.GraphsTuple:
    """Pads a graph tuple with one dummy graph, then with empty graphs.

    Padding features are zero. A network may fill them with anything, and under sums over
    many layers with infinities: a dummy node with k self-edges grows by a factor of k a
    layer, and an infinity times a mask is a NaN in the gradients. So by default padding
    edges lead from one half of the dummy nodes to the other half, evenly: no dummy node
    hears what it said, and what they hold grows no faster than by addition. With one dummy
    node there is no other half: leave room for two.

    Args:
      graph: one or more graphs.
      num_nodes: nodes after padding; at least one more than there are.
      num_edges: edges after padding; at least as many as there are.
      num_graphs: graphs after padding; at least one more than there are, and 2.
      padding_edges: `"apart"`, or `"one node"`: all are self-edges of the first dummy
        node, as in jraph.

    Returns:
      The padded tuple, in NumPy if the graph is. Edges sorted by receiver stay sorted.

    Raises:
      ValueError: if the tuple contradicts itself or does not fit.
      TypeError: if the counts are traced.

    >>> import jraph, numpy as np
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> padded = pad(pair, num_nodes=6, num_edges=4, num_graphs=3)
    >>> padded.n_node, padded.n_edge
    (array([2, 4, 0]), array([1, 3, 0]))
    >>> padded.senders, padded.receivers
    (array([0, 2, 3, 2]), array([1, 4, 4, 5]))

    Reference: the layout is that of `pad_with_graphs` in jraph, and of
    `pad_graphs_tuple` in Graph Nets, whose documentation warns of the growth.

    We differ from jraph in where padding edges lead, and in that graphs with wrong counts
    or indices are refused.
    """
    refuse_traced(graph, "pad")
    graph = checked(graph)
    if padding_edges not in ("apart", "one node"):
        raise ValueError(
            "`padding_edges` must be 'apart' or 'one node'; got "
            f"{shown(padding_edges)}. 'apart' is safe over many layers."
        )
    spare = _spare(graph, num_nodes, num_edges, num_graphs)
    return batch([graph, _dummy(graph, *spare, padding_edges)])


def unpad(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    """Drops the dummy graph and the empty graphs after it: the inverse of `pad`.

    Args:
      graph: a tuple that `pad` (or `jraph.pad_with_graphs`) has padded. Counts do not
        tell whether it was: of one that was not, the last graph is dropped.

    Raises:
      ValueError: if it cannot have been padded.
      TypeError: if the counts are traced.

    >>> import jraph, numpy as np
    >>> pair = jraph.GraphsTuple(
    ...     nodes=np.ones([2]), edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> unpad(pad(pair, num_nodes=6, num_edges=4)).nodes
    array([1., 1.])
    """
    refuse_traced(graph, "unpad")
    graph = checked(graph)
    num_graphs = int(num_real_graphs(graph))
    counts = {"n_node": graph.n_node[:num_graphs], "n_edge": graph.n_edge[:num_graphs]}
    num_nodes, num_edges = (int(np.sum(count)) for count in counts.values())
    return jraph.GraphsTuple(
        nodes=rows_of(graph.nodes, slice(num_nodes)),
        edges=rows_of(graph.edges, slice(num_edges)),
        globals=rows_of(graph.globals, slice(num_graphs)),
        senders=rows_of(graph.senders, slice(num_edges)),
        receivers=rows_of(graph.receivers, slice(num_edges)),
        **counts,
    )


def _spare(
    graph: jraph.GraphsTuple, num_nodes: int, num_edges: int, num_graphs: int
) -> tuple[int, int, int]:
    """Returns how many nodes, edges and graphs are to be added."""
    sizes = {
        "num_nodes": (num_nodes, int(np.sum(graph.n_node)), 1),
        "num_edges": (num_edges, int(np.sum(graph.n_edge)), 0),
        "num_graphs": (num_graphs, int(graph.n_node.shape[0]), 1),
    }
    wrong = []
    for name, (size, there, least) in sizes.items():
        check_count(name, size, least=0, advice="It counts what there is in the end.")
        needed = max(there + least, 2 if name == "num_graphs" else 0)
        if size < needed:
            wrong.append(
                f"`{name}` must be at least {needed} for a graph tuple with {there}; got "
                f"{size}."
            )
    if wrong:
        raise ValueError(
            " ".join(wrong) + " The dummy graph takes one graph and at least one node."
        )
    nodes, edges, graphs = (size - there for size, there, _ in sizes.values())
    return nodes, edges, graphs


def _dummy(
    graph: jraph.GraphsTuple,
    num_nodes: int,
    num_edges: int,
    num_graphs: int,
    padding_edges: PaddingEdges,
) -> jraph.GraphsTuple:
    xp = library(graph)

    def zeros(tree: Any, size: int) -> Any:
        return jax.tree.map(
            lambda leaf: array(xp, np.zeros((size, *leaf.shape[1:])), leaf.dtype), tree
        )

    def first_of(size: int, like: Any) -> Any:
        return array(xp, [size] + [0] * (num_graphs - 1), like.dtype)

    senders, receivers = _padding_edges(num_nodes, num_edges, padding_edges)
    return jraph.GraphsTuple(
        nodes=zeros(graph.nodes, num_nodes),
        edges=zeros(graph.edges, num_edges),
        globals=zeros(graph.globals, num_graphs),
        senders=_like(graph.senders, senders, xp),
        receivers=_like(graph.receivers, receivers, xp),
        n_node=first_of(num_nodes, graph.n_node),
        n_edge=first_of(num_edges, graph.n_edge),
    )


def _padding_edges(
    num_nodes: int, num_edges: int, padding_edges: PaddingEdges
) -> tuple[Any, Any]:
    """Returns which dummy nodes padding edges join; receivers ascend.

    Apart: S nodes only speak and R nodes only hear, so that no walk along the edges is
    longer than one. The edges are dealt out evenly at both ends, since some networks add
    up at senders as well.
    """
    if padding_edges == "one node" or num_nodes == 1:
        return np.zeros(num_edges, np.int32), np.zeros(num_edges, np.int32)
    num_senders = num_nodes // 2
    num_receivers = num_nodes - num_senders
    edges = np.arange(num_edges)
    return (
        edges % num_senders,
        num_senders + edges * num_receivers // max(num_edges, 1),
    )


def _like(indices: Any, padding: Any, xp: Any) -> Any:
    if indices is None:
        if padding.size:
            raise ValueError(
                "`num_edges` must be 0 for a graph without `senders` and `receivers`; got "
                f"{padding.size}. Give it empty arrays of integers."
            )
        return None
    return array(xp, padding, indices.dtype)
