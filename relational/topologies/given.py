"""Topologies that depend on data: segments of packed sequences, lengths of padded ones.

Their arrays may be traced. They only ever take edges away, and no tile is promised
full, so they are combined with a structured topology: `Causal() & SameSegment(ids)`.

Shapes: *lead the leading axes of `propagate`, each full or 1; R receivers, S senders.
"""

import dataclasses
from typing import Any

from jaxtyping import Array, Int

from relational import _pytrees
from relational.topologies.base import Data, End, Tile, Topology
from relational.topologies.intervals import Complete


class _Given(Topology):
    def classify(self, receivers: range, senders: range) -> Tile:
        return Tile.PARTIAL if len(receivers) and len(senders) else Tile.EMPTY

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return range(num_senders)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return range(num_receivers)

    def reach(self) -> int | None:
        return None

    def ahead(self) -> int | None:
        return None

    def skeleton(self) -> Topology:
        return Complete()


@_pytrees.register(data=("ids", "sender_ids"))
@dataclasses.dataclass(frozen=True, eq=False)
class SameSegment(_Given):
    """Nodes hear the nodes of their own segment: packed sequences, graphs of a batch.

    Args:
      ids: [*lead, R] integers, the segment of each receiver.
      sender_ids: [*lead, S], where senders are other nodes; by default `ids`.

    >>> import numpy as np
    >>> print(SameSegment(np.array([0, 0, 1])).text(3))
    ##.
    ##.
    ..#
    """

    ids: Int[Array, "*lead R"]
    sender_ids: Int[Array, "*lead S"] | None = None

    def data(self) -> Data:
        senders = self.ids if self.sender_ids is None else self.sender_ids
        return Data(receiver=self.ids, sender=senders)

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context
        return receiver.attributes == sender.attributes

    def counts(self) -> tuple[int | None, int | None]:
        senders = self.ids if self.sender_ids is None else self.sender_ids
        return self.ids.shape[-1], senders.shape[-1]

    def __str__(self) -> str:
        return "SameSegment()"


@_pytrees.register(data=("receivers", "senders"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Lengths(_Given):
    """Only the first `receivers` receivers hear, and only the first `senders` speak.

    Args:
      receivers: [*lead] integers, or None for no bound.
      senders: [*lead] integers, or None for no bound.

    >>> import numpy as np
    >>> print(Lengths(senders=np.array(2)).text(3))
    ##.
    ##.
    ##.
    """

    receivers: Int[Array, "*lead"] | None = None
    senders: Int[Array, "*lead"] | None = None

    def data(self) -> Data:
        given = (self.receivers, self.senders)
        return Data(context=tuple(side for side in given if side is not None))

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        bounds = list(context)
        heard = (receiver.position >= 0) & (sender.position >= 0)
        if self.receivers is not None:
            heard = heard & (receiver.position < bounds.pop(0))
        if self.senders is not None:
            heard = heard & (sender.position < bounds.pop(0))
        return heard

    def __str__(self) -> str:
        sides = {"receivers": self.receivers, "senders": self.senders}
        return f"Lengths({', '.join(k for k, v in sides.items() if v is not None)})"
