"""Topologies whose nodes are numbered anew: `topology.ordered(order)`.

Where an order mixes nodes, the promises of the topology that it orders are of no use
as they stand. So the promises here are found by looking: once through all edges on the
host, some receivers at a time, keeping the first and last node that each hears.

Shapes: R receivers, S senders, N nodes of one side.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from relational import _pytrees
from relational._checks import check_count
from relational.orders import Order
from relational.topologies import tile_maps
from relational.topologies.base import Data, End, Listed, Tile, Topology
from relational.topologies.edge_lists import Edges
from relational.topologies.neighbours import Neighbours

_MOST_ASKED = 2**22  # Pairs of a rectangle that are looked at one by one.

Bounds = tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]


@_pytrees.register(data=("left",))
@dataclasses.dataclass(frozen=True, eq=False)
class Ordered(Topology):
    """The edges of `left` between nodes in another order; made by `left.ordered`.

    Attributes:
      receivers: which receiver of `left` stands at each place; None: as they stood.
      senders: likewise.
    """

    left: Topology
    receivers: Order | None
    senders: Order | None

    def __post_init__(self) -> None:
        orders = {"receivers": self.receivers, "senders": self.senders}
        for (side, order), count in zip(
            orders.items(), self.left.counts(), strict=True
        ):
            if order is not None and count not in (None, len(order)):
                raise ValueError(
                    f"an order of {side} must be of as many nodes as {self.left} has, "
                    f"{count}; got one of {len(order)}."
                )

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        is_place, ends = [], []
        for end, order in ((receiver, self.receivers), (sender, self.senders)):
            if order is None:
                ends.append(end)
                continue
            is_place.append((end.position >= 0) & (end.position < len(order)))
            ends.append(End(order.at(end.position), end.attributes))
        found = self.left.admits(ends[0], ends[1], context)
        return functools.reduce(lambda a, b: a & b, is_place, found)

    def classify(self, receivers: range, senders: range) -> Tile:
        if not len(receivers) or not len(senders):
            return Tile.EMPTY
        if not self._may_meet(receivers, senders):
            return Tile.EMPTY
        if _is_listed(self.left) or len(receivers) * len(senders) > _MOST_ASKED:
            return Tile.PARTIAL
        found = tile_maps.asked(self.skeleton(), receivers, senders)
        if not found.any():
            return Tile.EMPTY
        is_full = found.all() and _is_rule(self.left)
        return Tile.FULL if is_full else Tile.PARTIAL

    def _may_meet(self, receivers: range, senders: range) -> bool:
        bounds = self._bounds("receivers", None)
        if bounds is None:
            return True
        first, last = (side[receivers.start : receivers.stop] for side in bounds)
        return bool(((first < senders.stop) & (last >= senders.start)).any())

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if self.receivers is None:
            heard = self.left.sender_range(receivers, num_senders)
            return _places(heard, self.senders)
        return _hull(self._bounds("receivers", num_senders), receivers, num_senders)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if self.senders is None:
            hearing = self.left.receiver_range(senders, num_receivers)
            return _places(hearing, self.receivers)
        return _hull(self._bounds("senders", num_receivers), senders, num_receivers)

    def reach(self) -> int | None:
        bounds = self._bounds("receivers", self.counts()[1])
        if bounds is None:
            return None
        first, last = bounds
        heard = (np.arange(first.size) - first)[first <= last]
        return max(0, 1 + int(heard.max(initial=-1)))

    def ahead(self) -> int | None:
        bounds = self._bounds("receivers", self.counts()[1])
        if bounds is None:
            return None
        first, last = bounds
        heard = (last - np.arange(first.size))[first <= last]
        return max(0, int(heard.max(initial=0)))

    def data(self) -> Data:
        data = self.left.data()
        return Data(
            receiver=_reordered(data.receiver, self.receivers),
            sender=_reordered(data.sender, self.senders),
            context=data.context,
        )

    def counts(self) -> tuple[int | None, int | None]:
        receivers, senders = self.left.counts()
        return (
            receivers if self.receivers is None else len(self.receivers),
            senders if self.senders is None else len(self.senders),
        )

    def listed(self, num_receivers: int, num_senders: int) -> Listed | None:
        listed = self.left.listed(num_receivers, num_senders)
        if listed is None:
            return None
        return Listed(
            renumbered(listed.senders, self.senders),
            renumbered(listed.receivers, self.receivers),
            listed.valid,
        )

    def skeleton(self) -> Topology:
        return Ordered(self.left.skeleton(), self.receivers, self.senders)

    def edges(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
        sizes = self.sizes(num_receivers, num_senders)
        if _is_listed(self.left):
            return super().edges(*sizes)
        senders, receivers = self.left.edges(*sizes)
        senders = renumbered(senders, self.senders)
        receivers = renumbered(receivers, self.receivers)
        order = np.lexsort((senders, receivers))
        return senders[order], receivers[order]

    def degrees(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> Int[np.ndarray, " R"]:
        sizes = self.sizes(num_receivers, num_senders)
        degrees = self.left.degrees(*sizes)
        return degrees if self.receivers is None else self.receivers.apply(degrees)

    def tiles(
        self,
        block: int,
        num_receivers: int | None = None,
        num_senders: int | None = None,
    ) -> Int[np.ndarray, "rows columns"]:
        sizes = self.sizes(num_receivers, num_senders)
        found = self._parts(*sizes)
        if found is None or _is_listed(self.left):
            return super().tiles(block, *sizes)
        check_count("block", block, least=1, advice="It counts nodes.")
        classes = tile_maps.counted(found, *sizes, block)
        return classes if _is_rule(self.left) else np.minimum(classes, Tile.PARTIAL)

    def _parts(
        self, num_receivers: int, num_senders: int
    ) -> Iterator[tile_maps.Part] | None:
        """Returns all edges that there may be, a part at a time; None if traced."""
        sizes = num_receivers, num_senders
        listed = self.left.listed(*sizes)
        if listed is None:
            found = tile_maps.parts(self.left.skeleton(), *sizes)
        else:
            known = tile_maps.known(listed, *sizes)
            if known is None:
                return None
            found = iter([known])
        return (
            (renumbered(senders, self.senders), renumbered(receivers, self.receivers))
            for senders, receivers in found
        )

    @functools.cached_property
    def _found(self) -> dict[tuple[int, int], tuple[Bounds, Bounds] | None]:
        return {}

    def _bounds(self, side: str, others: int | None) -> Bounds | None:
        """Returns the first and last node that each of a side is joined to.

        Args:
          side: whose neighbours are asked for.
          others: how many nodes the other side has, where the topology does not say it.

        Returns:
          [N] each, the last before the first where there is none; None if not known.
        """
        receivers, senders = self.counts()
        if side == "receivers":
            senders = others if senders is None else senders
        else:
            receivers = others if receivers is None else receivers
        if receivers is None or senders is None:
            return None
        if (receivers, senders) not in self._found:
            parts = self._parts(receivers, senders)
            found = None if parts is None else _extremes(parts, receivers, senders)
            self._found[receivers, senders] = found
        found = self._found[receivers, senders]
        return None if found is None else found[side == "senders"]

    def __str__(self) -> str:
        return f"{self.left}.ordered()"


def renumbered(nodes: Any, order: Order | None) -> Any:
    """Returns the place of each node; a number that is no node's stays so."""
    if order is None or not len(order):
        return nodes
    inside = (nodes >= 0) & (nodes < len(order))
    xp = jnp if isinstance(nodes, jax.Array) else np
    return xp.where(inside, order.inverse.at(nodes).astype(nodes.dtype), nodes)


