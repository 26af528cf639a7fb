"""Convolutions on graphs: a block a spec."""

import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks import parts
from relational.blocks.features import with_edges
from relational.graphs import EDGE
from relational.models.layers.stack import Layer, layer_of
from relational.models.layers.updates import AGGREGATORS, mlp_of
from relational.specs.problems import Place


@layer_of.register
def _(
    spec: specs.GraphConvolutionSpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphConvolution(
        width=spec.width,
        self_edges=spec.self_edges,
        reads_weights=spec.reads_weights,
        degrees=spec.degrees,
        name=name,
    )


@layer_of.register
def _(
    spec: specs.GraphSAGESpec, name: str, place: Place, *, is_training: bool
) -> Layer:
    return blocks.GraphSAGE(
        width=spec.width,
        aggregator=AGGREGATORS[spec.aggregator],
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
        num_towers=spec.towers,
        splits_nodes=spec.splits_nodes,
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
