"""Layers on more nodes than the data have: a virtual node, or a node for each graph.

A virtual node is one more among the nodes of its graph: a rule lets it hear and be heard
in the same softmax. Nodes for graphs are a set of their own, with edge sets of their own.

Shapes: N nodes, E edges, G graphs of a tuple, D width.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks import parts
from relational.graphs import EDGE, NODE

Layer = Callable[[rl.Graph], rl.Graph]
Function = Callable[[jax.Array], jax.Array]

GRAPH = "graph"
"""The node set in which each graph is a node."""

_EDGE_SETS = {
    "edge": EDGE,
    "node_to_graph": f"{NODE} to {GRAPH}",
    "graph_to_node": f"{GRAPH} to {NODE}",
}


class VirtualNode(hk.Module):
    """Layers on graphs that have one node more (Ying et al. 2021, section 3.2).

    Args:
      layers: from graph to graph; they keep the nodes where they are.
    """

    def __init__(self, layers: Layer, *, name: str) -> None:
        super().__init__(name=name)
        self.layers = layers

    def __call__(self, graph: rl.Graph) -> rl.Graph:
        """Returns the graph whose globals are what the virtual nodes became."""
        features = parts.node_features(graph, NODE, self.name)
        init = hk.initializers.RandomNormal(1.0)
        row = hk.get_parameter("row", features.shape[-1:], features.dtype, init)
        place = _Places(graph)
        after = self.layers(place.widened(graph, row))
        result = after.features(NODE)
        if after.globals_ is not graph.globals_:
            raise ValueError(
                "the layers of `virtual_node` must not make globals, which are what the "
                "virtual nodes become. Put such layers behind it."
            )
        edges = {
            name: dataclasses.replace(edge_set, features=after.edge_set(name).features)
            for name, edge_set in graph.edges.items()
        }
        whole = dataclasses.replace(
            graph, edges=edges, globals_=jnp.take(result, place.virtual, axis=0)
        )
        return whole.with_features(NODE, jnp.take(result, place.old, axis=0))


class _Places:
    """Where nodes are among more of them: a virtual one stands after those of its graph."""

    def __init__(self, graph: rl.Graph) -> None:
        counts = counts_of(graph, "virtual_node")
        num_old = graph.num_nodes(NODE)
        self.counts = (counts[0] + 1, counts[1])
        self.num_nodes = num_old + len(counts[0])
        self.old = jnp.arange(num_old) + parts.graph_ids(graph, NODE)  # [N]
        self.virtual = jnp.cumsum(self.counts[0]) - 1  # [G]

    def widened(self, graph: rl.Graph, row: jax.Array) -> rl.Graph:
        def more(leaf: jax.Array, fill: Any) -> jax.Array:
            empty = jnp.zeros([self.num_nodes, *leaf.shape[1:]], leaf.dtype)
            old = empty.at[self.old].set(leaf)
            return old.at[self.virtual].set(fill)

        # Attributes are 0: what is known of other nodes is not known of these.
        nodes = {name: more(leaf, 0) for name, leaf in graph.attributes(NODE).items()}
        nodes["features"] = more(graph.features(NODE), row)
        edges = {
            name: dataclasses.replace(edge_set, topology=self._moved(graph, name))
            for name, edge_set in graph.edges.items()
        }
        return dataclasses.replace(
            graph, nodes={NODE: nodes}, edges=edges, counts=self.counts
        )

    def _moved(self, graph: rl.Graph, over: str) -> Any:
        topology = graph.edge_set(over).topology
        if not isinstance(topology, rl.Edges):
            return topology
        listed = parts.listed(graph, over)
        return rl.Edges(
            jnp.take(self.old, listed.senders),
            jnp.take(self.old, listed.receivers),
            self.num_nodes,
        )


def on_graph_nodes(layers: Layer, graph: rl.Graph) -> rl.Graph:
    """Returns what layers make of a graph in which each graph is a node as well."""
    counts_of(graph, "graph_nodes")
    after = layers(blocks.with_graph_nodes(graph, node_set=GRAPH))
    if after.globals_ is not None:
        raise ValueError(
            "the layers of `graph_nodes` must not make globals, which are the nodes "
            f"`{GRAPH}` there. Use `per_edge_set` with `node_to_graph`."
        )
    features = after.edge_set(EDGE).features
    edges = {EDGE: dataclasses.replace(graph.edge_set(EDGE), features=features)}
    whole = dataclasses.replace(graph, edges=edges, globals_=after.features(GRAPH))
    return whole.with_features(NODE, after.features(NODE))


def per_edge_set(
    spec: specs.PerEdgeSetSpec,
    make: Callable[[str], Layer],
    updates: dict[str, Function],
    name: str,
) -> Layer:
    """Returns a layer of layers for each edge set.

    Args:
      spec: the layers.
      make: makes those of an edge set, `edge`, `node_to_graph` or `graph_to_node`.
      updates: of node sets, on what was heard beside what was there.
      name: of the parameters.
    """
    chosen = [field for field in _EDGE_SETS if getattr(spec, field)]

    def layer(graph: rl.Graph) -> rl.Graph:
        missing = [each for each in chosen if _EDGE_SETS[each] not in graph.edges]
        if missing:
            raise ValueError(
                f"`{missing[0]}` must be an edge set of the graph, which has "
                f"{', '.join(graph.edges)}. Let it stand within `graph_nodes`."
            )
        block = blocks.PerEdgeSet(
            {_EDGE_SETS[each]: _over(_EDGE_SETS[each], make(each)) for each in chosen},
            combine=spec.combine,
            updates=updates,
            name=name,
        )
        result: rl.Graph = block(graph)
        return result

    return layer


def _over(name: str, layers: Layer) -> Layer:
    """Returns layers over an edge set that see it as the only one, called `edge`."""

    def block(graph: rl.Graph) -> rl.Graph:
        alone = dataclasses.replace(graph, edges={EDGE: graph.edge_set(name)})
        after = layers(alone)
        edges = {**graph.edges, name: after.edge_set(EDGE)}
        return dataclasses.replace(after, edges=edges)

    return block


def counts_of(graph: rl.Graph, layer: str) -> tuple[Any, Any]:
    """Returns how many nodes and edges each graph of a tuple has.

    Raises:
      ValueError: within `graph_nodes`, where graphs are told by their edges alone.
    """
    if graph.counts is None:
        raise ValueError(
            f"`{layer}` must stand outside `graph_nodes`, where nodes are not told by "
            "their graph. Put `graph_nodes` within it."
        )
    return graph.counts
