"""A bound call of `propagate`: what every lowering is given.

`Problem` is the static part: terms, topology, counts. `Operands` are the arrays, sorted
by what they belong to, so that a lowering slices receivers without knowing what they
carry. Arrays of every part but `shared` begin with the leading axes, each full or 1;
`each_lead` takes them off, one graph at a time.

Shapes: *lead leading axes, R receivers, S senders, E edges, L labels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from relational.aggregators import Aggregator
from relational.relations import (
    AttributeRelation,
    Labels,
    PlaceRelation,
    PositionRelation,
    Relation,
)
from relational.terms import Term, accumulator
from relational.topologies import Topology


class Side(NamedTuple):
    """The arrays of one node set: [*lead, N, ...] each.

    Attributes:
      leaves: what the user gave, flattened.
      topology: what the topology reads (nested like it).
      position: [*lead, N] integers, or None for 0, 1, 2, ...
    """

    leaves: list[Any]
    topology: Any
    position: Any


class EdgeSide(NamedTuple):
    """The arrays of listed edges: [*lead, E, ...] each.

    Attributes:
      leaves: what the user gave, flattened.
      senders, receivers: indices; None where edges follow from a rule.
      valid: whether an edge counts, or None for all.
      labels: for each relation given edge by edge, its labels.
    """

    leaves: list[Any]
    senders: Any
    receivers: Any
    valid: Any
    labels: dict[str, Any]


class Context(NamedTuple):
    """The arrays of a leading index: [*lead, ...] each."""

    leaves: list[Any]
    topology: Any
    index: Any


class Shared(NamedTuple):
    """The arrays without leading axes."""

    score: list[list[Any]]
    message: list[list[Any]]
    seed: Any


class Operands(NamedTuple):
    """All arrays of a bound call."""

    receiver: Side
    sender: Side
    edge: EdgeSide
    pair: dict[str, Any]  # Labels of relations given pair by pair: [*lead, R, S].
    context: Context
    tables: dict[str, list[Any]]  # [*lead, L + 1, ...]; the last row is zero.
    shared: Shared


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """The static part of a bound call.

    Attributes:
      attributes: for each `AttributeRelation`, the leaf's index at both sides.
      is_listed: the topology gives its edges one by one.
      is_simple: no listed edge occurs twice, as far as can be seen now.
      known_edges: senders, receivers and which of them count (None for all), [E] each,
        in NumPy; None where they are traced, or differ along the leading axes.
    """

    topology: Topology
    relations: Mapping[str, Relation]
    attributes: Mapping[str, tuple[int, int]]
    score: tuple[Term, ...]
    message: tuple[Term, ...]
    aggregators: tuple[Aggregator, ...]
    batch_axes: int
    lead: tuple[int, ...]
    num_receivers: int
    num_senders: int
    num_edges: int
    is_listed: bool
    is_simple: bool
    known_edges: tuple[Any, Any, Any] | None
    has_edge_leaves: bool
    has_edge_labels: bool
    has_pair_labels: bool
    dropout_rate: float
    partial_terms: bool
    dtype: Any

    @property
    def message_shape(self) -> tuple[int, ...]:
        return self.message[0].shape  # Binding refuses terms of several shapes.

    @property
    def accumulator(self) -> Any:
        """The type in which sums are kept: float32, or float64 where asked for."""
        return accumulator(self.dtype)

    @property
    def size(self) -> int:
        """Receivers x senders of one graph."""
        return self.num_receivers * self.num_senders

    @property
    def num_graphs(self) -> int:
        count = 1
        for size in self.lead:
            count *= size
        return count

    def rows_at(self, name: str, operands: Operands, label: Any) -> list[Any]:
        """Returns what a term receives for edges of these labels, leaf by leaf."""
        tables = operands.tables.get(name)
        if tables is None:
            return [jnp.asarray(self.relations[name].value(label))]
        return [taken(table, label) for table in tables]

    def label(self, name: str, receiver: Side, sender: Side, given: Any) -> Any:
        """Returns labels, elementwise over ends that broadcast.

        Args:
          name: the relation.
          receiver, sender: ends with positions.
          given: the labels of a `Labels` relation for just these edges.
        """
        relation = self.relations[name]
        if isinstance(relation, PositionRelation):
            return relation.label(sender.position - receiver.position)
        if isinstance(relation, PlaceRelation):
            label = relation.label(receiver.position, sender.position)
            return jnp.asarray(label, jnp.int32)
        if isinstance(relation, AttributeRelation):
            at_receiver, at_sender = self.attributes[name]
            difference = sender.leaves[at_sender] - receiver.leaves[at_receiver]
            return relation.label(difference).astype(jnp.int32)
        assert isinstance(relation, Labels)
        inside = (given >= 0) & (given < relation.count)
        return jnp.where(inside, given, relation.count)


def taken(leaf: Any, index: Any) -> Any:
    """Returns the rows `index` of an array.

    The gradient of a row, which many may take, is summed in float32 at least. Where
    there are no rows, as an edge out of range may ask for, they are zero.
    """
    if not len(leaf):
        return jnp.zeros(jnp.shape(index) + leaf.shape[1:], leaf.dtype)
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.take(leaf, index, axis=0, mode="clip")
    wide = leaf.astype(accumulator(leaf.dtype))
    return jnp.take(wide, index, axis=0, mode="clip").astype(leaf.dtype)


def each_lead(
    function: Callable[[Any], Any],
    led: Any,
    batch_axes: int,
    *,
    loops: bool = False,
) -> Any:
    """Maps a function of one graph over the leading axes, with nested `vmap`s.

    An axis of size 1 is not mapped: what does not depend on it stays unbatched.

    Args:
      function: takes `led` without its leading axes.
      led: a pytree whose leaves all begin with the leading axes, each full or 1.
      batch_axes: how many there are.
      loops: whether to take one graph after another.
    """
    if not batch_axes:
        return function(led)
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(led)} - {1}
    axes = jax.tree.map(lambda leaf: 0 if leaf.shape[0] != 1 else None, led)
    inner = jax.tree.map(lambda leaf: leaf if leaf.shape[0] != 1 else leaf[0], led)

    def rest(inner: Any) -> Any:
        return each_lead(function, inner, batch_axes - 1, loops=loops)

    if not sizes:
        return jax.tree.map(lambda leaf: leaf[None], rest(inner))
    if loops:
        leaves, treedef = jax.tree.flatten(inner)
        is_full = [leaf.shape[0] != 1 for leaf in jax.tree.leaves(led)]
        full = [leaf for leaf, moves in zip(leaves, is_full, strict=True) if moves]

        def one(taken: list[Any]) -> Any:
            rows = iter(taken)
            pairs = zip(leaves, is_full, strict=True)
            whole = [next(rows) if moves else leaf for leaf, moves in pairs]
            return rest(jax.tree.unflatten(treedef, whole))

        return jax.lax.map(one, full)
    return jax.vmap(rest, in_axes=(axes,))(inner)


def each_graph(
    function: Callable[[Operands], Any],
    operands: Operands,
    problem: Problem,
    *,
    loops: bool = False,
) -> Any:
    """Maps a function over the graphs of bound operands: [*lead, ...].

    Args:
      loops: as for `each_lead`.
    """
    shared = operands.shared

    def one(led: Operands) -> Any:
        return function(led._replace(shared=shared))

    led = operands._replace(shared=None)  # type: ignore[arg-type]  # Has no such axes.
    found = each_lead(one, led, problem.batch_axes, loops=loops)
    return restore_lead(found, problem.lead)


def with_positions(problem: Problem, operands: Operands) -> Operands:
    """Returns the operands with 0, 1, 2, ... for missing positions: [1, ..., N]."""

    def fill(side: Side, count: int) -> Side:
        if side.position is not None:
            return side
        ones = (1,) * problem.batch_axes
        return side._replace(
            position=jnp.arange(count, dtype=jnp.int32).reshape(*ones, -1)
        )

    return operands._replace(
        receiver=fill(operands.receiver, problem.num_receivers),
        sender=fill(operands.sender, problem.num_senders),
    )


def restore_lead(result: Any, lead: tuple[int, ...]) -> Any:
    """Broadcasts axes that no operand made full; then [*lead, ...]."""

    def restore(leaf: Any) -> Any:
        return jnp.broadcast_to(leaf, lead + leaf.shape[len(lead) :])

    return jax.tree.map(restore, result)
