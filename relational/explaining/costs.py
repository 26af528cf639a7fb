"""Costs: how much arithmetic a plan does, and how many bytes it moves, estimated.

A term is counted once on one edge, from its jaxpr, and then as often as the lowering
evaluates it: along every edge, on every pair of a tile, or once a node or a label. What
is counted is one forward pass; seconds and temporary memory are the lowering's own
estimates.

Shapes: R receivers, S senders, E edges, L labels, F features of a message; a tile has B
receivers.
"""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from relational.aggregators import Weighting
from relational.explaining.operations import operations, size
from relational.lowerings.by_sender import BySender
from relational.lowerings.dense import Dense
from relational.lowerings.edges import Edges
from relational.lowerings.problem import Problem
from relational.lowerings.shifts import Shifts
from relational.lowerings.slots import Slots
from relational.lowerings.sparse import Sparse
from relational.lowerings.stencil import Stencil
from relational.lowerings.tiles import Tiles
from relational.lowerings.window import Window
from relational.plans import Lowering, Plan
from relational.relations import AttributeRelation, PositionRelation
from relational.terms import Term

_WEIGHING = 5  # Operations of a softmax on a pair: mask, maximum, less, exp, sum.


@dataclasses.dataclass(frozen=True)
class TermCost:
    """What becomes of a term.

    Attributes:
      role: "score" or "message".
      becomes: what it is computed as, in words.
      evaluations: how often it is evaluated, in all graphs.
      operations: floating-point operations, with what brings it to the receivers.
    """

    role: str
    term: Term
    becomes: str
    evaluations: int
    operations: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What the lowering of a plan costs forward, estimated.

    Attributes:
      terms: score terms, then message terms.
      listening: operations of the aggregators.
      moved: bytes read and written: operands as often as they are read, results, and
        whatever is kept from one step to the next. Tiles stay in caches.
      bytes: the most temporary memory at a time.
      seconds: estimated by the lowering.
    """

    terms: tuple[TermCost, ...]
    listening: int
    moved: int
    bytes: float
    seconds: float

    @property
    def operations(self) -> int:
        return self.listening + sum(each.operations for each in self.terms)


@dataclasses.dataclass(frozen=True)
class Shape:
    """`count` tiles of `receivers` x `senders`, in each graph."""

    receivers: int
    senders: int
    count: int

    @property
    def pairs(self) -> int:
        return self.receivers * self.senders * self.count


def cost(plan: Plan) -> Cost:
    """Returns what a plan costs.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((100, 8), "float32")
    >>> plan = rl.lower(rl.Complete(), senders=nodes, aggregator=rl.Sum(),
    ...                 message=lambda sender: sender)
    >>> cost(plan).terms[0].operations  # A product of 100 x 100 with 100 x 8.
    160000
    """
    problem, lowering = plan.problem, plan.lowering
    tiles = None if goes_by_edge(lowering) else _tiles(lowering, problem)
    terms = tuple(
        _term_cost(role, term, problem, lowering, tiles)
        for role, terms in (("score", problem.score), ("message", problem.message))
        for term in terms
    )
    seconds, most = lowering.cost(problem)
    pairs = sum(tile.pairs for tile in tiles) if tiles else problem.num_edges
    moved = _read(problem, tiles, lowering) + _written(problem)
    if isinstance(lowering, Dense | Edges):
        moved += 2 * int(most)  # Stored once and read once.
    listening = _listening(problem, pairs) * problem.num_graphs
    return Cost(terms, listening, moved, most, seconds)


def goes_by_edge(lowering: Lowering) -> bool:
    """Says whether terms are evaluated along every edge, and nowhere else."""
    by_edge = BySender | Edges | Shifts | Slots | Sparse | Stencil
    return isinstance(lowering, by_edge)


def _tiles(lowering: Lowering, problem: Problem) -> list[Shape]:
    """Returns the tiles of one graph by shape."""
    if isinstance(lowering, Dense):
        return [Shape(problem.num_receivers, problem.num_senders, 1)]
    if isinstance(lowering, Tiles):
        shapes = collections.Counter(row.shape[:2] for row in lowering.plan(problem))
        return [Shape(*shape, count) for shape, count in shapes.items()]
    if isinstance(lowering, Window):
        cuts = lowering.plan(problem)
        receivers = math.prod(cut.receiver_size for cut in cuts)
        senders = math.prod(cut.sender_size for cut in cuts)
        return [Shape(receivers, senders, math.prod(len(c.receivers) for c in cuts))]
    # Of any other is known that it takes no less than the edges.
    heard = -(-problem.num_edges // max(1, problem.num_receivers))
    return [Shape(problem.num_receivers, heard, 1)]


def _term_cost(
    role: str,
    term: Term,
    problem: Problem,
    lowering: Lowering,
    tiles: list[Shape] | None,
) -> TermCost:
    becomes = _becomes(role, term, problem, lowering)
    features = math.prod(term.shape)
    one, graphs = operations(term.jaxpr), problem.num_graphs
    if tiles is None:
        times = problem.num_edges
        # A score is added; a message is weighed and added, or is part of a product.
        each = 1 if role == "score" else 2 * features
        each = one if isinstance(lowering, Stencil) else one + each
        return TermCost(role, term, becomes, times * graphs, times * each * graphs)
    label = _label_of(role, term, problem, lowering)
    times = sum(_evaluations(term, problem, tile, label) for tile in tiles)
    total = times * one + sum(_spread(role, term, problem, tile) for tile in tiles)
    return TermCost(role, term, becomes, times * graphs, total * graphs)


def _evaluations(term: Term, problem: Problem, tile: Shape, label: str | None) -> int:
    """Returns how often a term is evaluated in tiles of one shape."""
    if label is not None:
        nodes = tile.senders if "sender" in term.depends else tile.receivers
        nodes = nodes if term.depends & {"receiver", "sender"} else 1
        return _labels(label, problem, tile) * tile.count * nodes
    if term.depends == {"receiver"}:
        return tile.receivers * tile.count
    if term.depends == {"sender"}:
        return tile.senders * tile.count
    return tile.pairs if term.depends else tile.count


def _spread(role: str, term: Term, problem: Problem, tile: Shape) -> int:
    """Returns the operations that bring the values of a term to the receivers."""
    if role == "score":
        return tile.pairs
    features = math.prod(term.shape)
    if not all(isinstance(each, Weighting) for each in problem.aggregators):
        return tile.pairs * features
    label = by_label(term, problem)
    if label is not None and "receiver" not in term.depends:
        summed = tile.receivers * _labels(label, problem, tile) * tile.count
        return tile.pairs + 2 * features * summed
    if not term.depends - {"receiver"}:
        return tile.pairs + tile.receivers * tile.count * features
    return 2 * features * tile.pairs


def _labels(name: str, problem: Problem, tile: Shape) -> int:
    """Returns how many labels a tile meets: of positions, no more than diagonals."""
    relation = problem.relations[name]
    diagonals = tile.receivers + tile.senders - 1
    count = relation.num_labels
    if count is None:
        return diagonals
    banded = isinstance(relation, PositionRelation)
    return min(count + 1, diagonals) if banded else count + 1


def _label_of(
    role: str, term: Term, problem: Problem, lowering: Lowering
) -> str | None:
    """Returns what `by_label` does; scores of a sender are those of a tile turned round."""
    is_turned = role == "score" and isinstance(lowering, Dense | Tiles)
    is_turned = is_turned and "receiver" not in term.depends
    return by_label(term, problem, of_sender=is_turned)


def by_label(term: Term, problem: Problem, *, of_sender: bool = False) -> str | None:
    """Returns the one relation once a label of which a term is evaluated, if any.

    Args:
      term: the term.
      problem: with the relations.
      of_sender: whether this may be done for each sender.
    """
    named = term.depends & set(problem.relations)
    others = {"edge"} if of_sender else {"sender", "edge"}
    if len(named) != 1 or term.depends & others:
        return None
    name = min(named)
    relation = problem.relations[name]
    is_banded = isinstance(relation, PositionRelation)
    return name if is_banded or relation.num_labels is not None else None


def _becomes(role: str, term: Term, problem: Problem, lowering: Lowering) -> str:
    if isinstance(lowering, Stencil):
        return "a convolution"
    if isinstance(lowering, BySender) and role == "message":
        return "a product with each sender's matrices"
    if goes_by_edge(lowering):
        return "every edge"
    if term.depends == {"sender"}:
        return "weights @ values" if role == "message" else "once a sender"
    if term.depends == {"receiver", "sender"}:
        return "a matrix product" if term.kind == "dot" else "every pair of a tile"
    name = _label_of(role, term, problem, lowering)
    if name is not None and role == "message":
        return "weights added by label, then a product with the table"
    if name is not None and "sender" in term.depends:
        is_banded = isinstance(problem.relations[name], PositionRelation)
        how = "skewed" if is_banded else "gathered"
        return f"a product with the table, then {how} into the tile turned round"
    if name is not None and "receiver" in term.depends:
        relation = problem.relations[name]
        if isinstance(relation, PositionRelation):
            return "a product with the table, then skewed into the tile"
        if isinstance(relation, AttributeRelation):
            return "a product with the table, then one with ones and zeros"
        return "a product with the table, then gathered into the tile"
    if name is not None:
        return "a row of labels, then spread over the tile"
    return "once a receiver" if term.depends <= {"receiver"} else "every pair of a tile"


def _listening(problem: Problem, pairs: int) -> int:
    features = math.prod(problem.message_shape)
    total = 0
    for aggregator in problem.aggregators:
        is_weighting = isinstance(aggregator, Weighting)
        each = (_WEIGHING if aggregator.hears_score else 1) if is_weighting else 0
        total += pairs * (each or 3 * features) + problem.num_receivers * features
    return total


def _read(problem: Problem, tiles: Sequence[Shape] | None, lowering: Lowering) -> int:
    """Returns the bytes of operands, as often as they are read."""
    widths = _widths(problem)
    graphs = problem.num_graphs
    if isinstance(lowering, BySender):
        senders = problem.num_senders * widths.pop("sender", 0)
        return (senders + problem.num_edges * sum(widths.values())) * graphs
    if tiles is None:
        return problem.num_edges * sum(widths.values()) * graphs
    total = 0
    for tile in tiles:
        diagonals = tile.receivers + tile.senders - 1
        counts = {"receiver": tile.receivers, "sender": tile.senders, "context": 1}
        for site, width in widths.items():
            total += counts.get(site, diagonals) * width * tile.count
    return total * graphs


def _widths(problem: Problem) -> dict[str, int]:
    """Returns, for each site that terms read, the bytes of one node, edge or label."""
    leaves = {
        read: size(variable.aval) * _bytes(variable.aval)
        for term in (*problem.score, *problem.message)
        for read, variable in zip(term.reads, term.inputs, strict=True)
    }
    widths: dict[str, int] = collections.defaultdict(int)
    for (site, _), width in leaves.items():
        widths[site] += width
    return dict(widths)


def _bytes(aval: Any) -> int:
    """Returns the bytes of a number; a key of random numbers counts as one word."""
    return aval.dtype.itemsize if isinstance(aval.dtype, np.dtype) else 8


def _written(problem: Problem) -> int:
    features = math.prod(problem.message_shape)
    results = problem.num_receivers * features * len(problem.aggregators)
    return results * np.dtype(problem.dtype).itemsize * problem.num_graphs
