"""What stands between blocks: dropout, activations, norms, dense layers, pooling.

Shapes: rows nodes, edges or graphs; D width.
"""

import haiku as hk

import relational as rl
from relational import blocks, specs
from relational.blocks import parts
from relational.blocks.norms import norm
from relational.blocks.residual import dropout
from relational.graphs import EDGE
from relational.models.layers.stack import Layer, layer_of
from relational.models.layers.updates import ACTIVATIONS, AGGREGATORS, Function
from relational.specs.problems import Place


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
    return _on_nodes(name, ACTIVATIONS[spec.function])


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
        nodes_to_globals=AGGREGATORS[spec.aggregator],
        name=name,
    )