def _reordered(attributes: Any, order: Order | None) -> Any:
    if order is None:
        return attributes
    return jax.tree.map(lambda leaf: order.apply(leaf, axis=-1), attributes)


def _is_rule(topology: Topology) -> bool:
    """Says whether positions alone decide, so that the skeleton has no other edges."""
    data = topology.data()
    return not jax.tree.leaves((data.receiver, data.sender, data.context))


def _is_listed(topology: Topology) -> bool:
    """Says whether edges are given one by one, in whole or in part."""
    parts = (getattr(topology, side, None) for side in ("left", "right"))
    is_list = isinstance(topology, Edges | Neighbours)
    return is_list or any(_is_listed(part) for part in parts if part is not None)


def _places(nodes: range, order: Order | None) -> range:
    """Returns a range that holds the places of all these nodes."""
    if order is None or not len(nodes):
        return nodes
    places = order.inverse.nodes[nodes.start : nodes.stop]
    return range(int(places.min()), int(places.max()) + 1)


def _hull(bounds: Bounds | None, nodes: range, count: int) -> range:
    if not len(nodes):
        return range(0)
    if bounds is None:
        return range(count)
    first, last = (side[nodes.start : nodes.stop] for side in bounds)
    if (first > last).all():
        return range(0)
    return range(int(first.min()), int(last.max()) + 1)


def _extremes(
    parts: Iterator[tile_maps.Part], num_receivers: int, num_senders: int
) -> tuple[Bounds, Bounds]:
    """Returns whom each receiver hears first and last, and who hears each sender."""
    sizes = num_receivers, num_senders
    first = [np.full(own, other) for own, other in (sizes, sizes[::-1])]
    last = [np.full(own, -1) for own in sizes]
    keep: list[tuple[Callable[..., None], list[Any]]] = [
        (np.minimum.at, first),
        (np.maximum.at, last),
    ]
    for senders, receivers in parts:
        for absorb, bounds in keep:
            absorb(bounds[0], receivers, senders)
            absorb(bounds[1], senders, receivers)
    return (first[0], last[0]), (first[1], last[1])
