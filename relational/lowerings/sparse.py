"""Products with a sparse matrix: what receivers hear is numbers of edges times values.

The common layers of graphs are of this kind: a graph convolution (Kipf and Welling
2017), graph attention (Veličković et al. 2018), attention between the ends of listed
edges. Weights, a number an edge, are worked out on all edges at once; features are only
ever multiplied, by a kernel that the CPU has for sparse matrices.

Shapes: *lead leading axes, E edges by receiver, R receivers, S senders, F features.
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.aggregators import Aggregator, Weighting, keep_scale
from relational.lowerings import costs, multiples
from relational.lowerings import edges as edge_list
from relational.lowerings.contents import Contents
from relational.lowerings.problem import (
    Operands,
    Problem,
    each_graph,
    with_positions,
)
from relational.lowerings.slots import Slots
from relational.lowerings.sparse_products import Matrix, compare, spread
from relational.terms import Term

_MOST_UNROLLED = 16  # Graphs; outside loops XLA uses all cores, but compiles each.


@dataclasses.dataclass(frozen=True)
class Sparse:
    """Asks for sparse products: `propagate(..., lowering=rl.lowerings.Sparse())`.

    >>> import jax.numpy as jnp, relational as rl
    >>> star = rl.Edges([1, 2, 0], [0, 0, 1], num_receivers=3)
    >>> rl.propagate(star, senders=jnp.array([1.0, 5.0, 3.0]),
    ...              edges=jnp.array([1.0, 2.0, 4.0]), aggregator=rl.Sum(),
    ...              message=lambda edge, sender: edge * sender,
    ...              lowering=rl.lowerings.Sparse()).tolist()
    [11.0, 4.0, 0.0]
    """

    name = "sparse"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        reasons = Slots().refuse(problem)
        if jax.default_backend() != "cpu":
            reasons.append("its kernel is the CPU's")
        if not all(_is_weighting(each) for each in problem.aggregators):
            reasons.append("an aggregator does more than weigh messages by scores")
        if not all(_is_product(term) for term in problem.message):
            reasons.append("a message is more than a number times what its sender says")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("sparse", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        graphs, features = problem.num_graphs, math.prod(problem.message_shape)
        edges = problem.num_edges * graphs
        work = Counter[str](edge=edges)
        if problem.score:
            work["exponential"] = edges
        for term in problem.score:
            is_dot = multiples.of_both_ends(term) is not None
            work["compared" if is_dot else "gathered"] += edges * term.num_read
        for term in problem.message:
            work["product"] += edges * math.prod(term.shape)
            if not term.depends <= {"sender"}:
                work["gathered"] += edges * (term.num_read - math.prod(term.shape))
        nodes = problem.num_receivers + problem.num_senders
        work["node"] = nodes * graphs * features * len(problem.message)
        work["step"] = min(graphs, _MOST_UNROLLED)
        return work, 4.0 * (8 * edges + 2 * work["gathered"] + 2 * work["node"])

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        assert problem.known_edges is not None
        sizes = problem.num_receivers, problem.num_senders
        order, matrix = _sorted(Contents(*problem.known_edges), *sizes)
        # As constants they would be folded into everything that reads them.
        matrix = jax.lax.optimization_barrier(jax.tree.map(jnp.asarray, matrix))
        operands = _by_receiver(problem, operands, order, matrix)

        def one(inner: Operands) -> list[Any]:
            call = _Call(problem, inner, matrix)
            return [call.result(aggregator) for aggregator in problem.aggregators]

        unrolls = problem.num_graphs <= _MOST_UNROLLED
        return each_graph(one, operands, problem, loops=True, unrolls=unrolls)


def _is_weighting(aggregator: Aggregator) -> bool:
    shifts = aggregator.shift_of in (None, "score")
    return isinstance(aggregator, Weighting) and shifts


def _is_product(term: Term) -> bool:
    """Says whether a message is a number times what its sender says."""
    return term.depends <= {"sender"} or multiples.of_sender(term) is not None


@functools.lru_cache(maxsize=8)
def _sorted(
    contents: Contents, num_receivers: int, num_senders: int
) -> tuple[Any, Matrix]:
    """Returns the order of edges by receiver, None for the given one; and the matrix."""
    senders, receivers, kept = contents.arrays
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    edges = np.arange(senders.size) if kept is None else np.flatnonzero(kept)
    order = edges[np.argsort(receivers[edges], kind="stable")]
    matrix = Matrix.of(
        senders[order],
        receivers[order],
        num_receivers=num_receivers,
        num_senders=num_senders,
    )
    is_given = np.array_equal(order, np.arange(senders.size))
    return None if is_given else order.astype(np.int32), matrix


def _by_receiver(
    problem: Problem, operands: Operands, order: Any, matrix: Matrix
) -> Operands:
    """Returns the operands with only the edges that count, by receiver."""
    axes = problem.batch_axes

    def taken(leaf: Any) -> Any:
        if order is None:
            return leaf
        return jnp.take(leaf, order, axis=axes, mode="clip")

    def led(ends: Any) -> Any:
        return ends.reshape((1,) * axes + ends.shape)

    edge = operands.edge
    return with_positions(problem, operands)._replace(
        edge=edge._replace(
            leaves=jax.tree.map(taken, edge.leaves),
            labels=jax.tree.map(taken, edge.labels),
            senders=led(matrix.senders),
            receivers=led(matrix.receivers),
            valid=None,
        )
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Call:
    """A bound call for one graph, its edges sorted."""

    problem: Problem
    operands: Operands
    matrix: Matrix

    def result(self, aggregator: Aggregator) -> Any:
        """Returns what an aggregator hears, [R, *F]."""
        assert isinstance(aggregator, Weighting)
        score = self._score if aggregator.hears_score else None
        shift = self._shift(aggregator, score)
        at_edges = None if shift is None else shift[self.matrix.receivers]
        weight = aggregator.weight(score, at_edges).astype(self.problem.accumulator)
        weight = jnp.broadcast_to(weight, self.matrix.senders.shape)
        sums = {"total": self._added(weight), "message": self._heard(weight)}
        return aggregator.finish(sums, shift)

    @functools.cached_property
    def _score(self) -> Any:
        """The summed score of every edge, [E]."""
        total: Any = 0
        constants = self.operands.shared.score
        for term, held in zip(self.problem.score, constants, strict=True):
            leaves = multiples.of_both_ends(term)
            if leaves is None:
                value = self._each_edge(term, held)
            else:
                value = self._compared(term, held, *leaves)
            total = total + value.astype(self.problem.accumulator)
        return jnp.broadcast_to(total, self.matrix.senders.shape)

    def _compared(self, term: Term, held: list[Any], receiver: int, sender: int) -> Any:
        """Returns a score that is a multiple of the dot of both ends."""
        operands, kept = self.operands, self.problem.accumulator
        ends = operands.receiver.leaves[receiver], operands.sender.leaves[sender]
        # The multiple is the score of two vectors whose dot is one.
        ones = [jnp.zeros(end.shape[-1], end.dtype).at[0].set(1) for end in ends]
        leaves: dict[str, Any] = {
            "receiver": {receiver: ones[0]},
            "sender": {sender: ones[1]},
            "context": operands.context.leaves,
        }
        dots = compare(self.matrix, *(end.astype(kept) for end in ends))
        return dots * term.over(held, leaves).astype(kept)

    def _each_edge(self, term: Term, held: list[Any], ones: int | None = None) -> Any:
        """Returns a term edge by edge, [E, ...], or [1, ...] where it has no edge.

        Args:
          ones: a leaf of the sender to take as ones.
        """
        leaves: dict[str, Any] = edge_list.leaves_at(
            self.problem, self.operands, [term]
        )
        mapped = frozenset(leaves) - {"context"}
        if ones is not None:
            leaf = self.operands.sender.leaves[ones]
            leaves["sender"] = {ones: jnp.ones(leaf.shape[1:], leaf.dtype)}
            mapped -= {"sender"}
        if not term.depends - ({"sender"} if ones is not None else set()):
            return term.over(held, leaves)[None]
        return term.over(held, leaves, mapped)

    def _shift(self, aggregator: Aggregator, score: Any) -> Any:
        """Returns the shift of every receiver, [R]; None where there is none."""
        heard = jnp.diff(self.matrix.starts)
        return edge_list.shift_of(
            aggregator,
            score,
            None,
            self.matrix.receivers,
            self.problem.num_receivers,
            heard,
        )

    def _added(self, weight: Any) -> Any:
        """Returns the sums over the edges of every receiver, [R]."""
        count = self.problem.num_receivers
        ends = self.matrix.receivers
        return jax.ops.segment_sum(weight, ends, count, indices_are_sorted=True)

    def _heard(self, weight: Any) -> Any:
        """Returns the messages of every receiver added up by weight, [R, *F]."""
        if self.problem.dropout_rate:
            weight = weight * self._kept().astype(weight.dtype)
        total: Any = 0
        constants = self.operands.shared.message
        for term, held in zip(self.problem.message, constants, strict=True):
            weights, values = self._product(term, held, weight)
            flat = values.reshape(len(values), -1)
            total = total + spread(self.matrix, weights, flat)
        return total.reshape(len(total), *self.problem.message_shape)

    def _product(self, term: Term, held: list[Any], weight: Any) -> tuple[Any, Any]:
        """Returns a message as weights [E] and values [S, *F]."""
        operands, kept = self.operands, self.problem.accumulator
        if not term.depends <= {"sender"}:
            leaf = multiples.of_sender(term)
            assert leaf is not None
            factor = self._each_edge(term, held, ones=leaf).astype(kept)
            values = operands.sender.leaves[leaf].astype(kept)
            return weight * factor.reshape(len(factor), -1)[:, 0], values
        leaves = {"sender": operands.sender.leaves, "context": operands.context.leaves}
        if term.depends:
            value = term.over(held, leaves, frozenset({"sender"}))
        else:
            value = term.over(held, leaves)[None]
        shape = self.problem.num_senders, *self.problem.message_shape
        return weight, jnp.broadcast_to(value, shape).astype(kept)

    def _kept(self) -> Any:
        """Returns what dropout multiplies weights by, [E]."""
        receiver, sender = edge_list.ends(self.operands)
        return keep_scale(
            self.problem.dropout_rate,
            self.operands.shared.seed,
            self.operands.context.index,
            receiver.position,
            sender.position,
        )
