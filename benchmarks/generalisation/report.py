"""The tables and the picture of docs/graph_results.md."""

import collections
import pathlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from benchmarks.report import replaced

Line = Mapping[str, Any]
"""One run, as `train` writes it."""

_NAMES = {"shortest_path": "Shortest path", "sorting": "Sorting", "springs": "Springs"}
_TIMES = (1, 10, 25, 50)
_COLOURS = {"8 to 16": "#0072B2", "16 to 32": "#D55E00"}


def written(page: str, lines: Sequence[Line]) -> str:
    """Returns the page with the tables of its tasks between their markers."""
    ordered = sorted(lines, key=lambda line: (line["setting"], line["seed"]))
    for task, runs in _grouped(ordered, "task").items():
        page = replaced(page, task, table(task, runs))
    return page


def table(task: str, runs: Sequence[Line]) -> str:
    """Returns Markdown: the mean over seeds and their range, then what it cost."""
    rows = _springs(runs) if task == "springs" else _puzzle(runs)
    return "\n".join([*rows, "", *_costs(runs)])


def _puzzle(runs: Sequence[Line]) -> Iterable[str]:
    yield "| setting | seeds | nodes of a graph | steps | nodes right | edges right | graphs wholly solved | lowest to highest |"
    yield "|---|---|---|---|---|---|---|---|"
    for setting, some in _grouped(runs, "setting").items():
        for found, steps in (("found", 10), ("found_twice", 20)):
            for size in _COLOURS:
                each = [line[found][size] for line in some]
                nodes, edges, solved = (
                    [one[right] / one[total] for one in each]
                    for right, total in (
                        ("nodes_right", "num_nodes"),
                        ("edges_right", "num_edges"),
                        ("graphs_solved", "num_graphs"),
                    )
                )
                cells = [setting, len(some), size, steps]
                cells += map(_percent, (_mean(nodes), _mean(edges), _mean(solved)))
                cells.append(f"{_percent(min(solved))} to {_percent(max(solved))}")
                yield _row(cells)


def _springs(runs: Sequence[Line]) -> Iterable[str]:
    yield (
        "| setting | seeds | masses | "
        + " | ".join(f"step {t}" for t in _TIMES)
        + " | mean of 50 | constant velocity, mean | free fall, mean"
        + " | energy off by, step 50 |"
    )
    yield "|---" * (7 + len(_TIMES)) + "|"
    for setting, some in _grouped(runs, "setting").items():
        for size in some[0]["found"]:
            each = [line["found"][size] for line in some]
            errors = [_mean([one["error"][t] for one in each]) for t in _TIMES]
            cells = [setting, len(some), size.removesuffix(" masses")]
            cells += [f"{error:.3f} m" for error in errors]
            cells.append(f"{_mean([_mean(one['error'][1:]) for one in each]):.3f} m")
            cells += [f"{_mean(each[0][name][1:]):.2f} m" for name in _BASELINES]
            cells.append(f"{_mean([one['energy_error'][50] for one in each]):.2f} J")
            yield _row(cells)


_BASELINES = ("constant_velocity", "free_fall")


def _costs(runs: Sequence[Line]) -> Iterable[str]:
    for setting, some in _grouped(runs, "setting").items():
        steps = some[0]["iterations"]
        seeds = ", ".join(str(line["seed"]) for line in some)
        taken = [line["cpu_seconds"] for line in some if line["cpu_seconds"]]
        cost = "time not taken"
        if taken:
            seconds = _mean(taken)
            cost = (
                f"{seconds / steps * 1e3:.0f} ms each, {seconds / 60:.1f} minutes a run"
            )
        yield f"- {setting}: {steps:,} iterations, {cost}; seeds: {seeds}"


def draw(lines: Sequence[Line], path: pathlib.Path) -> None:
    """Draws the share of graphs solved over the iterations of training."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    puzzles = [line for line in lines if line["task"] != "springs"]
    kinds = _grouped(puzzles, lambda line: (line["task"], line["setting"]))
    figure, places = plt.subplots(
        1,
        len(kinds),
        figsize=(3.4 * len(kinds), 3),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for (task, setting), axes in zip(kinds, places[0], strict=True):
        for size, colour in _COLOURS.items():
            for number, line in enumerate(kinds[task, setting]):
                steps = [0, *(one["step"] for one in line["curve"])]
                solved = [0, *(one[size] for one in line["curve"])]
                axes.plot(
                    steps,
                    100 * np.array(solved),
                    color=colour,
                    linewidth=1,
                    label=f"{size} nodes" if not number else None,
                )
        axes.set(title=f"{_NAMES[task]}, {setting}", xlabel="iterations")
        axes.spines[["top", "right"]].set_visible(False)
    places[0, 0].set_ylabel("graphs wholly solved (%)")
    places[0, 0].set_ylim(0, 100)
    places[0, -1].legend(frameon=False, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def _grouped(lines: Iterable[Line], by: str | Callable[[Line], Any]) -> dict[Any, Any]:
    groups = collections.defaultdict(list)
    for line in lines:
        groups[line[by] if isinstance(by, str) else by(line)].append(line)
    return dict(groups)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
