"""Covers: which pairs of nodes a lowering computes, and which of them it masks.

Shapes: R receivers, S senders.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Bool

from relational.explaining.costs import goes_by_edge
from relational.explaining.pictures import is_known
from relational.lowerings.dense import Dense
from relational.lowerings.problem import Problem
from relational.lowerings.tiles import Tiles
from relational.lowerings.window import Cut, Window, neighbourhood
from relational.plans import Plan
from relational.topologies import Tile

_LARGEST = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Cover:
    """What a lowering computes of one graph.

    Attributes:
      edges: [R, S], who hears whom; where traced arrays decide, who may hear whom.
      computed: [R, S], which pairs terms are evaluated on.
      is_free: [R, S], which of them need no mask.
      outlines: (first receiver, first sender, receivers, senders) of each block.
      words: how many blocks of what size there are.
    """

    edges: Bool[np.ndarray, "R S"]
    computed: Bool[np.ndarray, "R S"]
    is_free: Bool[np.ndarray, "R S"]
    outlines: list[tuple[int, int, int, int]]
    words: str


def cover(plan: Plan) -> Cover:
    """Returns what the lowering of a plan computes.

    Raises:
      ValueError: if a side has no node or more than 4096, or listed edges are traced.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((64, 4), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender)
    >>> cover(plan).words
    'one block of all pairs'
    """
    problem, lowering = plan.problem, plan.lowering
    edges = _edges(problem)
    computed, is_free = np.zeros_like(edges), np.zeros_like(edges)
    if isinstance(lowering, Tiles):
        rows = lowering.plan(problem)
        for row in rows:
            place = _slice(row.receivers), _slice(row.senders)
            computed[place] = True
            is_free[place] = not row.is_masked
        outlines = [(*row.starts, len(row.receivers), len(row.senders)) for row in rows]
        longest = max((len(row.receivers) for row in rows), default=0)
        words = _blocks(len(rows), str(longest))
        return Cover(edges, computed, is_free, outlines, words)
    if isinstance(lowering, Window):
        cuts = lowering.plan(problem)
        for receivers, senders in _boxes(problem, cuts):
            computed[np.ix_(receivers, senders)] = True
        size = " x ".join(str(cut.receiver_size) for cut in cuts)
        count = math.prod(len(cut.receivers) for cut in cuts)
        return Cover(edges, computed, is_free, [], _blocks(count, size))
    if isinstance(lowering, Dense):
        whole = problem.topology.classify(
            range(problem.num_receivers), range(problem.num_senders)
        )
        computed[:] = True
        is_free[:] = whole is Tile.FULL
        return Cover(edges, computed, is_free, [], "one block of all pairs")
    by_edge = goes_by_edge(lowering)
    words = "edge by edge" if by_edge else "of its blocks nothing is known"
    return Cover(edges, edges, edges, [], words)


def _edges(problem: Problem) -> Any:
    sizes = problem.num_receivers, problem.num_senders
    if max(sizes) > _LARGEST:
        raise ValueError(
            f"a picture of a plan must have at most {_LARGEST} nodes a side; got "
            f"{sizes[0]} receivers and {sizes[1]} senders. Draw a smaller one of the "
            "kind."
        )
    if not min(sizes):
        raise ValueError(
            f"a picture of a plan must have nodes on both sides; got {sizes[0]} "
            f"receivers and {sizes[1]} senders."
        )
    topology = problem.topology
    if not is_known(topology):
        topology = topology.skeleton()
    if not is_known(topology):
        raise ValueError(
            f"a picture of a plan needs its edges; the arrays of {problem.topology} are "
            "traced. Close over them instead of passing them as arguments."
        )
    if problem.known_edges is None:
        mask = topology.mask(*sizes)
        return mask.reshape(-1, *sizes)[0].copy()
    senders, receivers, kept = problem.known_edges
    keep = np.ones(senders.shape, bool) if kept is None else kept
    mask = np.zeros(sizes, bool)
    mask[receivers[keep], senders[keep]] = True
    return mask


def _blocks(count: int, size: str) -> str:
    return f"{count} block{'' if count == 1 else 's'} of {size} receivers"


def _slice(span: range) -> slice:
    return slice(span.start, span.stop)


def _boxes(problem: Problem, cuts: list[Cut]) -> list[tuple[Any, Any]]:
    """Returns the receivers and the senders of every block, as indices into the grid."""
    topology = neighbourhood(problem.topology)
    assert topology is not None
    found = []
    for block in np.ndindex(*(len(cut.receivers) for cut in cuts)):
        starts = [
            (cut.receivers[at], cut.senders[at])
            for cut, at in zip(cuts, block, strict=True)
        ]
        receivers = [
            np.arange(first, first + cut.receiver_size)
            for (first, _), cut in zip(starts, cuts, strict=True)
        ]
        senders = [
            np.arange(first, first + cut.sender_size)
            for (_, first), cut in zip(starts, cuts, strict=True)
        ]
        found.append(
            (
                _flat(receivers, topology.receiver_grid),
                _flat(senders, topology.sender_grid),
            )
        )
    return found


def _flat(places: list[Any], grid: tuple[int, ...]) -> Any:
    return np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), grid).reshape(-1)
