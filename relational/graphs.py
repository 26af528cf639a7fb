"""Graphs: nodes, edges and globals, with a topology for each edge set.

The one noun that blocks take and give. A graph may have several node sets and several
edge sets between them: an encoder-decoder has two and three. A `jraph.GraphsTuple`
converts both ways: several graphs are one graph with more nodes.

Shapes: *lead leading axes (a batch of graphs with one topology), N nodes, E edges, G
graphs of a tuple.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from relational import _pytrees
from relational._checks import check_array, check_count, shown
from relational.relations import Relation, Rows
from relational.topologies import Edges, Topology

NODE = "node"  # The node set and the edge set of a converted graph tuple.
EDGE = "edge"


@_pytrees.register(data=("topology", "features", "relations"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class EdgeSet:
    """Edges from one node set to another.

    Attributes:
      senders, receivers: the names of the node sets.
      topology: who may hear whom.
      features: None, or a pytree of [*lead, E, ...] in the order of the edges.
      relations: labels of the edges, by name.

    >>> import relational as rl
    >>> edge_set = rl.EdgeSet(senders="note", receivers="note", topology=rl.Causal(),
    ...                       relations={"offset": rl.Offset(clip=8)})
    >>> str(edge_set.topology)
    'Causal()'
    """

    senders: str
    receivers: str
    topology: Topology
    features: Any = None
    relations: Mapping[str, Relation | Rows] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.topology, Topology):
            raise TypeError(
                "`EdgeSet.topology` must be a topology such as `rl.Causal()`; got "
                f"{shown(self.topology)}."
            )
        _check_mapping("EdgeSet.relations", self.relations, "relations")
        for name, relation in self.relations.items():
            if not isinstance(relation, Relation | Rows):
                raise TypeError(
                    f"`EdgeSet.relations['{name}']` must be a relation such as "
                    f"`rl.Offset(clip=8)`; got {shown(relation)}."
                )


@_pytrees.register(data=("nodes", "edges", "globals_", "counts"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """A graph with named node sets and edge sets.

    Attributes:
      nodes: for each set a pytree of [*lead, N, ...]. In a dict, `features` is what
        blocks update; other leaves are attributes that relations read.
      edges: the edge sets, by name.
      globals_: None, or a pytree of [*lead, ...] (of a graph tuple: [G, ...]).
      counts: of a graph tuple, (n_node, n_edge), each [G]; else None.
      batch_axes: how many leading axes there are.

    Raises:
      ValueError: if a node set is missing, counts differ, an index is out of range,
        or edge features do not fit; the message names the field.

    >>> import jax.numpy as jnp, relational as rl
    >>> graph = rl.Graph(
    ...     nodes={"word": jnp.zeros([5, 8])},
    ...     edges={"self": rl.EdgeSet(senders="word", receivers="word",
    ...                               topology=rl.Causal())})
    >>> graph.num_nodes("word")
    5
    """

    nodes: Mapping[str, Any]
    edges: Mapping[str, EdgeSet] = dataclasses.field(default_factory=dict)
    globals_: Any = None
    counts: tuple[Any, Any] | None = None
    batch_axes: int = 0

    def __post_init__(self) -> None:
        check_count(
            "batch_axes", self.batch_axes, least=0, advice="It counts leading axes."
        )
        _check_mapping("nodes", self.nodes, "arrays")
        _check_mapping("edges", self.edges, "`rl.EdgeSet`s")
        for name in self.nodes:
            self.num_nodes(name)
        for name, edge_set in self.edges.items():
            if not isinstance(edge_set, EdgeSet):
                raise TypeError(
                    f"`edges['{name}']` must be an `rl.EdgeSet`, which says between "
                    f"which node sets it leads; got {shown(edge_set)}."
                )
            self._check_edges(name, edge_set)

    def num_nodes(self, name: str) -> int:
        """Returns how many nodes a set has."""
        sizes = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._nodes(name)):
            at = f"nodes['{name}']{jax.tree_util.keystr(path)}"
            check_array(at, leaf, "Text and objects stay outside.")
            if jnp.ndim(leaf) <= self.batch_axes:
                raise ValueError(
                    f"`{at}` must have {self.batch_axes} leading axes (`batch_axes`) "
                    f"and then an axis of nodes; got shape {jnp.shape(leaf)}."
                    + ("" if hasattr(leaf, "shape") else " Make one array of a list.")
                )
            sizes[at] = int(jnp.shape(leaf)[self.batch_axes])
        if len(set(sizes.values())) != 1:
            listed = ", ".join(f"{at}: {size}" for at, size in sizes.items()) or "none"
            raise ValueError(
                f"`nodes['{name}']` must have arrays of one number of nodes; got "
                f"{listed}."
            )
        return next(iter(sizes.values()))

    def features(self, name: str) -> Any:
        """Returns what blocks update of a node set: [*lead, N, D]."""
        nodes = self._nodes(name)
        if not isinstance(nodes, Mapping):
            return nodes
        if "features" not in nodes:
            raise ValueError(
                f"`nodes['{name}']` must have `features`, which blocks update; it has "
                f"{', '.join(nodes)}. Add them, or give one array."
            )
        return nodes["features"]

    def attributes(self, name: str) -> dict[str, Any]:
        """Returns the other leaves of a node set, which relations read."""
        nodes = self._nodes(name)
        if not isinstance(nodes, Mapping):
            return {}
        return {key: leaf for key, leaf in nodes.items() if key != "features"}

    def with_features(self, name: str, features: Any) -> "Graph":
        """Returns the graph with other features of a node set."""
        old = self._nodes(name)
        new = {**old, "features": features} if isinstance(old, Mapping) else features
        return dataclasses.replace(self, nodes={**self.nodes, name: new})

    def with_topology(self, name: str, topology: Topology) -> "Graph":
        """Returns the graph with other edges in an edge set."""
        changed = dataclasses.replace(self.edge_set(name), topology=topology)
        return dataclasses.replace(self, edges={**self.edges, name: changed})

    def edge_set(self, name: str) -> EdgeSet:
        """Returns an edge set.

        Raises:
          ValueError: if there is none of this name.
        """
        if name not in self.edges:
            known = ", ".join(self.edges) or "none"
            raise ValueError(
                f"there is no edge set `{name}` in the graph; it has {known}."
            )
        return self.edges[name]

    def _nodes(self, name: str) -> Any:
        if name not in self.nodes:
            known = ", ".join(map(str, self.nodes)) or "none"
            raise ValueError(
                f"there is no node set `{name}` in the graph; it has {known}."
            )
        return self.nodes[name]

    def _check_edges(self, name: str, edge_set: EdgeSet) -> None:
        for side in ("senders", "receivers"):
            wanted = getattr(edge_set, side)
            if wanted not in self.nodes:
                raise ValueError(
                    f"`edges['{name}'].{side}` must name a node set, "
                    f"{', '.join(self.nodes)}; got `{wanted}`."
                )
        sizes = {
            "receivers": self.num_nodes(edge_set.receivers),
            "senders": self.num_nodes(edge_set.senders),
        }
        known = dict(zip(sizes, edge_set.topology.counts(), strict=True))
        for side, size in sizes.items():
            if known[side] not in (None, size):
                raise ValueError(
                    f"`edges['{name}'].topology` must have as many {side} as the node "
                    f"set `{getattr(edge_set, side)}` has nodes, {size}; got "
                    f"{known[side]}."
                )
        if isinstance(edge_set.topology, Edges):
            self._check_listed(name, edge_set, edge_set.topology, sizes)

    def _check_listed(
        self, name: str, edge_set: EdgeSet, topology: Edges, sizes: Mapping[str, int]
    ) -> None:
        try:
            topology.check(sizes["receivers"], sizes["senders"])
        except ValueError as error:
            raise ValueError(f"`edges['{name}'].topology`: {error}") from None
        for path, leaf in jax.tree_util.tree_leaves_with_path(edge_set.features):
            shape, count = jnp.shape(leaf), topology.senders.shape[-1]
            if len(shape) <= self.batch_axes or shape[self.batch_axes] != count:
                raise ValueError(
                    f"`edges['{name}'].features{jax.tree_util.keystr(path)}` must have "
                    f"a row an edge, {count}; got shape {shape}."
                )

    @classmethod
    def of(cls, graph: jraph.GraphsTuple) -> "Graph":
        """Returns a `jraph.GraphsTuple` as one graph: node set `node`, edges `edge`.

        >>> import jax.numpy as jnp, jraph, relational as rl
        >>> tuple_ = jraph.GraphsTuple(
        ...     nodes=jnp.zeros([3, 2]), edges=None, globals=None,
        ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
        ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
        >>> rl.Graph.of(tuple_).to_graphs_tuple().nodes.shape
        (3, 2)
        """
        check_graphs_tuple(graph)
        edge_set = EdgeSet(
            senders=NODE,
            receivers=NODE,
            topology=Edges.of(graph),
            features=graph.edges,
        )
        return cls(
            nodes={NODE: graph.nodes},
            edges={EDGE: edge_set},
            globals_=graph.globals,
            counts=(graph.n_node, graph.n_edge),
        )

    def to_graphs_tuple(self) -> jraph.GraphsTuple:
        """Returns the graph as a `jraph.GraphsTuple`.

        Raises:
          ValueError: if it has several node or edge sets, or leading axes.
        """
        if len(self.nodes) != 1 or len(self.edges) != 1 or self.batch_axes:
            raise ValueError(
                "a graph tuple has one node set, one edge set and no leading axes; got "
                f"{len(self.nodes)}, {len(self.edges)} and {self.batch_axes}. Take one "
                "of each, and flatten the batch into nodes."
            )
        ((name, nodes),) = self.nodes.items()
        ((_, edge_set),) = self.edges.items()
        topology = edge_set.topology
        if isinstance(topology, Edges):
            senders, receivers = topology.senders, topology.receivers
        else:
            senders, receivers = topology.edges(self.num_nodes(name))
        counts = self.counts or (
            jnp.array([self.num_nodes(name)]),
            jnp.array([senders.shape[-1]]),
        )
        return jraph.GraphsTuple(
            nodes=nodes,
            edges=edge_set.features,
            senders=senders,
            receivers=receivers,
            globals=self.globals_,
            n_node=counts[0],
            n_edge=counts[1],
        )


def check_graphs_tuple(graph: jraph.GraphsTuple) -> None:
    """Raises a ValueError where a graph tuple contradicts itself.

    jraph accepts out-of-range indices and wrong counts in silence.
    """
    if not isinstance(graph, jraph.GraphsTuple):
        raise TypeError(f"`graph` must be a `jraph.GraphsTuple`; got {shown(graph)}.")
    for name, leaves, count in (
        ("n_node", graph.nodes, graph.n_node),
        ("n_edge", graph.edges, graph.n_edge),
    ):
        _check_counts(name, count)
        if isinstance(count, jax.core.Tracer):
            continue
        total = int(np.sum(np.asarray(count)))
        for path, leaf in jax.tree_util.tree_leaves_with_path(leaves):
            if jnp.shape(leaf)[:1] != (total,):
                field = "nodes" if name == "n_node" else "edges"
                raise ValueError(
                    f"`{field}{jax.tree_util.keystr(path)}` must have sum({name}) = "
                    f"{total} rows; got shape {jnp.shape(leaf)}."
                )
        if name == "n_edge" and graph.senders is not None:
            for side in ("senders", "receivers"):
                if jnp.shape(getattr(graph, side)) != (total,):
                    raise ValueError(
                        f"`{side}` must have sum(n_edge) = {total} entries; got shape "
                        f"{jnp.shape(getattr(graph, side))}."
                    )
    num_graphs = jnp.shape(graph.n_node)[0]
    if jnp.shape(graph.n_edge) != (num_graphs,):
        raise ValueError(
            f"`n_edge` must have an entry a graph, as `n_node` has, {num_graphs}; got "
            f"shape {jnp.shape(graph.n_edge)}."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(graph.globals):
        if jnp.shape(leaf)[:1] != (num_graphs,):
            raise ValueError(
                f"`globals{jax.tree_util.keystr(path)}` must have a row a graph, "
                f"{num_graphs}; got shape {jnp.shape(leaf)}."
            )


def _check_counts(name: str, count: Any) -> None:
    """Refuses counts of a graph tuple that are no [G] whole numbers of 0 or more."""
    shape, dtype = getattr(count, "shape", ()), getattr(count, "dtype", None)
    if dtype is None or len(shape) != 1 or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"`{name}` must be an array of integers [G], one a graph; got "
            f"{shown(count)}. Of one graph: `{name}=jnp.array([count])`."
        )
    if not isinstance(count, jax.core.Tracer) and (np.asarray(count) < 0).any():
        at = int(np.argmax(np.asarray(count) < 0))
        raise ValueError(
            f"`{name}[{at}]` must be 0 or more; got {int(count[at])}. It counts the "
            f"{'nodes' if name == 'n_node' else 'edges'} of a graph."
        )


def _check_mapping(name: str, value: Any, of: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be a mapping of names to {of}; got {shown(value)}."
        )
