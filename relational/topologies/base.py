"""Topologies: who may hear whom.

A topology is a promise about edges, made before any array exists: whatever can be
promised here (causal, banded, empty corners) a lowering may exploit. Positions count
from 0 on both sides, and index 0 aligns with index 0. Structured topologies carry no
node counts; `propagate` takes those from its arrays.

Shapes: R receivers, S senders, E edges.
"""

import abc
import dataclasses
import enum
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from relational._checks import check_count

if TYPE_CHECKING:
    from relational.orders import Order

_MOST_PAIRS = 2**30  # Of a whole matrix: beyond, it takes many GiB.


class Tile(enum.IntEnum):
    """What a rectangle of receivers x senders holds: no edge, some, or all."""

    EMPTY = 0
    PARTIAL = 1
    FULL = 2


@dataclasses.dataclass(frozen=True)
class End:
    """One end of an edge: positions, and what the topology reads of the nodes there.

    `attributes` mirrors the nesting of the topology: a pair for `a & b`, nothing for
    topologies without data. Lowerings hand in slices, so that positions may be any
    integers and of any shape that broadcasts against the other end's.
    """

    position: Any
    attributes: Any = ()

    def part(self, index: int) -> "End":
        """Returns this end as the part `index` of a composed topology sees it."""
        return End(self.position, self.attributes[index])


@dataclasses.dataclass(frozen=True)
class Data:
    """The arrays that a topology reads, by what they belong to (nested like `End`).

    Leaves begin with the leading axes of `propagate`; then come receivers [R] or
    senders [S]; `context` leaves hold one value a leading index.
    """

    receiver: Any = ()
    sender: Any = ()
    context: Any = ()


@dataclasses.dataclass(frozen=True)
class Listed:
    """Edges one by one; `valid` is None where all of them are edges.

    Attributes:
      senders, receivers: [*lead, E] integers.
      valid: [*lead, E] booleans or None.
    """

    senders: Any
    receivers: Any
    valid: Any = None

    @property
    def is_traced(self) -> bool:
        """Whether the edges are not known before the program runs."""
        arrays = (self.senders, self.receivers, self.valid)
        return any(isinstance(array, jax.core.Tracer) for array in arrays)

    @property
    def is_of_one_graph(self) -> bool:
        """Whether the edges are known, and those of one graph."""
        shapes = [np.shape(self.senders), np.shape(self.receivers)]
        shapes += [] if self.valid is None else [np.shape(self.valid)]
        lead = np.broadcast_shapes(*shapes)[:-1]
        return not self.is_traced and math.prod(lead) == 1

    def concrete(self, topology: "Topology") -> tuple[Any, Any]:
        """Returns `(senders, receivers)` of one graph as NumPy arrays of the valid."""
        if self.is_traced:
            raise ValueError(
                f"the edges of `{topology}` are traced, so they cannot be listed "
                "while tracing. Call this outside `jit`, or pass NumPy arrays."
            )
        senders, receivers = np.asarray(self.senders), np.asarray(self.receivers)
        if self.valid is not None:
            valid = np.asarray(self.valid)
            shape = np.broadcast_shapes(senders.shape, receivers.shape, valid.shape)
            senders, receivers, valid = (
                np.broadcast_to(array, shape) for array in (senders, receivers, valid)
            )
        else:
            valid = np.ones(receivers.shape, bool)
        if math.prod(valid.shape[:-1]) > 1:
            raise ValueError(
                f"`{topology}` has other edges for each leading index (of shape "
                f"{valid.shape[:-1]}); one list of edges needs one graph. Index the "
                "data first."
            )
        keep = valid.reshape(-1)
        return senders.reshape(-1)[keep], receivers.reshape(-1)[keep]


