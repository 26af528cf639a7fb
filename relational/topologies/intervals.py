"""Topologies in which every receiver hears one interval of senders.

Both ends of the interval never move back as the receiver moves on; that one promise
gives tile classes and sender ranges of all of them at once.

Shapes: R receivers, S senders.
"""

import abc
import dataclasses
from typing import Any

import numpy as np

from relational import _pytrees
from relational._checks import check_count
from relational.topologies.base import End, Tile, Topology

_NO_END = 2**30  # Beyond any position; int32 differences still fit.


class _Interval(Topology):
    """A receiver hears the senders from `first(receiver)` up to `stop(receiver)`."""

    @abc.abstractmethod
    def first(self, receiver: Any) -> Any:
        """Returns the first sender heard (perhaps below 0), elementwise."""

    @abc.abstractmethod
    def stop(self, receiver: Any) -> Any:
        """Returns the position after the last sender heard, elementwise."""

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context  # Positions say it all.
        at = receiver.position
        return (sender.position >= self.first(at)) & (sender.position < self.stop(at))

    def classify(self, receivers: range, senders: range) -> Tile:
        if not len(receivers) or not len(senders):
            return Tile.EMPTY
        top, bottom = receivers[0], receivers[-1]
        if senders.stop <= self.first(top) or senders.start >= self.stop(bottom):
            return Tile.EMPTY
        if senders.start >= self.first(bottom) and senders.stop <= self.stop(top):
            return Tile.FULL
        return Tile.PARTIAL

    def sender_range(self, receivers: range, num_senders: int) -> range:
        if not len(receivers):
            return range(0)
        start = min(max(int(self.first(receivers[0])), 0), num_senders)
        stop = min(max(int(self.stop(receivers[-1])), start), num_senders)
        return range(start, stop)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        if not len(senders) or not num_receivers:
            return range(0)
        everyone = np.arange(num_receivers)
        firsts = np.broadcast_to(self.first(everyone), everyone.shape)
        stops = np.broadcast_to(self.stop(everyone), everyone.shape)
        start = int(np.searchsorted(stops, senders.start, side="right"))
        stop = int(np.searchsorted(firsts, senders[-1], side="right"))
        return range(start, max(start, stop))


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Complete(_Interval):
    """Every receiver hears every sender; also between two node sets.

    >>> Complete().density(3, 5)
    1.0
    """

    def first(self, receiver: Any) -> Any:
        return receiver * 0

    def stop(self, receiver: Any) -> Any:
        return receiver * 0 + _NO_END

    def ahead(self) -> int | None:
        return None

    def reach(self) -> int | None:
        return None


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Causal(_Interval):
    """Each node hears itself and all before it.

    >>> print(Causal().text(3))
    #..
    ##.
    ###
    """

    def first(self, receiver: Any) -> Any:
        return receiver * 0

    def stop(self, receiver: Any) -> Any:
        return receiver + 1

    def ahead(self) -> int | None:
        return 0

    def reach(self) -> int | None:
        return None


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Self(_Interval):
    """Each node hears itself only.

    >>> print((Complete() - Self()).text(3))
    .##
    #.#
    ##.
    """

    def first(self, receiver: Any) -> Any:
        return receiver

    def stop(self, receiver: Any) -> Any:
        return receiver + 1

    def ahead(self) -> int | None:
        return 0

    def reach(self) -> int | None:
        return 1


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Band(_Interval):
    """Each node hears itself, `before` nodes before it and `after` nodes after it.

    >>> print(Band(before=1, after=1).text(4))
    ##..
    ###.
    .###
    ..##
    """

    before: int
    after: int = 0

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            check_count(
                f"Band.{name}",
                getattr(self, name),
                least=0,
                advice="0 leaves none on that side.",
            )

    def first(self, receiver: Any) -> Any:
        return receiver - min(self.before, _NO_END)

    def stop(self, receiver: Any) -> Any:
        return receiver + (min(self.after, _NO_END) + 1)

    def ahead(self) -> int | None:
        return self.after

    def reach(self) -> int | None:
        return self.before + 1


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks(_Interval):
    """Each node hears its own block of `size` nodes and the `before` blocks before it.

    With `& Causal()` this is the local attention of the Image Transformer (Parmar et
    al. 2018, section 4, "1D local attention") and of the Music Transformer (Huang et
    al. 2018, section 3.4.2), whose query blocks hear themselves and the block before.

    >>> print((Blocks(size=2) & Causal()).text(6))
    #.....
    ##....
    ###...
    ####..
    ..###.
    ..####
    """

    size: int
    before: int = 1

    def __post_init__(self) -> None:
        check_count("Blocks.size", self.size, least=1, advice="It counts nodes.")
        check_count(
            "Blocks.before",
            self.before,
            least=0,
            advice="0 leaves each block to itself.",
        )

    def first(self, receiver: Any) -> Any:
        size = min(self.size, _NO_END)
        return receiver // size * size - min(self.before * size, _NO_END)

    def stop(self, receiver: Any) -> Any:
        size = min(self.size, _NO_END)
        return receiver // size * size + size

    def ahead(self) -> int | None:
        return self.size - 1

    def reach(self) -> int | None:
        return (self.before + 1) * self.size
