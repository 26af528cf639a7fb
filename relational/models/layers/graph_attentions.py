"""Attention on graphs: a block a spec."""

import functools

from relational import blocks, specs
from relational.models.layers.stack import Layer, layer_of
from relational.models.layers.updates import mlp_of
from relational.specs.problems import Place


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
        reads_edges=spec.reads_edges,
        shares_weights=spec.shares_weights,
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
