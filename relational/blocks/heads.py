"""Heads as one more leading axis, behind those of the graph.

What a topology or a relation holds has the leading axes of its graph and no heads. An
attention whose arrays are [*lead, H, N, K] puts a unit axis there, or the examples of a
batch would be taken for heads.

Shapes: *lead leading axes of the graph, H heads, K width of a head, N nodes, E edges, R
receivers, S senders.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational.relations import Relation
from relational.topologies import Topology


def split_heads(value: jax.Array, num_heads: int) -> jax.Array:
    """Returns [*lead, N, H K] as [H, *lead, N, K]."""
    *lead, width = value.shape
    split = value.reshape(*lead, num_heads, width // num_heads)
    return jnp.moveaxis(split, -2, 0)


def joined_heads(heard: jax.Array, heads: str) -> jax.Array:
    """Returns [H, *lead, N, K] as [*lead, N, H K], or its mean [*lead, N, K]."""
    if heads == "mean":
        return heard.mean(0)
    moved = jnp.moveaxis(heard, 0, -2)
    return moved.reshape(*moved.shape[:-2], math.prod(moved.shape[-2:]))


@functools.singledispatch
def all_heads(topology: Topology) -> Topology:
    """Returns a topology whose arrays, if each example has its own, are for all heads.

    >>> import numpy as np, relational as rl
    >>> all_heads(rl.Causal() & rl.SameSegment(np.zeros([2, 5], int))).right.ids.shape
    (2, 1, 5)
    """
    if not dataclasses.is_dataclass(topology):
        return topology
    parts = {
        field.name: all_heads(getattr(topology, field.name))
        for field in dataclasses.fields(topology)
        if isinstance(getattr(topology, field.name), Topology)
    }
    return dataclasses.replace(topology, **parts) if parts else topology


@all_heads.register
def _(topology: rl.SameSegment) -> Topology:
    senders = topology.sender_ids
    senders = None if senders is None else _spaced(senders, rank=1)
    return rl.SameSegment(_spaced(topology.ids, rank=1), senders)


@all_heads.register
def _(topology: rl.Lengths) -> Topology:
    sides = {"receivers": topology.receivers, "senders": topology.senders}
    known = {k: _spaced(v, rank=0) for k, v in sides.items() if v is not None}
    return rl.Lengths(**known)


@all_heads.register
def _(topology: rl.Edges) -> Topology:
    ends = {
        side: _spaced(getattr(topology, side), rank=1)
        for side in ("senders", "receivers")
    }
    return dataclasses.replace(topology, **ends)


@all_heads.register
def _(topology: rl.Neighbours) -> Topology:
    valid = topology.valid
    return dataclasses.replace(
        topology,
        senders=_spaced(topology.senders, rank=2),
        valid=None if valid is None else _spaced(valid, rank=2),
    )


def all_heads_labelled(relation: Relation, num_nodes: tuple[int, int]) -> Relation:
    """Returns a relation whose labels, if each example has its own, are for all heads.

    Args:
      relation: any; `rl.Labels` hold [*lead, R, S] or [*lead, E].
      num_nodes: (R, S).
    """
    if not isinstance(relation, rl.Labels):
        return relation
    is_by_pair = jnp.shape(relation.labels)[-2:] == num_nodes
    labels = _spaced(relation.labels, rank=2 if is_by_pair else 1)
    return rl.Labels(labels, relation.count)


def _spaced(leaf: Any, *, rank: int) -> Any:
    """Puts a unit axis before the last `rank` axes, if there is any before them."""
    return leaf if leaf.ndim <= rank else jnp.expand_dims(leaf, leaf.ndim - rank)
