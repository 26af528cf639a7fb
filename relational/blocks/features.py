"""All that blocks update in a graph, as one tree: features of nodes, edges and graphs.

Who hears whom is no part of it, and so stays known while a loop over steps is traced.
"""

import dataclasses
from typing import Any

import jax
import jraph

import relational as rl

_FIELDS = ("nodes", "edges", "globals")


def features_of(graph: rl.Graph | jraph.GraphsTuple) -> Any:
    """Returns the features of nodes, edges and globals.

    >>> import jax.numpy as jnp, relational as rl
    >>> features_of(rl.Graph(nodes={"node": jnp.ones([1, 2])}))
    ({'node': Array([[1., 1.]], dtype=float32)}, {}, None)
    """
    if isinstance(graph, jraph.GraphsTuple):
        return graph.nodes, graph.edges, graph.globals
    nodes = {name: graph.features(name) for name in graph.nodes}
    edges = {name: edge_set.features for name, edge_set in graph.edges.items()}
    return nodes, edges, graph.globals_


def with_all_features(graph: Any, features: Any) -> Any:
    """Returns a graph, of either kind, with other features of everything."""
    nodes, edges, globals_ = features
    if isinstance(graph, jraph.GraphsTuple):
        return graph._replace(nodes=nodes, edges=edges, globals=globals_)
    for name, value in nodes.items():
        graph = graph.with_features(name, value)
    for name, value in edges.items():
        graph = with_edges(graph, name, value)
    return dataclasses.replace(graph, globals_=globals_)


def with_edges(graph: rl.Graph, over: str, features: Any) -> rl.Graph:
    """Returns a graph with other features of an edge set."""
    edge_set = dataclasses.replace(graph.edge_set(over), features=features)
    return dataclasses.replace(graph, edges={**graph.edges, over: edge_set})


def path_of(path: Any) -> str:
    """Returns where a leaf of `features_of` stands, such as `nodes['node']`."""
    return _FIELDS[path[0].idx] + jax.tree_util.keystr(path[1:])


def changed_shape(before: Any, after: Any) -> str | None:
    """Returns what the first leaf that is not as it was became, in words; or None.

    >>> import jax.numpy as jnp
    >>> changed_shape((jnp.ones(2), None, None), (jnp.ones(3), None, None))
    '`nodes` was float32[2] and became float32[3]'
    """
    was, became = _shapes(before), _shapes(after)
    for name in was | became:
        if was.get(name) != became.get(name):
            return f"`{name}` was {was.get(name)} and became {became.get(name)}"
    return None


def _shapes(features: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(features)
    return {
        path_of(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }
