"""The set algebra of topologies: `a & b`, `a | b`, `a - b`, and `a.T`.

A composed topology keeps its parts' promises: it answers from their answers, and hands
each part its own attributes. Listed edges are kept or dropped one by one.

Shapes: R receivers, S senders, E edges.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import shown
from relational.topologies.base import Data, End, Listed, Tile, Topology


@dataclasses.dataclass(frozen=True, eq=False)
class _Composed(Topology):
    """Two topologies joined; `End.part` gives each side its own attributes."""

    left: Topology
    right: Topology

    def __post_init__(self) -> None:
        for side in (self.left, self.right):
            if not isinstance(side, Topology):
                raise TypeError(
                    "both sides of a set operation must be topologies; got "
                    f"{shown(side)}."
                )
        names = ("receivers", "senders")
        counts = zip(names, self.left.counts(), self.right.counts(), strict=True)
        for name, left, right in counts:
            if None not in (left, right) and left != right:
                raise ValueError(
                    f"both sides of a set operation must be of the same nodes; got "
                    f"{left} {name} in {self.left} and {right} in {self.right}."
                )

    def _admits(self, index: int, receiver: End, sender: End, context: Any) -> Any:
        side = (self.left, self.right)[index]
        return side.admits(receiver.part(index), sender.part(index), context[index])

    def data(self) -> Data:
        left, right = self.left.data(), self.right.data()
        return Data(
            receiver=(left.receiver, right.receiver),
            sender=(left.sender, right.sender),
            context=(left.context, right.context),
        )

    def counts(self) -> tuple[int | None, int | None]:
        pairs = zip(self.left.counts(), self.right.counts(), strict=True)
        receivers, senders = (a if a is not None else b for a, b in pairs)
        return receivers, senders


@_pytrees.register(data=("left", "right"))
@dataclasses.dataclass(frozen=True, eq=False)
class And(_Composed):
    """The edges that both topologies have: `left & right`."""

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        left, right = (self._admits(i, receiver, sender, context) for i in (0, 1))
        return left & right

    def classify(self, receivers: range, senders: range) -> Tile:
        left = self.left.classify(receivers, senders)
        return Tile(min(left, self.right.classify(receivers, senders)))

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return _intersection(
            self.left.sender_range(receivers, num_senders),
            self.right.sender_range(receivers, num_senders),
        )

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return _intersection(
            self.left.receiver_range(senders, num_receivers),
            self.right.receiver_range(senders, num_receivers),
        )

    def reach(self) -> int | None:
        return min(_finite(self.left.reach(), self.right.reach()), default=None)

    def ahead(self) -> int | None:
        return min(_finite(self.left.ahead(), self.right.ahead()), default=None)

    def listed(self, num_receivers: int, num_senders: int) -> Listed | None:
        sides = (self.left, self.right)
        for one, other in (sides, sides[::-1]):
            listed = one.listed(num_receivers, num_senders)
            if listed is not None:
                return _filtered(listed, other, keep=True)
        return None

    def skeleton(self) -> Topology:
        return And(self.left.skeleton(), self.right.skeleton())

    def __str__(self) -> str:
        return f"({self.left} & {self.right})"


@_pytrees.register(data=("left", "right"))
@dataclasses.dataclass(frozen=True, eq=False)
class Or(_Composed):
    """The edges that either topology has: `left | right`."""

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        left, right = (self._admits(i, receiver, sender, context) for i in (0, 1))
        return left | right

    def classify(self, receivers: range, senders: range) -> Tile:
        left = self.left.classify(receivers, senders)
        return Tile(max(left, self.right.classify(receivers, senders)))

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return _hull(
            self.left.sender_range(receivers, num_senders),
            self.right.sender_range(receivers, num_senders),
        )

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return _hull(
            self.left.receiver_range(senders, num_receivers),
            self.right.receiver_range(senders, num_receivers),
        )

    def reach(self) -> int | None:
        known = _finite(self.left.reach(), self.right.reach())
        return max(known) if len(known) == 2 else None

    def ahead(self) -> int | None:
        known = _finite(self.left.ahead(), self.right.ahead())
        return max(known) if len(known) == 2 else None

    def listed(self, num_receivers: int, num_senders: int) -> Listed | None:
        sizes = num_receivers, num_senders
        if self.left.listed(*sizes) is None and self.right.listed(*sizes) is None:
            return None
        keys = [_keys(side, *sizes) for side in (self.left, self.right)]
        joined = np.union1d(*keys)
        return Listed(joined % num_senders, joined // num_senders)

    def skeleton(self) -> Topology:
        return Or(self.left.skeleton(), self.right.skeleton())

    def __str__(self) -> str:
        return f"({self.left} | {self.right})"


@_pytrees.register(data=("left", "right"))
@dataclasses.dataclass(frozen=True, eq=False)
class Minus(_Composed):
    """The edges that only the first topology has: `left - right`."""

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        left, right = (self._admits(i, receiver, sender, context) for i in (0, 1))
        return left & ~right

    def classify(self, receivers: range, senders: range) -> Tile:
        left = self.left.classify(receivers, senders)
        right = self.right.classify(receivers, senders)
        return Tile(min(left, Tile.FULL - right))

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return self.left.sender_range(receivers, num_senders)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return self.left.receiver_range(senders, num_receivers)

    def reach(self) -> int | None:
        return self.left.reach()

    def ahead(self) -> int | None:
        return self.left.ahead()

    def listed(self, num_receivers: int, num_senders: int) -> Listed | None:
        listed = self.left.listed(num_receivers, num_senders)
        if listed is not None:
            return _filtered(listed, self.right, keep=False)
        if self.right.listed(num_receivers, num_senders) is None:
            return None
        left, right = (
            _keys(side, num_receivers, num_senders) for side in (self.left, self.right)
        )
        rest = np.setdiff1d(left, right)
        return Listed(rest % num_senders, rest // num_senders)

    def skeleton(self) -> Topology:
        if _is_empty(self.right.data()):
            return Minus(self.left.skeleton(), self.right)
        return self.left.skeleton()

    def __str__(self) -> str:
        return f"({self.left} - {self.right})"


@_pytrees.register(data=("left",))
@dataclasses.dataclass(frozen=True, eq=False)
class Transposed(Topology):
    """Every edge of `left` turned round: `left.T`."""

    left: Topology

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        return self.left.admits(sender, receiver, context)

    def classify(self, receivers: range, senders: range) -> Tile:
        return self.left.classify(senders, receivers)

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return self.left.receiver_range(receivers, num_senders)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return self.left.sender_range(senders, num_receivers)

    def reach(self) -> int | None:
        ahead = self.left.ahead()
        return None if ahead is None else ahead + 1

    def ahead(self) -> int | None:
        reach = self.left.reach()
        return None if reach is None else reach - 1

    def data(self) -> Data:
        data = self.left.data()
        return Data(receiver=data.sender, sender=data.receiver, context=data.context)

    def counts(self) -> tuple[int | None, int | None]:
        receivers, senders = self.left.counts()
        return senders, receivers

    def listed(self, num_receivers: int, num_senders: int) -> Listed | None:
        listed = self.left.listed(num_senders, num_receivers)
        if listed is None:
            return None
        return Listed(listed.receivers, listed.senders, listed.valid)

    def skeleton(self) -> Topology:
        return Transposed(self.left.skeleton())

    def __str__(self) -> str:
        return f"{self.left}.T"


def _filtered(listed: Listed, other: Topology, *, keep: bool) -> Listed:
    """Returns the listed edges that `other` has (`keep`) or has not."""
    if np.ndim(listed.receivers) == 1:
        found = other.contains(listed.receivers, listed.senders)
    else:
        found = _contains_by_graph(other, listed)
    found = found if keep else ~found
    valid = found if listed.valid is None else listed.valid & found
    return Listed(listed.senders, listed.receivers, valid)


def _contains_by_graph(other: Topology, listed: Listed) -> Any:
    """Returns which listed edges [*lead, E] `other` has, each in its own graph."""
    data = other.data()
    leaves = jax.tree.leaves((data.receiver, data.sender, data.context))
    ranks = [leaf.ndim for leaf in (*leaves, listed.receivers)]

    def lead(leaf: Any, rank: int) -> Any:
        return leaf[(None,) * (rank - leaf.ndim)]

    def end(position: Any, attributes: Any) -> End:
        position = lead(position, max(ranks))

        def take(leaf: Any) -> Any:
            is_jax = isinstance(leaf, jax.Array) or isinstance(position, jax.Array)
            take_along_axis = jnp.take_along_axis if is_jax else np.take_along_axis
            return take_along_axis(lead(leaf, max(ranks)), position, axis=-1)

        return End(position, jax.tree.map(take, attributes))

    return other.admits(
        end(listed.receivers, data.receiver),
        end(listed.senders, data.sender),
        jax.tree.map(lambda leaf: lead(leaf[..., None], max(ranks)), data.context),
    )


def _keys(topology: Topology, num_receivers: int, num_senders: int) -> Any:
    """Returns one number an edge, `receiver * S + sender`, without repetitions."""
    senders, receivers = topology.edges(num_receivers, num_senders)
    return np.unique(np.int64(receivers) * num_senders + senders)


def _is_empty(data: Data) -> bool:
    return not jax.tree.leaves((data.receiver, data.sender, data.context))


def _finite(*bounds: int | None) -> list[int]:
    return [bound for bound in bounds if bound is not None]


def _intersection(a: range, b: range) -> range:
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    return range(start, max(start, stop))


def _hull(a: range, b: range) -> range:
    if not len(a) or not len(b):
        return a if len(a) else b
    return range(min(a.start, b.start), max(a.stop, b.stop))
