"""One tile: some receivers x some senders of one graph, and all that is said there.

Terms are evaluated where they vary and no further: a term of receiver and sender through
two nested `vmap`s, which make a product of vectors a product of matrices; a term of a
relation once a label, then spread over the tile. A whole graph is one tile of the
`dense` lowering; the `tiles` lowering makes many.

Shapes: R receivers, S senders, L labels, W = R + S - 1 differences of position, F
features, of one tile of one graph.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import residues
from relational.lowerings.diagonals import Diagonals, skew, unskew
from relational.lowerings.problem import Operands, Problem, Side
from relational.relations import AttributeRelation, PositionRelation
from relational.terms import Term
from relational.topologies.base import End

_MOST_RESIDUES = 512  # Labels up to which a product beats a gather and its scatter.
MASKED = -1e30  # A score that no softmax hears, finite so that gradients are.


class Part(NamedTuple):
    """What some senders contribute to each receiver; parts of one receiver merge.

    Attributes:
      shift: [R, ...] or None.
      sums: leaves [R, ...].
      heard: [R], whether any sender of this part is heard.
    """

    shift: Any
    sums: Any
    heard: Any

    def merge(self, other: "Part", aggregator: Aggregator) -> "Part":
        """Takes the common shift and adds the sums."""
        heard = self.heard | other.heard
        if aggregator.shift_of is None:
            sums = jax.tree.map(jnp.add, self.sums, other.sums)
            return Part(None, sums, heard)
        combine = jnp.minimum if aggregator.shift_by == "min" else jnp.maximum
        spread = (...,) + (None,) * (self.shift.ndim - self.heard.ndim)
        # A part that heard nothing has no say in the shift; any shift serves a mean.
        shift = jnp.where(
            other.heard[spread],
            jnp.where(
                self.heard[spread], combine(self.shift, other.shift), other.shift
            ),
            self.shift,
        )

        def moved(part: Part) -> Any:
            # Sums of nothing stay nothing: moving them far would make infinities.
            old = jnp.where(part.heard[spread], part.shift, shift)
            return aggregator.reshift(part.sums, old, shift)

        sums = jax.tree.map(jnp.add, moved(self), moved(other))
        return Part(shift, sums, heard)


def shift_of_scores(largest: Any, heard: Any) -> Any:
    """Returns the shift of receivers, 0 where nobody is heard.

    Args:
      largest: [R], of scores that are `MASKED` where there is no edge.
      heard: [R], whether there is one.
    """
    # Scores as low as that are minus infinity, or as good.
    low = jnp.where(heard, -jnp.inf, 0)
    return jnp.where(largest > MASKED / 2, largest, low.astype(largest.dtype))


def _heard(mask: Any, shape: tuple[int, int]) -> Any:
    return jnp.full(shape[0], shape[1] > 0) if mask is None else mask.any(axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """Some receivers x some senders of one graph, with everything that is said there.

    Attributes:
      operands: of one graph, cut to the tile, with positions.
      is_masked: whether some pair of the tile may not be an edge.
      is_contiguous: whether positions on both sides count up by one.
      first: then, the first sender's position less the last receiver's, if it is
        known while tracing.
    """

    problem: Problem
    operands: Operands
    is_masked: bool
    is_contiguous: bool
    first: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        receiver, sender = self.operands.receiver, self.operands.sender
        return receiver.position.shape[0], sender.position.shape[0]

    def ends(self) -> tuple[Side, Side]:
        """Returns both ends with axes [R, 1] and [1, S] in front."""
        receiver = jax.tree.map(lambda leaf: leaf[:, None], self.operands.receiver)
        sender = jax.tree.map(lambda leaf: leaf[None], self.operands.sender)
        return receiver, sender

    def mask(self) -> Any:
        """Returns which pairs are edges, [R, S], or None for all."""
        if not self.is_masked:
            return None
        if self.problem.known_edges is not None:
            return _mask_of(self.problem.known_edges, self.shape)
        edge = self.operands.edge
        if self.problem.is_listed:
            valid = True if edge.valid is None else edge.valid
            empty = jnp.zeros(self.shape, bool)
            return empty.at[edge.receivers, edge.senders].max(valid, mode="drop")
        receiver, sender = self.ends()
        admitted = self.problem.topology.admits(
            End(receiver.position, receiver.topology),
            End(sender.position, sender.topology),
            self.operands.context.topology,
        )
        return jnp.broadcast_to(admitted, self.shape)

    def sums(self, aggregator: Aggregator, shift: Any = None) -> "Part":
        """Returns the sums of the tile's edges, receiver by receiver.

        Args:
          aggregator: how nodes listen.
          shift: the shift to take; by default the tile's own.
        """
        mask = self.mask()
        if isinstance(aggregator, Weighting):
            return self._weigh(aggregator, mask, shift)
        return self._lift(aggregator, mask, shift)

    def _weigh(self, aggregator: Weighting, mask: Any, shift: Any) -> "Part":
        dtype, heard = self.problem.accumulator, _heard(mask, self.shape)
        if aggregator.hears_score:
            score = self.score()
            if mask is not None:
                score = jnp.where(mask, score, jnp.asarray(MASKED, score.dtype))
            if shift is None:
                largest = jax.lax.stop_gradient(score).max(axis=1, initial=MASKED)
                shift = shift_of_scores(largest, heard)
            weight = aggregator.weight(score, shift[:, None])
        else:
            weight = jnp.broadcast_to(aggregator.weight(None, None), self.shape)
            weight = (
                weight.astype(dtype) if mask is None else jnp.where(mask, weight, 0)
            )
        spoken = weight
        if self.problem.dropout_rate:
            receiver, sender = self.ends()
            spoken = weight * keep_scale(
                self.problem.dropout_rate,
                self.operands.shared.seed,
                self.operands.context.index,
                receiver.position,
                sender.position,
            ).astype(weight.dtype)
        message = self._contract(spoken, mask)
        sums = {"total": weight.sum(axis=1), "message": message}
        return Part(shift, sums, heard)

    def _lift(self, aggregator: Aggregator, mask: Any, shift: Any) -> "Part":
        message = self.message()
        mask = jnp.ones(self.shape, bool) if mask is None else mask
        mask = mask.reshape(mask.shape + (1,) * (message.ndim - 2))
        if shift is None:
            shift = _shift(aggregator, jax.lax.stop_gradient(message), mask)
        message = jnp.where(mask, message, shift[:, None])
        lifted = aggregator.lift(None, message, shift[:, None])
        sums = jax.tree.map(lambda leaf: jnp.where(mask, leaf, 0).sum(axis=1), lifted)
        return Part(shift, sums, _heard(mask.reshape(self.shape), self.shape))

    def score(self) -> Any:
        """Returns the summed scores, [R, S]."""
        return self._spread_sum(self.problem.score, self.operands.shared.score)

    def message(self) -> Any:
        """Returns the summed messages, [R, S, F]."""
        return self._spread_sum(self.problem.message, self.operands.shared.message)

    def _spread_sum(self, terms: tuple[Term, ...], constants: list[list[Any]]) -> Any:
        total: Any = 0
        for term, held in zip(terms, constants, strict=True):
            total = total + self._pairs(term, held).astype(self.problem.accumulator)
        return jnp.broadcast_to(total, (*self.shape, *terms[0].shape))

    def _leaves(self) -> dict[str, list[Any]]:
        return {
            "receiver": self.operands.receiver.leaves,
            "sender": self.operands.sender.leaves,
            "context": self.operands.context.leaves,
        }

    def _pairs(self, term: Term, held: list[Any]) -> Any:
        """Returns a term's values over the tile; axes it does not vary along are 1."""
        named = sorted(term.depends & set(self.problem.relations))
        ends = term.depends & {"receiver", "sender"}
        if not named:
            return self._plain(term, held, ends)
        if len(named) == 1 and "sender" not in ends:
            return self._spread_labels(term, held, named[0])
        if len(named) == 1 and ends == {"sender"} and self._has_rows(term, named[0]):
            return self._spread_senders(term, held, named[0])
        leaves = self._leaves()
        for name in named:
            leaves[name] = self.problem.rows_at(name, self.operands, self.label(name))
        both = frozenset(named)
        return term.over(held, leaves, both | {"receiver"}, both | {"sender"})

    def _plain(self, term: Term, held: list[Any], ends: frozenset[str]) -> Any:
        sides = [frozenset({side}) for side in ("receiver", "sender") if side in ends]
        value = term.over(held, self._leaves(), *sides)
        missing = [
            at for at, side in enumerate(("receiver", "sender")) if side not in ends
        ]
        return jnp.expand_dims(value, missing)

    def label(self, name: str) -> Any:
        """Returns the labels of a relation over the tile, [R, S]."""
        receiver, sender = self.ends()
        given = self.operands.pair.get(name)
        return jnp.broadcast_to(
            self.problem.label(name, receiver, sender, given), self.shape
        )

    def _has_rows(self, term: Term, name: str) -> bool:
        """Whether a term is a number that need only be evaluated once a label."""
        bounded = self.problem.relations[name].num_labels is not None
        return not term.shape and (bounded or self._is_banded(name))

    def _is_banded(self, name: str) -> bool:
        relation = self.problem.relations[name]
        return self.is_contiguous and isinstance(relation, PositionRelation)

    def _by_label(self, term: Term, held: list[Any], name: str) -> Any:
        """Evaluates a term of (one end and) one relation, once a label.

        Returns:
          [R, S or 1, W, ...] along the tile's diagonals, or [R, S or 1, L + 1, ...].
        """
        rows, diagonals = self._rows(name)
        leaves = self._leaves() | {name: rows}
        ends = ("receiver", "sender")
        sides = [frozenset({end}) for end in ends if end in term.depends]
        value = term.over(held, leaves, *sides, frozenset({name}))
        value = (value if sides else value[None]).astype(self.problem.accumulator)
        return value if diagonals is None else diagonals.spread(value)

    def _rows(self, name: str) -> tuple[list[Any], "Diagonals | None"]:
        """Returns the rows to evaluate: of every diagonal, or of every label.

        Where diagonals of one label lie side by side, its row is taken once, and the
        second result says how to spread it.
        """
        problem = self.problem
        relation, count = problem.relations[name], problem.relations[name].num_labels
        if not self._is_banded(name):
            assert count is not None
            return problem.rows_at(name, self.operands, jnp.arange(count + 1)), None
        assert isinstance(relation, PositionRelation)
        width = sum(self.shape) - 1
        if self.first is not None and name in self.operands.tables:
            heard = self._heard_diagonals(self.first)
            labels = np.asarray(relation.label(self.first + np.arange(heard)))
            diagonals = Diagonals.of(labels, count, min(width, self.shape[1] + 1))
            if diagonals is not None:
                tables = self.operands.tables[name]
                return [diagonals.take(table) for table in tables], diagonals
        first = self.operands.sender.position[0] - self.operands.receiver.position[-1]
        label = relation.label(first + jnp.arange(width))
        return problem.rows_at(name, self.operands, label), None

    def _heard_diagonals(self, first: int) -> int:
        """Returns how many diagonals somebody may hear, from the first one on."""
        width, ahead = sum(self.shape) - 1, self.problem.topology.ahead()
        if not self.is_masked or ahead is None:
            return width
        return max(1, min(width, ahead - first + 1))

    def _spread_labels(self, term: Term, held: list[Any], name: str) -> Any:
        if self._is_banded(name):
            value = self._by_label(term, held, name)
            value = jnp.broadcast_to(value, (self.shape[0], *value.shape[1:]))
            return skew(value, self.shape[1])
        labels = self.label(name)
        if self.problem.relations[name].num_labels is None:
            rows = self.problem.rows_at(name, self.operands, labels)
            both = frozenset({name})
            leaves = self._leaves() | {name: rows}
            return term.over(held, leaves, both | {"receiver"}, both)
        value = self._by_label(term, held, name)
        ends = self._attributes(name)
        if ends is not None and value.ndim == 2:
            value = jnp.broadcast_to(value, (self.shape[0], value.shape[1]))
            return residues.spread(value, *ends)
        if value.shape[0] == 1:
            return jnp.take(value[0], labels, axis=0)
        index = labels.reshape(labels.shape + (1,) * (value.ndim - 2))
        return jnp.take_along_axis(value, index, axis=1)

    def _spread_senders(self, term: Term, held: list[Any], name: str) -> Any:
        """Spreads scores of sender and relation, [R, S], evaluated once a label.

        In the tile turned round, senders are the rows; its diagonals are those of the
        tile, in reverse.
        """
        value = self._by_label(term, held, name)  # [S, W] or [S, L + 1]
        if not self._is_banded(name):
            return jnp.take_along_axis(value, self.label(name).T, axis=1).T
        unheard = sum(self.shape) - 1 - value.shape[1]
        value = jnp.pad(value, ((0, 0), (0, unheard)))[:, ::-1]
        return skew(value, self.shape[0]).T

    def _attributes(self, name: str) -> Any:
        """Returns both ends' attributes and their span, where labels differ so."""
        relation = self.problem.relations[name]
        if not isinstance(relation, AttributeRelation):
            return None
        span = relation.span
        if span is None or span.num_labels > _MOST_RESIDUES:
            return None
        at_receiver, at_sender = self.problem.attributes[name]
        receiver = self.operands.receiver.leaves[at_receiver].astype(jnp.int32)
        sender = self.operands.sender.leaves[at_sender].astype(jnp.int32)
        return receiver, sender, span

    def _contract(self, weight: Any, mask: Any) -> Any:
        """Returns the sum over senders of weight * message, [R, F], term by term."""
        constants = self.operands.shared.message
        total: Any = 0
        for term, held in zip(self.problem.message, constants, strict=True):
            part = self._contract_term(term, held, weight, mask)
            shape = (weight.shape[0], *self.problem.message_shape)
            total = total + jnp.broadcast_to(part.astype(weight.dtype), shape)
        return total

    def _contract_term(
        self, term: Term, held: list[Any], weight: Any, mask: Any
    ) -> Any:
        depends, leaves = term.depends, self._leaves()
        if depends <= {"receiver"}:
            value = self._plain(term, held, depends)[:, 0]
            total = weight.sum(axis=1)
            total = total.reshape(total.shape + (1,) * (value.ndim - 1))
            return total * value.astype(total.dtype)
        if depends == {"sender"}:
            return _product(weight, term.over(held, leaves, frozenset({"sender"})))
        if depends == {"receiver", "sender"}:

            def listen(row: Any, *receiver: Any) -> Any:
                inner = leaves | {"receiver": list(receiver)}
                said = term.over(held, inner, frozenset({"sender"}))
                return jnp.tensordot(row, said.astype(row.dtype), axes=1)

            return jax.vmap(listen)(weight, *leaves["receiver"])
        named = depends & set(self.problem.relations)
        if (
            len(depends) == 1
            and self.problem.relations[min(named)].num_labels is not None
        ):
            return self._contract_labels(term, held, weight, min(named))
        value = jnp.broadcast_to(
            self._pairs(term, held), (*self.shape, *term.shape)
        ).astype(weight.dtype)
        if mask is not None:  # What `skew` reads there is another receiver's.
            value = jnp.where(jnp.expand_dims(mask, range(2, value.ndim)), value, 0)
        return jnp.einsum("rs,rs...->r...", weight, value)

    def _contract_labels(
        self, term: Term, held: list[Any], weight: Any, name: str
    ) -> Any:
        """Adds weights by label first, then takes one product with the table."""
        rows, diagonals = self._rows(name)
        value = term.over(held, self._leaves() | {name: rows}, frozenset({name}))
        if self._is_banded(name):
            width = sum(self.shape) - 1 if diagonals is None else diagonals.width
            by_label = unskew(weight, width)
            if diagonals is not None:
                by_label = diagonals.gather(by_label)
        elif (ends := self._attributes(name)) is not None:
            by_label = residues.gather(weight, *ends)
        else:
            count = value.shape[0]
            by_label = jax.vmap(
                lambda row, label: jax.ops.segment_sum(row, label, count)
            )(weight, self.label(name))
        return _product(by_label, value)


