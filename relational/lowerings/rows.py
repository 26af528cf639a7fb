"""Rows of tiles: which senders each block of receivers takes.

Made while tracing, from the promises of a topology alone: columns in which nobody is
heard are left out, and lengths are rounded up so that rows share compiled loops.

Shapes: R receivers, S senders.
"""

import itertools
from typing import NamedTuple

from relational.topologies.base import Tile, Topology

_TILE_ELEMENTS = 2**19  # 2 MiB of float32: a tile and its companions fit a cache.
_BLOCKS = (32, 64, 128, 256, 512)
_PAIRS_A_SENDER, _PAIRS_A_ROW, _PAIRS_A_STEP = 24, 800, 1800  # Work, in pairs.
_SAMPLED = 16  # Rows, evenly, from which the mean length of all is taken.
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


def best_cut(
    topology: Topology,
    num_receivers: int,
    num_senders: int,
    *,
    num_graphs: int,
    most_senders: int,
    numbers: float,
) -> tuple[int, int]:
    """Returns how many receivers a tile takes, and how many graphs a step may take.

    What is weighed is work in pairs of a tile: each row also reads its senders, each
    step of a loop has a price, and a tile that outgrows the caches is not considered.
    The three numbers were fitted to 150 measured cuts of 11 calls on two cores.

    Args:
      topology, num_receivers, num_senders: what is cut.
      num_graphs: how many graphs there are to share a step.
      most_senders: what a tile takes at most; longer rows are several.
      numbers: how many numbers a tile holds of each pair: 1, or a vector's.
    """
    sizes = [size for size in _BLOCKS if size < 2 * num_receivers] or _BLOCKS[:1]
    found = {}
    most_pairs = int(_TILE_ELEMENTS / max(1, numbers))
    for block in sizes:
        length = _mean_length(topology, num_receivers, num_senders, block)
        pairs = min(block, num_receivers) * max(1, min(length, most_senders))
        graphs = int(max(1, min(num_graphs, most_pairs // pairs)))
        rows = -(-num_receivers // block)
        work = rows * (length * (min(block, num_receivers) + _PAIRS_A_SENDER))
        found[block, graphs] = work + rows * (_PAIRS_A_ROW + _PAIRS_A_STEP / graphs)
        if pairs > most_pairs and len(found) > 1:
            del found[block, graphs]
    return min(found, key=lambda cut: found[cut])


def _mean_length(topology: Topology, receivers: int, senders: int, block: int) -> float:
    """Returns how many senders a row takes, from some of the rows."""
    count = -(-receivers // block)
    sample = {at * count // _SAMPLED for at in range(_SAMPLED)}
    spans = [
        topology.sender_range(
            range(at * block, min((at + 1) * block, receivers)), senders
        )
        for at in sorted(sample)
    ]
    return sum(map(len, spans)) / max(1, len(spans))


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
