"""Block maps: which tiles of a topology hold edges, and the orders to take them in.

Made in NumPy while tracing, from the promises of a topology alone. One program of a
kernel takes the tiles of one group in turn: forward those of a block of receivers;
backward those of a block of receivers, of a block of senders, and of a diagonal of
blocks, so that each gradient is added up by one program, in one order.

Shapes: R receivers, S senders, B nodes of a block, G groups, T tiles.
"""

import dataclasses
import functools
from typing import Any, Literal

import numpy as np

from relational.topologies.base import Tile, Topology

By = Literal["receivers", "senders", "diagonals"]


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Some tiles, sorted by group: those of group g are `starts[g]` to `starts[g + 1]`.

    Attributes:
      starts: [G + 1].
      receivers, senders: [T] blocks; one that is never read where there are no tiles.
    """

    starts: Any
    receivers: Any
    senders: Any

    @property
    def count(self) -> int:
        return int(self.starts[-1])


@dataclasses.dataclass(frozen=True)
class Walk:
    """The tiles of a topology, in groups that share something.

    Attributes:
      by: what the tiles of a group share.
      first: the number of the first group: of diagonals, the block of senders less
        that of receivers.
      partial: tiles in which some pairs are edges, or which reach beyond the nodes.
      full: tiles in which all pairs are.
    """

    by: By
    first: int
    partial: Tiles
    full: Tiles

    @property
    def num_groups(self) -> int:
        return len(self.full.starts) - 1


@dataclasses.dataclass(frozen=True, eq=False)
class BlockMap:
    """The classes of all tiles: 0 empty, 1 partial, 2 full, [R / B, S / B]."""

    classes: Any
    block: int

    @functools.cached_property
    def counts(self) -> tuple[int, int]:
        """How many tiles are partial, and how many full."""
        return int((self.classes == 1).sum()), int((self.classes == 2).sum())

    def walk(self, by: By) -> Walk:
        """Returns the tiles in groups.

        >>> import relational as rl
        >>> walk = block_map(rl.Causal(), 4, 4, block=2).walk("receivers")
        >>> walk.partial.starts.tolist(), walk.full.starts.tolist()
        ([0, 1, 2], [0, 0, 1])
        """
        rows, columns = self.classes.shape
        first = 1 - rows if by == "diagonals" else 0
        groups = {"receivers": rows, "senders": columns}.get(by, rows + columns - 1)
        partial, full = (
            _grouped(np.argwhere(self.classes == kind), by, first, groups)
            for kind in (Tile.PARTIAL, Tile.FULL)
        )
        return Walk(by, first, partial, full)


def block_map(
    topology: Topology, num_receivers: int, num_senders: int, block: int
) -> BlockMap:
    """Returns the classes of the tiles of a topology.

    >>> import relational as rl
    >>> block_map(rl.Causal(), 5, 5, block=2).classes
    array([[1, 0, 0],
           [2, 1, 0],
           [1, 1, 1]])
    """
    rows, columns = -(-num_receivers // block), -(-num_senders // block)
    classes = np.zeros((rows, columns), int)
    for row in range(rows):
        receivers = range(row * block, min((row + 1) * block, num_receivers))
        heard = topology.sender_range(receivers, num_senders)
        for column in range(heard.start // block, -(-heard.stop // block)):
            senders = range(column * block, min((column + 1) * block, num_senders))
            found = topology.classify(receivers, senders)
            is_cut = len(receivers) < block or len(senders) < block
            classes[row, column] = min(found, Tile.PARTIAL) if is_cut else found
    return BlockMap(classes, block)


def _grouped(places: Any, by: By, first: int, groups: int) -> Tiles:
    rows, columns = places[:, 0], places[:, 1]
    keys = {"receivers": rows, "senders": columns}.get(by, columns - rows)
    order = np.argsort(keys, kind="stable")
    counts = np.bincount(keys - first, minlength=groups)
    starts = np.concatenate([[0], np.cumsum(counts)])
    if not len(rows):
        rows = columns = np.zeros(1, int)
        order = np.zeros(1, int)
    taken = (starts, rows[order], columns[order])
    return Tiles(*(each.astype(np.int32) for each in taken))
