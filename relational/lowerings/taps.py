"""Taps: the places of a box on a grid, and the sender that lies at each.

What lowerings of neighbourhoods share: along each axis, who is heard at which tap, and
which one label the edges of a tap have.

Shapes: R receivers, S senders, K taps.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational.relations import PlaceRelation, PositionRelation
from relational.topologies.algebra import And, Minus, Transposed
from relational.topologies.base import Topology
from relational.topologies.grids import Neighbourhood


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a grid: which sender each receiver hears at each tap.

    Attributes:
      senders: [taps, receivers]; where there is none, a number outside the grid.
      count: how many senders there are.
      stride: from one receiver's sender to the next one's, if it is always the same.
    """

    senders: Any
    count: int
    stride: int | None

    @property
    def taps(self) -> int:
        return int(self.senders.shape[0])

    @property
    def margins(self) -> tuple[int, int]:
        """How far taps lead beyond the grid, before and after it."""
        if self.stride is None:
            return 0, 0
        low, high = int(self.senders.min()), int(self.senders.max())
        return max(0, -low), max(0, high + 1 - self.count)

    def inside(self, tap: int) -> Any:
        """Returns which receivers have a sender at a tap."""
        return (self.senders[tap] >= 0) & (self.senders[tap] < self.count)

    def widened(self, leaf: Any, axis: int) -> Any:
        """Returns an array that goes on beyond the grid; its ends are repeated."""

        def end(at: int, count: int) -> Any:
            part = jax.lax.slice_in_dim(leaf, at, at + 1, axis=axis)
            shape = (*leaf.shape[:axis], count, *leaf.shape[axis + 1 :])
            return jnp.broadcast_to(part, shape)

        low, high = self.margins
        parts = [end(0, low), leaf, end(self.count - 1, high)]
        return jnp.concatenate(parts, axis=axis) if low or high else leaf

    def moved(self, leaf: Any, axis: int, where: Any) -> Any:
        """Returns the sender of each receiver at a tap, from a widened array.

        Args:
          leaf: the array.
          axis: which of its axes this one is.
          where: the tap's, of `Steps`.
        """
        if self.stride is None:
            return jnp.take(leaf, where, axis=axis, mode="clip")
        size = (self.senders.shape[1] - 1) * self.stride + 1
        span = jax.lax.dynamic_slice_in_dim(leaf, where, size, axis)
        return jax.lax.slice_in_dim(span, 0, size, self.stride, axis)


class Steps(NamedTuple):
    """What a loop over taps takes, [K, ...] each: one tap after another.

    Attributes:
      where: for each axis, where its receivers' senders begin; of an uneven axis the
        sender of each.
      inside: for each axis, which receivers have a sender there.
      labels: by relation, the label of all edges of the tap.
    """

    where: tuple[Any, ...]
    inside: tuple[Any, ...]
    labels: dict[str, Any]

    @classmethod
    def of(cls, axes: Sequence[Axis], labels: dict[str, Any]) -> "Steps":
        where, inside = [], []
        for axis, taps in zip(axes, np.transpose(places(axes)), strict=True):
            senders = axis.senders[taps]
            found = np.clip(senders, 0, axis.count - 1)
            if axis.stride is not None:
                found = senders[:, 0] + axis.margins[0]
            where.append(found.astype(np.int32))
            inside.append((senders >= 0) & (senders < axis.count))
        arrays = {name: np.asarray(each, np.int32) for name, each in labels.items()}
        return cls(tuple(where), tuple(inside), arrays)

    def is_inside(self) -> Any:
        """Returns which receivers have a sender at this one tap, [R]."""
        found: Any = True
        for at, side in enumerate(self.inside):
            ones = (1,) * (len(self.inside) - 1 - at)
            found = found & jnp.asarray(side).reshape((1,) * at + side.shape + ones)
        return found.reshape(-1)


def rule_of(topology: Topology) -> Topology | None:
    """Returns the boxes on a grid that have at least the edges of a topology, if any."""
    if isinstance(topology, Neighbourhood):
        return topology
    if isinstance(topology, Transposed) and isinstance(topology.left, Neighbourhood):
        # Without its geometry, several senders may lie at one tap.
        return None if topology.left.filtering() is None else topology
    if isinstance(topology, And):
        return rule_of(topology.left) or rule_of(topology.right)
    return rule_of(topology.left) if isinstance(topology, Minus) else None


