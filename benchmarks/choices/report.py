"""How good the planner's choices are: from measurements to the table in the docs."""

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from unittest import mock

from benchmarks.choices import fitting
from benchmarks.choices.grid import Case
from benchmarks.choices.measuring import Measurement, candidates
from relational.lowerings import costs

WITHIN = 1.25
_WORST = 12  # Cases that are named.
_MARKERS = ("<!-- choices: begin -->", "<!-- choices: end -->")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the planner chose for a case, and what was measured.

    Attributes:
      chosen: the name of a lowering.
      seconds: of the lowerings that were run: [forward, forward and backward].
    """

    case: str
    chosen: str
    seconds: Mapping[str, Sequence[float]]

    @property
    def best(self) -> str:
        """The fastest, forward and backward."""
        return min(self.seconds, key=lambda name: self.seconds[name][1])

    def ratio(self, at: int = 1) -> float:
        """Returns the time of the choice over that of the best.

        Args:
          at: 0 forward, 1 forward and backward.
        """
        if self.chosen not in self.seconds:
            return math.inf  # It was too slow, or too large, to be run.
        best = min(pair[at] for pair in self.seconds.values())
        return self.seconds[self.chosen][at] / best


def outcomes(cases: Iterable[Case], found: Mapping[str, Measurement]) -> list[Outcome]:
    """Returns an outcome for each case that was measured, as the planner now is."""
    listed = []
    for case in cases:
        if case.name not in found:
            continue
        run = {k: pair for k, pair in found[case.name].seconds.items() if pair}
        chosen = candidates(case)[0].lowering.name
        if len(run) > 1 or chosen not in run:
            listed.append(Outcome(case.name, chosen, run))
    return listed


def held_out(
    cases: Sequence[Case], found: Mapping[str, Measurement]
) -> dict[str, list[Outcome]]:
    """Returns the outcomes of each half of the cases by rates of the other half."""
    even, odd = cases[::2], cases[1::2]
    judged = {}
    for name, own, other in (("even", even, odd), ("odd", odd, even)):
        with mock.patch.object(costs, "RATES", fitting.rates(other, found)):
            judged[f"{name}, by rates of the others"] = outcomes(own, found)
    return judged


def share(ratios: Sequence[float]) -> float:
    """Returns how many of these are within the bound, from 0 to 1."""
    return sum(ratio <= WITHIN for ratio in ratios) / len(ratios)


def table(found: Sequence[Outcome], halves: Mapping[str, Sequence[Outcome]]) -> str:
    """Returns Markdown: shares, what was chosen against what was best, worst cases."""
    shares = _shares({"all, as it is": found, **halves})
    parts = [shares, _confusion(found), _crossover(found), _worst(found)]
    return "\n\n".join(part for part in parts if part)


def write(path: pathlib.Path, text: str) -> None:
    """Puts text between the markers of a page."""
    page = path.read_text("utf-8")
    begin, end = _MARKERS
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"`{path}` must have one line `{begin}` and one `{end}`.")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")


def _shares(groups: Mapping[str, Sequence[Outcome]]) -> str:
    lines = [
        f"| cases | | within {WITHIN} | geometric mean | worst | within, forward |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        if group:
            ratios = [each.ratio() for each in group]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            forward = share([each.ratio(0) for each in group])
            lines.append(
                f"| {name} | {len(group)} | {share(ratios):.1%} | {mean:.2f} | "
                f"{max(ratios):.2f} | {forward:.1%} |"
            )
    return "\n".join(lines)


def _confusion(found: Sequence[Outcome]) -> str:
    """Returns how often each lowering was chosen, and which was best then."""
    names = sorted({each.chosen for each in found} | {each.best for each in found})
    lines = [
        f"| chosen | {' | '.join(f'best: {name}' for name in names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for chosen in names:
        row = [each.best for each in found if each.chosen == chosen]
        counts = " | ".join(str(row.count(name) or "") for name in names)
        lines.append(f"| {chosen} | {counts} |")
    return "\n".join(lines)


def _crossover(found: Sequence[Outcome]) -> str:
    """Returns edges against all pairs on graphs of 1,024 nodes, by density."""
    prefix = "random_edges(1024, "
    rows: dict[str, dict[float, str]] = {}
    for each in found:
        if not each.case.startswith(prefix) or "1 x 2, width 64" not in each.case:
            continue
        if not {"dense", "edges"} <= set(each.seconds):
            continue
        per_cent = float(each.case.removeprefix(prefix).split(")")[0])
        terms = each.case.split(", ")[-2]
        ratio = each.seconds["edges"][1] / each.seconds["dense"][1]
        mark = "*" if each.chosen == "dense" else ""
        rows.setdefault(terms, {})[per_cent] = f"{ratio:.2g}{mark}"
    if not rows:
        return ""
    columns = sorted({per_cent for row in rows.values() for per_cent in row})
    lines = [
        f"| `edges` / `dense` at | {' | '.join(f'{each:g} %' for each in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for terms, row in sorted(rows.items()):
        cells = " | ".join(row.get(each, "") for each in columns)
        lines.append(f"| {terms} | {cells} |")
    return "\n".join(lines)


def _worst(found: Sequence[Outcome]) -> str:
    wrong = sorted(found, key=Outcome.ratio, reverse=True)[:_WORST]
    lines = ["| case | chosen | best | ratio |", "|---|---|---|---|"]
    for each in wrong:
        if each.ratio() > WITHIN:
            cells = [each.case, *(_timed(each, at) for at in (each.chosen, each.best))]
            lines.append(f"| {' | '.join(cells)} | {each.ratio():.2f} |")
    return "\n".join(lines)


def _timed(outcome: Outcome, name: str) -> str:
    pair = outcome.seconds.get(name)
    return f"{name}, not run" if pair is None else f"{name}, {pair[1] * 1e3:.2g} ms"
