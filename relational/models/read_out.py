"""From the features of nodes to logits of tokens, within the module of the model.

Shapes: B batch, N nodes of a set, D width, V vocabulary.
"""

import math

import haiku as hk
import jax
import jax.numpy as jnp

from relational import blocks, specs
from relational.blocks.feed_forward import ACTIVATIONS
from relational.models.named import norm_of


def read_out(
    spec: specs.ModelSpec, features: jax.Array, table: blocks.Embedding
) -> jax.Array:
    """Returns logits [B, N, V] in float32.

    Args:
      spec: the model.
      features: [B, N, D], of the set that is read out.
      table: of its tokens.
    """
    how, width = spec.read_out, features.shape[-1]
    if how.hidden is not None:
        features = _hidden(spec, how.hidden, features)
    if how.scaled:
        features = features * jnp.asarray(1 / math.sqrt(width), features.dtype)
    if not how.tied or width != table.width:
        return _own(table.vocabulary, features, with_bias=how.bias is not False)
    logits = table.read_out(features)
    if not how.bias:
        return logits
    offset = hk.get_parameter("read_out_bias", logits.shape[-1:], init=jnp.zeros)
    return logits + offset.astype(jnp.float32)[None, None]


def _hidden(
    spec: specs.ModelSpec, hidden: specs.HiddenSpec, features: jax.Array
) -> jax.Array:
    """Returns a dense layer, an activation and a norm of [B, N, D]."""
    init = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
    flat = features.reshape(-1, features.shape[-1])
    layer = blocks.Linear(flat.shape[-1], w_init=init, name="read_out_hidden")
    active = ACTIVATIONS[hidden.activation](layer(flat)).reshape(features.shape)
    return norm_of(spec.norm)(active, "read_out_hidden_norm")


def _own(vocabulary: int, features: jax.Array, *, with_bias: bool) -> jax.Array:
    flat = features.reshape(-1, features.shape[-1])
    layer = blocks.Linear(vocabulary, with_bias, name="read_out")
    logits = layer(flat).astype(jnp.float32)
    return logits.reshape(*features.shape[:-1], vocabulary)
