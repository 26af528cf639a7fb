"""What lowerings have to do for a call: how much of which kind of work.

A lowering counts its work by kind (products, exponentials, gathered numbers, steps of
loops) and has one rate for each, in seconds, so that an estimate is their sum. Rates
are of a CPU, for a pass forward and one backward; `python -m benchmarks.choices --fit`
finds them again. What matters is the order of estimates and not their last digit.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from jax.extend import core

from relational.aggregators import Weighting
from relational.lowerings.problem import Problem
from relational.lowerings.rates import RATES
from relational.relations import PositionRelation
from relational.terms import Term

_PAIR = frozenset({"receiver", "sender"})
# The C library keeps blocks up to 32 MiB, and asks for new pages for larger ones: a call
# then takes several times as long. Sizes are estimates, hence a ramp.
_KEPT, _NEW = 24 * 2**20, 48 * 2**20
_FREE = frozenset({"convert_element_type", "broadcast_in_dim", "reshape", "squeeze"})


def cost(lowering: str, work: Mapping[str, float], size: float) -> tuple[float, float]:
    """Returns the seconds that some work and so many bytes take, and the bytes."""
    rates = RATES[lowering]
    work = {**work, **overhead(size)}
    return sum(count * rates[kind] for kind, count in work.items()), size


def overhead(size: float) -> dict[str, float]:
    """Returns the work that is not a lowering's own: the call, and "new" bytes."""
    share = min(1.0, max(0.0, (size - _KEPT) / (_NEW - _KEPT)))
    return {"call": 1, "new": size * share}


def tile_bytes(work: Mapping[str, float], share: float = 1) -> float:
    """Returns the bytes of temporary memory of tiles, of which a share lives at once.

    A product of scores, their weights, and what terms store beside them.
    """
    numbers = 0.5 * work["pair"] + 1.5 * work["exponential"] + work["stored"]
    return 4 * share * (numbers + 3 * (work["label"] + work["gather"]))


def tile_work(problem: Problem, pairs: int) -> Counter[str]:
    """Returns the work of tiles that have so many pairs of all graphs together.

    Returns:
      "pair": the pairs, with their mask; "exponential": of their scores; "product":
      multiplications in products of matrices; "element": numbers that terms compute
      one by one; "stored": numbers of messages that are stored for each pair; "label":
      values spread along diagonals; "gather": values picked for each pair by label.
    """
    work = Counter[str](pair=pairs)
    if problem.score:
        work["exponential"] += pairs
    features = math.prod(problem.message_shape)
    is_weighted = all(isinstance(each, Weighting) for each in problem.aggregators)
    for term in problem.score:
        work.update(_evaluated(term, problem, pairs))
    for term in problem.message:
        if is_weighted and len(term.depends) <= 1:
            work["product"] += pairs * features * bool(term.depends - {"receiver"})
            work.update(_spread(term, problem, pairs))
        else:
            work.update(_evaluated(term, problem, pairs))
            work["stored"] += pairs * features
    if not is_weighted:
        work["stored"] += 2 * pairs * features
    return work


def edge_work(problem: Problem) -> Counter[str]:
    """Returns the work of a call edge by edge, all graphs together.

    Returns:
      "edge": the edges; "row": rows of nodes or labels that are gathered for them, and
      "gathered": the numbers in these; "message": numbers of messages added up; "kept":
      numbers that gradients need again; "exponential", "product" and "element": as for
      tiles.
    """
    edges = problem.num_edges * problem.num_graphs
    work = Counter[str](edge=edges)
    work["message"] = edges * math.prod(problem.message_shape)
    if problem.score:
        work["exponential"] = edges
    for term in (*problem.score, *problem.message):
        for (site, _), shape in zip(term.reads, _shapes(term), strict=True):
            if site != "context":
                work["row"] += edges
                work["gathered"] += edges * math.prod(shape)
        if term.kind == "dot":
            continue  # It costs what its rows cost.
        for kind, sites, count in evaluation(term):
            work[kind] += edges * count * bool(sites)  # Constants are computed once.
    if not is_plain(problem):
        work["kept"] = work["gathered"] + work["message"]
    return work


