"""Recurrence: blocks that carry a hidden graph from one call to the next.

A cell is any `hk.RNNCore`, such as `hk.GRU` or `hk.LSTM`; nodes, edges and graphs are
its batch. What it carries has a row for each of them (Battaglia et al. 2018, section
4.3, on recurrent graph networks).

Shapes: *lead leading axes of the graph, N nodes, E edges, D width, H width of a cell.
"""

import dataclasses
import math
from typing import Any

import haiku as hk
import jax
import jraph

import relational as rl
from relational.blocks import parts
from relational.blocks.features import with_edges
from relational.graphs import EDGE

State = dict[str, Any]


class Recurrent(hk.Module):
    """Cells on edges, nodes and globals, each with a state of its own.

    After a `GraphNetwork` it is a gated recurrent connection between graphs: what the
    network made is let into the hidden graph as far as the gates allow.

    Args:
      edge, node, global_: cells, or None to leave what is there.
      over: the edge set; nodes are those that its edges lead to.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import Recurrent
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> def run(graph):
    ...     block = Recurrent(node=hk.GRU(4))
    ...     state = block.initial_state(graph)
    ...     for _ in range(3):
    ...         out, state = block(graph, state)
    ...     return out.nodes.shape, state["nodes"].shape
    >>> hk.testing.transform_and_run(run)(graph)
    ((3, 4), (3, 4))
    """

    def __init__(
        self,
        *,
        edge: hk.RNNCore | None = None,
        node: hk.RNNCore | None = None,
        global_: hk.RNNCore | None = None,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.cells = {"edges": edge, "nodes": node, "globals": global_}
        self.over = over

    @hk.transparent
    def initial_state(self, graph: rl.Graph | jraph.GraphsTuple) -> State:
        """Returns the state of a graph of which nothing is known: zeros."""
        whole, _ = parts.as_graph(graph)
        states = {}
        for field, cell in self.cells.items():
            if cell is not None:
                lead = _read(whole, self.over, field).shape[:-1]
                flat = cell.initial_state(math.prod(lead))
                states[field] = _with_lead(flat, lead)
        return states

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, state: State
    ) -> tuple[Any, State]:
        """Returns the graph with what the cells say, and the next state.

        Args:
          graph: the input of this step.
          state: of the step before, from `initial_state` at first.
        """
        whole, back = parts.as_graph(graph)
        after = {}
        for field, cell in self.cells.items():
            if cell is None:
                continue
            value = _read(whole, self.over, field)
            lead = value.shape[:-1]
            flat = _flattened(state[field], len(lead), math.prod(lead))
            rows = value.reshape(math.prod(lead), value.shape[-1])
            said, new = cell(rows, flat)
            whole = _written(whole, self.over, field, _with_lead(said, lead))
            after[field] = _with_lead(new, lead)
        return back(whole), after


class GatedUpdate(hk.Module):
    """A GRU as the update of a node: what it heard is the input, it is the state.

    A `ByName` update of `node_inputs=("received", "node")` in gated graph networks (Li
    et al. 2016, equations 3 to 6).

    >>> import haiku as hk, jax.numpy as jnp
    >>> from relational.blocks import GatedUpdate
    >>> def run(received, node):
    ...     return GatedUpdate()(received=received, node=node)
    >>> hk.testing.transform_and_run(run)(jnp.ones([3, 5]), jnp.ones([3, 2])).shape
    (3, 2)
    """

    def __call__(self, *, received: jax.Array, node: jax.Array) -> jax.Array:
        """Returns the node's next state [rows, H].

        Args:
          received: [rows, D].
          node: [rows, H].
        """
        said, _ = hk.GRU(node.shape[-1], name="gru")(received, node)
        return said


def _read(graph: rl.Graph, over: str, field: str) -> jax.Array:
    if field == "edges":
        return parts.edge_features(graph, over, "Recurrent")
    if field == "nodes":
        node_set = graph.edge_set(over).receivers
        return parts.node_features(graph, node_set, "Recurrent")
    return parts.global_features(graph, "Recurrent")


def _written(graph: rl.Graph, over: str, field: str, value: jax.Array) -> rl.Graph:
    if field == "edges":
        return with_edges(graph, over, value)
    if field == "nodes":
        return graph.with_features(graph.edge_set(over).receivers, value)
    return dataclasses.replace(graph, globals_=value)


def _with_lead(tree: Any, lead: tuple[int, ...]) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(*lead, *leaf.shape[1:]), tree)


def _flattened(tree: Any, axes: int, rows: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(rows, *leaf.shape[axes:]), tree)
