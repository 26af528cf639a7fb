"""Graph networks of the family of Battaglia et al. 2018: a block a spec."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks import parts
from relational.graphs import EDGE
from relational.models.layers.stack import Layer, layer_of
from relational.models.layers.updates import AGGREGATORS, HEARING, mlp_of, updates_of
from relational.specs.problems import Place


@layer_of.register
def _(
    spec: specs.IndependentSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.Independent(**updates_of(spec), name=name)


@layer_of.register
def _(
    spec: specs.GraphNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphNetwork(
        **updates_of(spec),
        score_edge=mlp_of(spec.score),
        edge_inputs=spec.edge_inputs,
        node_inputs=spec.node_inputs,
        global_inputs=spec.global_inputs,
        edges_to_nodes=HEARING[spec.edges_to_nodes],
        edges_to_globals=AGGREGATORS[spec.edges_to_globals],
        nodes_to_globals=AGGREGATORS[spec.nodes_to_globals],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.InteractionNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.interaction_network(
        update_edge=mlp_of(spec.edges),
        update_node=mlp_of(spec.nodes),
        aggregator=AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(
    spec: specs.RelationNetworkSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.relation_network(
        update_edge=mlp_of(spec.edges),
        update_global=mlp_of(spec.globals),
        aggregator=AGGREGATORS[spec.aggregator],
        name=name,
    )


@layer_of.register
def _(spec: specs.DeepSetsSpec, name: str, place: Place, *, is_training: bool) -> Layer:
    return blocks.deep_sets(
        update_node=mlp_of(spec.nodes),
        update_global=mlp_of(spec.globals),
        node_inputs=("node", "globals") if spec.reads_globals else ("node",),
        aggregator=AGGREGATORS[spec.aggregator],
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
        aggregator=AGGREGATORS[spec.aggregator],
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
        aggregator=AGGREGATORS[spec.aggregator],
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
