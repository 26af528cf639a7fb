"""Plans as data: what an explanation says, in dicts and lists for JSON."""

from collections.abc import Sequence
from typing import Any

from relational.explaining.costs import cost
from relational.explaining.measuring import Measured
from relational.explaining.pictures import tile_map
from relational.explaining.words import considered, density, too_large, why
from relational.plans import Candidate, Plan


def plan_facts(plan: Plan, measured: Sequence[Measured] = ()) -> dict[str, Any]:
    """Returns what is known of a plan; numbers are seconds, bytes and operations.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((16, 4), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender)
    >>> facts = plan_facts(plan)
    >>> facts["edges"], facts["lowering"], facts["terms"][0]["depends"]
    (136, 'dense', ['sender'])
    """
    problem, estimated = plan.problem, cost(plan)
    by_name = {each.lowering: each for each in measured}
    return {
        "topology": str(problem.topology),
        "receivers": problem.num_receivers,
        "senders": problem.num_senders,
        "graphs": problem.num_graphs,
        "edges": problem.num_edges,
        "density": density(plan),
        "picture": tile_map(problem) if problem.size else [],
        "terms": [
            {
                "role": each.role,
                "class": each.term.kind,
                "depends": sorted(each.term.depends),
                "becomes": each.becomes,
                "evaluations": each.evaluations,
                "operations": each.operations,
            }
            for each in estimated.terms
        ],
        "aggregators": [type(each).__name__ for each in problem.aggregators],
        "lowering": plan.lowering.name,
        "why": why(plan),
        "estimated": {
            "operations": estimated.operations,
            "bytes_moved": estimated.moved,
            "bytes": estimated.bytes,
            "seconds": estimated.seconds,
        },
        "considered": [
            _candidate(each, plan, by_name.get(each.lowering.name))
            for each in considered(plan)
        ],
    }


def _candidate(
    candidate: Candidate, plan: Plan, measured: Measured | None
) -> dict[str, Any]:
    facts: dict[str, Any] = {"lowering": candidate.lowering.name}
    if candidate.reasons:
        return facts | {"refuses": list(candidate.reasons)}
    facts |= {"seconds": candidate.seconds, "bytes": candidate.bytes}
    if too_large(candidate, plan):
        facts["passed_over"] = too_large(candidate, plan)
    if measured is not None:
        facts["measured"] = _measured(measured)
    return facts


def _measured(measured: Measured) -> dict[str, Any]:
    found = {
        "forward_seconds": measured.forward,
        "forward_bytes": measured.forward_bytes,
        "both_seconds": measured.both,
        "both_bytes": measured.both_bytes,
        "reason": measured.reason or None,
    }
    return {name: value for name, value in found.items() if value is not None}
