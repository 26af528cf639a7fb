"""Blocks of pixels in raster order: an image that is generated a block at a time.

Shapes: R receivers, S senders."""

import dataclasses
import math
from typing import Any

import numpy as np

from relational import _pytrees
from relational._checks import check_count
from relational.topologies.base import End, Tile, Topology
from relational.topologies.grids import set_axes, set_grid


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class RasterBlocks2D(Topology):
    """The local attention of the Image Transformer in two dimensions.

    An image is generated block by block in raster order, and in raster order within a
    block; nodes stand in this order, that of `rl.orders.blocks(grid, block)`. A
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
        set_axes(self, "block")
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
        is_before = is_before & (
            sender.position >= 0
        )  # Empty slots of a cache are not.
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
