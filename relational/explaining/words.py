"""Plans in words: the edges, each term, the choice and its reasons."""

from collections.abc import Sequence

from relational.explaining.costs import TermCost, cost
from relational.explaining.measuring import Measured
from relational.plans import Candidate, Plan


def describe(plan: Plan, measured: Sequence[Measured] = ()) -> str:
    """Returns a plan as text, without its picture.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((4096, 64), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender)
    >>> print(str(describe(plan)).splitlines()[0])
    Causal(): 4,096 receivers x 4,096 senders, 8,390,656 edges, density 0.50
    """
    estimated = cost(plan)
    lines = [headline(plan)]
    for each in estimated.terms:
        count = counted(each.operations)
        lines.append(f"  {each.role:10} {term(each)}: {each.becomes}, {count}")
    lines.append(f"  {'listens by':10} {listening(plan)}")
    lines.append(f"  {'lowering':10} {plan.lowering.name}: {why(plan)}")
    by_name = {each.lowering: each for each in measured}
    for candidate in considered(plan):
        found = by_name.get(candidate.lowering.name)
        said = verdict(candidate, plan, found)
        lines.append(f"    {candidate.lowering.name:8} {said}")
    lines.append(
        f"  {'estimated':10} {counted(estimated.operations)}, "
        f"{size(estimated.moved)} moved, forward; {size(estimated.bytes)} at a time, "
        f"{time(estimated.seconds)}, with gradients"
    )
    return "\n".join(lines)


def headline(plan: Plan) -> str:
    """Returns who hears whom, in one line."""
    problem = plan.problem
    graphs = f" x {problem.num_graphs:,} graphs" if problem.num_graphs != 1 else ""
    return (
        f"{problem.topology}: {problem.num_receivers:,} receivers x "
        f"{problem.num_senders:,} senders{graphs}, {problem.num_edges:,} edges, "
        f"density {density(plan):.2f}"
    )


def density(plan: Plan) -> float:
    """Returns the share of pairs of nodes that are edges."""
    return plan.problem.num_edges / max(1, plan.problem.size)


def term(each: TermCost) -> str:
    """Returns what a term is, and what it depends on."""
    return f"{each.term.kind} of {', '.join(sorted(each.term.depends)) or 'nothing'}"


def listening(plan: Plan) -> str:
    """Returns the names of the aggregators."""
    return ", ".join(type(each).__name__ for each in plan.problem.aggregators)


def why(plan: Plan) -> str:
    """Returns why a lowering was chosen."""
    if plan.reason:
        return plan.reason
    return "asked for" if plan.is_asked else "the cheapest that can serve"


def considered(plan: Plan) -> list[Candidate]:
    """Returns the candidates, the chosen one as it was asked for and never missing."""
    chosen = Candidate(plan.lowering, (), *plan.lowering.cost(plan.problem))
    names = [each.lowering.name for each in plan.candidates]
    if chosen.lowering.name not in names:
        return [*plan.candidates, chosen]
    at = names.index(chosen.lowering.name)
    return [*plan.candidates[:at], chosen, *plan.candidates[at + 1 :]]


def verdict(candidate: Candidate, plan: Plan, measured: Measured | None = None) -> str:
    """Returns what a candidate costs, or why it cannot serve, and if it was chosen."""
    if candidate.reasons:
        return "cannot serve: " + "; ".join(candidate.reasons)
    text = f"about {time(candidate.seconds)}, {size(candidate.bytes)} at a time"
    if measured is not None:
        text += f"; {measured}"
    if candidate.lowering.name == plan.lowering.name:
        return f"{text}  <- chosen"
    return "; ".join(filter(None, [text, too_large(candidate, plan)]))


def too_large(candidate: Candidate, plan: Plan) -> str:
    """Returns why a candidate of less time was passed over; empty if it has not less."""
    if plan.is_asked or plan.reason or candidate.reasons:
        return ""
    seconds, _ = plan.lowering.cost(plan.problem)
    if seconds <= candidate.seconds:
        return ""
    return "passed over: its memory costs more than its time saves"


def time(seconds: float) -> str:
    """Returns a time in words.

    >>> time(0.0123), time(2.5)
    ('12 ms', '2.5 s')
    """
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"


def size(count: float) -> str:
    """Returns bytes in words.

    >>> size(3 * 2**20)
    '3 MiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def counted(operations: float) -> str:
    """Returns a number of operations in words.

    >>> counted(12_300_000), counted(12)
    ('12 M operations', '12 operations')
    """
    for unit in ("", " k", " M", " G"):
        if operations < 999.5:
            is_short = not unit or operations >= 10
            shown = f"{operations:.0f}" if is_short else f"{operations:.1f}"
            return f"{shown}{unit} operations"
        operations /= 1000
    return f"{operations:.1f} T operations"
