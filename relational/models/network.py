"""A graph network built from a spec: graph tuple in, graph tuples out.

A stack gives one graph. Encode, process, decode gives one after every step of
processing, so that a loss can judge them all.

Shapes: N nodes, E edges, G graphs of a tuple.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import haiku as hk
import jraph

import relational as rl
from relational import blocks, specs
from relational.blocks import parts
from relational.graphs import NODE
from relational.models.layers import Stack


@dataclasses.dataclass(frozen=True)
class Network:
    """A graph network as pure functions.

    Attributes:
      init: (key, graph) -> params.
      apply: (params, key, graph, is_training) -> a tuple of graphs: of each step of
        processing, the last one last. The key is for dropout, None outside training.

    >>> import jax, jax.numpy as jnp, jraph
    >>> from relational import models, specs
    >>> network = models.build(specs.load("shortest_path").model)
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 5]), edges=jnp.ones([2, 1]), globals=jnp.zeros([1, 1]),
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> params = jax.jit(network.init)(jax.random.key(0), graph)
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    8180
    >>> outputs = jax.eval_shape(
    ...     lambda: network.apply(params, None, graph, is_training=False))
    >>> len(outputs), outputs[-1].nodes.shape, outputs[-1].edges.shape
    (10, (3, 2), (2, 2))
    """

    init: Callable[..., Any]
    apply: Callable[..., tuple[jraph.GraphsTuple, ...]]


def build_network(spec: specs.NetworkSpec) -> Network:
    """Returns the graph network of a spec.

    Layers that ask for positions of nodes read graphs that `prepare` has returned.

    Raises:
      LayerError: when it is called, if a layer needs what the graph does not have.
    """

    def call(
        graph: jraph.GraphsTuple, *, is_training: bool = False
    ) -> tuple[jraph.GraphsTuple, ...]:
        whole, back = parts.as_graph(graph)
        if isinstance(spec, specs.StackSpec):
            place = ("model", "layers")
            stack = Stack(spec.layers, place, is_training=is_training, name="layers")
            return (back(_bare(stack(whole))),)
        return tuple(back(_bare(each)) for each in _steps(spec, whole, is_training))

    transformed = hk.transform(call)
    return Network(init=transformed.init, apply=transformed.apply)


def _bare(graph: rl.Graph) -> rl.Graph:
    """Returns the graph with features alone, without what came along with nodes."""
    return dataclasses.replace(graph, nodes={NODE: graph.features(NODE)})


def _steps(
    spec: specs.EncodeProcessDecodeSpec, graph: rl.Graph, is_training: bool
) -> list[rl.Graph]:
    """Returns what is decoded after every step."""

    def stack(layers: Any, name: str, *place: str) -> Stack:
        return Stack(layers, ("model", *place), is_training=is_training, name=name)

    encoded = stack(spec.encode, "encode", "encode")(graph)
    cells = _cells(encoded, spec.process.memory)
    block = blocks.EncodeProcessDecode(
        encoder=lambda graph: encoded,
        core=stack(spec.process.core, "core", "process", "core"),
        decoder=stack(spec.decode, "decode", "decode"),
        num_steps=spec.process.steps,
        memory=blocks.Recurrent(**cells, name="memory") if cells else None,
    )
    return block(graph)


def _cells(
    encoded: rl.Graph, memory: Literal["gru", "lstm"] | None
) -> dict[str, hk.RNNCore]:
    """Returns a cell for all that was encoded, as wide as that, if there is memory."""
    if memory is None:
        return {}
    cell = {"gru": hk.GRU, "lstm": hk.LSTM}[memory]
    edges = encoded.edge_set("edge").features
    widths = {
        "edge": None if edges is None else edges.shape[-1],
        "node": encoded.features("node").shape[-1],
        "global_": None if encoded.globals_ is None else encoded.globals_.shape[-1],
    }
    return {
        name: cell(width, name=f"{name.strip('_')}_cell")
        for name, width in widths.items()
        if width
    }
