"""One tile in the registers of a GPU: what `tile.py` computes, forward and backward.

The steps are those of a tile anywhere: scores, weights under a shift, sums; and back
from the cotangents of the sums, with the weights computed again. What differs is that
rows of a table are met along diagonals through a scratch memory, since registers
cannot be indexed, and that the cotangents are written out, so that each product is one
of two matrices, and none is computed that no program adds up.

Shapes: B receivers and as many senders of a tile, W = 2 B diagonals, F features.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from relational.aggregators import Weighting, keep_scale
from relational.lowerings.kernel_terms import Place, place
from relational.lowerings.problem import Problem, Shared, Side
from relational.lowerings.products import matched, product
from relational.lowerings.tile import MASKED, Part, shift_of_scores
from relational.terms import Term
from relational.topologies.base import End

Key = tuple[str, int]  # A leaf: its site and its index there.
Gradients = dict[Key, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Scratch:
    """Memory of one program, where a tile's diagonals become columns, and back.

    Attributes:
      ref: [B, W] float32, or None where no term reads rows of a table.
      barrier: lets all threads of the program finish what they write.
    """

    ref: Any
    barrier: Callable[[], None]

    def spread(self, value: Any, end: str | None) -> Any:
        """Reads diagonals as a tile, [B, B].

        Args:
          value: [B, W], for each node of one end, or [W].
          end: "receiver", "sender", or None for [W].
        """
        block = self.ref.shape[0]
        row, column = (_iota((block, block), axis) for axis in (0, 1))
        diagonal = column - row + (block - 1)
        self.barrier()
        if end is None:
            self.ref[0, :] = value
        else:
            self.ref[...] = value
        self.barrier()
        node = {"receiver": row, "sender": column}.get(end or "", row * 0)
        return self.ref[node, diagonal]

    def gather(self, pairs: Any, end: str | None) -> Any:
        """Adds up a tile along diagonals: the transpose of `spread`."""
        if end is None:
            return self.gather(pairs, "receiver").sum(axis=0)
        block, width = self.ref.shape
        node, diagonal = (_iota((block, width), axis) for axis in (0, 1))
        step = diagonal - (block - 1)  # Sender less receiver.
        other = node + step if end == "receiver" else node - step
        is_inside = (other >= 0) & (other < block)
        other = jnp.clip(other, 0, block - 1)
        self.barrier()
        self.ref[:, :block] = pairs
        self.barrier()
        at = (node, other) if end == "receiver" else (other, node)
        return jnp.where(is_inside, self.ref[at], 0)


@dataclasses.dataclass(frozen=True, eq=False)
class KernelTile:
    """A tile, with all that is said there.

    Attributes:
      block: B.
      starts: the first receiver and the first sender.
      receiver, sender: their leaves, [B, ...], and what the topology reads.
      rows: for relations that are met along diagonals, rows of tables, [W, ...].
      numbers: from a relation and labels [B, B] to the numbers that terms read.
      context: leaves of the graph; `index` where edges are dropped.
      shared: arrays that terms close over; the seed is two numbers.
      is_masked: whether some pair may not be an edge.
    """

    problem: Problem
    block: int
    starts: tuple[Any, Any]
    receiver: Side
    sender: Side
    rows: Mapping[str, list[Any]]
    numbers: Callable[[str, Any], list[Any]]
    context: Any
    shared: Shared
    is_masked: bool
    scratch: Scratch

    def parts(self) -> list[Part]:
        """Returns what the tile contributes, for each aggregator."""
        mask = self._mask()
        score = self._score(mask)
        keep = self._keep()
        found = []
        for aggregator in self._aggregators():
            shift = None
            if aggregator.hears_score:
                shift = shift_of_scores(score.max(axis=1), self._heard(mask))
            weight = self._weight(aggregator, score, shift, mask)
            spoken = weight if keep is None else weight * keep
            message: Any = 0
            for term, held in self._terms("message"):
                message = message + self._contract(term, held, spoken)
            sums = {"total": weight.sum(axis=1), "message": message}
            found.append(Part(shift, sums, self._heard(mask)))
        return found

    def gradients(
        self, shifts: list[Any], of_sums: list[Any], moving: frozenset[Key]
    ) -> Gradients:
        """Returns the cotangents of some leaves, from those of the sums.

        Args:
          shifts: the shift of each aggregator, [B] or None.
          of_sums: cotangents of the sums of each, [B, ...].
          moving: the leaves. What a term closes over has the site "score 0", for the
            first term, and so on.
        """
        mask, keep = self._mask(), self._keep()
        score = self._score(mask)
        found: Gradients = {}
        of_score: Any = 0
        for aggregator, shift, of in zip(
            self._aggregators(), shifts, of_sums, strict=True
        ):
            weight = self._weight(aggregator, score, shift, mask)
            spoken = weight if keep is None else weight * keep
            for term, held in self._terms("message"):
                if self._moves(term, held, moving):
                    of_value = self._contracted_by(term, spoken, of["message"])
                    _add(found, self._pull(term, held, of_value, moving))
            if aggregator.hears_score:
                of_score = of_score + self._score_gradient(
                    aggregator, score, shift, keep, of
                )
        for term, held in self._terms("score"):
            if self._moves(term, held, moving):
                of_value = self._gathered(term, of_score)
                _add(found, self._pull(term, held, of_value, moving))
        return found

    def _score_gradient(
        self, aggregator: Weighting, score: Any, shift: Any, keep: Any, of: Any
    ) -> Any:
        """Returns the cotangent of the scores; zero where a score was masked."""
        of_weight: Any = 0
        for term, held in self._terms("message"):
            of_weight = of_weight + self._spoken_gradient(term, held, of["message"])
        of_weight = jnp.broadcast_to(of_weight, (self.block, self.block))
        of_weight = of_weight if keep is None else of_weight * keep
        of_weight = of_weight + of["total"][:, None]
        _, pull = jax.vjp(lambda score: aggregator.weight(score, shift[:, None]), score)
        return pull(of_weight)[0]  # Weights of what is masked are constantly zero.

    # What holds on the whole tile.

    def _aggregators(self) -> list[Weighting]:
        return [
            each for each in self.problem.aggregators if isinstance(each, Weighting)
        ]

    def _positions(self) -> tuple[Any, Any]:
        """Returns positions of receivers [B, 1] and of senders [1, B]."""
        return (
            self.starts[0] + _iota((self.block, 1), 0),
            self.starts[1] + _iota((1, self.block), 1),
        )

    def _mask(self) -> Any:
        if not self.is_masked:
            return None
        receiver, sender = self._positions()
        attributes = (
            jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 1), self.receiver.topology),
            jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 0), self.sender.topology),
        )
        admitted = self.problem.topology.admits(
            End(receiver, attributes[0]),
            End(sender, attributes[1]),
            self.context.topology,
        )
        inside = receiver < self.problem.num_receivers
        inside = inside & (sender < self.problem.num_senders)
        return jnp.broadcast_to(admitted, (self.block, self.block)) & inside

    def _heard(self, mask: Any) -> Any:
        if mask is None:
            return jnp.full(self.block, True)
        return mask.astype(jnp.int32).max(axis=1) > 0

    def _keep(self) -> Any:
        if not self.problem.dropout_rate:
            return None
        seed, index = self.shared.seed, self.context.index
        return keep_scale(self.problem.dropout_rate, seed, index, *self._positions())

    def _score(self, mask: Any) -> Any:
        if not any(each.hears_score for each in self.problem.aggregators):
            return None
        total: Any = 0
        for term, held in self._terms("score"):
            total = total + self._spread(term, self._value(term, held))
        total = jnp.broadcast_to(total, (self.block, self.block))
        return total if mask is None else jnp.where(mask, total, MASKED)

    def _weight(self, aggregator: Weighting, score: Any, shift: Any, mask: Any) -> Any:
        if aggregator.hears_score:
            return aggregator.weight(score, shift[:, None])
        weight = jnp.full((self.block, self.block), aggregator.weight(None, None))
        return weight if mask is None else jnp.where(mask, weight, 0)

    # One term.

    def _terms(self, role: str) -> list[tuple[Term, tuple[str, list[Any]]]]:
        """Returns terms, and what each closes over with the name of that site."""
        terms, constants = getattr(self.problem, role), getattr(self.shared, role)
        named = [(f"{role} {at}", held) for at, held in enumerate(constants)]
        return list(zip(terms, named, strict=True))

    def _leaves(self, term: Term) -> dict[str, list[Any]]:
        leaves = {
            "receiver": self.receiver.leaves,
            "sender": self.sender.leaves,
            "context": self.context.leaves,
            **self.rows,
        }
        if place(term, self.problem) is Place.PAIRS:
            for name in term.depends & set(self.problem.relations):
                leaves[name] = self.numbers(name, self._label(name))
        return leaves

    def _label(self, name: str) -> Any:
        sides = []
        for side, position, axis in zip(
            (self.receiver, self.sender), self._positions(), (1, 0), strict=True
        ):
            leaves = [
                None if leaf is None else jnp.expand_dims(leaf, axis)
                for leaf in side.leaves
            ]
            sides.append(Side(leaves, (), position))
        label = self.problem.label(name, sides[0], sides[1], None)
        return jnp.broadcast_to(label, (self.block, self.block))

    def _axes(self, term: Term) -> list[frozenset[str]]:
        ends = [end for end in ("receiver", "sender") if end in term.depends]
        named = term.depends & set(self.problem.relations)
        match place(term, self.problem):
            case Place.ENDS:
                return [frozenset({end}) for end in ends]
            case Place.DIAGONALS:
                return [*(frozenset({end}) for end in ends), named]
            case Place.PAIRS:
                return [named | {"receiver"}, named | {"sender"}]

    def _value(self, term: Term, held: tuple[str, list[Any]]) -> Any:
        """Returns a term's values along its own axes."""
        leaves, axes = self._leaves(term), self._axes(term)
        value = matched(lambda: term.over(held[1], leaves, *axes))()
        return value.astype(self.problem.accumulator) if not term.shape else value

    def _end(self, term: Term) -> str | None:
        """Returns the end that a term along diagonals reads."""
        return next(iter(term.depends & {"receiver", "sender"}), None)

    def _spread(self, term: Term, value: Any) -> Any:
        """Returns values, one number each, over the tile; axes may be 1."""
        match place(term, self.problem):
            case Place.ENDS:
                ends = ("receiver", "sender")
                missing = [at for at, end in enumerate(ends) if end not in term.depends]
                return jnp.expand_dims(value, missing)
            case Place.DIAGONALS:
                return self.scratch.spread(value, self._end(term))
            case Place.PAIRS:
                return value

    def _gathered(self, term: Term, pairs: Any) -> Any:
        """Returns the transpose of `_spread`."""
        match place(term, self.problem):
            case Place.ENDS:
                ends = ("receiver", "sender")
                missing = [at for at, end in enumerate(ends) if end not in term.depends]
                for axis in reversed(missing):
                    pairs = pairs.sum(axis=axis)
                return pairs
            case Place.DIAGONALS:
                return self.scratch.gather(pairs, self._end(term))
            case Place.PAIRS:
                return pairs

    def _contract(self, term: Term, held: tuple[str, list[Any]], spoken: Any) -> Any:
        """Returns the sum over senders of weight * message, [B, F] or [B]."""
        value = self._value(term, held)
        if not term.shape:
            return (spoken * self._spread(term, value)).sum(axis=1)
        if place(term, self.problem) is Place.DIAGONALS:
            return product(self.scratch.gather(spoken, "receiver"), value)
        if "sender" in term.depends:
            return product(spoken, value)
        return spoken.sum(axis=1)[:, None] * self._by_receiver(value, spoken.dtype)

    def _contracted_by(self, term: Term, spoken: Any, of_message: Any) -> Any:
        """Returns the cotangent of a message term's values."""
        if not term.shape:
            return self._gathered(term, spoken * of_message[:, None])
        if place(term, self.problem) is Place.DIAGONALS:
            by_diagonal = self.scratch.gather(spoken, "receiver")
            return product(by_diagonal, self._narrow(term, of_message), (0, 0))
        if "sender" in term.depends:
            return product(spoken, self._narrow(term, of_message), (0, 0))
        of_value = spoken.sum(axis=1)[:, None] * of_message
        return of_value if term.depends else of_value.sum(axis=0)

    def _spoken_gradient(
        self, term: Term, held: tuple[str, list[Any]], of_message: Any
    ) -> Any:
        """Returns the cotangent of the weights from one message term."""
        value = self._value(term, held)
        if not term.shape:
            return of_message[:, None] * self._spread(term, value)
        if place(term, self.problem) is Place.DIAGONALS:
            by_diagonal = product(of_message, value, (1, 1))
            return self.scratch.spread(by_diagonal, "receiver")
        if "sender" in term.depends:
            return product(of_message, value, (1, 1))
        value = self._by_receiver(value, of_message.dtype)
        return (of_message * value).sum(axis=1)[:, None]

    def _by_receiver(self, value: Any, dtype: Any) -> Any:
        """Returns [F], or [B, F], as [1, F] or [B, F]."""
        value = value if value.ndim == 2 else value[None]
        return value.astype(dtype)

    def _narrow(self, term: Term, of_message: Any) -> Any:
        """Returns cotangents in the type of the values, for the matrix unit."""
        is_narrow = jnp.dtype(term.dtype).itemsize < of_message.dtype.itemsize
        return of_message.astype(term.dtype) if is_narrow else of_message

    # Gradients of one term.

    def _chosen(
        self, term: Term, held: tuple[str, list[Any]], moving: frozenset[Key]
    ) -> Gradients:
        """Returns the leaves that move, of those that a term reads."""
        site, constants = held
        leaves = self._leaves(term) | {site: constants}
        reads = {*term.reads, *((site, at) for at in range(len(constants)))}
        return {key: leaves[key[0]][key[1]] for key in sorted(reads & moving)}

    def _moves(
        self, term: Term, held: tuple[str, list[Any]], moving: frozenset[Key]
    ) -> bool:
        constants = {(held[0], at) for at in range(len(held[1]))}
        return bool(moving & {*term.reads, *constants})

    def _pull(
        self,
        term: Term,
        held: tuple[str, list[Any]],
        of_value: Any,
        moving: frozenset[Key],
    ) -> Gradients:
        """Pulls the cotangent of a term's values back to the leaves that move."""
        leaves, axes = self._leaves(term) | {held[0]: held[1]}, self._axes(term)

        def value(chosen: Gradients) -> Any:
            put = {site: list(parts) for site, parts in leaves.items()}
            for (site, at), leaf in chosen.items():
                put[site][at] = leaf
            return term.over(put[held[0]], put, *axes)

        def pull(chosen: Gradients, of_value: Any) -> Gradients:
            found, back = jax.vjp(value, chosen)
            gradients: Gradients
            (gradients,) = back(of_value.astype(found.dtype))
            return gradients

        return matched(pull)(self._chosen(term, held, moving), of_value)


def _add(total: Gradients, found: Gradients) -> None:
    for key, gradient in found.items():
        wide = gradient.astype(jnp.float32)
        total[key] = total[key] + wide if key in total else wide


def _iota(shape: tuple[int, ...], axis: int) -> Any:
    return jax.lax.broadcasted_iota(jnp.int32, shape, axis)
