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
from relational.lowerings.edges_first import EdgesFirst, evaluated, moved
from relational.lowerings.problem import (
    Operands,
    Problem,
    each_graph,
    restore_lead,
    with_positions,
)
from relational.lowerings.slots import Slots
from relational.lowerings.sparse_products import Matrix, compare, spread
from relational.terms import Term

_MOST_TOGETHER = 16  # Graphs; outside loops XLA uses all cores, but compiles each.


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
        if problem.partial_terms and any(map(_asks_all_senders, problem.message)):
            reasons.append("terms are partial, and it asks senders that nobody hears")
        if not problem.num_graphs:
            reasons.append("there are no graphs")
        if any(map(_has_no_numbers, (*problem.score, *problem.message))):
            reasons.append("a term reads an array without features")
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
        work["step"] = min(graphs, _MOST_TOGETHER)
        return work, 4.0 * (8 * edges + 2 * work["gathered"] + 2 * work["node"])

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        assert problem.known_edges is not None
        sizes = problem.num_receivers, problem.num_senders
        order, matrix = _sorted(Contents(*problem.known_edges), *sizes)
        # As constants they would be folded into everything that reads them.
        matrix = jax.lax.optimization_barrier(jax.tree.map(jnp.asarray, matrix))
        operands = _by_receiver(problem, operands, order, matrix)
        if problem.num_graphs <= _MOST_TOGETHER:
            found = _results(problem, operands, matrix, problem.batch_axes)
            return restore_lead(found, problem.lead)

        def one(inner: Operands) -> list[Any]:
            return _results(problem, inner, matrix, 0)

        return each_graph(one, operands, problem, loops=True)


def _is_weighting(aggregator: Aggregator) -> bool:
    shifts = aggregator.shift_of in (None, "score")
    return isinstance(aggregator, Weighting) and shifts


def _has_no_numbers(term: Term) -> bool:
    return any(0 in getattr(variable.aval, "shape", ()) for variable in term.inputs)


def _asks_all_senders(term: Term) -> bool:
    """Says whether a message is computed of senders, whether they are heard or not."""
    return term.depends <= {"sender"} and term.kind not in ("leaf", "constant")


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


def _results(
    problem: Problem, operands: Operands, matrix: Matrix, axes: int
) -> list[Any]:
    """Returns what each aggregator hears, [*lead, R, *F]; leading axes full or 1."""
    edges = EdgesFirst(problem, operands, matrix.senders, matrix.receivers, axes)
    call = _Call(problem, operands, matrix, edges, axes)
    found = [call.result(aggregator) for aggregator in problem.aggregators]
    return [jnp.moveaxis(each, 0, axes) for each in found]


