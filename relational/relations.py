"""Relations: the small integer label that an edge carries.

A label comes from the positions of an edge's ends (`Offset`, on a grid `GridOffset` and
`Tap`), from an integer attribute of them (`Difference`), or is given (`Labels`). A relation owns no parameters;
`relation.rows(key=table)` ties tables to it, a row a label, and a term that names the
relation receives the row of its edge. Without tables it receives the number itself.

Shapes: R receivers, S senders, E edges, L labels, *lead the leading axes.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import check_array, check_count, is_whole, shown
from relational.orders import Order, both_sides
from relational.topologies.grids import Neighbourhood, coordinates, set_grid


class Relation(abc.ABC):
    """What kind of edge an edge is: a label from 0 to `num_labels - 1`.

    The label `num_labels` means "beyond": its row is zero. `num_labels` is None where
    labels have no bound; such a relation takes no tables.
    """

    @property
    @abc.abstractmethod
    def num_labels(self) -> int | None:
        """How many rows a table of this relation has."""

    @abc.abstractmethod
    def value(self, label: Any) -> Any:
        """Returns the number that a term without tables receives, elementwise."""

    def rows(self, **tables: Any) -> "Rows":
        """Ties tables to this relation.

        Args:
          **tables: arrays [*lead, L, ...]; a term reads `offset.key` for `key=`.

        >>> import jax.numpy as jnp, relational as rl
        >>> rl.Offset(clip=2).rows(key=jnp.zeros([5, 8])).relation.num_labels
        5
        """
        return Rows(self, tables)

    @abc.abstractmethod
    def ordered(
        self,
        nodes: Order | None = None,
        *,
        receivers: Order | None = None,
        senders: Order | None = None,
    ) -> "Relation":
        """Returns the same labels of the edges of a topology that is ordered so.

        Args:
          nodes, receivers, senders: as for `topology.ordered`.

        >>> import numpy as np, relational as rl
        >>> turned = rl.Offset(clip=2).ordered(rl.orders.Order([2, 1, 0]))
        >>> turned.label(np.array(0), np.array([0, 1, 2]))  # Node 2 hears 2, 1 and 0.
        array([2, 1, 0], dtype=int32)
        """


class PositionRelation(Relation):
    """A relation that is a function of sender position minus receiver position.

    Lowerings exploit it: a tile of R x S edges has only R + S - 1 labels.
    """

    @abc.abstractmethod
    def label(self, difference: Any) -> Any:
        """Returns the label of a difference of positions, elementwise."""

    def ordered(
        self,
        nodes: Order | None = None,
        *,
        receivers: Order | None = None,
        senders: Order | None = None,
    ) -> "Relation":
        from relational.placed import Placed

        return Placed(self, *both_sides(nodes, receivers, senders))


class PlaceRelation(Relation):
    """A relation that is a function of both positions, as on a grid."""

    @abc.abstractmethod
    def label(self, receiver: Any, sender: Any) -> Any:
        """Returns the labels of positions that broadcast, elementwise."""

    def ordered(
        self,
        nodes: Order | None = None,
        *,
        receivers: Order | None = None,
        senders: Order | None = None,
    ) -> "Relation":
        from relational.placed import Placed

        return Placed(self, *both_sides(nodes, receivers, senders))


class AttributeRelation(Relation):
    """A relation that is a function of one integer attribute of both ends."""

    attribute: str

    @property
    @abc.abstractmethod
    def span(self) -> "Span | None":
        """Which differences have rows; None where they have no bound."""

    @abc.abstractmethod
    def label(self, difference: Any) -> Any:
        """Returns the label of a difference of attributes, elementwise."""

    def ordered(
        self,
        nodes: Order | None = None,
        *,
        receivers: Order | None = None,
        senders: Order | None = None,
    ) -> "Relation":
        both_sides(nodes, receivers, senders)
        return self  # Attributes are reordered with the nodes that have them.


@dataclasses.dataclass(frozen=True)
class Span:
    """Differences from `low` to `high`; those beyond are clipped, or have no row."""

    low: int
    high: int
    is_clipped: bool

    @property
    def num_labels(self) -> int:
        return self.high - self.low + 1

    def label(self, difference: Any) -> Any:
        xp = np if isinstance(difference, np.ndarray | int) else jnp
        clipped = xp.clip(difference, self.low, self.high) - self.low
        if self.is_clipped:
            return clipped
        inside = (difference >= self.low) & (difference <= self.high)
        return xp.where(inside, clipped, self.num_labels)

    def value(self, label: Any) -> Any:
        xp = np if isinstance(label, np.ndarray | int) else jnp
        number = label + self.low
        return (
            number if self.is_clipped else xp.where(label < self.num_labels, number, 0)
        )


def _range(owner: str, clip: Any, limit: Any) -> Span | None:
    """Returns the range that `clip=` or `limit=` says; None if neither is given."""
    if clip is not None and limit is not None:
        raise ValueError(
            f"`{owner}` takes `clip` or `limit`, not both; got clip={clip}, "
            f"limit={limit}. `clip` gives all beyond the last row, `limit` a zero row."
        )
    bound, name = (limit, "limit") if clip is None else (clip, "clip")
    if bound is None:
        return None
    pair = bound if isinstance(bound, tuple) else (bound, bound)
    is_pair = len(pair) == 2 and all(map(is_whole, pair))
    if is_pair and not isinstance(bound, tuple):
        pair = (-bound, bound)
    if not is_pair or pair[0] > pair[1]:
        raise ValueError(
            f"`{owner}.{name}` must be 0 or more, or (low, high) with low <= high, in "
            f"whole numbers; got {shown(bound)}. The table has a row for each difference "
            "from low to high."
        )
    low, high = pair
    return Span(low, high, is_clipped=clip is not None)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Offset(PositionRelation):
    """Sender position minus receiver position.

    Args:
      clip: differences beyond it count as it: 2 clip + 1 labels (Shaw et al. 2018,
        section 3.2). A pair (low, high) bounds the two sides apart.
      limit: differences beyond it have a zero row (Tensor2Tensor's Music
        Transformer); likewise 2 limit + 1 labels, or (low, high).
      Neither: the bare difference, without bound and without tables.

    >>> import numpy as np
    >>> Offset(clip=2).label(np.arange(-3, 4))
    array([0, 0, 1, 2, 3, 4, 4])
    >>> Offset(limit=(-2, 0)).label(np.arange(-3, 2))
    array([3, 0, 1, 2, 3])
    """

    clip: int | tuple[int, int] | None = None
    limit: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _range("Offset", self.clip, self.limit)

    @property
    def num_labels(self) -> int | None:
        bounds = _range("Offset", self.clip, self.limit)
        return None if bounds is None else bounds.num_labels

    def label(self, difference: Any) -> Any:
        bounds = _range("Offset", self.clip, self.limit)
        return difference if bounds is None else bounds.label(difference)

    def value(self, label: Any) -> Any:
        bounds = _range("Offset", self.clip, self.limit)
        return label if bounds is None else bounds.value(label)

    def within(self, low: int, high: int) -> "Offset":
        """Returns the same relation with no rows for differences that do not occur.

        >>> Offset(limit=8).within(-100, 0)
        Offset(clip=None, limit=(-8, 0))
        """
        bounds = _range("Offset", self.clip, self.limit)
        if bounds is None:
            return self
        span = max(bounds.low, low), min(bounds.high, high)
        if bounds.is_clipped:  # Clipping still sends all beyond to the last rows.
            span = min(span[0], bounds.high), max(span[1], bounds.low)
            return Offset(clip=span)
        return Offset(limit=span if span[0] <= span[1] else (0, 0))


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Difference(AttributeRelation):
    """Sender's attribute minus receiver's: pitch intervals, distances of onsets.

    Args:
      attribute: the name of an integer leaf of both `receivers` and `senders`,
        [*lead, N] (Huang et al. 2018, section 3.4, relations on pitch and time).
      clip, limit: as for `Offset`; one of them is needed for tables.

    >>> import numpy as np
    >>> Difference("pitch", clip=12).label(np.array([-13, 0, 7]))
    array([ 0, 12, 19])
    """

    attribute: str
    clip: int | tuple[int, int] | None = None
    limit: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.attribute, str) or not self.attribute:
            raise ValueError(
                "`Difference.attribute` must be the name of an attribute of the nodes; "
                f"got {shown(self.attribute)}."
            )
        _range("Difference", self.clip, self.limit)

    @property
    def span(self) -> Span | None:
        return _range("Difference", self.clip, self.limit)

    @property
    def num_labels(self) -> int | None:
        bounds = _range("Difference", self.clip, self.limit)
        return None if bounds is None else bounds.num_labels

    def label(self, difference: Any) -> Any:
        bounds = _range("Difference", self.clip, self.limit)
        return difference if bounds is None else bounds.label(difference)

    def value(self, label: Any) -> Any:
        bounds = _range("Difference", self.clip, self.limit)
        return label if bounds is None else bounds.value(label)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Tap(PlaceRelation):
    """The place of a sender in the box of its receiver: `window.tap`, `stencil.tap`.

    A convolution's filter has a row for each tap. A term without tables receives the
    tap's number. `.T` labels the edges of the transposed topology, turned round.

    >>> import relational as rl
    >>> rl.Stencil(grid=(28, 28), size=(3, 3)).tap.num_labels
    9
    """

    topology: Any
    is_turned: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.topology, Neighbourhood):
            raise TypeError(
                "`Tap.topology` must be a `Window` or a `Stencil`; got "
                f"{shown(self.topology)}."
            )

    @property
    def num_labels(self) -> int:
        return self.topology.num_taps

    def label(self, receiver: Any, sender: Any) -> Any:
        ends = (sender, receiver) if self.is_turned else (receiver, sender)
        return self.topology.taps(*ends)

    def value(self, label: Any) -> Any:
        return label

    @property
    def T(self) -> "Tap":
        """The same tap of an edge that is turned round."""
        return Tap(self.topology, not self.is_turned)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class GridOffset(PlaceRelation):
    """Sender's place on a grid less receiver's, along all axes at once.

    Args:
      grid: (height, width), or of any number of axes, for nodes in raster order.
      clip: as for `Offset`, one bound for all axes or a tuple of one for each.
      limit: likewise.
      Neither: every difference on the grid has a label.

    A table has a row for each combination, the last axis fastest. A term without tables
    receives the differences, [axes].

    >>> import numpy as np
    >>> offset = GridOffset(grid=(4, 4), limit=1)
    >>> offset.num_labels, offset.label(np.array(5), np.array([0, 1, 5, 10, 15]))
    (9, array([0, 1, 4, 8, 9]))
    >>> offset.value(np.array([0, 4, 7]))
    array([[-1, -1],
           [ 0,  0],
           [ 1,  0]])
    """

    grid: tuple[int, ...]
    clip: Any = None
    limit: Any = None

    def __post_init__(self) -> None:
        set_grid(self)
        for name in ("clip", "limit"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self.spans  # noqa: B018  # It checks.

    @functools.cached_property
    def spans(self) -> tuple[Span, ...]:
        """Which differences have labels, along each axis."""
        count = len(self.grid)
        bounds = {"clip": self.clip, "limit": self.limit}
        for name, bound in bounds.items():
            if isinstance(bound, tuple) and len(bound) != count:
                raise ValueError(
                    f"`GridOffset.{name}` must be one bound for all axes, or one for "
                    f"each of {count}; got {shown(bound)}."
                )
        found = []
        for axis, places in enumerate(self.grid):
            own = {
                name: bound[axis] if isinstance(bound, tuple) else bound
                for name, bound in bounds.items()
            }
            whole = Span(1 - places, places - 1, is_clipped=False)
            found.append(_range("GridOffset", **own) or whole)
        return tuple(found)

    @property
    def num_labels(self) -> int:
        return math.prod(span.num_labels for span in self.spans)

    def label(self, receiver: Any, sender: Any) -> Any:
        label: Any = 0
        beyond: Any = False
        rows, columns = coordinates(receiver, self.grid), coordinates(sender, self.grid)
        for span, row, column in zip(self.spans, rows, columns, strict=True):
            own = span.label(column - row)
            beyond = beyond | (own == span.num_labels)
            label = label * span.num_labels + own
        xp = np if isinstance(label, np.ndarray | np.integer | int) else jnp
        return xp.where(beyond, self.num_labels, label)

    def value(self, label: Any) -> Any:
        xp = np if isinstance(label, np.ndarray | int) else jnp
        places = coordinates(label, tuple(span.num_labels for span in self.spans))
        pairs = zip(places, self.spans, strict=True)
        value = xp.stack([place + span.low for place, span in pairs], axis=-1)
        return xp.where((label < self.num_labels)[..., None], value, 0)


@_pytrees.register(data=("labels",))
@dataclasses.dataclass(frozen=True, eq=False)
class Labels(Relation):
    """Labels that are given: the labelled graph of Shaw et al. 2018, section 3.1.

    Args:
      labels: integers, [*lead, R, S] for a label a pair of nodes, or [*lead, E] for a
        label an edge, in the order of the topology's edges.
      count: number of labels; those outside 0 to count - 1 have a zero row.

    >>> import numpy as np
    >>> Labels(np.array([[0, 1], [1, 0]]), count=2).num_labels
    2
    """

    labels: Any
    count: int

    def __post_init__(self) -> None:
        check_count("Labels.count", self.count, least=1, advice="It counts labels.")
        check_array(
            "Labels.labels", self.labels, "Labels are integers, a pair or an edge."
        )
        if not hasattr(self.labels, "dtype"):
            object.__setattr__(self, "labels", np.asarray(self.labels))

    @property
    def num_labels(self) -> int:
        return self.count

    def value(self, label: Any) -> Any:
        return label

    def ordered(
        self,
        nodes: Order | None = None,
        *,
        receivers: Order | None = None,
        senders: Order | None = None,
    ) -> "Labels":
        sides = both_sides(nodes, receivers, senders)
        labels = self.labels
        for axis, order in zip((-2, -1), sides, strict=True):
            if order is None:
                continue
            if np.ndim(labels) < 2 or np.shape(labels)[axis] != len(order):
                raise ValueError(
                    "`Labels.labels` must be given pair by pair, [*lead, R, S], to be "
                    f"ordered, of {len(order)} nodes at axis {axis}; got shape "
                    f"{np.shape(labels)}. Those of `rl.Edges` stay as they are, since "
                    "their edges do."
                )
            labels = order.apply(labels, axis)
        return Labels(labels, self.count)


@_pytrees.register(data=("relation", "tables"))
@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """A relation with its tables; made by `Relation.rows`."""

    relation: Relation
    tables: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.relation.num_labels is None:
            raise ValueError(
                f"`{self.relation}.rows` needs a bounded relation; it has neither "
                "`clip` nor `limit`, so no table can have a row for each label. Give "
                "one of them."
            )
