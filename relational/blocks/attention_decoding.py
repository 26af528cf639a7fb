"""Ways to hear what nodes say that make the decoder of an attention: see `rl.start`.

Each takes what is said, and returns what is heard and a cache. The block does the rest,
so that a step is the same computation as the whole pass, on one node.

Shapes: *lead leading axes of the graph, heads included; M slots of a cache.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational.blocks.heads import all_heads
from relational.blocks.said import Said
from relational.relations import Relation, Rows
from relational.topologies import Topology

Heard = tuple[jax.Array, rl.Cache]


def start(said: Said, topology: Topology, length: int) -> Heard:
    """Returns an empty cache for sequences of at most `length` nodes."""
    whole = all_heads(topology, said.num_head_axes)
    senders, axes = said.sides["senders"], said.batch_axes
    cache = rl.start(whole, senders, length=length, batch_axes=axes)
    return said.nothing(), cache


def start_fixed(said: Said, topology: Topology, lengths: Any) -> Heard:
    """Returns a cache of senders that are all there."""
    whole = all_heads(topology, said.num_head_axes)
    senders, axes = said.sides["senders"], said.batch_axes
    cache = rl.start_fixed(whole, senders, batch_axes=axes, lengths=lengths)
    return said.nothing(), cache


def prefill(
    said: Said,
    cache: rl.Cache,
    topology: Topology,
    stepped: Topology | None,
    lengths: Any,
) -> Heard:
    """Takes a whole prime in one parallel pass.

    Args:
      said: by the nodes of the prime.
      cache: an empty one, or a fixed one.
      topology: who hears whom among the nodes of the prime.
      stepped: who will hear whom behind it; None if as the cache has it.
      lengths: how many nodes of the prime count.
    """
    sides = dict(said.sides)
    if cache.is_fixed:
        sides["senders"] = cache.senders
        held = (cache.positions >= 0).sum(axis=-1, dtype=jnp.int32)
        bound = all_heads(rl.Lengths(senders=held), said.num_head_axes)
        whole, after = cache.topology & bound, cache
    else:
        whole = all_heads(topology, said.num_head_axes)
        after = rl.prefill(cache, sides["senders"], lengths)
        if stepped is not None:
            to_come = all_heads(stepped, said.num_head_axes)
            after = dataclasses.replace(after, topology=to_come)
    heard: jax.Array = rl.propagate(
        whole, batch_axes=cache.batch_axes, **sides, **said.terms
    )
    return heard, after


def step(said: Said, cache: rl.Cache, position: jax.Array) -> Heard:
    """Takes one node of each sequence."""
    sides = dict(said.sides)
    if cache.is_fixed:
        del sides["senders"]
    at = cache.positions
    if not cache.is_fixed:  # The node itself takes a slot before it listens.
        is_new = jnp.arange(cache.slots)[None] == position[:, None] % cache.slots
        at = jnp.where(is_new, position[:, None], at)
    relations = {
        name: _placed(relation, at, cache.batch_axes)
        for name, relation in said.terms["relations"].items()
    }
    terms = {**said.terms, "relations": relations}
    heard, after = rl.step(cache, position, **sides, **terms)
    return heard, after


def _placed(
    relation: Relation | Rows, positions: jax.Array, batch_axes: int
) -> Relation | Rows:
    if not isinstance(relation, Rows):
        return _at_slots(relation, positions, batch_axes)
    placed = _at_slots(relation.relation, positions, batch_axes)
    return dataclasses.replace(relation, relation=placed)


def _at_slots(relation: Relation, positions: jax.Array, batch_axes: int) -> Relation:
    """Returns given labels of a node to all senders as those of the slots they are in."""
    if not isinstance(relation, rl.Labels):
        return relation
    shape = relation.labels.shape
    if len(shape) < 2 or shape[-2] != 1:
        raise ValueError(
            "labels of a step must be given pair by pair, [*lead, 1, S], those of the "
            f"node to all senders from the first on; got shape {shape}."
        )
    labels = relation.labels.reshape((1,) * (batch_axes + 2 - len(shape)) + shape)
    index = positions.reshape(len(positions), *(1,) * batch_axes, -1)  # [B, .., 1, M]
    is_there = (index >= 0) & (index < shape[-1])
    taken = jnp.take_along_axis(
        jnp.broadcast_to(labels, (len(positions), *labels.shape[1:])),
        jnp.clip(index, 0, shape[-1] - 1),
        axis=-1,
    )
    return rl.Labels(jnp.where(is_there, taken, -1), relation.count)
