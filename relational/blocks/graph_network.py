"""The graph network block: edges, nodes and globals, each updated from the others.

Everything else of this family is this block with arguments (`classic_networks.py`), or
`propagate` itself. What edges say is either kept, edge by edge, or is a term of
`propagate`, which then need not store an array of edges.

Shapes: *lead leading axes of the graph, N nodes, E edges, G graphs of a tuple, D width.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational.blocks import parts, pooling
from relational.blocks.listening import check_aggregators, check_hearing
from relational.blocks.saying import Aggregators, Kept, Term, at_edges
from relational.blocks.split_updates import SplitMLP
from relational.blocks.updates import ByName, Update, check_inputs, check_update
from relational.graphs import EDGE

EDGE_INPUTS = ("edge", "receiver", "sender", "globals")
NODE_INPUTS = ("received", "sent", "node", "globals")
GLOBAL_INPUTS = ("edges", "nodes", "globals")

Function = Callable[..., Any] | ByName | None


class GraphNetwork(hk.Module):
    """A full graph network block (Battaglia et al. 2018, algorithm 1).

        e'_k = phi_e(e_k, v_receiver(k), v_sender(k), u)         `update_edge`
        v'_i = phi_v(rho({e'_k : receiver(k) = i}), v_i, u)      `update_node`
        u'   = phi_u(rho({e'_k}), rho({v'_i}), u)                `update_global`

    An update is a function of rows [rows, D] -> [rows, D'], such as `hk.nets.MLP`, on
    its inputs side by side, or a `ByName` or `SplitMLP`; None leaves what was there.
    Inputs that are not named need not exist.

    With `score_edge`, rho of edges to nodes may attend: a softmax over the edges that end
    in a node makes weights of their scores (section 4.2.2, with phi_e as beta). Unlike
    jraph's, the edges that are returned and pooled are e', not weighted.

    Args:
      update_edge, update_node, update_global: phi_e, phi_v, phi_u.
      score_edge: as an update, from e'_k and the `edge_inputs` but "edge" to one score,
        or H for so many parts of e'_k, each with weights of its own. For `rl.Softmax()`
        among `edges_to_nodes`; edges are then listed, whether they are kept or not.
      edge_inputs: what phi_e reads, of "edge", "receiver", "sender", "globals", in the
        order in which it comes.
      node_inputs: what phi_v reads, of "received" and "sent" (what the edges that end
        and that begin in the node say), "node", "globals".
      global_inputs: what phi_u reads, of "edges", "nodes", "globals".
      edges_to_nodes: rho of edges that end in a node, or begin there; an aggregator, or
        several, whose results stand side by side.
      edges_to_globals, nodes_to_globals: rho of the edges and the nodes of a graph.
      keeps_edges: whether the returned graph has the updated edges. If not, it has the
        old ones, and what edges say is a term of `rl.propagate`: on a rule such as
        `rl.Complete()` no array of edges need be stored.
      over: the edge set; a graph tuple has the edge set `edge`.

    Raises:
      ValueError: if inputs are unknown, or aggregators need scores and there are none.

    Example, three nodes in a row:

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import GraphNetwork
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=jnp.ones([2, 1]), globals=jnp.ones([1, 1]),
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: GraphNetwork(
    ...     update_edge=hk.nets.MLP([8, 4]), update_node=hk.Linear(5),
    ...     update_global=jnp.tanh)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> out = jax.jit(block.apply)(params, None, graph)
    >>> out.edges.shape, out.nodes.shape, out.globals.shape  # 4 + 5 + 1 numbers of u'.
    ((2, 4), (3, 5), (1, 10))
    """

    def __init__(
        self,
        *,
        update_edge: Function = None,
        update_node: Function = None,
        update_global: Function = None,
        score_edge: Function = None,
        edge_inputs: Sequence[str] = EDGE_INPUTS,
        node_inputs: Sequence[str] = ("received", "node", "globals"),
        global_inputs: Sequence[str] = GLOBAL_INPUTS,
        edges_to_nodes: Aggregators = rl.Sum(),  # noqa: B008  # It is frozen.
        edges_to_globals: Aggregators = rl.Sum(),  # noqa: B008
        nodes_to_globals: Aggregators = rl.Sum(),  # noqa: B008
        keeps_edges: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_update("update_edge", update_edge)
        check_update("update_node", update_node)
        check_update("update_global", update_global)
        check_update("score_edge", score_edge)
        check_inputs("edge_inputs", edge_inputs, EDGE_INPUTS)
        check_inputs("node_inputs", node_inputs, NODE_INPUTS)
        check_inputs("global_inputs", global_inputs, GLOBAL_INPUTS)
        if score_edge is None:
            check_aggregators("edges_to_nodes", edges_to_nodes)
        else:
            check_hearing(edges_to_nodes)
        check_aggregators("edges_to_globals", edges_to_globals)
        check_aggregators("nodes_to_globals", nodes_to_globals)
        self.update_edge = update_edge
        self.update_node = update_node
        self.update_global = update_global
        self.score_edge = score_edge
        self.edge_inputs = tuple(edge_inputs)
        self.node_inputs = tuple(node_inputs)
        self.global_inputs = tuple(global_inputs)
        self.edges_to_nodes = edges_to_nodes
        self.edges_to_globals = edges_to_globals
        self.nodes_to_globals = nodes_to_globals
        self.keeps_edges = keeps_edges
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other edges, nodes and globals.

        Args:
          graph: features [*lead, N, D], [*lead, E, D] and globals [*lead, D] ([G, D]
            in a graph tuple), those that are read.
          lowering: of what nodes hear, as for `rl.propagate`.

        Raises:
          ValueError: if features that are read are missing; the message names them.
        """
        whole, back = parts.as_graph(graph)
        said = self._say(whole)
        after = whole
        if isinstance(said, Kept) and self.keeps_edges and self.update_edge is not None:
            after = said.in_graph(after)
        if self.update_node is not None:
            after = self._update_nodes(after, said, lowering)
        if self.update_global is not None:
            after = self._update_globals(after, said, lowering)
        return back(after)

    @hk.transparent
    def _say(self, graph: rl.Graph) -> Kept | Term | None:
        """Returns what edges say: as they are, updated and kept, or as a term."""
        hears = self.update_node is not None and "received" in self.node_inputs
        tells = self.update_node is not None and "sent" in self.node_inputs
        pools = self.update_global is not None and "edges" in self.global_inputs
        scores = (hears or tells) and self.score_edge is not None
        if self.update_edge is None:
            if not (hears or tells or pools):
                return None
            wanted_by = "update_node" if hears or tells else "update_global"
            return self._kept(graph, self._given_edges(graph, wanted_by), scores)
        # The sum of all edges is that of what nodes hear; other pools need the edges.
        is_sum = not pools or self.edges_to_globals == rl.Sum()
        if self.keeps_edges or tells or scores or not is_sum:
            return self._kept(graph, self._updated_edges(graph), scores)
        return self._term(graph) if hears or pools else None

    @hk.transparent
    def _kept(self, graph: rl.Graph, said: jax.Array, scores: bool) -> Kept:
        if not scores:
            return Kept(graph, self.over, said)
        others = [name for name in self.edge_inputs if name != "edge"]
        read = {"edge": said, **self._read_edges(graph, others)}
        update = Update(self.score_edge, "score_edge")
        return Kept(
            graph, self.over, said, _by_rows(update, self._at_edges(graph, read))
        )

    @hk.transparent
    def _given_edges(self, graph: rl.Graph, wanted_by: str) -> jax.Array:
        return parts.edge_features(graph, self.over, wanted_by)

    @hk.transparent
    def _read_edges(
        self, graph: rl.Graph, names: Sequence[str]
    ) -> dict[str, jax.Array]:
        """Returns inputs of the edge update, on the set that has them."""
        edge_set = graph.edge_set(self.over)
        read = {}
        for name in names:
            if name == "edge":
                read[name] = self._given_edges(graph, "update_edge")
            elif name == "globals":
                globals_ = parts.global_features(graph, "update_edge")
                read[name] = parts.spread(graph, edge_set.receivers, globals_)
            else:
                node_set = getattr(edge_set, f"{name}s")
                read[name] = parts.node_features(graph, node_set, "update_edge")
        return read

    @hk.transparent
    def _edge_update(self, graph: rl.Graph) -> tuple[dict[str, jax.Array], Function]:
        """Returns what the edge update reads, and the rest of it: a function of that.

        The first layer of a `SplitMLP` is applied to each part where it lives.
        """
        read, split = self._read_edges(graph, self.edge_inputs), self.update_edge
        if not isinstance(split, SplitMLP):
            return read, split
        return split.project(read), ByName(lambda **at: split.finish([*at.values()]))

    @hk.transparent
    def _updated_edges(self, graph: rl.Graph) -> jax.Array:
        read, function = self._edge_update(graph)
        update = Update(function, "update_edge")
        return _by_rows(update, self._at_edges(graph, read))

    @hk.transparent
    def _at_edges(
        self, graph: rl.Graph, read: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Returns what was read, of both ends of each edge."""
        topology = parts.listed(graph, self.over)
        return {
            name: value
            if name == "edge"
            else at_edges(topology, name, value, graph.batch_axes)
            for name, value in read.items()
        }

    @hk.transparent
    def _term(self, graph: rl.Graph) -> Term:
        read, function = self._edge_update(graph)
        widths = {name: value.shape[-1] for name, value in read.items()}
        dtype = jnp.result_type(*read.values())
        update = Update(function, "update_edge").purely(widths, dtype)
        return Term(graph, self.over, read, update)

    @hk.transparent
    def _update_nodes(
        self, graph: rl.Graph, said: Kept | Term | None, lowering: Any
    ) -> rl.Graph:
        edge_set = graph.edge_set(self.over)
        node_set = edge_set.receivers
        read = {}
        for name in self.node_inputs:
            if name == "received":
                assert said is not None
                read[name] = said.received(self.edges_to_nodes, lowering)
            elif name == "sent":
                assert isinstance(said, Kept)
                read[name] = said.sent(self.edges_to_nodes, lowering)
            elif name == "globals":
                globals_ = parts.global_features(graph, "update_node")
                read[name] = parts.spread(graph, node_set, globals_)
            else:
                read[name] = parts.node_features(graph, node_set, "update_node")
        updated = _by_rows(Update(self.update_node, "update_node"), read)
        return graph.with_features(node_set, updated)

    @hk.transparent
    def _update_globals(
        self, graph: rl.Graph, said: Kept | Term | None, lowering: Any
    ) -> rl.Graph:
        node_set = graph.edge_set(self.over).receivers
        read = {}
        for name in self.global_inputs:
            if name == "edges":
                assert said is not None
                read[name] = said.pooled(self.edges_to_globals, lowering)
            elif name == "nodes":
                features = parts.node_features(graph, node_set, "update_global")
                read[name] = pooling.pool_nodes(
                    graph, node_set, features, self.nodes_to_globals
                )
            else:
                read[name] = parts.global_features(graph, "update_global")
        updated = _by_rows(Update(self.update_global, "update_global"), read)
        return dataclasses.replace(graph, globals_=updated)


def _by_rows(update: Update, read: Mapping[str, jax.Array]) -> jax.Array:
    def call(*flat: jax.Array) -> jax.Array:
        return update(dict(zip(read, flat, strict=True)))

    return parts.by_rows(call, *read.values())
