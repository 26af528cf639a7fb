"""Mixtures of experts as specs describe them: the block, and what it adds to a training."""

from typing import Any

import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.models.auxiliary import Auxiliary

BUSIEST = "busiest_expert"
"""What the largest share of an expert is called in metrics; the least is 1 / count."""

DROPPED = "dropped_choices"
"""What the share of choices is called there that found no room."""


def experts_of(spec: specs.ExpertsSpec, name: str) -> blocks.MixtureOfExperts:
    """Returns the block that a spec describes."""
    return blocks.MixtureOfExperts(
        num_experts=spec.count,
        num_chosen=spec.chosen,
        width=spec.width,
        activation=spec.activation,
        is_gated=spec.gated,
        softmax_over=spec.softmax,
        with_noise=spec.noise,
        capacity=spec.capacity,
        name=name,
    )


def auxiliary_of(spec: specs.ExpertsSpec, routing: blocks.Routing) -> Auxiliary:
    """Returns the losses of a spec whose factors are above 0, and the experts' load."""
    losses = {}
    if spec.balance:
        losses["balance"] = spec.balance * routing.balance_loss()
    if spec.importance:
        losses["importance"] = spec.importance * routing.importance_loss()
    if spec.router_z:
        losses["router_z"] = spec.router_z * routing.z_loss()
    noted = {BUSIEST: routing.busiest()}
    if spec.capacity is not None:
        noted[DROPPED] = routing.dropped()
    return Auxiliary(losses=losses, noted=noted)


def counted_of(graph: rl.Graph, node_set: str, length: Any) -> Any:
    """Returns which nodes are no padding, [B, N]; None where no length is given."""
    if length is None:
        return None
    places = jnp.arange(graph.num_nodes(node_set), dtype=jnp.int32)
    return places[None] < jnp.asarray(length, jnp.int32)[:, None]
