"""Relations of nodes that stand in another order: labels follow the nodes.

What a relation of positions says depends on where nodes stood before they were
reordered, so each place is asked which node stands there.
"""

import dataclasses
from typing import Any

from relational import _pytrees
from relational.orders import Order
from relational.relations import PlaceRelation, PositionRelation


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Placed(PlaceRelation):
    """A relation of positions on nodes in another order; `relation.ordered` makes it."""

    relation: PositionRelation | PlaceRelation
    receivers: Order | None
    senders: Order | None

    @property
    def num_labels(self) -> int | None:
        return self.relation.num_labels

    def label(self, receiver: Any, sender: Any) -> Any:
        receiver = receiver if self.receivers is None else self.receivers.at(receiver)
        sender = sender if self.senders is None else self.senders.at(sender)
        if isinstance(self.relation, PositionRelation):
            return self.relation.label(sender - receiver)
        return self.relation.label(receiver, sender)

    def value(self, label: Any) -> Any:
        return self.relation.value(label)
