"""Topologies of grids: a node hears the nodes in a box around its own place.

Nodes are the places of a grid in raster order, the last axis fastest: pixels of an
image, cells of a volume. Along each axis a receiver hears `size` senders, `dilation`
apart, from a `first` one on; the box is the product of the axes. Its places are called
taps, as of a filter, and are counted in raster order too.

Shapes: A axes, R receivers, S senders.
"""

import abc
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import is_whole, shown
from relational.topologies.base import End, Tile, Topology

if TYPE_CHECKING:
    from relational.relations import Tap

Axes = tuple[int, ...] | int  # A number stands for all axes alike.


class Filtering(NamedTuple):
    """Along each axis: senders between receivers, and places missing at the ends."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]


class Neighbourhood(Topology):
    """A receiver hears a box of senders, cut where the grid of senders ends.

    Attributes:
      size: places of a box; of each axis, once it is made.
      dilation: how far apart they are, likewise.
    """

    size: Axes
    dilation: Axes

    @property
    @abc.abstractmethod
    def receiver_grid(self) -> tuple[int, ...]:
        """How many receivers there are along each axis."""

    @property
    @abc.abstractmethod
    def sender_grid(self) -> tuple[int, ...]:
        """How many senders there are along each axis."""

    @abc.abstractmethod
    def first(self, axis: int, place: Any) -> Any:
        """Returns where the box begins along an axis (perhaps below 0), elementwise."""

    def filtering(self) -> "Filtering | None":
        """Returns the geometry of a convolution that hears the same edges, if any."""
        return None

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many places a box has along each axis."""
        return each_axis(self.size)

    @property
    def steps(self) -> tuple[int, ...]:
        """How far apart they are along each axis."""
        return each_axis(self.dilation)

    @property
    def num_taps(self) -> int:
        """How many places a box has."""
        return math.prod(self.lengths)

    @property
    def tap(self) -> "Tap":
        """The relation that labels an edge with its tap, from 0 to `num_taps - 1`."""
        from relational.relations import Tap

        return Tap(self)

    def taps(self, receiver: Any, sender: Any) -> Any:
        """Returns the tap of each pair of positions, `num_taps` where it is no edge."""
        inside, tap = self._places(receiver, sender)
        return array_module(inside).where(inside, tap, self.num_taps)

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        inside = self._places(receiver.position, sender.position)[0]
        return inside & (sender.position >= 0)  # Empty slots of a cache lie before 0.

    def _places(self, receiver: Any, sender: Any) -> tuple[Any, Any]:
        """Returns whether a pair is an edge, and its tap if so."""
        rows = coordinates(receiver, self.receiver_grid)
        columns = coordinates(sender, self.sender_grid)
        inside: Any = True
        tap: Any = 0
        for axis, (row, column) in enumerate(zip(rows, columns, strict=True)):
            size, step = self.lengths[axis], self.steps[axis]
            first = self.first(axis, row)
            found = (column >= first) & (column < first + size * step)
            if step > 1:
                found = found & (column % step == first % step)
            inside = inside & found
            tap = tap * size + (column // step - first // step)
        return inside, tap

    def heard(self, axis: int, places: range) -> range:
        """Returns the senders that include all whom any of `places` hears, one axis."""
        count = self.sender_grid[axis]
        if not len(places):
            return range(0)
        firsts = np.asarray(self.first(axis, np.array(places)))
        last = int(firsts.max()) + (self.lengths[axis] - 1) * self.steps[axis]
        start = min(max(int(firsts.min()), 0), count)
        return range(start, max(start, min(last + 1, count)))

    def hearing(self, axis: int, places: range) -> range:
        """Returns the receivers that include all who hear any of `places`, one axis."""
        if not len(places):
            return range(0)
        firsts = np.asarray(self.first(axis, np.arange(self.receiver_grid[axis])))
        lasts = firsts + (self.lengths[axis] - 1) * self.steps[axis]
        found = np.flatnonzero((firsts <= places[-1]) & (lasts >= places[0]))
        return range(int(found[0]), int(found[-1]) + 1) if found.size else range(0)

    def classify(self, receivers: range, senders: range) -> Tile:
        heard = self.sender_range(receivers, math.prod(self.sender_grid))
        if (
            not len(senders)
            or heard.start >= senders.stop
            or heard.stop <= senders.start
        ):
            return Tile.EMPTY
        rows = box(receivers, self.receiver_grid)
        columns = box(senders, self.sender_grid)
        for axis, (row, column) in enumerate(zip(rows, columns, strict=True)):
            firsts = np.asarray(self.first(axis, np.array(row)))
            is_gapless = self.steps[axis] == 1 or self.lengths[axis] == 1
            last = int(firsts.min()) + self.lengths[axis] - 1
            if not is_gapless or firsts.max() > column[0] or last < column[-1]:
                return Tile.PARTIAL
        return Tile.FULL

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if not len(receivers):
            return range(0)
        boxes = box(receivers, self.receiver_grid)
        spans = [self.heard(axis, places) for axis, places in enumerate(boxes)]
        return hull(spans, self.sender_grid)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if not len(senders):
            return range(0)
        boxes = box(senders, self.sender_grid)
        spans = [self.hearing(axis, places) for axis, places in enumerate(boxes)]
        return hull(spans, self.receiver_grid)

    def counts(self) -> tuple[int | None, int | None]:
        return math.prod(self.receiver_grid), math.prod(self.sender_grid)

    def reach(self) -> int | None:
        return 1 - int(self._extremes(last=False).min())

    def ahead(self) -> int | None:
        return int(self._extremes(last=True).max())

    def _extremes(self, *, last: bool) -> Any:
        """Returns, for each receiver, a bound of the positions heard less its own."""
        places = np.arange(math.prod(self.receiver_grid))
        position: Any = 0
        rows = coordinates(places, self.receiver_grid)
        for axis, (row, count) in enumerate(zip(rows, self.sender_grid, strict=True)):
            place = self.first(axis, row)
            if last:
                place = place + (self.lengths[axis] - 1) * self.steps[axis]
            position = position * count + np.clip(place, 0, count - 1)
        return position - places


def coordinates(position: Any, grid: tuple[int, ...]) -> list[Any]:
    """Returns the place of a position along each axis, elementwise.

    >>> coordinates(7, (3, 4))
    [1, 3]
    """
    found = []
    for count in grid[:0:-1]:
        found.append(position % count)
        position = position // count
    return [position, *found[::-1]]


def box(positions: range, grid: tuple[int, ...]) -> list[range]:
    """Returns the smallest box that holds a range of positions, axis by axis."""
    first, last = coordinates(positions[0], grid), coordinates(positions[-1], grid)
    found, is_whole_axis = [], False
    for start, stop, count in zip(first, last, grid, strict=True):
        found.append(range(count) if is_whole_axis else range(start, stop + 1))
        is_whole_axis = is_whole_axis or start != stop
    return found


def hull(spans: list[range], grid: tuple[int, ...]) -> range:
    """Returns the range of positions from the first of a box to its last."""
    if not all(len(span) for span in spans):
        return range(0)
    first = last = 0
    for span, count in zip(spans, grid, strict=True):
        first, last = first * count + span[0], last * count + span[-1]
    return range(first, last + 1)


def array_module(value: Any) -> Any:
    """Returns the library of an array: JAX where it may be traced, or NumPy."""
    return jnp if isinstance(value, jax.Array) else np


def set_grid(topology: Any, owner: str = "", *, axes: int | None = None) -> None:
    """Checks `grid`, and keeps it as a tuple."""
    owner, grid = owner or type(topology).__name__, topology.grid
    is_grid = isinstance(grid, tuple | list) and len(grid) >= 1
    if not is_grid or not all(is_whole(n) and n >= 1 for n in grid):
        raise ValueError(
            f"`{owner}.grid` must be a tuple of counts, 1 or more, such as (height, "
            f"width); got {shown(grid)}."
        )
    if axes is not None and len(grid) != axes:
        raise ValueError(f"`{owner}.grid` must have {axes} axes; got {shown(grid)}.")
    object.__setattr__(topology, "grid", tuple(int(n) for n in grid))


def set_axes(topology: Any, name: str, owner: str = "") -> None:
    """Checks a number for each axis, or one for all, and keeps it as a tuple."""
    owner, value = owner or type(topology).__name__, getattr(topology, name)
    axes = topology.grid
    found = (value,) * len(axes) if is_whole(value) else value
    is_tuple = isinstance(found, tuple | list) and len(found) == len(axes)
    if not is_tuple or not all(is_whole(n) and n >= 1 for n in found):
        raise ValueError(
            f"`{owner}.{name}` must be 1 or more, or such a number for each of "
            f"{len(axes)} axes; got {shown(value)}."
        )
    object.__setattr__(topology, name, tuple(int(n) for n in found))


def each_axis(value: Axes) -> tuple[int, ...]:
    """Returns what `set_axes` has made of a number."""
    assert isinstance(value, tuple)
    return value
