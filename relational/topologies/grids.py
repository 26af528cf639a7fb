"""Topologies of grids: a node hears the nodes in a box around its own place.

Nodes are the places of a grid in raster order, the last axis fastest: pixels of an
image, cells of a volume. Along each axis a receiver hears `size` senders, `dilation`
apart, from a `first` one on; the box is the product of the axes. Its places are called
taps, as of a filter, and are counted in raster order too.

Shapes: A axes, R receivers, S senders.
"""

import abc
import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import check_count, is_whole, shown
from relational.topologies.base import End, Tile, Topology

if TYPE_CHECKING:
    from relational.relations import Tap

Padding = Literal["same", "valid"] | tuple[tuple[int, int], ...]


class Filtering(NamedTuple):
    """Along each axis: senders between receivers, and places missing at the ends."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]


class Neighbourhood(Topology):
    """A receiver hears a box of senders, cut where the grid of senders ends."""

    size: tuple[int, ...]
    dilation: tuple[int, ...]

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
    def num_taps(self) -> int:
        """How many places a box has."""
        return math.prod(self.size)

    @property
    def tap(self) -> "Tap":
        """The relation that labels an edge with its tap, from 0 to `num_taps - 1`."""
        from relational.relations import Tap

        return Tap(self)

    def taps(self, receiver: Any, sender: Any) -> Any:
        """Returns the tap of each pair of positions, `num_taps` where it is no edge."""
        inside, tap = self._places(receiver, sender)
        return _xp(inside).where(inside, tap, self.num_taps)

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        return self._places(receiver.position, sender.position)[0]

    def _places(self, receiver: Any, sender: Any) -> tuple[Any, Any]:
        """Returns whether a pair is an edge, and its tap if so."""
        rows = coordinates(receiver, self.receiver_grid)
        columns = coordinates(sender, self.sender_grid)
        inside: Any = True
        tap: Any = 0
        for axis, (row, column) in enumerate(zip(rows, columns, strict=True)):
            size, step = self.size[axis], self.dilation[axis]
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
        last = int(firsts.max()) + (self.size[axis] - 1) * self.dilation[axis]
        start = min(max(int(firsts.min()), 0), count)
        return range(start, max(start, min(last + 1, count)))

    def hearing(self, axis: int, places: range) -> range:
        """Returns the receivers that include all who hear any of `places`, one axis."""
        if not len(places):
            return range(0)
        firsts = np.asarray(self.first(axis, np.arange(self.receiver_grid[axis])))
        lasts = firsts + (self.size[axis] - 1) * self.dilation[axis]
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
        rows = _box(receivers, self.receiver_grid)
        columns = _box(senders, self.sender_grid)
        for axis, (row, column) in enumerate(zip(rows, columns, strict=True)):
            firsts = np.asarray(self.first(axis, np.array(row)))
            is_gapless = self.dilation[axis] == 1 or self.size[axis] == 1
            last = int(firsts.min()) + self.size[axis] - 1
            if not is_gapless or firsts.max() > column[0] or last < column[-1]:
                return Tile.PARTIAL
        return Tile.FULL

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if not len(receivers):
            return range(0)
        boxes = _box(receivers, self.receiver_grid)
        spans = [self.heard(axis, places) for axis, places in enumerate(boxes)]
        return _hull(spans, self.sender_grid)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if not len(senders):
            return range(0)
        boxes = _box(senders, self.sender_grid)
        spans = [self.hearing(axis, places) for axis, places in enumerate(boxes)]
        return _hull(spans, self.receiver_grid)

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
                place = place + (self.size[axis] - 1) * self.dilation[axis]
            position = position * count + np.clip(place, 0, count - 1)
        return position - places


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Neighbourhood):
    """Each place of a grid hears the places around it: neighbourhood attention.

    Args:
      grid: places along each axis: `(height, width)`, or of any number of axes.
      size: places heard along each axis; of an even number one more lies before.
      dilation: how far apart they are.
      stride: so many neighbours along each axis share the window of the one in their
        middle (generalised neighbourhood attention, Hassani et al. 2025).
      border: "cut" leaves places beyond the grid out; "shift" moves a window inwards,
        so that everybody hears as many (Hassani et al. 2023, section 3.1).
      Numbers stand for all axes alike.

    >>> print(Window(grid=(5,), size=3).text())
    ##...
    ###..
    .###.
    ..###
    ...##
    >>> print(Window(grid=(5,), size=3, border="shift").text())
    ###..
    ###..
    .###.
    ..###
    ..###
    >>> Window(grid=(64, 64), size=(7, 7)).degrees().max()
    np.int64(49)
    """

    grid: tuple[int, ...]
    size: tuple[int, ...] | int  # type: ignore[assignment]  # A tuple once it is made.
    dilation: tuple[int, ...] | int = 1  # type: ignore[assignment]  # As above.
    stride: tuple[int, ...] | int = 1
    border: Literal["cut", "shift"] = "cut"

    def __post_init__(self) -> None:
        set_grid(self)
        for name in ("size", "dilation", "stride"):
            _set_axes(self, name)
        if self.border not in ("cut", "shift"):
            raise ValueError(
                f'`Window.border` must be "cut" or "shift"; got {shown(self.border)}.'
            )
        for count, size, step in zip(self.grid, self.size, self.dilation, strict=True):  # type: ignore[arg-type]  # Tuples.
            if self.border == "shift" and size * step > count:
                raise ValueError(
                    "`Window.size` times `dilation` must fit the grid where windows are "
                    f"shifted; got {size} x {step} on {count} places. Make it smaller, "
                    'or take `border="cut"`.'
                )

    @property
    def receiver_grid(self) -> tuple[int, ...]:
        return self.grid

    @property
    def sender_grid(self) -> tuple[int, ...]:
        return self.grid

    def first(self, axis: int, place: Any) -> Any:
        xp = _xp(place)
        count, size = self.grid[axis], self.size[axis]  # type: ignore[index]  # Tuples.
        step, stride = self.dilation[axis], self.stride[axis]  # type: ignore[index]
        # Places `dilation` apart are a grid of their own, as if they were neighbours.
        phase, index = place % step, place // step
        length = (count - phase + step - 1) // step
        if stride > 1:
            index = xp.minimum(index // stride * stride + stride // 2, length - 1)
        index = index - size // 2
        if self.border == "shift":
            index = xp.clip(index, 0, length - size)
        return index * step + phase

    def filtering(self) -> Filtering | None:
        if self.border == "shift" or max(self.stride) > 1:  # type: ignore[arg-type]
            return None
        pads = tuple(
            (size // 2 * step, (size - 1 - size // 2) * step)
            for size, step in zip(self.size, self.dilation, strict=True)  # type: ignore[arg-type]
        )
        return Filtering((1,) * len(self.grid), pads)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stencil(Neighbourhood):
    """Each place of a grid hears a box of another: who hears whom in a convolution.

    Senders are the places of `grid`, receivers those of the grid that comes out, one
    for every `stride` places. `.T` leads back, from the smaller to the larger grid.

    Args:
      grid: senders along each axis: `(height, width)`, or of any number of axes.
      size: of the filter.
      stride: senders from one receiver to the next.
      dilation: senders from one tap to the next.
      padding: "same" (as many receivers as senders, divided by `stride`), "valid" (no
        box leaves the grid), or a pair (before, after) for each axis.
      Numbers stand for all axes alike.

    >>> print(Stencil(grid=(6,), size=3, stride=2).text())
    ###...
    ..###.
    ....##
    >>> Stencil(grid=(28, 28), size=3, padding="valid").receiver_grid
    (26, 26)
    """

    grid: tuple[int, ...]
    size: tuple[int, ...] | int  # type: ignore[assignment]  # A tuple once it is made.
    stride: tuple[int, ...] | int = 1
    dilation: tuple[int, ...] | int = 1  # type: ignore[assignment]  # As above.
    padding: Padding = "same"

    def __post_init__(self) -> None:
        set_grid(self)
        for name in ("size", "stride", "dilation"):
            _set_axes(self, name)
        self._check_padding()
        if min(self.receiver_grid) < 1:
            raise ValueError(
                "`Stencil.size` must fit the padded grid; got size "
                f"{self.size} with dilation {self.dilation} on {self.grid}, padding "
                f'{self.padding!r}. Make it smaller, or take `padding="same"`.'
            )

    def _check_padding(self) -> None:
        if isinstance(self.padding, str) and self.padding in ("same", "valid"):
            return
        pairs = self.padding
        is_listed = isinstance(pairs, tuple | list) and len(pairs) == len(self.grid)
        if not is_listed or not all(map(_is_pair, pairs)):
            raise ValueError(
                '`Stencil.padding` must be "same", "valid" or a pair (before, after) of '
                f"counts for each of {len(self.grid)} axes; got {shown(pairs)}."
            )
        fixed = tuple(tuple(map(int, pair)) for pair in pairs)
        object.__setattr__(self, "padding", fixed)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Places that are missing before and after the grid, along each axis."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return ((0, 0),) * len(self.grid)
        found = []
        for count, size, stride, step in self._axes():
            wanted = (-(-count // stride) - 1) * stride + (size - 1) * step + 1
            total = max(wanted - count, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)

    def _axes(self) -> Any:
        return zip(self.grid, self.size, self.stride, self.dilation, strict=True)  # type: ignore[arg-type]  # Tuples.

    @property
    def receiver_grid(self) -> tuple[int, ...]:
        return tuple(
            (count + before + after - (size - 1) * step - 1) // stride + 1
            for (count, size, stride, step), (before, after) in zip(
                self._axes(), self.pads, strict=True
            )
        )

    @property
    def sender_grid(self) -> tuple[int, ...]:
        return self.grid

    def first(self, axis: int, place: Any) -> Any:
        return place * self.stride[axis] - self.pads[axis][0]  # type: ignore[index]

    def filtering(self) -> Filtering | None:
        return Filtering(self.stride, self.pads)  # type: ignore[arg-type]  # Tuples.


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class RasterBlocks2D(Topology):
    """The local attention of the Image Transformer in two dimensions.

    An image is generated block by block in raster order, and in raster order within a
    block; nodes stand in this order, which `orders.blocks` makes of rows of pixels. A
    pixel hears those of its block, of `above` rows above the block, and of `beside`
    columns to its left and right, as far as they are generated before it, and itself
    (Parmar et al. 2018, section 4, "2D local attention", with query blocks of 8 x 32
    and a memory of 8 rows above and 16 columns beside).

    Args:
      grid: (height, width) of the image, whole blocks.
      block: (height, width) of a query block.
      above: rows of memory above a block.
      beside: columns of memory on either side.

    >>> print(RasterBlocks2D(grid=(2, 4), block=(2, 2), above=0, beside=1).text())
    #.......
    ##......
    ###.....
    ####....
    .#.##...
    .#.###..
    .#.####.
    .#.#####
    """

    grid: tuple[int, int]
    block: tuple[int, int]
    above: int
    beside: int

    def __post_init__(self) -> None:
        set_grid(self, axes=2)
        _set_axes(self, "block")
        for name in ("above", "beside"):
            check_count(
                f"RasterBlocks2D.{name}",
                getattr(self, name),
                least=0,
                advice="0 leaves no memory there.",
            )
        if any(map(int.__mod__, self.grid, self.block)):
            raise ValueError(
                "`RasterBlocks2D.grid` must hold whole blocks; got a grid of "
                f"{self.grid} and blocks of {self.block}. Pad the image."
            )

    def _places(self, position: Any) -> tuple[Any, Any, Any, Any]:
        """Returns top and left of each node's block, and its row and column."""
        height, width = self.block
        block, inner = position // (height * width), position % (height * width)
        across = self.grid[1] // width
        top, left = block // across * height, block % across * width
        return top, left, top + inner // width, left + inner % width

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        top, left, _, _ = self._places(receiver.position)
        _, _, row, column = self._places(sender.position)
        is_before = sender.position <= receiver.position
        in_rows = row >= top - self.above
        right = left + self.block[1]
        in_columns = (column >= left - self.beside) & (column < right + self.beside)
        return is_before & in_rows & in_columns

    def classify(self, receivers: range, senders: range) -> Tile:
        heard = self.sender_range(receivers, self.counts()[1] or 0)
        if (
            not len(senders)
            or heard.start >= senders.stop
            or heard.stop <= senders.start
        ):
            return Tile.EMPTY
        size = math.prod(self.block)
        blocks = {receivers[0] // size, receivers[-1] // size}
        blocks |= {senders[0] // size, senders[-1] // size}
        is_before = senders[-1] <= receivers[0]
        return Tile.FULL if is_before and len(blocks) == 1 else Tile.PARTIAL

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if not len(receivers):
            return range(0)
        size = math.prod(self.block)
        starts = range(receivers[0] // size, receivers[-1] // size + 1)
        earliest = min(self._earliest(block) for block in starts)
        return range(earliest * size, receivers[-1] + 1)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if not len(senders):
            return range(0)
        size, count = math.prod(self.block), math.prod(self.grid)
        blocks = np.arange(count // size)
        earliest = np.array([self._earliest(int(block)) for block in blocks])
        last = int(np.flatnonzero(earliest <= senders[-1] // size)[-1])
        return range(senders[0], (last + 1) * size)

    def _earliest(self, block: int) -> int:
        """Returns the first block of which `block` hears a pixel."""
        height, width = self.block
        across = self.grid[1] // width
        row, column = divmod(block, across)
        first_row = max(0, row * height - self.above) // height
        first_column = max(0, column * width - self.beside) // width
        return first_row * across + first_column

    def counts(self) -> tuple[int | None, int | None]:
        return math.prod(self.grid), math.prod(self.grid)

    def reach(self) -> int | None:
        size = math.prod(self.block)
        blocks = range(math.prod(self.grid) // size)
        return max((block - self._earliest(block) + 1) * size for block in blocks)

    def ahead(self) -> int | None:
        return 0


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


def _box(positions: range, grid: tuple[int, ...]) -> list[range]:
    """Returns the smallest box that holds a range of positions, axis by axis."""
    first, last = coordinates(positions[0], grid), coordinates(positions[-1], grid)
    found, is_whole_axis = [], False
    for start, stop, count in zip(first, last, grid, strict=True):
        found.append(range(count) if is_whole_axis else range(start, stop + 1))
        is_whole_axis = is_whole_axis or start != stop
    return found


def _hull(spans: list[range], grid: tuple[int, ...]) -> range:
    """Returns the range of positions from the first of a box to its last."""
    if not all(len(span) for span in spans):
        return range(0)
    first = last = 0
    for span, count in zip(spans, grid, strict=True):
        first, last = first * count + span[0], last * count + span[-1]
    return range(first, last + 1)


def _is_pair(value: Any) -> bool:
    is_listed = isinstance(value, tuple | list) and len(value) == 2
    return is_listed and all(is_whole(each) and each >= 0 for each in value)


def _xp(value: Any) -> Any:
    return jnp if isinstance(value, jax.Array) else np


def set_grid(topology: Any, axes: int | None = None) -> None:
    """Checks `grid`, and keeps it as a tuple."""
    owner, grid = type(topology).__name__, topology.grid
    is_grid = isinstance(grid, tuple | list) and len(grid) >= 1
    if not is_grid or not all(is_whole(n) and n >= 1 for n in grid):
        raise ValueError(
            f"`{owner}.grid` must be a tuple of counts, 1 or more, such as (height, "
            f"width); got {shown(grid)}."
        )
    if axes is not None and len(grid) != axes:
        raise ValueError(f"`{owner}.grid` must have {axes} axes; got {shown(grid)}.")
    object.__setattr__(topology, "grid", tuple(int(n) for n in grid))


def _set_axes(topology: Any, name: str) -> None:
    """Checks a number for each axis, or one for all, and keeps it as a tuple."""
    owner, value, axes = type(topology).__name__, getattr(topology, name), topology.grid
    found = (value,) * len(axes) if is_whole(value) else value
    is_tuple = isinstance(found, tuple | list) and len(found) == len(axes)
    if not is_tuple or not all(is_whole(n) and n >= 1 for n in found):
        raise ValueError(
            f"`{owner}.{name}` must be 1 or more, or such a number for each of "
            f"{len(axes)} axes; got {shown(value)}."
        )
    object.__setattr__(topology, name, tuple(int(n) for n in found))