def is_plain(problem: Problem) -> bool:
    """Returns whether gradients need nothing of the way forward: sums of leaves."""
    is_weighted = all(isinstance(each, Weighting) for each in problem.aggregators)
    is_leaf = all(term.kind == "leaf" for term in problem.message)
    return is_weighted and is_leaf and not problem.score


def evaluation(term: Term) -> Iterator[tuple[str, frozenset[str], int]]:
    """Yields the work of one evaluation of a term: kind, what it depends on, count.

    What depends on the sender alone is computed once a sender, in whatever term.
    """
    known: dict[Any, frozenset[str]] = {
        variable: frozenset({site}) - {"context"}
        for variable, (site, _) in zip(term.inputs, term.reads, strict=True)
    }
    for equation in term.jaxpr.eqns:
        inputs = [atom for atom in equation.invars if isinstance(atom, core.Var)]
        sites = frozenset[str]().union(*(known.get(each, ()) for each in inputs))
        known |= dict.fromkeys(equation.outvars, sites)
        for kind, count in _equation(equation).items():
            yield kind, sites, count


def _evaluated(term: Term, problem: Problem, pairs: int) -> Counter[str]:
    """Returns the work of evaluating a term wherever it varies."""
    work = _spread(term, problem, pairs)
    receivers = problem.num_receivers * problem.num_graphs
    steps = list(evaluation(term))
    # What a product of more than two leaves multiplies is made and stored before.
    is_made = term.kind != "dot" and any(kind == "product" for kind, *_ in steps)
    for kind, sites, count in steps:
        named = sites & set(problem.relations)
        if named and sites - _PAIR == named and _is_turned(term, problem):
            work[kind] += count * pairs  # A tile turned round has as many diagonals.
        elif sites >= _PAIR or (named and "sender" in term.depends):
            work[kind] += count * pairs
            work["stored"] += count * pairs * (is_made and kind == "element")
        elif named and "receiver" in sites:
            labels = problem.relations[min(named)].num_labels
            by_label = labels is not None and not _is_banded(term, problem)
            # A tile has about as many diagonals as senders.
            work[kind] += count * (receivers * (labels or 0) if by_label else pairs)
    return work


def _spread(term: Term, problem: Problem, pairs: int) -> Counter[str]:
    """Returns the work of bringing a relation's values to the pairs of a tile."""
    if not term.depends & set(problem.relations):
        return Counter()
    if "sender" not in term.depends or _is_turned(term, problem):
        return Counter({"label" if _is_banded(term, problem) else "gather": pairs})
    shapes = zip(term.reads, _shapes(term), strict=True)
    rows = [math.prod(shape) for (site, _), shape in shapes if site not in _PAIR]
    return Counter(stored=pairs * sum(rows))


def _is_turned(term: Term, problem: Problem) -> bool:
    """Returns whether scores of sender and relation are evaluated once a label."""
    named = term.depends & set(problem.relations)
    is_one_sided = term.depends == named | {"sender"} and len(named) == 1
    return is_one_sided and not term.shape


def _is_banded(term: Term, problem: Problem) -> bool:
    named = term.depends & set(problem.relations)
    return all(isinstance(problem.relations[name], PositionRelation) for name in named)


def _shapes(term: Term) -> list[tuple[int, ...]]:
    return [variable.aval.shape for variable in term.inputs]  # type: ignore[attr-defined]  # Arrays.


def _equation(equation: core.JaxprEqn) -> Counter[str]:
    """Returns the work of one equation, and of what it calls."""
    inner = [each for each in map(_jaxpr, equation.params.values()) if each is not None]
    if inner:
        return sum(map(_equation, inner[0].eqns), Counter())
    if equation.primitive.name in _FREE:
        return Counter()
    shapes: list[Any] = [each.aval for each in equation.outvars]
    size = sum(math.prod(each.shape) for each in shapes)
    if equation.primitive.name != "dot_general":
        return Counter(element=size)
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape  # type: ignore[attr-defined]  # Arrays.
    return Counter(product=size * math.prod(shape[at] for at in contracted))


def _jaxpr(value: Any) -> Any:
    """Returns the jaxpr that a parameter of an equation is, or None."""
    value = getattr(value, "jaxpr", value)
    return value if isinstance(value, core.Jaxpr) else None
