"""What nodes bring along to be heard, and what edges say of it.

Shapes: *lead leading axes of the graph, then axes of heads; R receivers, S senders.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational.blocks.heads import Heads, all_heads


@dataclasses.dataclass(frozen=True)
class Said:
    """Arrays and terms as `rl.propagate` takes them.

    Attributes:
      sides: `receivers` and `senders`, [*lead, *heads, N, ...] each.
      terms: scores, messages, relations, context and the aggregator.
      heads: how many receivers and senders have.
      batch_axes: leading axes, those of heads included.
    """

    sides: Mapping[str, Any]
    terms: Mapping[str, Any]
    heads: Heads
    batch_axes: int

    @property
    def num_head_axes(self) -> int:
        return len(self.heads.axes)

    def nothing(self) -> jax.Array:
        """Returns what is heard where nobody speaks."""
        return jnp.zeros_like(self.sides["receivers"]["query"])


Listen = Callable[[Said], jax.Array]


def softmax_of(said: Said, edge_set: rl.EdgeSet) -> jax.Array:
    """Returns the softmax of all scores, [*lead, H, R, S], edge by edge."""
    receivers, senders = said.sides["receivers"], said.sides["senders"]
    num_receivers, num_senders = (
        jax.tree.leaves(side)[0].shape[said.batch_axes] for side in (receivers, senders)
    )
    scores = rl.per_edge(
        all_heads(edge_set.topology, said.num_head_axes),
        said.terms["score"],
        relations=said.terms["relations"],
        context=said.terms.get("context"),
        batch_axes=said.batch_axes,
        **said.sides,
    )  # [*lead, *heads, E]
    at_senders, at = edge_set.topology.edges(num_receivers, num_senders)
    lead = scores.shape[:-1]
    largest = jnp.full((*lead, num_receivers), -jnp.inf, scores.dtype)
    largest = largest.at[..., at].max(scores)
    lifted = jnp.exp(scores - largest[..., at])
    heard = jnp.zeros((*lead, num_receivers, num_senders), scores.dtype)
    heard = heard.at[..., at, at_senders].add(lifted)  # Edges may be repeated.
    total = heard.sum(axis=-1, keepdims=True)
    weights = heard / jnp.where(total == 0, jnp.ones_like(total), total)
    return said.heads.as_one_axis(weights)
