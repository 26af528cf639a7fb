"""Graphs with several node sets and edge sets: a block for each edge set.

What the edge sets that lead to one node set make of it is combined, and the node set
updates itself, as in TF-GNN. Pooling is the same thing: an edge set that leads to a node
that stands for the graph.

Shapes: *lead leading axes of the graph, N nodes, G graphs of a tuple, D width.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_choice, shown
from relational.blocks import parts, pooling
from relational.blocks.updates import ByName, Update, check_update


class PerEdgeSet(hk.Module):
    """A block for each edge set, combined for each node set (Schlichtkrull et al. 2018).

        heard_s = combine({block_e(graph) at s : edge set e leads to s})
        v'_s    = update_s(heard_s, v_s)

    All blocks see the graph as it came.

    Args:
      blocks: for each edge set a block over it, from graph to graph.
      combine: "sum", "mean" or "concatenate".
      updates: for each node set a function of [rows, D], of what was heard beside what
        was there, or a `ByName` of `heard` and `node`. Without one, what was heard
        takes the place of what was there.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import GraphSAGE, PerEdgeSet
    >>> def edges(senders, receivers, topology):
    ...     return rl.EdgeSet(senders=senders, receivers=receivers, topology=topology)
    >>> graph = rl.Graph(
    ...     nodes={"paper": jnp.ones([3, 4]), "author": jnp.ones([2, 5])},
    ...     edges={"cites": edges("paper", "paper", rl.Edges([0, 1], [1, 2], 3)),
    ...            "writes": edges("author", "paper", rl.Edges([0, 1], [0, 2], 3, 2))})
    >>> block = hk.transform(lambda graph: PerEdgeSet(
    ...     {name: GraphSAGE(width=6, over=name) for name in graph.edges})(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> block.apply(params, None, graph).nodes["paper"].shape
    (3, 6)
    """

    def __init__(
        self,
        blocks: Mapping[str, Callable[[Any], Any]],
        *,
        combine: Literal["sum", "mean", "concatenate"] = "sum",
        updates: Mapping[str, Callable[..., jax.Array] | ByName] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(blocks, Mapping) or not blocks:
            raise ValueError(
                "`blocks` must be a mapping of edge sets to blocks over them; got "
                f"{shown(blocks)}."
            )
        check_choice("combine", combine, ("sum", "mean", "concatenate"))
        for node_set, update in (updates or {}).items():
            check_update(f"updates['{node_set}']", update)
        self.blocks = dict(blocks)
        self.combine = combine
        self.updates = dict(updates or {})

    def __call__(self, graph: rl.Graph | jraph.GraphsTuple) -> Any:
        """Returns the graph with other features of all node sets that hear."""
        whole, back = parts.as_graph(graph)
        heard: dict[str, list[jax.Array]] = {}
        edges = dict(whole.edges)
        for over, block in self.blocks.items():
            result = block(whole)
            node_set = whole.edge_set(over).receivers
            heard.setdefault(node_set, []).append(result.features(node_set))
            edges[over] = result.edge_set(over)
        unheard = set(self.updates) - set(heard)
        if unheard:
            raise ValueError(
                f"`updates` has `{min(unheard)}`, to which none of the edge sets leads: "
                f"{', '.join(self.blocks)}."
            )
        after = dataclasses.replace(whole, edges=edges)
        for node_set, each in heard.items():
            value = self._combined(node_set, each)
            if node_set in self.updates:
                value = self._updated(whole, node_set, value)
            after = after.with_features(node_set, value)
        return back(after)

    @hk.transparent
    def _combined(self, node_set: str, each: list[jax.Array]) -> jax.Array:
        if self.combine == "concatenate":
            return jnp.concatenate(each, -1)
        widths = [value.shape[-1] for value in each]
        if len(set(widths)) > 1:
            raise ValueError(
                f"`combine='{self.combine}'` needs results of one width for the node "
                f"set `{node_set}`; got {widths}. Or 'concatenate' them."
            )
        total: jax.Array = sum(each[1:], each[0])
        return total / len(each) if self.combine == "mean" else total

    @hk.transparent
    def _updated(self, graph: rl.Graph, node_set: str, heard: jax.Array) -> jax.Array:
        update = Update(self.updates[node_set], f"update_{node_set}")
        node = parts.node_features(graph, node_set, f"updates['{node_set}']")

        def call(heard: jax.Array, node: jax.Array) -> jax.Array:
            return update({"heard": heard, "node": node})

        return parts.by_rows(call, heard, node)


def with_graph_nodes(
    graph: rl.Graph | jraph.GraphsTuple, *, node_set: str = "graph"
) -> rl.Graph:
    """Returns a graph in which each graph is a node as well, which blocks can update.

    For each node set s there are two more edge sets: `s to graph`, over which the graph
    hears its nodes, and `graph to s`, over which they hear it. So a global update is a
    block over an edge set, and attention over it is attention pooling.

    Args:
      graph: its globals become the features of the new nodes; None becomes width 0.
      node_set: the name of the new nodes, of which there are G, or one a leading index.

    >>> import jax.numpy as jnp, jraph, relational as rl
    >>> from relational.blocks import with_graph_nodes
    >>> pair = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 4]), edges=None, senders=jnp.array([0]),
    ...     receivers=jnp.array([1]), globals=jnp.ones([2, 5]),
    ...     n_node=jnp.array([2, 1]), n_edge=jnp.array([1, 0]))
    >>> graph = with_graph_nodes(pair)
    >>> graph.features("graph").shape
    (2, 5)
    >>> print(graph.edge_set("node to graph").topology.text())
    ##.
    ..#
    """
    whole, _ = parts.as_graph(graph)
    if node_set in whole.nodes:
        raise ValueError(
            f"`node_set` must be a new name; got `{node_set}`, which the graph has."
        )
    edges = {
        name: dataclasses.replace(edge_set, topology=parts.within_graphs(whole, name))
        for name, edge_set in whole.edges.items()
    }
    for name in whole.nodes:
        star = pooling.star(whole, name)
        edges[f"{name} to {node_set}"] = rl.EdgeSet(
            senders=name, receivers=node_set, topology=star
        )
        edges[f"{node_set} to {name}"] = rl.EdgeSet(
            senders=node_set, receivers=name, topology=parts.turned(star)
        )
    return rl.Graph(
        nodes={**whole.nodes, node_set: _graph_features(whole)},
        edges=edges,
        batch_axes=whole.batch_axes,
    )


def _graph_features(graph: rl.Graph) -> jax.Array:
    features = graph.globals_
    if graph.counts is not None:
        return jnp.zeros([len(graph.counts[0]), 0]) if features is None else features
    if features is not None:
        return jnp.expand_dims(parts.global_features(graph, "with_graph_nodes"), -2)
    leaf = next(iter(jax.tree.leaves(graph.nodes)))
    return jnp.zeros([*leaf.shape[: graph.batch_axes], 1, 0])
