"""Rows of tiles: which senders each block of receivers takes.

Made while tracing, from the promises of a topology alone: columns in which nobody is
heard are left out, and lengths are rounded up so that rows share compiled loops.

Shapes: R receivers, S senders.
"""

import itertools
import math
from typing import NamedTuple

from relational.topologies.base import Tile, Topology

_TILE_ELEMENTS = 2**19  # 2 MiB of float32: a tile and its companions fit a cache.
_MOST_RUNS = 16  # Loops that one call compiles at most, unless shapes differ.
_MOST_LENGTHS = 16  # Rows are rounded up to so many lengths, each a compiled loop.


class Row(NamedTuple):
    """A block of receivers and the senders that it takes; both contiguous."""

    receivers: range
    senders: range
    is_masked: bool

    @property
    def pairs(self) -> int:
        return len(self.receivers) * len(self.senders)

    @property
    def starts(self) -> tuple[int, int]:
        return self.receivers.start, self.senders.start

    @property
    def shape(self) -> tuple[int, int, bool]:
        return len(self.receivers), len(self.senders), self.is_masked

    @property
    def offset(self) -> int:
        """The first sender's position less the first receiver's."""
        return self.senders.start - self.receivers.start


def rows(
    topology: Topology, num_receivers: int, num_senders: int, block: int
) -> list[Row]:
    """Cuts a topology into rows of tiles; rows in which nobody hears are left out."""
    blocks = [
        range(start, min(start + block, num_receivers))
        for start in range(0, num_receivers, block)
    ]
    spans = [topology.sender_range(receivers, num_senders) for receivers in blocks]
    longest = max((len(heard) for heard in spans), default=0)
    grain = max(1, min(block, 64), -(-longest // _MOST_LENGTHS))
    found = []
    for receivers, heard in zip(blocks, spans, strict=True):
        if not len(heard):
            continue
        length = min(num_senders, -(-len(heard) // grain) * grain)
        first = min(heard.start, num_senders - length)
        senders = range(first, first + length)
        is_full = topology.classify(receivers, senders) is Tile.FULL
        found.append(Row(receivers, senders, not is_full))
    return found


def best_block(topology: Topology, num_receivers: int, num_senders: int) -> int:
    """Returns how many receivers a tile takes, a power of two from 32 to 256."""
    sample = range(min(256, num_receivers))
    middle = num_receivers // 2
    sample = range(middle, min(middle + 128, num_receivers)) or sample
    heard = len(topology.sender_range(sample, num_senders))
    wanted = _TILE_ELEMENTS / max(1, heard)
    return int(min(256, max(32, 2 ** math.floor(math.log2(max(1, wanted))))))


def runs(rows: tuple[Row, ...]) -> list[list[Row]]:
    """Returns maximal runs of neighbouring rows that share a loop.

    Rows that also lie alike to the diagonal know their labels while tracing; where that
    would unroll too many, rows need only be of one shape.
    """
    alike = itertools.groupby(rows, key=lambda row: (row.shape, row.offset))
    found = [list(run) for _, run in alike]
    if len(found) <= _MOST_RUNS:
        return found
    of_shape = itertools.groupby(rows, key=lambda row: row.shape)
    return [list(run) for _, run in of_shape]
