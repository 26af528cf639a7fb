"""All pairs with a mask: the whole graph as one tile.

Right where graphs are small, or dense; every pair is stored.
"""

import dataclasses
import math
from typing import Any

from relational.aggregators import Weighting
from relational.lowerings.edges import Edges
from relational.lowerings.problem import Operands, Problem, each_graph, with_positions
from relational.lowerings.tile import Tile
from relational.terms import Term


@dataclasses.dataclass(frozen=True)
class Dense:
    """Asks for all pairs with a mask: `lowering=rl.lowerings.Dense()`.

    >>> import jax.numpy as jnp, relational as rl
    >>> rl.propagate(rl.Band(before=1), senders=jnp.array([1.0, 5.0, 3.0]),
    ...              message=lambda sender: sender, aggregator=rl.Sum(),
    ...              lowering=rl.lowerings.Dense()).tolist()
    [1.0, 6.0, 8.0]
    """

    name = "dense"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        reasons = []
        if problem.partial_terms:
            reasons.append("terms are partial: they may not be evaluated off the edges")
        if problem.is_listed and not problem.is_simple:
            reasons.append("an edge may occur twice (repeated, or traced indices)")
        if problem.has_edge_leaves:
            reasons.append("edges carry features")
        if problem.has_edge_labels:
            reasons.append("labels are given edge by edge")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        pairs = problem.size * problem.num_graphs
        seconds, width = pair_cost(problem)
        # Every pair is stored several times on the way, forward and backward.
        return pairs * (seconds + 4e-9), pairs * 4.0 * (3 + width)

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        if not problem.size:  # Not one pair, so no diagonals to lay out.
            return Edges().propagate(problem, operands)
        sides = operands.receiver, operands.sender
        is_contiguous = all(side.position is None for side in sides)

        def one(inner: Operands) -> list[Any]:
            first = 1 - problem.num_receivers if is_contiguous else None
            tile = Tile(problem, inner, True, is_contiguous, first)
            parts = [tile.sums(aggregator) for aggregator in problem.aggregators]
            return [
                aggregator.finish(part.sums, part.shift)
                for aggregator, part in zip(problem.aggregators, parts, strict=True)
            ]

        return each_graph(one, with_positions(problem, operands), problem)


def pair_cost(problem: Problem) -> tuple[float, int]:
    """Returns seconds of arithmetic a pair, and floats stored a pair by wide terms."""
    seconds, width = 2e-9, 0
    features = max(1, math.prod(problem.message_shape))
    for term in problem.score:
        is_wide = not _is_cheap(term, problem)
        seconds += 40e-9 if is_wide else 2e-9
        width += 64 if is_wide else 1
    for term in problem.message:
        is_wide = not _is_cheap(term, problem) or term.depends >= {"receiver", "sender"}
        seconds += (1e-9 if is_wide else 0.03e-9) * features
        width += features if is_wide else 1
    if not all(isinstance(agg, Weighting) for agg in problem.aggregators):
        seconds += 3e-9 * features
        width += 3 * features
    return seconds, width


def _is_cheap(term: Term, problem: Problem) -> bool:
    """Whether a term needs no pair-by-pair evaluation with a relation's rows."""
    return len(term.depends - {"receiver"} - set(problem.relations)) <= 1