@dataclasses.dataclass(frozen=True, eq=False)
class _Call:
    """A bound call for graphs that share their sorted edges.

    Numbers of edges are [E, *lead] and numbers of nodes [R, *lead], each leading axis
    full or 1.
    """

    problem: Problem
    operands: Operands
    matrix: Matrix
    edges: EdgesFirst
    axes: int

    def result(self, aggregator: Aggregator) -> Any:
        """Returns what an aggregator hears, [R, *lead, *F]."""
        assert isinstance(aggregator, Weighting)
        score = self._score if aggregator.hears_score else None
        shift = self._shift(aggregator, score)
        at_edges = None if shift is None else shift[self.matrix.receivers]
        weight = aggregator.weight(score, at_edges).astype(self.problem.accumulator)
        weight = self._on_edges(weight)
        total = self._added(weight)
        if not aggregator.hears_score:
            sums = {"total": total, "message": self._heard(weight)}
            return aggregator.finish(sums, shift)
        # Linear in the message: what is done to it last is done to numbers of edges
        # first, which are fewer than features, and so are their cotangents.
        share = aggregator.finish(
            {"total": total, "message": jnp.ones_like(total)}, shift
        )
        return self._heard(weight * share[self.matrix.receivers])

    def _on_edges(self, numbers: Any) -> Any:
        """Returns numbers [E, *lead], of one number or of numbers [1, *lead]."""
        if not numbers.ndim:
            numbers = numbers.reshape((1,) * (1 + self.axes))
        return jnp.broadcast_to(numbers, self.matrix.senders.shape + numbers.shape[1:])

    @functools.cached_property
    def _score(self) -> Any:
        """The summed score of every edge."""
        total: Any = 0
        constants = self.operands.shared.score
        for term, held in zip(self.problem.score, constants, strict=True):
            leaves = multiples.of_both_ends(term)
            if leaves is None:
                value = self.edges.said(term, held)
            else:
                value = self._compared(term, held, *leaves)
            total = total + value.astype(self.problem.accumulator)
        return self._on_edges(total)

    def _compared(self, term: Term, held: list[Any], receiver: int, sender: int) -> Any:
        """Returns a score that is a multiple of the dot of both ends."""
        kept, axes = self.problem.accumulator, self.axes
        ends = (
            moved(self.operands.receiver.leaves[receiver], axes),
            moved(self.operands.sender.leaves[sender], axes),
        )
        # The multiple is the score of two vectors whose dot is one.
        context = self.edges.context()
        ones = jnp.zeros(ends[0].shape[-1:], ends[0].dtype).at[0].set(1)
        ones = ones.reshape((1,) * (1 + axes) + ones.shape)
        reads = [
            context[index] if site == "context" else ones for site, index in term.reads
        ]
        factor = evaluated(term, held, reads, 1 + axes).astype(kept)
        dots = self._dots(*(end.astype(kept) for end in ends))
        return dots * factor

    def _dots(self, at_receivers: Any, at_senders: Any) -> Any:
        """Returns the dots of ends [N, *lead, D] along all edges, [E, *lead]."""
        shapes = at_receivers.shape[1:], at_senders.shape[1:]
        *lead, width = jnp.broadcast_shapes(*shapes)
        flat = [
            jnp.broadcast_to(end, (len(end), *lead, width)).reshape(len(end), -1, width)
            for end in (at_receivers, at_senders)
        ]
        found = compare(self.matrix, *flat)
        return found.reshape(len(found), *lead)

    def _shift(self, aggregator: Aggregator, score: Any) -> Any:
        """Returns the shift of every receiver; None where there is none."""
        return edge_list.shift_of(
            aggregator,
            score,
            None,
            self.matrix.receivers,
            self.problem.num_receivers,
            jnp.diff(self.matrix.starts),
        )

    def _added(self, weight: Any) -> Any:
        """Returns the sums over the edges of every receiver."""
        count = self.problem.num_receivers
        ends = self.matrix.receivers
        return jax.ops.segment_sum(weight, ends, count, indices_are_sorted=True)

    def _heard(self, weight: Any) -> Any:
        """Returns the messages of every receiver added up by weight, [R, *lead, *F]."""
        if self.problem.dropout_rate:
            weight = weight * self._kept().astype(weight.dtype)
        total: Any = 0
        constants = self.operands.shared.message
        for term, held in zip(self.problem.message, constants, strict=True):
            weights, values = self._product(term, held, weight)
            total = total + self._spread(weights, values)
        return total

    def _spread(self, weights: Any, values: Any) -> Any:
        """Returns what is heard: weights [E, *lead], values [S, *lead, *F].

        Where weights are shared, graphs are columns of one product.
        """
        own = [axis for axis in range(1, weights.ndim) if weights.shape[axis] != 1]
        sizes = [weights.shape[axis] for axis in own]
        front = list(range(1, 1 + len(own)))
        moved_values = jnp.moveaxis(values, own, front)
        rest = moved_values.shape[1 + len(own) :]
        full = jnp.broadcast_to(moved_values, (len(values), *sizes, *rest))
        graphs = math.prod(sizes)
        found = spread(
            self.matrix,
            weights.reshape(-1, graphs),
            full.reshape(len(values), graphs, math.prod(rest)),
        )
        return jnp.moveaxis(found.reshape(len(found), *sizes, *rest), front, own)

    def _product(self, term: Term, held: list[Any], weight: Any) -> tuple[Any, Any]:
        """Returns a message as weights [E, *lead] and values [S, *lead, *F]."""
        kept, axes = self.problem.accumulator, self.axes
        leaves = [moved(leaf, axes) for leaf in self.operands.sender.leaves]
        if not term.depends <= {"sender"}:
            leaf = multiples.of_sender(term)
            assert leaf is not None
            factor = self.edges.said(term, held, ones=leaf).astype(kept)
            factor = factor.reshape(*factor.shape[: 1 + axes], -1)[..., 0]
            return weight * factor, leaves[leaf].astype(kept)
        context = self.edges.context()
        reads = [
            context[index] if site == "context" else leaves[index]
            for site, index in term.reads
        ]
        value = evaluated(term, held, reads, 1 + axes)
        shape = (self.problem.num_senders, *value.shape[1:])
        return weight, jnp.broadcast_to(value, shape).astype(kept)

    def _kept(self) -> Any:
        """Returns what dropout multiplies weights by."""
        receiver, sender = self.edges.ends
        return keep_scale(
            self.problem.dropout_rate,
            self.operands.shared.seed,
            self.operands.context.index[None],
            receiver.position,
            sender.position,
        )
