"""Explanations: what a function's calls of `propagate` cost, and why."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from relational.lowerings.problem import Problem
from relational.plans import Candidate, Plan, recording
from relational.relations import AttributeRelation, PositionRelation
from relational.terms import Term


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The plans of a function, in the order of its calls of `propagate`.

    Attributes:
      plans: the distinct plans.
      counts: how often each occurs (layers of one shape share a plan).

    >>> import jax.numpy as jnp, relational as rl
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> explanation = rl.explain(lambda x: mean(mean(x)), jnp.zeros([8, 4]))
    >>> [plan.lowering.name for plan in explanation.plans], explanation.counts
    (['dense'], (2,))
    """

    plans: tuple[Plan, ...]
    counts: tuple[int, ...]

    def __str__(self) -> str:
        if not self.plans:
            return "no call of `propagate`"
        parts = []
        for plan, count in zip(self.plans, self.counts, strict=True):
            parts.append(describe(plan) + (f"\n  {count} times" if count > 1 else ""))
        return "\n\n".join(parts)


def explain(function: Callable[..., Any], *arguments: Any) -> Explanation:
    """Explains every call of `propagate` that a function makes, without running it.

    Args:
      function: anything that calls `propagate`: a lambda, a block's apply function.
      *arguments: its arguments; arrays may be `jax.ShapeDtypeStruct`.

    Returns:
      An explanation; `print` it.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((4096, 64), "float32")
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> print(str(rl.explain(mean, nodes)).splitlines()[0])
    Causal(): 4,096 receivers x 4,096 senders, 8,390,656 edges, density 0.50
    """
    found: list[Plan] = []

    def run(*arguments: Any) -> Any:
        with recording(found):
            return function(*arguments)

    jax.eval_shape(run, *arguments)
    texts = [describe(plan) for plan in found]
    distinct = list(dict.fromkeys(texts))
    plans = tuple(found[texts.index(text)] for text in distinct)
    return Explanation(plans, tuple(texts.count(text) for text in distinct))


def describe(plan: Plan) -> str:
    """Returns a plan as text: the edges, each term, the choice and its reasons."""
    problem = plan.problem
    density = problem.num_edges / max(1, problem.size)
    graphs = f" x {problem.num_graphs:,} graphs" if problem.num_graphs != 1 else ""
    head = (
        f"{problem.topology}: {problem.num_receivers:,} receivers x "
        f"{problem.num_senders:,} senders{graphs}, {problem.num_edges:,} edges, "
        f"density {density:.2f}"
    )
    lines = [head]
    for role, terms in (("score", problem.score), ("message", problem.message)):
        lines.extend(_term_line(role, term, plan) for term in terms)
    names = ", ".join(type(each).__name__ for each in problem.aggregators)
    lines.append(f"  {'listens by':10} {names}")
    why = "asked for" if plan.is_asked else "the cheapest that can serve"
    lines.append(f"  {'lowering':10} {plan.lowering.name}: {why}")
    for candidate in plan.candidates:
        lines.append(f"    {candidate.lowering.name:8} {_verdict(candidate, plan)}")
    return "\n".join(lines)


def _term_line(role: str, term: Term, plan: Plan) -> str:
    depends = ", ".join(sorted(term.depends)) or "nothing"
    becomes = _becomes(role, term, plan.problem)
    if plan.lowering.name == "stencil":
        becomes = "a convolution"
    return f"  {role:10} {term.kind} of {depends}: {becomes}"


def _becomes(role: str, term: Term, problem: Problem) -> str:
    named = term.depends & set(problem.relations)
    ends = term.depends & {"receiver", "sender"}
    if term.depends == {"sender"}:
        return "weights @ values" if role == "message" else "once a sender"
    if term.depends == {"receiver", "sender"}:
        return "a matrix product" if term.kind == "dot" else "every pair of a tile"
    if len(named) == 1 and not ends & {"sender"} and "edge" not in term.depends:
        relation = problem.relations[min(named)]
        diagonals = isinstance(relation, PositionRelation)
        if role == "message":
            return "weights added by label, then a product with the table"
        if ends:
            if diagonals:
                return "a product with the table, then skewed into the tile"
            if isinstance(relation, AttributeRelation):
                return "a product with the table, then one with ones and zeros"
            return "a product with the table, then gathered into the tile"
        return "a row of labels, then spread over the tile"
    if not term.depends or term.depends == {"receiver"}:
        return "once a receiver"
    return "every edge"


def _verdict(candidate: Candidate, plan: Plan) -> str:
    if candidate.reasons:
        return "cannot serve: " + "; ".join(candidate.reasons)
    cost = f"about {_time(candidate.seconds)}, {_size(candidate.bytes)} at a time"
    if candidate.lowering.name == plan.lowering.name:
        return f"{cost}  <- chosen"
    chosen = next(
        each for each in plan.candidates if each.lowering.name == plan.lowering.name
    )
    if plan.is_asked or chosen.seconds <= candidate.seconds:
        return cost
    return f"{cost}; passed over: its memory costs more than its time saves"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
