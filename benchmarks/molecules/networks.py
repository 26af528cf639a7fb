"""The two networks: messages along bonds, and atoms that all hear each other.

Shapes: B molecules of a batch, N atoms of the largest of them, D features.
"""

import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
import relational.datasets as data
from benchmarks.molecules.batches import LIMIT, Atoms
from relational import blocks


def message_passing(
    batch: jraph.GraphsTuple, *, width: int, steps: int, rate: float
) -> jax.Array:
    """Gilmer et al. 2017: messages along bonds, a GRU an atom, one sum a molecule."""

    def step() -> Any:
        return blocks.message_passing_network(
            message=hk.nets.MLP([width, width], name="message"),
            update_node=blocks.ByName(blocks.GatedUpdate()),
        )

    encode = blocks.Independent(update_node=hk.nets.MLP([width], name="encode"))
    graph = blocks.Repeat(step, steps)(encode(batch))
    graph = graph._replace(nodes=_dropped(graph.nodes, rate))
    read = blocks.deep_sets(
        update_node=hk.nets.MLP([width, width], name="atom"),
        update_global=hk.nets.MLP([width, 1], name="molecule"),
        node_inputs=("node",),
        aggregator=(rl.Sum(), rl.Max()),
    )
    return read(graph).globals[:, 0]


def transformer(batch: Atoms, *, width: int, steps: int, rate: float) -> jax.Array:
    """Ying et al. 2021: all atoms hear all, with biases of distance and bond."""
    everyone = rl.Complete() & rl.Lengths(senders=batch.counts)
    graph = rl.Graph(
        nodes={"atom": _linear(batch.nodes, width)},
        edges={
            "hears": rl.EdgeSet(
                senders="atom",
                receivers="atom",
                topology=everyone,
                relations={
                    "distance": rl.Labels(batch.distance, LIMIT + 2),
                    "bond": rl.Labels(batch.bond, len(data.molecules.BOND_TYPES) + 1),
                },
            )
        },
        batch_axes=1,
    )

    def layer() -> Any:
        block = blocks.GraphTransformer(
            num_heads=4,
            feed_forward_width=2 * width,
            biases=["distance", "bond"],
            over="hears",
        )
        return functools.partial(block, dropout_rate=rate)

    graph = blocks.Repeat(layer, steps, "separate")(graph)
    said = jax.nn.relu(_linear(_normed(graph.features("atom")), width))
    total, largest = rl.propagate(
        everyone,
        batch_axes=1,
        senders=said,
        num_receivers=1,
        message=lambda sender: sender,
        aggregator=(rl.Sum(), rl.Max()),
    )
    heard = jnp.concatenate([total, largest], -1)[:, 0]
    read = hk.nets.MLP([width, 1], name="molecule")
    return read(heard)[:, 0]


def _linear(values: jax.Array, width: int) -> jax.Array:
    flat = values.reshape(-1, values.shape[-1])
    return hk.Linear(width)(flat).reshape(*values.shape[:-1], width)


def _normed(values: jax.Array) -> jax.Array:
    return hk.LayerNorm(-1, create_scale=True, create_offset=True)(values)


def _dropped(values: jax.Array, rate: float) -> jax.Array:
    if not rate:
        return values
    kept_ones = jax.random.bernoulli(hk.next_rng_key(), 1 - rate, values.shape)
    return jnp.where(kept_ones, values / (1 - rate), 0)
