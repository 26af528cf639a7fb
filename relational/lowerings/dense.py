"""All pairs with a mask: the whole graph as one tile.

Right where graphs are small, or dense; every pair is stored.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from relational.lowerings import costs
from relational.lowerings.edges import Edges
from relational.lowerings.problem import Operands, Problem, each_graph, with_positions
from relational.lowerings.tile import Tile


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
        work, size = self.work(problem)
        return costs.cost("dense", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        work = costs.tile_work(problem, problem.size * problem.num_graphs)
        return work, costs.tile_bytes(work)

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
