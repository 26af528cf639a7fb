"""Finds the rates of `relational/lowerings/costs.py` from measurements."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import nnls

import relational as rl
from benchmarks.choices.grid import Case
from benchmarks.choices.measuring import Measurement
from relational import plans
from relational.lowerings import costs

_OUTLIER = 0.3  # Of a logarithm, from which on an error counts by its size alone.
_FLOOR = 3e-3
_TURNS = 30
_MATTERS = 0.15  # Of seconds, the power by which longer calls weigh more.


def rates(
    cases: Iterable[Case], found: Mapping[str, Measurement]
) -> dict[str, dict[str, float]]:
    """Returns seconds by lowering and kind of work, from these cases alone."""
    problems = [(case, _problem(case)) for case in cases if case.name in found]
    fitted = {}
    for lowering in plans.LOWERINGS:
        if lowering.name not in costs.RATES:
            continue  # Its estimates are its own.
        rows, times = [], []
        for case, problem in problems:
            seconds = found[case.name].seconds.get(lowering.name)
            if seconds is not None:
                work, size = lowering.work(problem)
                rows.append({**work, **costs.overhead(size)})
                times.append(seconds[1])
        # Work that no case has keeps the rate that it had.
        known = costs.RATES[lowering.name]
        # Tiles are tiles like that of `dense`, in loops: a call cannot cost less.
        is_loop = lowering.name == "tiles"
        least = {"call": fitted["dense"]["call"]} if is_loop else {}
        fitted[lowering.name] = {**known, **fit(rows, np.array(times), least)}
    return fitted


def as_code(fitted: Mapping[str, Mapping[str, float]]) -> str:
    """Returns rates as they stand in `costs.py`, to two digits."""
    lines = ["{"]
    for lowering, own in fitted.items():
        lines.append(f'    "{lowering}": {{')
        lines += [f'        "{kind}": {rate:.1e},' for kind, rate in own.items()]
        lines.append("    },")
    return "\n".join([*lines, "}"])


def _problem(case: Case) -> Any:
    return rl.explain(case.call, *case.shapes()).plans[0].problem


def fit(
    rows: list[Mapping[str, float]], times: Any, least: Mapping[str, float]
) -> dict[str, float]:
    """Returns the rates, all positive, whose estimates err least by a factor.

    Args:
      rows: the work of each measurement, by kind.
      times: in seconds.
      least: rates that must not be lower.
    """
    kinds = sorted({kind for row in rows for kind, count in row.items() if count})
    if not kinds:
        return {}
    work = np.array([[row.get(kind, 0) for kind in kinds] for row in rows], float)
    work /= times[:, None]
    # Nothing is free: a rate is at least a part of what it were if it were alone.
    alone = [1 / np.median(column[column > 0]) for column in work.T]
    floor = np.array(
        [least.get(k, _FLOOR * each) for k, each in zip(kinds, alone, strict=True)]
    )
    weight = np.ones(len(times))
    for _ in range(_TURNS):
        more, _ = nnls(work * weight[:, None], (1 - work @ floor) * weight)
        ratio = work @ (floor + more)
        error = np.abs(np.log(ratio))
        # Least squares of ratios less 1, weighed to be least sizes of logarithms.
        per_ratio = np.where(error > 1e-6, error / np.abs(ratio - 1 + 1e-9), 1)
        weight = per_ratio / np.sqrt(np.maximum(error, _OUTLIER))
        weight *= times**_MATTERS
    return dict(zip(kinds, map(float, floor + more), strict=True))