class Topology(abc.ABC):
    """Who may hear whom. Subclasses are final: compose them, never override them.

    `&` keeps the edges in both, `|` those in either, `-` those only in the first, and
    `.T` turns every edge round.

    >>> import relational as rl
    >>> print((rl.Causal() & rl.Band(before=2)).text(5))
    #....
    ##...
    ###..
    .###.
    ..###
    """

    @abc.abstractmethod
    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        """Returns whether `receiver` hears `sender`, elementwise (NumPy or JAX)."""

    @abc.abstractmethod
    def classify(self, receivers: range, senders: range) -> Tile:
        """Returns what the rectangle holds. PARTIAL is always a correct answer."""

    @abc.abstractmethod
    def sender_range(self, receivers: range, num_senders: int) -> range:
        """Returns senders that include all whom any of `receivers` hears."""

    @abc.abstractmethod
    def receiver_range(self, senders: range, num_receivers: int) -> range:
        """Returns receivers that include all who hear any of `senders`."""

    @abc.abstractmethod
    def reach(self) -> int | None:
        """Returns how many latest nodes, itself included, a node hears at most.

        None where no bound holds. A decoding cache needs no more slots than this.
        """

    @abc.abstractmethod
    def ahead(self) -> int | None:
        """Returns how far ahead of itself a node hears at most; 0 if causal.

        None where no bound holds.
        """

    def data(self) -> Data:
        """Returns the arrays that `admits` reads, by what they belong to."""
        return Data()

    def counts(self) -> tuple[int | None, int | None]:
        """Returns (receivers, senders) where the topology itself knows them."""
        return None, None

    def listed(self, num_receivers: int, num_senders: int) -> "Listed | None":
        """Returns the edges where they are given one by one; None if by a rule."""
        del num_receivers, num_senders
        return None

    def skeleton(self) -> "Topology":
        """Returns a topology without data that has at least the same edges."""
        return self

    def contains(self, receiver: Any, sender: Any) -> Any:
        """Returns whether an edge leads from position `sender` to `receiver`.

        Args:
          receiver: integers, any shape that broadcasts against `sender`.
          sender: integers.

        >>> import numpy as np, relational as rl
        >>> rl.Causal().contains(np.arange(3)[:, None], np.arange(3)[None])
        array([[ True, False, False],
               [ True,  True, False],
               [ True,  True,  True]])
        """
        data = self.data()
        ndim = max(np.ndim(receiver), np.ndim(sender))
        receiver, sender = (
            _pad_rank(position, ndim) for position in (receiver, sender)
        )

        def take(attribute: Any, position: Any) -> Any:
            return _tree_map(lambda leaf: leaf[..., position], attribute)

        def spread(leaf: Any) -> Any:
            return leaf[(..., *(None,) * ndim)]

        ranks = [np.ndim(leaf) for leaf in jax.tree.leaves(data.context)]
        nodes = jax.tree.leaves((data.receiver, data.sender))
        lead = max((*ranks, *(np.ndim(leaf) - 1 for leaf in nodes)), default=0)
        return self.admits(
            End(_pad_rank(receiver, lead + ndim), take(data.receiver, receiver)),
            End(_pad_rank(sender, lead + ndim), take(data.sender, sender)),
            _tree_map(spread, data.context),
        )

    def mask(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> Bool[np.ndarray, "*lead R S"]:
        """Returns the whole adjacency matrix; for pictures and small graphs.

        Raises:
          ValueError: if counts are missing, or there are more than 2^30 pairs.
        """
        receivers, senders = self.sizes(num_receivers, num_senders)
        if receivers * senders > _MOST_PAIRS:
            raise ValueError(
                f"a matrix must have at most {_MOST_PAIRS:,} pairs; got {receivers:,} "
                f"receivers x {senders:,} senders. Ask for fewer nodes, or for "
                "`degrees` or `tiles`."
            )
        found = self.contains(np.arange(receivers)[:, None], np.arange(senders)[None])
        found = np.asarray(found)
        return np.broadcast_to(found, (*found.shape[:-2], receivers, senders))

    def sizes(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> tuple[int, int]:
        """Returns both counts: what is given, what is known, one for both sides."""
        known = self.counts()
        given = {"num_receivers": num_receivers, "num_senders": num_senders}
        for (name, count), own in zip(given.items(), known, strict=True):
            if count is None:
                continue
            check_count(name, count, least=0, advice="It counts nodes.")
            if own not in (None, count):
                raise ValueError(
                    f"`{name}` must be {own}, as many as {self} was made for; got "
                    f"{count}. Leave it out."
                )
        receivers = num_receivers if num_receivers is not None else known[0]
        senders = num_senders if num_senders is not None else known[1]
        if receivers is None and senders is None:
            raise ValueError(
                f"`num_receivers` must be given: {self} carries no node count. Pass "
                "`num_receivers=` (and `num_senders=` where it differs)."
            )
        receivers = senders if receivers is None else receivers
        senders = receivers if senders is None else senders
        assert receivers is not None
        assert senders is not None
        return receivers, senders

    def edges(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
        """Returns `(senders, receivers)`, sorted by receiver, then by sender.

        Raises:
          ValueError: if counts are missing, or data differ along leading axes.

        >>> import relational as rl
        >>> rl.Band(before=1).edges(3)
        (array([0, 0, 1, 1, 2]), array([0, 1, 1, 2, 2]))
        """
        receivers, senders = self.sizes(num_receivers, num_senders)
        listed = self.listed(receivers, senders)
        if listed is not None:
            return listed.concrete(self)
        found: list[tuple[Any, Any]] = []
        for rows, columns, tile in self._rectangles(receivers, senders):
            if tile is Tile.FULL:
                mask = np.ones((len(rows), len(columns)), bool)
            else:
                mask = self._mask_of(rows, columns)
            receiver, sender = np.nonzero(mask)
            found.append((sender + columns.start, receiver + rows.start))
        if not found:
            return np.zeros(0, int), np.zeros(0, int)
        sender, receiver = (
            np.concatenate(column) for column in zip(*found, strict=True)
        )
        order = np.lexsort((sender, receiver))
        return sender[order], receiver[order]

    def degrees(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> Int[np.ndarray, " R"]:
        """Returns how many senders each receiver hears.

        >>> import relational as rl
        >>> rl.Band(before=1).degrees(4)
        array([1, 2, 2, 2])
        """
        receivers, senders = self.sizes(num_receivers, num_senders)
        listed = self.listed(receivers, senders)
        if listed is not None:
            return np.bincount(listed.concrete(self)[1], minlength=receivers)
        degrees = np.zeros(receivers, int)
        for rows, columns, tile in self._rectangles(receivers, senders):
            if tile is Tile.FULL:
                degrees[rows.start : rows.stop] += len(columns)
            else:
                mask = self._mask_of(rows, columns)
                degrees[rows.start : rows.stop] += mask.sum(axis=1)
        return degrees

    def density(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> float:
        """Returns the share of all receiver-sender pairs that are edges.

        >>> import relational as rl
        >>> rl.Causal().density(4)
        0.625
        """
        receivers, senders = self.sizes(num_receivers, num_senders)
        degrees = self.degrees(receivers, senders)
        return float(degrees.sum() / max(1, receivers * senders))

    def tiles(
        self,
        block: int,
        num_receivers: int | None = None,
        num_senders: int | None = None,
    ) -> Int[np.ndarray, "rows columns"]:
        """Returns the class of each `block` x `block` tile: 0 empty, 1 partial, 2 full.

        >>> import relational as rl
        >>> rl.Causal().tiles(2, 6)
        array([[1, 0, 0],
               [2, 1, 0],
               [2, 2, 1]])
        """
        check_count("block", block, least=1, advice="It counts nodes.")
        receivers, senders = self.sizes(num_receivers, num_senders)
        exact = self._listed_tiles(block, receivers, senders)
        if exact is not None:
            return exact
        return np.array(
            [
                [int(self.classify(rows, columns)) for columns in _cut(senders, block)]
                for rows in _cut(receivers, block)
            ]
        ).reshape(-(-receivers // block), -(-senders // block))

    def text(
        self, num_receivers: int | None = None, num_senders: int | None = None
    ) -> str:
        """Returns a picture in characters: a row a receiver, `#` where it hears."""
        mask = self.mask(num_receivers, num_senders)
        mask = mask.reshape(-1, *mask.shape[-2:])[0]
        return "\n".join("".join(".#"[int(edge)] for edge in row) for row in mask)

    def _listed_tiles(self, block: int, receivers: int, senders: int) -> Any:
        """Returns the tiles of one known list of edges, counted; None for any other."""
        from relational.topologies.tile_maps import counted

        listed = self.listed(receivers, senders)
        if listed is None or not listed.is_of_one_graph:
            return None
        found = listed.concrete(self)
        keys = np.unique(np.int64(found[1]) * senders + found[0])
        ends = keys % max(1, senders), keys // max(1, senders)
        return counted([ends], receivers, senders, block)

    def _mask_of(self, rows: range, columns: range) -> Any:
        mask = np.asarray(self.contains(np.array(rows)[:, None], np.array(columns)))
        if mask.ndim > 2:
            raise ValueError(
                f"`{self}` has other edges for each leading index (data of shape "
                f"{mask.shape[:-2]}); one list of edges needs one graph. Index the "
                "data first."
            )
        return np.broadcast_to(mask, (len(rows), len(columns)))

    def _rectangles(
        self, receivers: int, senders: int
    ) -> Iterator[tuple[range, range, Tile]]:
        block = max(256, max(receivers, senders) // 64)
        for rows in _cut(receivers, block):
            for columns in _cut(senders, block):
                tile = self.classify(rows, columns)
                if tile is not Tile.EMPTY:
                    yield rows, columns, tile

    # The algebra is a file of its own, which needs this one; hence imports in methods.

    def __and__(self, other: "Topology") -> "Topology":
        from relational.topologies.algebra import And

        return And(self, other)

    def __or__(self, other: "Topology") -> "Topology":
        from relational.topologies.algebra import Or

        return Or(self, other)

    def __sub__(self, other: "Topology") -> "Topology":
        from relational.topologies.algebra import Minus

        return Minus(self, other)

    @property
    def T(self) -> "Topology":
        """The same edges turned round: who was heard now hears."""
        from relational.topologies.algebra import Transposed

        return self.left if isinstance(self, Transposed) else Transposed(self)

    def ordered(
        self,
        nodes: "Order | None" = None,
        *,
        receivers: "Order | None" = None,
        senders: "Order | None" = None,
    ) -> "Topology":
        """Returns the same edges between nodes that stand in another order.

        At place i stands the node `order.nodes[i]`. What the nodes carry is reordered
        by `order.apply`, relations by `relation.ordered`, results back by `order.undo`.
        Dropout goes by places: in another order it drops other edges.

        Args:
          nodes: the order of both sides; or else
          receivers, senders: that of each side; None leaves it as it is.

        >>> import relational as rl
        >>> window = rl.Window(grid=(2, 4), size=3)
        >>> print(window.ordered(rl.orders.blocks((2, 4), (2, 2))).tiles(4))
        [[2 1]
         [1 2]]
        >>> print(window.tiles(4))
        [[1 1]
         [1 1]]
        """
        from relational.orders import both_sides
        from relational.topologies.ordered import Ordered

        return Ordered(self, *both_sides(nodes, receivers, senders))


def first_edge_from_later(topology: Topology, num_nodes: int) -> tuple[int, int] | None:
    """Returns `(sender, receiver)` of the first edge that looks ahead, or None.

    A topology with such an edge cannot be stepped: the sender is not there yet.
    """
    ahead = topology.ahead()
    if ahead is not None and ahead <= 0:  # A promise, whatever its arrays hold.
        return None
    for rows in _cut(num_nodes, 256):
        heard = topology.sender_range(rows, num_nodes)
        later = range(max(heard.start, rows.start + 1), heard.stop)
        for columns in _cut(len(later), 256, later.start):
            if topology.classify(rows, columns) is Tile.EMPTY:
                continue
            receivers, senders = np.array(rows)[:, None], np.array(columns)[None]
            found = np.asarray(topology.contains(receivers, senders))
            found = found & (senders > receivers)
            if found.any():
                receiver, sender = np.argwhere(found)[0][-2:]
                return int(sender) + columns.start, int(receiver) + rows.start
    return None


def _cut(size: int, block: int, start: int = 0) -> list[range]:
    """Returns `size` positions from `start` on, cut into ranges of `block`."""
    stop = start + size
    return [range(at, min(at + block, stop)) for at in range(start, stop, block)]


def _pad_rank(position: Any, ndim: int) -> Any:
    """Returns `position` with unit axes in front, so that both ends broadcast."""
    return position[(None,) * (ndim - position.ndim)] if np.ndim(position) else position


def _tree_map(fn: Any, tree: Any) -> Any:
    """Maps over nested tuples; topologies nest nothing else."""
    if isinstance(tree, tuple):
        return tuple(_tree_map(fn, child) for child in tree)
    return fn(tree)
