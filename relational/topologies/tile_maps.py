"""Maps of tiles by counting edges: exact, in memory that the edges do not set.

Shapes: R receivers, S senders, E edges of one part.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from relational.topologies.base import Listed, Tile, Topology

_MOST_ASKED = 2**20  # Pairs that are asked for at a time.
_ROWS = 64  # Receivers whose senders are looked at together.

Part = tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]


def parts(topology: Topology, num_receivers: int, num_senders: int) -> Iterator[Part]:
    """Yields the edges of a rule as `(senders, receivers)`, some receivers at a time."""
    for start in range(0, num_receivers, _ROWS):
        rows = range(start, min(start + _ROWS, num_receivers))
        heard = topology.sender_range(rows, num_senders)
        width = _MOST_ASKED // _ROWS
        for at in range(heard.start, heard.stop, width):
            columns = range(at, min(at + width, heard.stop))
            receiver, sender = np.nonzero(asked(topology, rows, columns))
            yield sender + columns.start, receiver + rows.start


def asked(topology: Topology, receivers: Any, senders: Any) -> Any:
    """Returns which of these receivers hear which of these senders, in NumPy."""
    with jax.ensure_compile_time_eval():  # A rule may be written in JAX.
        rows, columns = np.asarray(receivers)[:, None], np.asarray(senders)[None]
        found = np.asarray(topology.contains(rows, columns))
    return np.broadcast_to(found, (len(receivers), len(senders)))


def known(listed: Listed, num_receivers: int, num_senders: int) -> Part | None:
    """Returns all edges that may be among the listed; None where they are traced."""
    ends = listed.senders, listed.receivers
    if any(isinstance(end, jax.core.Tracer) for end in ends):
        return None
    senders, receivers = (
        end.reshape(-1) for end in np.broadcast_arrays(*map(np.asarray, ends))
    )
    inside = (senders >= 0) & (senders < num_senders)
    inside &= (receivers >= 0) & (receivers < num_receivers)
    return senders[inside], receivers[inside]


def counted(
    found: Iterable[Part], num_receivers: int, num_senders: int, block: int
) -> Int[np.ndarray, "rows columns"]:
    """Returns the class of each tile from edges, of which none may come twice."""
    shape = -(-num_receivers // block), -(-num_senders // block)
    count = np.zeros(shape[0] * shape[1], np.int64)
    for senders, receivers in found:
        tiles = receivers // block * shape[1] + senders // block
        count += np.bincount(tiles, minlength=count.size)
    area = np.outer(_lengths(num_receivers, block), _lengths(num_senders, block))
    count = count.reshape(shape)
    classes = np.where(count == area, Tile.FULL, Tile.PARTIAL)
    return np.where(count == 0, Tile.EMPTY, classes).astype(int)


def _lengths(size: int, block: int) -> Any:
    starts = np.arange(0, size, block)
    return np.minimum(size - starts, block)
