"""Topologies of sparse attention: strides, any rule of positions, a matrix of blocks.

Shapes: R receivers, S senders.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import check_count, shown
from relational.topologies.base import End, Tile
from relational.topologies.unbounded import Unbounded

_MOST_ASKED = 2**22  # Pairs of a rectangle that a rule is asked for while tracing.


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Strided(Unbounded):
    """Each node hears those that lie a multiple of `stride` away.

    `Causal() & (Band(before=l) | Strided(l))` is the strided attention of sparse
    Transformers (Child et al. 2019, section 4.3).

    >>> import relational as rl
    >>> print((rl.Causal() & (rl.Band(before=1) | rl.Strided(3))).text(6))
    #.....
    ##....
    .##...
    #.##..
    .#.##.
    ..#.##
    """

    stride: int

    def __post_init__(self) -> None:
        check_count("Strided.stride", self.stride, least=1, advice="It counts nodes.")

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        is_met = receiver.position % self.stride == sender.position % self.stride
        return is_met & (sender.position >= 0)  # Empty slots of a cache lie before 0.

    def classify(self, receivers: range, senders: range) -> Tile:
        if not len(receivers) or not len(senders):
            return Tile.EMPTY
        if self.stride == 1:
            return Tile.FULL
        least, most = senders[0] - receivers[-1], senders[-1] - receivers[0]
        is_met = most // self.stride * self.stride >= least
        return Tile.PARTIAL if is_met else Tile.EMPTY


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Where(Unbounded):
    """Any rule of positions: `Where(lambda receiver, sender: receiver % sender == 0)`.

    The rule is asked while tracing, for a rectangle at a time, so that tiles in which
    nobody is heard are left out. Join it with a topology that says where to look, as
    `Band(before=512) & Where(rule)`, and only that is asked.

    Args:
      rule: from positions of receivers and senders (arrays of NumPy or JAX that
        broadcast against each other) to booleans. A function made anew for each call
        compiles anew.

    >>> print(Where(lambda receiver, sender: sender <= receiver // 2).text(4))
    #...
    #...
    ##..
    ##..
    """

    rule: Callable[[Any, Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.rule):
            raise TypeError(
                "`Where.rule` must be a function of the positions of receivers and "
                f"senders; got {shown(self.rule)}."
            )
        answer = self.rule(np.arange(2)[:, None], np.arange(3)[None])
        is_boolean = getattr(answer, "dtype", type(answer)) == bool
        if not is_boolean or np.broadcast_shapes(np.shape(answer), (2, 3)) != (2, 3):
            raise ValueError(
                "`Where.rule` must return booleans of the shape to which its arguments "
                f"broadcast; got {shown(answer)} for positions [2, 1] and [1, 3]. Join "
                "conditions by `&` and `|`, not by `and` and `or`."
            )

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        is_heard = self.rule(receiver.position, sender.position)
        return is_heard & (sender.position >= 0)  # As for `Strided`.

    def classify(self, receivers: range, senders: range) -> Tile:
        pairs = len(receivers) * len(senders)
        if not pairs:
            return Tile.EMPTY
        if pairs > _MOST_ASKED:
            return Tile.PARTIAL
        return _class_of(self._asked(receivers, senders))

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if not 0 < len(receivers) * num_senders <= _MOST_ASKED:
            return super().sender_range(receivers, num_senders)
        return _span(self._asked(receivers, range(num_senders)).any(axis=0))

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if not 0 < len(senders) * num_receivers <= _MOST_ASKED:
            return super().receiver_range(senders, num_receivers)
        return _span(self._asked(range(num_receivers), senders).any(axis=1))

    def _asked(self, receivers: range, senders: range) -> Any:
        answer = self.rule(np.array(receivers)[:, None], np.array(senders)[None])
        return np.broadcast_to(np.asarray(answer), (len(receivers), len(senders)))

    def __str__(self) -> str:
        return f"Where({getattr(self.rule, '__name__', 'rule')})"


@jax.tree_util.register_static  # Equal matrices are one static value.
@dataclasses.dataclass(frozen=True, eq=False)
class BlockSparse(Unbounded):
    """Blocks of receivers hear blocks of senders, as a matrix says.

    Args:
      blocks: [R / size, S / size] booleans, rounded up; NumPy, since it is part of the
        compiled program.
      size: nodes of a block.

    >>> import numpy as np
    >>> print(BlockSparse(np.array([[1, 0], [1, 1]], bool), size=2).text(4))
    ##..
    ##..
    ####
    ####
    """

    blocks: Any
    size: int

    def __post_init__(self) -> None:
        check_count("BlockSparse.size", self.size, least=1, advice="It counts nodes.")
        blocks = self.blocks
        if isinstance(blocks, jax.core.Tracer):
            raise TypeError(
                "`BlockSparse.blocks` must be a NumPy array, since which blocks there "
                "are is part of the compiled program; got a traced array. Make it "
                "outside `jit`."
            )
        blocks = np.array(blocks)  # A copy: nobody changes it later.
        if blocks.ndim != 2 or blocks.dtype != bool or not blocks.size:
            raise ValueError(
                "`BlockSparse.blocks` must be a matrix of booleans, a row a block of "
                f"receivers; got {shown(self.blocks)}."
            )
        blocks.flags.writeable = False
        object.__setattr__(self, "blocks", blocks)

    @functools.cached_property
    def _key(self) -> tuple[Any, ...]:
        return self.blocks.shape, self.blocks.tobytes(), self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockSparse) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        row, column = receiver.position // self.size, sender.position // self.size
        rows, columns = self.blocks.shape
        if isinstance(row, jax.Array) or isinstance(column, jax.Array):
            found = jnp.asarray(self.blocks).at[row, column].get(mode="clip")
            return found & (sender.position >= 0)  # As for `Strided`.
        return self.blocks[np.minimum(row, rows - 1), np.minimum(column, columns - 1)]

    def classify(self, receivers: range, senders: range) -> Tile:
        found = self.blocks[self._of(receivers), self._of(senders)]
        return _class_of(found) if found.size else Tile.EMPTY

    def sender_range(self, receivers: range, num_senders: int) -> range:
        heard = _span(self.blocks[self._of(receivers)].any(axis=0))
        return self._nodes(heard, num_senders)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        hearing = _span(self.blocks[:, self._of(senders)].any(axis=1))
        return self._nodes(hearing, num_receivers)

    def _of(self, nodes: range) -> slice:
        if not len(nodes):
            return slice(0, 0)
        return slice(nodes[0] // self.size, nodes[-1] // self.size + 1)

    def _nodes(self, blocks: range, count: int) -> range:
        start = min(blocks.start * self.size, count)
        return range(start, min(blocks.stop * self.size, count))

    def check(self, num_receivers: int, num_senders: int) -> None:
        """Raises a ValueError unless the matrix has a block for each node."""
        counts = (num_receivers, num_senders)
        wanted = tuple(-(-count // self.size) for count in counts)
        if wanted != self.blocks.shape:
            raise ValueError(
                f"`BlockSparse.blocks` must have shape {list(wanted)} for "
                f"{num_receivers} receivers and {num_senders} senders in blocks of "
                f"{self.size}; got {list(self.blocks.shape)}."
            )

    def listed(self, num_receivers: int, num_senders: int) -> None:
        self.check(num_receivers, num_senders)  # Here counts are known, and no sooner.

    def __str__(self) -> str:
        rows, columns = self.blocks.shape
        return f"BlockSparse({rows} x {columns} blocks of {self.size})"


def _class_of(found: Any) -> Tile:
    if found.all():
        return Tile.FULL
    return Tile.PARTIAL if found.any() else Tile.EMPTY


def _span(found: Any) -> range:
    """Returns the range from the first index that was found to the last."""
    indices = np.flatnonzero(found)
    return range(int(indices[0]), int(indices[-1]) + 1) if indices.size else range(0)
