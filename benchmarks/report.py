"""The page of results: tables between markers, and plots, made from kept results.

In the page, what stands between `<!-- results: CASE -->` and `<!-- end -->` is written
anew; everything else is prose and stays.
"""

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

from benchmarks import cases
from benchmarks.race import Result

Sizes = Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The results of one case at one size, with what they were found on."""

    case: str
    machine: str
    date: str
    sizes: dict[str, int]
    results: list[Result]

    def save(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: pathlib.Path) -> "Record":
        content = json.loads(path.read_text())
        results = [Result(**each) for each in content.pop("results")]
        return cls(results=results, **content)


def write(folder: pathlib.Path, page: pathlib.Path, names: Sequence[str]) -> None:
    """Writes tables and plots of cases into a page, from the results in a folder.

    Args:
      folder: with `CASE-N.json`, and `CASE-sweep-N.json` where sizes are plotted.
      page: Markdown; plots go into `images` beside it.
      names: which cases.

    Raises:
      ValueError: if the page has no markers for a case that has results.
    """
    text = page.read_text("utf-8")
    for name in names:
        listed_ = _records(folder, f"{name}-[0-9]*.json")
        swept = _records(folder, f"{name}-sweep-*.json")
        if not listed_ and not swept:
            continue
        parts = [_section(record) for record in listed_]
        if swept:
            path = page.parent / "images" / f"bench_{name}.svg"
            plot(name, swept, path)
            title = cases.load(name).title
            parts.append(f"![{title}: time and memory](images/{path.name})")
            parts.append(_caption(swept))
        text = replaced(text, name, "\n\n".join(parts))
    page.write_text(text, "utf-8")


def _records(folder: pathlib.Path, pattern: str) -> list[Record]:
    def number(path: pathlib.Path) -> int:
        return int(path.stem.rsplit("-", 1)[1])

    return [Record.load(path) for path in sorted(folder.glob(pattern), key=number)]


def replaced(text: str, name: str, content: str) -> str:
    start, end = f"<!-- results: {name} -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(
            f"the page must have `{start}` and `{end}` once, each on its own line; "
            f"found {len(pattern.findall(text))}. Add them where its tables belong."
        )
    return pattern.sub(lambda _: f"{start}\n\n{content}\n\n{end}", text)


def _section(record: Record) -> str:
    title = f"**{listed(record.sizes)}**"
    return f"{title}\n\n{table(record.results)}\n\n{_caption([record])}"


def _caption(records: Sequence[Record]) -> str:
    lines = sorted({f"{record.date}, {record.machine}" for record in records})
    counts = {len(r.forward) for each in records for r in each.results if not r.failed}
    rounds = "-".join(str(count) for count in sorted({min(counts), max(counts)}))
    return f"<sub>Medians of {rounds} rounds. {'; '.join(lines)}.</sub>"


def listed(sizes: Sizes) -> str:
    """Returns a size in words.

    >>> listed({"length": 4096, "heads": 8})
    'length 4,096, heads 8'
    """
    return ", ".join(f"{name} {value:,}" for name, value in sizes.items())


def table(results: Sequence[Result]) -> str:
    """Returns Markdown: milliseconds, their ratio to ours, and memory; then failures."""
    titles = ["", "forward, ms", "x", "forward and backward, ms", "x"]
    titles += ["memory, MiB", "XLA's temporary, MiB"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for result in results:
        if result.failed is None:
            cells = [result.peer]
            for program in ("forward", "both"):
                cells += _time(result, results[0], program)
            cells += [_pair(result.memory), _pair(result.temporary)]
            lines.append(f"| {' | '.join(cells)} |")
    failures = [
        f"- {each.peer} did not run: {each.failed}." for each in results if each.failed
    ]
    return "\n".join([*lines, "", *failures] if failures else lines)


def _time(result: Result, ours: Result, program: str) -> list[str]:
    median, spread = result.median(program) * 1e3, result.spread(program) * 1e3
    if math.isnan(median):
        return ["", ""]
    digits = 1 if median >= 10 else 2
    time = f"{median:,.{digits}f}"
    if not math.isnan(spread):
        time += f" ± {spread:,.{digits}f}"
    ratio = result.median(program) / ours.median(program)
    return [time, "" if math.isnan(ratio) else f"{ratio:.2f}"]


def _pair(memory: Sequence[float | None] | None) -> str:
    if memory is None or None in memory:
        return ""
    return " / ".join(f"{size:,.0f}" for size in memory)


def plot(name: str, records: Sequence[Record], path: pathlib.Path) -> None:
    """Draws time and memory over the sizes of a sweep, a line a peer."""
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = name  # The same results, the same file.
    import matplotlib.pyplot as plt

    case = cases.load(name)
    assert case.sweep is not None
    over = case.sweep.over
    figure, both_axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axes, what in zip(both_axes, ("milliseconds", "memory, MiB"), strict=True):
        for index, peer in enumerate([each.peer for each in records[0].results]):
            _draw(axes, _points(records, peer, over, what), index, peer)
        axes.set(xlabel=over, ylabel=what)
        sizes = [record.sizes[over] for record in records]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(f"{case.title}: forward (dashed), forward and backward (solid)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _draw(
    axes: Any, programs: list[list[tuple[int, float]]], at: int, peer: str
) -> None:
    """Draws a peer's forward program, and the one with its backward pass if it has one."""
    label: str | None = peer if at else "this library"
    for points, style in reversed(list(zip(programs, ("--", "-"), strict=True))):
        if points:
            xs, ys = zip(*points, strict=True)
            axes.loglog(xs, ys, style, marker="o", ms=3, color=f"C{at}", label=label)
            label = None  # Once in the legend is enough.


def _points(
    records: Sequence[Record], peer: str, over: str, what: str
) -> list[list[tuple[int, float]]]:
    """Returns, forward and with the backward pass, (size, value) where it is known."""
    found: list[list[tuple[int, float]]] = [[], []]
    for record in records:
        (result,) = (each for each in record.results if each.peer == peer)
        values = [result.median(program) * 1e3 for program in ("forward", "both")]
        if what != "milliseconds":
            values = [value or math.nan for value in result.memory or []]
        for points, value in zip(found, values, strict=False):
            if not math.isnan(value):
                points.append((record.sizes[over], value))
    return found
