"""The topology of explicit edges: any graph, one edge at a time.

A structured topology is a set; a list of edges is a multiset, in which one sender may
speak to one receiver several times. Set operations keep or drop listed edges.

Shapes: E edges, *lead the leading axes of `propagate`.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jraph
import numpy as np

from relational import _pytrees
from relational._checks import check_count, shown
from relational.topologies.base import End, Listed
from relational.topologies.unbounded import Unbounded

if TYPE_CHECKING:
    from relational.orders import Order


@_pytrees.register(data=("senders", "receivers"))
@dataclasses.dataclass(frozen=True, eq=False)
class Edges(Unbounded):
    """Edge k leads from node `senders[k]` to node `receivers[k]`.

    Args:
      senders: [E] or [*lead, E] integers. NumPy arrays are checked here; traced edges
        that lead out of range are dropped where they are used.
      receivers: the same shape.
      num_receivers: count of receivers; by default that of the arrays in `propagate`.
      num_senders: count of senders; by default `num_receivers`.

    Raises:
      ValueError: if shapes differ, numbers are no integers, or an index is out of
        range; the message names the first offending edge.

    >>> graph = Edges([0, 0, 2], [1, 2, 0], num_receivers=3)
    >>> print(graph.text())
    ..#
    #..
    #..
    >>> graph.T.degrees()
    array([2, 0, 1])
    """

    senders: Any
    receivers: Any
    num_receivers: int | None = None
    num_senders: int | None = None

    def __post_init__(self) -> None:
        for side in ("senders", "receivers"):
            value = getattr(self, side)
            if not isinstance(value, jax.Array):
                value = _listed(side, value)
                if not value.size:
                    value = value.astype(np.int64)  # As NumPy has other lists.
            object.__setattr__(self, side, value)
            if not np.issubdtype(value.dtype, np.integer):
                raise ValueError(
                    f"`Edges.{side}` must be integers; got {value.dtype}. Node "
                    "indices start at 0."
                )
        if self.senders.shape != self.receivers.shape or not self.senders.ndim:
            raise ValueError(
                "`Edges.senders` and `Edges.receivers` must have one shape [E] or "
                f"[*lead, E]; got {self.senders.shape} and {self.receivers.shape}."
            )
        for name in ("num_receivers", "num_senders"):
            count = getattr(self, name)
            if count is not None:
                check_count(f"Edges.{name}", count, least=0, advice="It counts nodes.")
        if self.num_senders is None:
            object.__setattr__(self, "num_senders", self.num_receivers)
        self.check(self.num_receivers, self.num_senders)

    @classmethod
    def of(cls, graph: jraph.GraphsTuple) -> "Edges":
        """Returns the edges of a `jraph.GraphsTuple` (one graph or a batch)."""
        if not isinstance(graph, jraph.GraphsTuple):
            raise TypeError(
                f"`graph` must be a `jraph.GraphsTuple`; got {shown(graph)}. Give lists "
                "of nodes to `rl.Edges(senders, receivers)`."
            )
        if graph.senders is None or graph.receivers is None:
            raise ValueError(
                "`graph.senders` and `graph.receivers` must be arrays; got None. A "
                "graph without edges has arrays of shape [0]."
            )
        leaves = jax.tree.leaves(graph.nodes)
        if leaves:
            num_nodes = int(leaves[0].shape[0])
        else:
            num_nodes = int(np.sum(np.asarray(graph.n_node)))
        return cls(graph.senders, graph.receivers, num_nodes, num_nodes)

    def check(self, num_receivers: int | None, num_senders: int | None) -> None:
        """Raises a ValueError that names the first edge out of range, if any."""
        sides = {"senders": num_senders, "receivers": num_receivers}
        for side, count in sides.items():
            indices = getattr(self, side)
            if count is None or isinstance(indices, jax.core.Tracer):
                continue
            flat = np.asarray(indices).reshape(-1)
            wrong = np.flatnonzero((flat < 0) | (flat >= count))
            if wrong.size:
                bounds = f"from 0 to {count - 1}" if count else "absent without nodes"
                raise ValueError(
                    f"`Edges.{side}[{wrong[0]}]` must be {bounds}; got "
                    f"{flat[wrong[0]]}. {wrong.size} of {flat.size} edges are out of "
                    "range."
                )

    def ordered(
        self,
        nodes: "Order | None" = None,
        *,
        receivers: "Order | None" = None,
        senders: "Order | None" = None,
    ) -> "Edges":
        """Returns the same edges, in their order, between nodes that are renumbered."""
        from relational.orders import both_sides
        from relational.topologies.ordered import Ordered, renumbered

        sides = both_sides(nodes, receivers, senders)
        counts = [
            own if order is None else len(order)
            for own, order in zip(self.counts(), sides, strict=True)
        ]
        Ordered(self, *sides)  # It checks.
        self.check(*counts)
        return Edges(
            renumbered(self.senders, sides[1]),
            renumbered(self.receivers, sides[0]),
            *counts,
        )

    def listed(self, num_receivers: int, num_senders: int) -> Listed:
        self.check(num_receivers, num_senders)
        return Listed(self.senders, self.receivers)

    def counts(self) -> tuple[int | None, int | None]:
        return self.num_receivers, self.num_senders

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context
        senders, receivers = self.edges(*self._span())
        stride = 1 + max(senders.max(initial=0), np.max(sender.position, initial=0))
        keys = np.unique(np.int64(receivers) * stride + senders)
        asked = np.int64(receiver.position) * stride + sender.position
        return np.isin(asked, keys)

    def _span(self) -> tuple[int, int]:
        """Returns counts that surely hold every index."""
        spans = (
            np.max(side, initial=-1) + 1 for side in (self.receivers, self.senders)
        )
        receivers, senders = (int(span) for span in spans)
        return self.num_receivers or receivers, self.num_senders or senders

    def __str__(self) -> str:
        return f"Edges({self.senders.shape[-1]} edges)"


def _listed(side: str, indices: Any) -> Any:
    try:
        return np.asarray(indices)
    except ValueError:
        raise ValueError(
            f"`Edges.{side}` must be one list of integers; got lists of several "
            "lengths. A graph of a batch with fewer edges is given by itself."
        ) from None
