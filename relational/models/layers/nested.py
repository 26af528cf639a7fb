"""Layers of layers: a residual, a loop, a rule about who may hear whom."""

import dataclasses
from typing import Any

import relational as rl
from relational import blocks, specs
from relational.blocks.features import with_edges
from relational.graphs import EDGE, NODE
from relational.models.layers.stack import Layer, Stack, layer_of
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
    rule = rl.EdgeSet(senders=NODE, receivers=NODE, topology=topology_of(spec.topology))

    def layer(graph: rl.Graph) -> rl.Graph:
        result = inner(dataclasses.replace(graph, edges={EDGE: rule}))
        return dataclasses.replace(result, edges=graph.edges)

    return layer


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

    nodes = sum_of("nodes", before.features(NODE), after.features(NODE))
    sets = (before.edge_set(EDGE).features, after.edge_set(EDGE).features)
    with_sums = with_edges(
        after.with_features(NODE, nodes), EDGE, sum_of("edges", *sets)
    )
    globals_ = sum_of("globals", before.globals_, after.globals_)
    return dataclasses.replace(with_sums, globals_=globals_)
