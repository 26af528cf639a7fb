"""What a topology says of itself when it promises nothing: its edges may lie anywhere."""

from relational.topologies.base import Tile, Topology


class Unbounded(Topology):
    """A topology without promises; subclasses make those that they can keep."""

    def classify(self, receivers: range, senders: range) -> Tile:
        return Tile.PARTIAL if len(receivers) and len(senders) else Tile.EMPTY

    def sender_range(self, receivers: range, num_senders: int) -> range:
        return range(num_senders) if len(receivers) else range(0)

    def receiver_range(self, senders: range, num_receivers: int) -> range:
        return range(num_receivers) if len(senders) else range(0)

    def reach(self) -> int | None:
        return None

    def ahead(self) -> int | None:
        return None
