"""Heads as one more leading axis, or two, behind those of the graph.

Where several heads of receivers hear one head of senders, arrays of the senders have
size 1 on an axis: they are shared, and never copied. What a topology or a relation holds
has the leading axes of its graph and no heads; it gets unit axes there, or the examples
of a batch would be taken for heads.

Shapes: *lead leading axes of the graph, H heads, C heads of senders, K width of a head, N
nodes, E edges, R receivers, S senders.
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


@dataclasses.dataclass(frozen=True)
class Heads:
    """How the channels of receivers and of senders are split into heads.

    Attributes:
      receivers: H, how many ask.
      senders: C, how many answer; each is heard by the H / C heads that follow it.

    >>> Heads(8, 8).axes, Heads(8, 1).axes, Heads(8, 2).axes
    ((8,), (8,), (2, 4))
    >>> Heads(8, 1).sender_axes, Heads(8, 2).sender_axes
    ((1,), (2, 1))
    """

    receivers: int
    senders: int

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of heads that arrays of receivers have."""
        if self.senders in (1, self.receivers):
            return (self.receivers,)
        return (self.senders, self.receivers // self.senders)

    @property
    def sender_axes(self) -> tuple[int, ...]:
        """Those that arrays of senders have."""
        return (self.senders, *(1,) * (len(self.axes) - 1))

    def split(self, channels: jax.Array, axes: tuple[int, ...]) -> jax.Array:
        """Returns [*lead, N, heads K] as [*lead, *axes, N, K]."""
        *lead, nodes, width = channels.shape
        num_heads = math.prod(axes)
        split = channels.reshape(*lead, nodes, num_heads, width // num_heads)
        moved = jnp.moveaxis(split, -2, -3)
        return moved.reshape(*lead, *axes, nodes, width // num_heads)

    def join(self, heard: jax.Array) -> jax.Array:
        """Returns [*lead, *axes, N, K] as [*lead, N, H K]."""
        one = self.as_one_axis(heard)
        joined = jnp.moveaxis(one, -3, -2)
        return joined.reshape(*joined.shape[:-2], math.prod(joined.shape[-2:]))

    def as_one_axis(self, heard: jax.Array) -> jax.Array:
        """Returns [*lead, *axes, N, K] as [*lead, H, N, K]."""
        lead = heard.shape[: -2 - len(self.axes)]
        return heard.reshape(*lead, self.receivers, *heard.shape[-2:])

    def of_each(self, leaf: jax.Array, rank: int) -> jax.Array:
        """Returns [H or 1, ...] with `rank` unit axes in front, and the axes of heads."""
        axes = self.axes if leaf.shape[0] != 1 else (1,) * len(self.axes)
        return leaf.reshape((1,) * rank + axes + leaf.shape[1:])


@functools.singledispatch
def all_heads(topology: Topology, num_axes: int = 1) -> Topology:
    """Returns a topology whose arrays, if each example has its own, are for all heads.

    >>> import numpy as np, relational as rl
    >>> all_heads(rl.Causal() & rl.SameSegment(np.zeros([2, 5], int))).right.ids.shape
    (2, 1, 5)
    """
    if not dataclasses.is_dataclass(topology):
        return topology
    parts = {
        field.name: all_heads(getattr(topology, field.name), num_axes)
        for field in dataclasses.fields(topology)
        if isinstance(getattr(topology, field.name), Topology)
    }
    return dataclasses.replace(topology, **parts) if parts else topology


@all_heads.register
def _(topology: rl.SameSegment, num_axes: int = 1) -> Topology:
    senders = topology.sender_ids
    senders = None if senders is None else _spaced(senders, 1, num_axes)
    return rl.SameSegment(_spaced(topology.ids, 1, num_axes), senders)


@all_heads.register
def _(topology: rl.Lengths, num_axes: int = 1) -> Topology:
    sides = {"receivers": topology.receivers, "senders": topology.senders}
    known = {k: _spaced(v, 0, num_axes) for k, v in sides.items() if v is not None}
    return rl.Lengths(**known)


@all_heads.register
def _(topology: rl.Edges, num_axes: int = 1) -> Topology:
    ends = {
        side: _spaced(getattr(topology, side), 1, num_axes)
        for side in ("senders", "receivers")
    }
    return dataclasses.replace(topology, **ends)


@all_heads.register
def _(topology: rl.Neighbours, num_axes: int = 1) -> Topology:
    valid = topology.valid
    return dataclasses.replace(
        topology,
        senders=_spaced(topology.senders, 2, num_axes),
        valid=None if valid is None else _spaced(valid, 2, num_axes),
    )


def all_heads_labelled(
    relation: Relation, num_nodes: tuple[int, int], rank: int, num_axes: int = 1
) -> Relation:
    """Returns a relation whose labels, if each example has its own, are for all heads.

    Args:
      relation: any; `rl.Labels` hold [*lead, R, S] or [*lead, E].
      num_nodes: (R, S).
      rank: how many axes *lead has.
      num_axes: of heads.
    """
    if not isinstance(relation, rl.Labels):
        return relation
    shape = jnp.shape(relation.labels)
    is_by_pair = shape[-2:] == num_nodes or len(shape) == rank + 2
    labels = _spaced(relation.labels, 2 if is_by_pair else 1, num_axes)
    return rl.Labels(labels, relation.count)


def _spaced(leaf: Any, rank: int, num_axes: int) -> Any:
    """Puts unit axes before the last `rank` axes, if there is any before them."""
    if leaf.ndim <= rank:
        return leaf
    at = leaf.ndim - rank
    return leaf.reshape(*leaf.shape[:at], *(1,) * num_axes, *leaf.shape[at:])
