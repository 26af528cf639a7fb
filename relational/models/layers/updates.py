"""Updates, activations and aggregators, as specs name them.

Shapes: rows nodes, edges or graphs; D width.
"""

import functools
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import specs
from relational.blocks.norms import norm

Function = Callable[[jax.Array], jax.Array]

AGGREGATORS: dict[str, rl.aggregators.Aggregator] = {
    "sum": rl.Sum(),
    "mean": rl.Mean(),
    "max": rl.Max(),
    "min": rl.Min(),
    "std": rl.Std(),
}
HEARING = {**AGGREGATORS, "softmax": rl.Softmax()}
"""Of edges that have scores, besides."""
ACTIVATIONS: dict[str, Function] = {
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
}


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
            activation=ACTIVATIONS[spec.activation],
            activate_final=spec.activates_last,
            name="mlp",
        )
        result: jax.Array = layers(rows)
        return result if spec.norm is None else norm(result, "norm")

    return update


def updates_of(
    spec: specs.IndependentSpec | specs.GraphNetworkSpec,
) -> dict[str, Any]:
    """Returns the three updates of a graph network block, each its own or the common."""
    return {
        "update_edge": mlp_of(spec.edges or spec.update),
        "update_node": mlp_of(spec.nodes or spec.update),
        "update_global": mlp_of(spec.globals or spec.update),
    }
