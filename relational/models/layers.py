"""From layers in a spec to functions from graph to graph: one block each.

A layer is made within a Haiku transform, under a name that its place gives it, and may
then be called several times with the same parameters.

Shapes: N nodes, E edges, G graphs of a tuple, D width.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational._checks import shown
from relational.blocks import parts
from relational.blocks.residual import dropout, norm
from relational.blocks.saying import with_edges
from relational.graphs import EDGE, NODE
from relational.models import node_sets, position_layers
from relational.models.named import topology_of
from relational.specs.layers import module_name
from relational.specs.problems import Place, dotted

Function = Callable[[jax.Array], jax.Array]
Layer = Callable[[rl.Graph], rl.Graph]

_AGGREGATORS = {
    "sum": rl.Sum(),
    "mean": rl.Mean(),
    "max": rl.Max(),
    "min": rl.Min(),
    "std": rl.Std(),
}
_ACTIVATIONS: dict[str, Function] = {
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}


class LayerError(ValueError):
    """A layer cannot do what its spec says to the graph that it is given."""


class Stack(hk.Module):
    """The layers of a spec, in order, as one block from graph to graph.

    Args:
      layers: the layers.
      place: where they stand in the spec, for errors.
      is_training: whether there is dropout.
    """

    def __init__(
        self,
        layers: Sequence[specs.LayerSpec],
        place: Place,
        *,
        is_training: bool,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.layers = tuple(layers)
        self.place = place
        self.is_training = is_training

    def __call__(self, graph: rl.Graph) -> rl.Graph:
        """Returns the graph after the last layer.

        Raises:
          LayerError: a layer needs what the graph does not have; the message begins with
            its path in the spec.
        """
        for index, spec in enumerate(self.layers):
            name = module_name(spec, index)
            place = (*self.place, index, name.rpartition("_")[0])
            layer = layer_of(spec, name, place, is_training=self.is_training)
            try:
                graph = layer(graph)
            except LayerError:
                raise
            except (ValueError, TypeError) as error:
                raise LayerError(f"{dotted(place)}: {error}") from error
        return graph


@functools.singledispatch
def layer_of(spec: Any, name: str, place: Place, *, is_training: bool) -> Layer:
    """Returns the function from graph to graph that a spec describes.

    Args:
      spec: a `LayerSpec`.
      name: of its parameters.
      place: where it stands in the spec, for errors of layers within it.
      is_training: whether there is dropout.
    """
    del name, place, is_training
    raise TypeError(
        "`spec` must be a `LayerSpec`, such as `GraphConvolutionSpec(width=16)`; got "
        f"{shown(spec)}."
    )


def mlp_of(spec: specs.MLPSpec | None) -> Function | None:
    """Returns the update of [rows, D] that a spec describes, None of None.

    >>> import haiku as hk, jax.numpy as jnp
    >>> from relational import specs
    >>> update = hk.transform(mlp_of(specs.MLPSpec(widths=(4, 3), norm="layer")))
    >>> rows = jnp.ones([2, 5])
    >>> update.apply(update.init(jax.random.key(0), rows), None, rows).shape
    (2, 3)
    """
    if spec is None:
        return None

    def update(rows: jax.Array) -> jax.Array:
        layers = hk.nets.MLP(
            spec.widths,
            activation=_ACTIVATIONS[spec.activation],
            activate_final=spec.activates_last,
            name="mlp",
        )
        result: jax.Array = layers(rows)
        return result if spec.norm is None else norm(result, "norm")

    return update


def _updates(
    spec: specs.IndependentSpec | specs.GraphNetworkSpec,
) -> dict[str, Any]:
    return {
        "update_edge": mlp_of(spec.edges or spec.update),
        "update_node": mlp_of(spec.nodes or spec.update),
        "update_global": mlp_of(spec.globals or spec.update),
    }


# Graph networks.


@layer_of.register
def _(
    spec: specs.IndependentSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.Independent(**_updates(spec), name=name)


@layer_of.register
def _(
    spec: specs.GraphNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphNetwork(
        **_updates(spec),
        edge_inputs=spec.edge_inputs,
        node_inputs=spec.node_inputs,
        global_inputs=spec.global_inputs,
        edges_to_nodes=_AGGREGATORS[spec.edges_to_nodes],
        edges_to_globals=_AGGREGATORS[spec.edges_to_globals],
        nodes_to_globals=_AGGREGATORS[spec.nodes_to_globals],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.InteractionNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.interaction_network(
        update_edge=mlp_of(spec.edges),
        update_node=mlp_of(spec.nodes),
        aggregator=_AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.RelationNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.relation_network(
        update_edge=mlp_of(spec.edges),
        update_global=mlp_of(spec.globals),
        aggregator=_AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(spec: specs.DeepSetsSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return blocks.deep_sets(
        update_node=mlp_of(spec.nodes),
        update_global=mlp_of(spec.globals),
        node_inputs=("node", "globals") if spec.reads_globals else ("node",),
        aggregator=_AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.MessagePassingSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    def dense(rows: jax.Array, width: int) -> jax.Array:
        result: jax.Array = hk.nets.MLP([*spec.hidden, width], name="message")(rows)
        return result

    def say(**read: jax.Array) -> jax.Array:
        if spec.message == "mlp":
            return dense(jnp.concatenate(list(read.values()), -1), spec.width)
        matrix = functools.partial(dense, width=spec.width * read["sender"].shape[-1])
        said: jax.Array = blocks.edge_network(matrix, spec.width).function(**read)
        return said

    update = mlp_of(spec.nodes)
    return blocks.message_passing_network(
        message=blocks.ByName(say),
        update_node=blocks.ByName(blocks.GatedUpdate()) if update is None else update,
        aggregator=_AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(spec: specs.CommNetSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    edges, encode, nodes = map(mlp_of, (spec.edges, spec.encode, spec.nodes))
    assert edges is not None
    assert encode is not None
    assert nodes is not None
    return blocks.comm_net(
        update_edge=edges,
        encode_node=encode,
        update_node=nodes,
        aggregator=_AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.GatedGraphNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    def listen(graph: rl.Graph) -> rl.Graph:
        node_set = graph.edge_set(EDGE).receivers
        width = parts.node_features(graph, node_set, name).shape[-1]
        block = blocks.gated_graph_network(
            message=lambda rows: hk.Linear(width, name="message")(rows),
            edge_inputs=("edge", "sender") if spec.reads_edges else ("sender",),
            name=name,
        )
        result: rl.Graph = block(graph)
        return result

    return listen


# Convolutions.


@layer_of.register
def _(
    spec: specs.GraphConvolutionSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphConvolution(
        width=spec.width, self_edges=spec.self_edges, degrees=spec.degrees, name=name
    )


@layer_of.register
def _(
    spec: specs.GraphSAGESpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphSAGE(
        width=spec.width,
        aggregator=_AGGREGATORS[spec.aggregator],
        pool_width=spec.pool_width,
        normalises=spec.normalises,
        name=name,
    )


@layer_of.register
def _(
    spec: specs.GraphIsomorphismSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    update = mlp_of(spec.nodes)
    assert update is not None
    return blocks.GraphIsomorphism(
        update=update, epsilon="learned" if spec.learns_epsilon else 0.0, name=name
    )


@layer_of.register
def _(
    spec: specs.PrincipalAggregationSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.PrincipalAggregation(
        width=spec.width,
        average_log_degree=spec.average_log_degree,
        message_width=spec.message_width,
        reads_edges=spec.reads_edges,
        name=name,
    )


@layer_of.register
def _(
    spec: specs.RelationalConvolutionSpec,
    name: str,
    place: Place,
    *,
    is_training: bool,
) -> Layer:
    block = blocks.RelationalConvolution(
        width=spec.width, num_types=spec.types, num_bases=spec.bases, name=name
    )

    def listen(graph: rl.Graph) -> rl.Graph:
        features = parts.edge_features(graph, EDGE, "relational_convolution")
        if features.shape[-1] != spec.types:
            raise ValueError(
                "`types` must be the number of features of an edge, which are one-hot, "
                f"{features.shape[-1]}; got {spec.types}."
            )
        typed = with_edges(graph, EDGE, jnp.argmax(features, -1).astype(jnp.int32))
        return with_edges(block(typed), EDGE, features)

    return listen


# Attention.


@layer_of.register
def _(
    spec: specs.GraphAttentionSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    block = blocks.GraphAttention(
        num_heads=spec.heads,
        head_width=spec.width,
        kind=spec.kind,
        heads=spec.join,
        self_edges=spec.self_edges,
        name=name,
    )
    return functools.partial(block, dropout_rate=spec.dropout * is_training)


@layer_of.register
def _(
    spec: specs.EdgeAttentionSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    block = blocks.EdgeAttention(
        num_heads=spec.heads,
        head_width=spec.width,
        reads_edges=spec.reads_edges,
        biases=spec.biases,
        name=name,
    )
    return functools.partial(block, dropout_rate=spec.dropout * is_training)


@layer_of.register
def _(
    spec: specs.GraphTransformerSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    block = blocks.GraphTransformer(
        num_heads=spec.heads,
        feed_forward_width=spec.feed_forward,
        reads_edges=spec.reads_edges,
        biases=spec.biases,
        order=spec.order,
        activation=spec.activation,
        name=name,
    )
    return functools.partial(block, dropout_rate=spec.dropout * is_training)


@layer_of.register
def _(spec: specs.NonLocalSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return blocks.NonLocal(kind=spec.kind, width=spec.width, name=name)


@layer_of.register
def _(spec: specs.VAINSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    attend, say, nodes = map(mlp_of, (spec.attend, spec.say, spec.nodes))
    assert attend is not None
    assert say is not None
    assert nodes is not None
    return blocks.VAIN(attend=attend, say=say, update_node=nodes, name=name)


# What nodes know of their place.


@layer_of.register
def _(
    spec: specs.LaplacianPositionsSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return functools.partial(
        position_layers.with_laplacian, spec, is_training=is_training
    )


@layer_of.register
def _(
    spec: specs.RandomWalkPositionsSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return functools.partial(position_layers.with_random_walk, spec)


@layer_of.register
def _(spec: specs.DegreesSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return functools.partial(position_layers.with_degrees, spec, name=name)


# What stands between blocks.


def _on_nodes(name: str, function: Function) -> Layer:
    """Returns a layer that applies a function of [rows, D] to all nodes that hear."""

    def layer(graph: rl.Graph) -> rl.Graph:
        node_set = graph.edge_set(EDGE).receivers
        features = parts.node_features(graph, node_set, name)
        return graph.with_features(node_set, function(features))

    return layer


@layer_of.register
def _(spec: specs.DropoutSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return _on_nodes(name, lambda x: dropout(x, spec.rate * is_training))


@layer_of.register
def _(
    spec: specs.ActivationSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return _on_nodes(name, _ACTIVATIONS[spec.function])


@layer_of.register
def _(
    spec: specs.LayerNormSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return _on_nodes(name, lambda x: norm(x, name))


@layer_of.register
def _(spec: specs.LinearSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    def linear(width: int | None) -> Function | None:
        return None if width is None else lambda rows: hk.Linear(width)(rows)

    return blocks.Independent(
        update_edge=linear(spec.edges),
        update_node=linear(spec.nodes),
        update_global=linear(spec.globals),
        name=name,
    )


@layer_of.register
def _(spec: specs.PoolSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return blocks.GraphNetwork(
        update_global=lambda heard: heard,
        global_inputs=("nodes",),
        nodes_to_globals=_AGGREGATORS[spec.aggregator],
        name=name,
    )


# Layers of layers.


@layer_of.register
def _(spec: specs.ResidualSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    inner = Stack(spec.layers, place, is_training=is_training, name=name)
    # What they leave as it is must not be added to itself.
    return lambda graph: _added(graph, inner(graph))


@layer_of.register
def _(spec: specs.RepeatSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    def make() -> Layer:
        within = (*place, "layers")
        return Stack(spec.layers, within, is_training=is_training, name=name)

    return blocks.Repeat(make, spec.steps, spec.parameters)


@layer_of.register
def _(spec: specs.OverSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    within = (*place, "layers")
    inner = Stack(spec.layers, within, is_training=is_training, name=name)
    topology = topology_of(spec.topology)

    def layer(graph: rl.Graph) -> rl.Graph:
        node_sets.counts_of(graph, "over")
        rule = rl.EdgeSet(
            senders=NODE,
            receivers=NODE,
            topology=topology,
            relations={
                name: position_layers.pair_relation(relation, graph)
                for name, relation in spec.relations.items()
            },
        )
        result = inner(dataclasses.replace(graph, edges={EDGE: rule}))
        return dataclasses.replace(result, edges=graph.edges)

    return layer


@layer_of.register
def _(
    spec: specs.VirtualNodeSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    inner = Stack(spec.layers, place, is_training=is_training, name=f"{name}_layers")
    return node_sets.VirtualNode(inner, name=name)


@layer_of.register
def _(
    spec: specs.GraphNodesSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    inner = Stack(spec.layers, place, is_training=is_training, name=name)
    return functools.partial(node_sets.on_graph_nodes, inner)


@layer_of.register
def _(
    spec: specs.PerEdgeSetSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    def make(field: str) -> Layer:
        layers, within = getattr(spec, field), (*place, field)
        return Stack(layers, within, is_training=is_training, name=f"{name}_{field}")

    found = {NODE: mlp_of(spec.update_node), node_sets.GRAPH: mlp_of(spec.update_graph)}
    updates = {name: update for name, update in found.items() if update is not None}
    return node_sets.per_edge_set(spec, make, updates, name)


def _added(before: rl.Graph, after: rl.Graph) -> rl.Graph:
    """Returns the sum of what has changed, and what has not."""

    def sum_of(name: str, one: Any, other: Any) -> Any:
        if one is other or one is None or other is None:
            return other
        if one.shape != other.shape:
            raise ValueError(
                f"the layers of `residual` must keep the width of {name}, since what "
                f"they make is added; it was {one.shape[-1]} and became "
                f"{other.shape[-1]}. Give the last of them that width."
            )
        return one + other

    result = after
    for name in before.nodes:
        total = sum_of("nodes", before.features(name), after.features(name))
        result = result.with_features(name, total)
    for name in before.edges:
        sets = (before.edge_set(name).features, after.edge_set(name).features)
        result = with_edges(result, name, sum_of("edges", *sets))
    globals_ = sum_of("globals", before.globals_, after.globals_)
    return dataclasses.replace(result, globals_=globals_)