def boxes(topology: Topology) -> list[Axis] | None:
    """Returns, axis by axis, who is heard at each tap; None where there are no taps."""
    rule = rule_of(topology)
    if isinstance(rule, Neighbourhood):
        return [_axis(rule, axis) for axis in range(len(rule.lengths))]
    if isinstance(rule, Transposed) and isinstance(rule.left, Neighbourhood):
        grid = rule.left
        return [_turned_axis(grid, axis) for axis in range(len(grid.lengths))]
    return None


def _axis(grid: Neighbourhood, axis: int) -> Axis:
    first = np.asarray(grid.first(axis, np.arange(grid.receiver_grid[axis])))
    taps = np.arange(grid.lengths[axis])[:, None] * grid.steps[axis]
    steps = np.unique(np.diff(first))
    stride = 1 if not steps.size else int(steps[0])
    is_even = steps.size <= 1 and stride >= 1
    return Axis(first[None] + taps, grid.sender_grid[axis], stride if is_even else None)


def _turned_axis(grid: Neighbourhood, axis: int) -> Axis:
    """A receiver at i hears the sender o with i = o stride - before + tap dilation."""
    filtering = grid.filtering()
    assert filtering is not None
    stride, (before, _) = filtering.strides[axis], filtering.pads[axis]
    taps = np.arange(grid.lengths[axis])[:, None] * grid.steps[axis]
    steps = np.arange(grid.sender_grid[axis])[None] + before - taps
    senders = np.where(steps % stride == 0, steps // stride, -1)
    is_even = stride == 1
    return Axis(senders, grid.receiver_grid[axis], 1 if is_even else None)


def places(axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    """Returns the taps of a box, the last axis fastest."""
    return list(itertools.product(*(range(axis.taps) for axis in axes)))


def inside(axes: Sequence[Axis], tap: tuple[int, ...]) -> Any:
    """Returns which receivers have a sender at a tap, [R] in NumPy."""
    sides = [axis.inside(at) for axis, at in zip(axes, tap, strict=True)]
    return functools.reduce(np.logical_and.outer, sides).reshape(-1)


def senders_at(axes: Sequence[Axis], tap: tuple[int, ...]) -> Any:
    """Returns the sender of each receiver at a tap, [R] in NumPy, inside the grid."""
    position: Any = np.zeros((), int)
    for axis, at in zip(axes, tap, strict=True):
        own = np.clip(axis.senders[at], 0, axis.count - 1)
        position = np.add.outer(position * axis.count, own)
    return position.reshape(-1)


def label_at(
    relation: PositionRelation | PlaceRelation,
    axes: Sequence[Axis],
    tap: tuple[int, ...],
) -> int | None:
    """Returns the label of all edges of a tap; None if they have several."""
    senders = senders_at(axes, tap)
    receivers = np.arange(senders.size)
    if isinstance(relation, PositionRelation):
        labels = relation.label(senders - receivers)
    else:
        labels = relation.label(receivers, senders)
    labels = np.asarray(labels)[inside(axes, tap)]
    if labels.size and (labels != labels[0]).any():
        return None
    return int(labels[0]) if labels.size else 0


def labels_of_taps(
    topology: Topology, relation: PositionRelation | PlaceRelation
) -> tuple[int, ...] | None:
    """Returns the label of each tap; None unless all edges of a tap have the same."""
    rule = rule_of(topology)  # It has no data, which must not outlive a trace.
    return None if rule is None else _labels_of_taps(rule, relation)


@functools.lru_cache(maxsize=64)
def _labels_of_taps(
    rule: Topology, relation: PositionRelation | PlaceRelation
) -> tuple[int, ...] | None:
    axes = boxes(rule)
    assert axes is not None
    found = []
    for tap in places(axes):
        label = label_at(relation, axes, tap)
        if label is None:
            return None
        found.append(label)
    return tuple(found)
