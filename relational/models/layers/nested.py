"""Layers of layers: a residual, a loop, a rule about who may hear whom, more nodes."""

import dataclasses
import functools
from typing import Any

import relational as rl
from relational import blocks, specs
from relational.blocks.features import with_edges
from relational.graphs import EDGE, NODE
from relational.models import node_sets, position_layers
from relational.models.layers.stack import Layer, Stack, layer_of
from relational.models.layers.updates import mlp_of
from relational.models.named import topology_of
from relational.specs.problems import Place


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