def _mask_of(known_edges: tuple[Any, Any, Any], shape: tuple[int, int]) -> Any:
    """Returns which pairs are among known edges, [R, S]; None where all are.

    In NumPy: XLA takes seconds to scatter constants, and a complete graph needs no mask.
    """
    senders, receivers, kept = known_edges
    mask = np.zeros(shape, bool)
    chosen = slice(None) if kept is None else np.asarray(kept, bool)
    mask[receivers[chosen], senders[chosen]] = True
    return None if mask.all() else jnp.asarray(mask)


def _product(weight: jax.Array, value: jax.Array) -> jax.Array:
    """Returns weight [R, S] times value [S, ...], accumulated in weight's type."""
    if value.dtype == jnp.bfloat16:  # Matrix units take two operands of one type.
        weight, kept = weight.astype(value.dtype), weight.dtype
    else:
        value, kept = value.astype(weight.dtype), weight.dtype
    return jnp.tensordot(weight, value, axes=1, preferred_element_type=kept)


def _shift(aggregator: Aggregator, message: Any, mask: Any) -> Any:
    """Returns the shift of each receiver from the messages of a tile, [R, F]."""
    heard = mask.sum(axis=1)
    if aggregator.shift_by == "mean":
        total = jnp.where(mask, message, 0).sum(axis=1)
        return total / jnp.maximum(heard, 1).astype(total.dtype)
    extreme: dict[str | None, tuple[Callable[..., Any], float]] = {
        "max": (jnp.max, -jnp.inf),
        "min": (jnp.min, jnp.inf),
    }
    reduce, neutral = extreme[aggregator.shift_by]
    shift = reduce(jnp.where(mask, message, neutral), axis=1, initial=neutral)
    return jnp.where(heard > 0, shift, 0)
