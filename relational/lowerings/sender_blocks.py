"""Where listed edges stand when they are sorted by sender and cut into blocks.

How many edges a sender has may be traced, so that what is static is a bound: places for
all edges, and for the padding of the last block of each sender.

Shapes: E edges, S senders, B edges of a block, P places of all blocks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Sizes(NamedTuple):
    """What is static.

    Attributes:
      num_senders: S.
      rows: B.
      num_places: P, the most that can be needed.
    """

    num_senders: int
    rows: int
    num_places: int

    @classmethod
    def of(cls, num_edges: int, num_senders: int, rows: int) -> "Sizes":
        """Returns the sizes of so many edges.

        >>> Sizes.of(10, 2, 4).num_places  # As 5 and 5, or as 9 and 1: 4 blocks.
        16
        """
        heard = min(num_senders, num_edges)
        return cls(num_senders, rows, (num_edges + heard * (rows - 1)) // rows * rows)


class Layout(NamedTuple):
    """Where each edge stands: those of a sender in a row, which blocks cut.

    Attributes:
      order: [E], the edges by sender, those that do not count behind all others.
      first, degree: [S], where those of a sender begin, and how many there are.
      block, blocks: [S], its first block, and how many it has.
      spoken: [S], the senders, those that somebody hears before the others.
      num_spoken: how many somebody hears.
      place: [E], the place of each edge in the blocks; beyond all if it does not count.
    """

    order: Any
    first: Any
    degree: Any
    block: Any
    blocks: Any
    spoken: Any
    num_spoken: Any
    place: Any

    def edges_at(self, sender: Any, block: Any, rows: int) -> tuple[Any, Any]:
        """Returns the edges of a block, [B], and which of them are no repetition."""
        inside = block * rows + jnp.arange(rows, dtype=jnp.int32)
        last = self.degree[sender] - 1
        at = self.first[sender] + jnp.minimum(inside, last)
        return self.order[at], inside <= last

    def over_senders(self, visit: Callable[[Any, Any], Any], state: Any) -> Any:
        """Folds `visit(sender, state) -> state` over all senders that are heard."""
        return jax.lax.fori_loop(
            0,
            self.num_spoken,
            lambda at, state: visit(self.spoken[at], state),
            state,
        )


def laid_out(senders: Any, sizes: Sizes) -> Layout:
    """Returns the layout of edges with these senders, [E]; S stands for none.

    >>> layout = laid_out(jnp.array([1, 0, 1, 2]), Sizes.of(4, 2, 2))  # The last is out.
    >>> layout.order.tolist(), layout.place.tolist(), layout.blocks.tolist()
    ([1, 0, 2, 3], [2, 0, 3, 6], [1, 1])
    """
    num_senders, rows, num_places = sizes
    order = jnp.argsort(senders, stable=True).astype(jnp.int32)
    by_sender = senders[order]
    bounds = jnp.searchsorted(by_sender, jnp.arange(num_senders + 1)).astype(jnp.int32)
    first, degree = bounds[:-1], jnp.diff(bounds)
    blocks = -(-degree // rows)
    block = jnp.cumsum(blocks) - blocks
    rank = jnp.arange(len(order), dtype=jnp.int32)
    known = jnp.minimum(by_sender, num_senders - 1)
    place = block[known] * rows + rank - first[known]
    place = jnp.where(by_sender < num_senders, place, num_places)
    return Layout(
        order=order,
        first=first,
        degree=degree,
        block=block,
        blocks=blocks,
        spoken=jnp.argsort(degree == 0, stable=True).astype(jnp.int32),
        num_spoken=(degree > 0).sum().astype(jnp.int32),
        place=jnp.zeros_like(place).at[order].set(place),
    )
