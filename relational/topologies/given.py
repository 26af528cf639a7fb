"""Topologies that depend on data: segments of packed sequences, lengths of padded ones.

Their arrays may be traced. They only ever take edges away, and no tile is promised
full, so they are combined with a structured topology: `Causal() & SameSegment(ids)`.

Shapes: *lead the leading axes of `propagate`, each full or 1; R receivers, S senders.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from relational import _pytrees
from relational._checks import shown
from relational.topologies.base import Data, End, Topology
from relational.topologies.intervals import Complete
from relational.topologies.unbounded import Unbounded


class _Given(Unbounded):
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

    def __post_init__(self) -> None:
        for name in ("ids", "sender_ids"):
            if name == "ids" or self.sender_ids is not None:
                ids = _integers(f"SameSegment.{name}", getattr(self, name), rank=1)
                object.__setattr__(self, name, ids)

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

    def __post_init__(self) -> None:
        for side in ("receivers", "senders"):
            if getattr(self, side) is not None:
                bound = _integers(f"Lengths.{side}", getattr(self, side), rank=0)
                object.__setattr__(self, side, bound)

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


def _integers(name: str, value: Any, rank: int) -> Any:
    """Returns integers as an array, or says what should have been given."""
    wanted = "[*lead, N], a segment a node" if rank else "[*lead], a count a graph"
    array = value
    if not hasattr(value, "dtype"):
        try:
            array = np.asarray(value)
        except ValueError:  # Lists of several lengths.
            array = np.zeros(())
    if not jax.numpy.issubdtype(array.dtype, np.integer) or array.ndim < rank:
        raise ValueError(f"`{name}` must be integers {wanted}; got {shown(value)}.")
    return array
