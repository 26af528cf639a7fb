"""What a block reads of a graph, whichever way the graph came.

A `jraph.GraphsTuple` becomes an `rl.Graph` and goes back; globals are spread over the
nodes of their graph.

Shapes: *lead leading axes of the graph, N nodes, E edges, G graphs of a tuple, D width.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

import relational as rl
from relational._checks import shown
from relational.graphs import EDGE, NODE
from relational.relations import Relation
from relational.topologies import Topology


def as_graph(graph: Any) -> tuple[rl.Graph, Callable[[rl.Graph], Any]]:
    """Returns what came as an `rl.Graph`, and how to give it back as what came.

    Nodes that are None become features of width 0; missing edges become empty lists.

    >>> import jax.numpy as jnp, jraph
    >>> pair = jraph.GraphsTuple(
    ...     nodes=None, edges=None, senders=None, receivers=None, globals=None,
    ...     n_node=jnp.array([2]), n_edge=jnp.array([0]))
    >>> graph, back = as_graph(pair)
    >>> graph.features("node").shape, back(graph).nodes
    ((2, 0), None)
    """
    if isinstance(graph, rl.Graph):
        return graph, lambda result: result
    if not isinstance(graph, jraph.GraphsTuple):
        raise TypeError(
            "`graph` must be an `rl.Graph` or a `jraph.GraphsTuple`; got "
            f"{shown(graph)}."
        )
    filled = graph
    if graph.senders is None and graph.receivers is None:
        none = np.zeros([0], np.int32)
        filled = filled._replace(senders=none, receivers=none)
    if graph.nodes is None:
        filled = filled._replace(nodes=jnp.zeros([_num_nodes(graph), 0]))

    def back(result: rl.Graph) -> jraph.GraphsTuple:
        nodes = result.nodes[NODE]
        if graph.nodes is None and nodes is filled.nodes:
            nodes = None
        features = result.edges[EDGE].features
        return graph._replace(nodes=nodes, edges=features, globals=result.globals_)

    return rl.Graph.of(filled), back


def over_topology(
    graph: jraph.GraphsTuple,
    topology: Topology,
    relations: Mapping[str, Relation] | None = None,
) -> rl.Graph:
    """Returns the nodes of a graph tuple with a rule about who may hear whom.

    Blocks let nobody hear the nodes of another graph.

    Args:
      graph: nodes, globals and counts are taken; edges are left behind.
      topology: such as `rl.Complete()`; the edge set is called `edge`.
      relations: labels of its edges, by name.

    >>> import jax.numpy as jnp, jraph, relational as rl
    >>> from relational.blocks import over_topology
    >>> sets = jraph.GraphsTuple(
    ...     nodes=jnp.ones([5, 2]), edges=None, senders=None, receivers=None,
    ...     globals=None, n_node=jnp.array([3, 2]), n_edge=jnp.array([0, 0]))
    >>> str(over_topology(sets, rl.Complete()).edge_set("edge").topology)
    'Complete()'
    """
    bare = graph._replace(edges=None, senders=None, receivers=None)
    whole, _ = as_graph(bare._replace(n_edge=jnp.zeros_like(graph.n_edge)))
    edge_set = rl.EdgeSet(
        senders=NODE, receivers=NODE, topology=topology, relations=relations or {}
    )
    counts = (graph.n_node, graph.n_edge)
    return rl.Graph(
        nodes=whole.nodes,
        edges={EDGE: edge_set},
        globals_=graph.globals,
        counts=counts,
    )


def node_features(graph: rl.Graph, node_set: str, wanted_by: str) -> jax.Array:
    """Returns the features [*lead, N, D] of a node set.

    Raises:
      ValueError: if there are none, or they are of another kind.
    """
    features = graph.features(node_set)
    return _checked(features, f"nodes['{node_set}']", "N", graph.batch_axes, wanted_by)


def edge_features(graph: rl.Graph, over: str, wanted_by: str) -> jax.Array:
    """Returns the features [*lead, E, D] of an edge set, as `node_features`."""
    features = graph.edge_set(over).features
    if isinstance(features, dict):
        features = features.get("features")
    return _checked(
        features, f"edges['{over}'].features", "E", graph.batch_axes, wanted_by
    )


def global_features(graph: rl.Graph, wanted_by: str) -> jax.Array:
    """Returns the globals, [*lead, D] or [G, D] of a graph tuple, as `node_features`."""
    axes = graph.batch_axes if graph.counts is None else 1
    return _checked(graph.globals_, "globals", "", axes - 1, wanted_by)


def _checked(
    features: Any, name: str, letter: str, batch_axes: int, wanted_by: str
) -> jax.Array:
    shape = getattr(features, "shape", None)
    if features is None or shape == () or (shape is not None and shape[-1] == 0):
        raise ValueError(
            f"`{name}` must have features, which `{wanted_by}` reads; it has none. Add "
            "them, or leave them out of the inputs."
        )
    is_float = shape is not None and jnp.issubdtype(features.dtype, jnp.floating)
    if shape is None or not is_float or len(shape) != batch_axes + 2:
        axes = ", ".join(["*lead", letter, "D"] if letter else ["*lead or G", "D"])
        raise ValueError(
            f"`{name}` must be floats [{axes}], of rank {batch_axes + 2}, for "
            f"`{wanted_by}`; got {shown(features)}."
        )
    result: jax.Array = features
    return result


def graph_ids(graph: rl.Graph, node_set: str) -> Any:
    """Returns which graph of a tuple each node belongs to, [N]; in NumPy if known.

    >>> import jax.numpy as jnp, relational as rl
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 1])},
    ...                  counts=(jnp.array([1, 2]), jnp.array([0, 0])))
    >>> graph_ids(graph, "node")
    array([0, 1, 1], dtype=int32)
    """
    assert graph.counts is not None
    if len(graph.nodes) != 1:
        raise ValueError(
            "`counts` tell the graphs of one node set; got "
            f"{', '.join(graph.nodes)}. Give several node sets leading axes, or edge "
            "sets that lead to a node a graph."
        )
    n_node, num_nodes = graph.counts[0], graph.num_nodes(node_set)
    if isinstance(n_node, jax.core.Tracer):
        ids = jnp.arange(n_node.shape[0], dtype=jnp.int32)
        return jnp.repeat(ids, n_node, total_repeat_length=num_nodes)
    return np.repeat(np.arange(len(n_node), dtype=np.int32), np.asarray(n_node))


def within_graphs(graph: rl.Graph, over: str) -> Topology:
    """Returns who may hear whom; by a rule, only within each graph of a tuple."""
    edge_set = graph.edge_set(over)
    topology = edge_set.topology
    if graph.counts is None or isinstance(topology, rl.Edges):
        return topology
    if np.shape(graph.counts[0])[0] == 1:
        return topology
    return topology & rl.SameSegment(graph_ids(graph, edge_set.receivers))


def listed(graph: rl.Graph, over: str) -> rl.Edges:
    """Returns the edges of an edge set one by one, in the order of their features.

    Raises:
      ValueError: if some of the listed edges do not count, as of `edges & rule`.
    """
    edge_set, topology = graph.edge_set(over), within_graphs(graph, over)
    counts = (graph.num_nodes(edge_set.receivers), graph.num_nodes(edge_set.senders))
    found = topology.listed(*counts)
    if found is None:
        return rl.Edges(*topology.edges(*counts), *counts)
    if found.valid is not None:
        raise ValueError(
            f"the edge set `{over}` must list its edges, all of which count, for a "
            f"block that keeps them; got {topology}. Give the remaining ones to "
            "`rl.Edges(senders, receivers)`."
        )
    return rl.Edges(found.senders, found.receivers, *counts)


def turned(topology: Topology) -> Topology:
    """Returns the edges the other way round; listed ones stay a list."""
    if not isinstance(topology, rl.Edges):
        return topology.T
    return rl.Edges(topology.receivers, topology.senders, *topology.counts()[::-1])


def spread(graph: rl.Graph, node_set: str, globals_: jax.Array) -> jax.Array:
    """Returns for each node the globals of its graph: [*lead, N, D]."""
    if graph.counts is not None:
        ids = jnp.asarray(graph_ids(graph, node_set))
        return jnp.take(globals_, ids, axis=0, mode="clip")
    *lead, width = globals_.shape
    each = jnp.expand_dims(globals_, -2)
    return jnp.broadcast_to(each, (*lead, graph.num_nodes(node_set), width))


def joined(heard: Any) -> jax.Array:
    """Returns what several aggregators heard side by side, [*lead, N, A D]."""
    return jnp.concatenate(heard, -1) if isinstance(heard, tuple) else heard


def by_rows(function: Callable[..., Any], *parts: jax.Array) -> jax.Array:
    """Calls a function of [rows, D] on arrays [*lead, N, D], whose rows it flattens.

    A dense layer on rank 2 has a gradient of one product; on rank 3 it is slower.
    """
    lead = parts[0].shape[:-1]
    flat = [part.reshape(math.prod(lead), part.shape[-1]) for part in parts]
    result = function(*flat)
    return result.reshape(*lead, *result.shape[1:])


def _num_nodes(graph: jraph.GraphsTuple) -> int:
    if not isinstance(graph.n_node, jax.core.Tracer):
        return int(np.sum(np.asarray(graph.n_node)))
    raise ValueError(
        "`nodes` must be an array where `n_node` is traced, since their number is a "
        "shape; got None. Give `jnp.zeros([num_nodes, 0])`."
    )
