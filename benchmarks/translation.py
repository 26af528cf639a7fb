"""`python -m benchmarks.translation RUN...`: what runs that translate have come to.

Each run is judged by the mean of its five best checkpoints: nats a token of the
validation sentences, then BLEU and chrF of what it makes of the test sentences, as
`relational bleu RUN --average 5` finds them. What was found is kept, a line a run, and
printed as tables of means and standard deviations over seeds.

Needs the extra `text`.
"""

import csv
import pathlib
from collections.abc import Iterable
from typing import Annotated, Any

import jax
import matplotlib
import typer

from benchmarks import kept
from benchmarks.machine import machine
from relational import specs, training
from relational.command_line import bleu, translating
from relational.models import tasks

_ROOT = pathlib.Path(__file__).parent.parent
_KEPT = _ROOT / "docs" / "results" / "translation"
_AVERAGED = 5
_GROUP = ("spec", "target", "steps", "clip")
_TESTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")


def main(
    runs: Annotated[
        list[pathlib.Path] | None, typer.Argument(help="Folders of complete runs.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Of the tests; all if not given.")
    ] = None,
    data_source: Annotated[
        pathlib.Path | None, typer.Option("--data", help="The folder of their files.")
    ] = None,
    out: Annotated[
        pathlib.Path, typer.Option(help="The folder in which results are kept.")
    ] = _KEPT,
    plot: Annotated[
        pathlib.Path | None, typer.Option(help="A picture of all that was kept.")
    ] = None,
) -> None:
    """Judges the runs that have not been judged, and prints what was kept."""
    print(machine())
    rows = out / "runs.jsonl"
    for run in runs or []:
        row = described(run)
        if not kept.holds(kept.rows(rows), row):
            kept.keep(rows, {**row, **judged(run, split, data_source)})
            _keep_curve(run, out / f"{_name(row)}.csv")
            print(kept.rows(rows)[-1], flush=True)
    print(table(kept.rows(rows)))
    if plot is not None:
        draw(kept.rows(rows), out, plot)


def described(run: pathlib.Path) -> kept.Row:
    """Returns what tells a run from others."""
    spec = specs.load(run / "spec.yaml")
    assert isinstance(spec.model, specs.ModelSpec)
    if not isinstance(spec.data, specs.Multi30kSpec):
        raise SystemExit(f"{run} was not trained on Multi30k.")
    clips = {
        relation.clip
        for edges in spec.model.edges.values()
        for relation in edges.relations.values()
        if isinstance(relation, specs.OffsetSpec)
    }
    return {
        "spec": spec.name,
        "target": spec.data.target,
        "steps": spec.training.steps,
        "clip": clips.pop() if len(clips) == 1 else None,
        "seed": spec.training.seed,
    }


def judged(
    run: pathlib.Path, splits: list[str] | None, data_source: pathlib.Path | None
) -> kept.Row:
    """Returns all figures of a run."""
    loaded = translating.load(run, "best", _AVERAGED)
    place = None if data_source is None else str(data_source)
    task, data = tasks.from_spec(loaded.spec, data_source=place, run=run)
    validation = training.evaluate(task, loaded.params, data, "validation")
    how = translating.How(beam=4, alpha=0.6, extra=50, batch=32)
    found = {
        split: bleu.scored(split, pairs, loaded, how, run / "translations")
        for split, pairs in bleu.references(loaded, splits, data_source).items()
    }
    first, _ = next(iter(found.values()))
    last = _validations(run / "metrics.csv")[-1]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(loaded.params)),
        "averaged": _AVERAGED,
        "nats": round(validation.loss, 4),
        "last_nats": round(last[1], 4),
        "bleu": {split: round(both[0].value, 2) for split, both in found.items()},
        "chrf": {split: round(both[1].value, 2) for split, both in found.items()},
        "signature": first.signature,
    }


def table(rows: Iterable[kept.Row]) -> str:
    """Returns mean and standard deviation over seeds, in Markdown."""
    groups: dict[tuple[Any, ...], list[kept.Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[part] for part in _GROUP), []).append(row)
    titles = ("spec", "to", "steps", "clip", "seeds", "nats/token, validation")
    lines = kept.head((*titles, *_TESTS))
    for (spec, target, steps, clip), found in sorted(groups.items(), key=_rank):
        cells = [
            f"`{spec}`",
            target,
            f"{steps:,}",
            "" if clip is None else str(clip),
            str(len(found)),
            _spread([row["nats"] for row in found], 3),
        ]
        for split in _TESTS:
            values = [row["bleu"][split] for row in found if split in row["bleu"]]
            cells.append(_spread(values, 1) if values else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(rows: list[kept.Row], folder: pathlib.Path, plot: pathlib.Path) -> None:
    """Draws the curves of the longest runs, and what the clipping of others does."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    longest = max(row["steps"] for row in rows)
    clipped = sorted(
        (row for row in rows if row["steps"] < longest and row["clip"] is not None),
        key=lambda row: row["clip"],
    )
    count = 2 if clipped else 1
    size = (4.8 * count, 3.6)
    figure, grid = plt.subplots(
        1, count, figsize=size, layout="constrained", squeeze=False
    )
    left, *others = grid[0]
    names = list(dict.fromkeys(row["spec"] for row in rows if row["steps"] == longest))
    for index, spec in enumerate(names):
        own = (spec, longest, "de")
        found = [
            curve_of(folder, row)
            for row in rows
            if (row["spec"], row["steps"], row["target"]) == own
        ]
        for number, curve in enumerate(found):
            steps, nats = zip(*curve, strict=True)
            label = None if number else f"{spec}, seeds: {len(found)}"
            left.plot(steps[2:], nats[2:], color=f"C{index}", lw=1, label=label)
    left.set(xlabel="steps", ylabel="validation, nats per token", ylim=(None, 3.2))
    left.legend(fontsize=8)
    for right in others:
        places = range(len(clipped))
        first = _TESTS[0]
        scores = [row["bleu"][first] for row in clipped]
        right.bar(places, scores, color="C0", width=0.6)
        right.set_xticks(places, [f"k = {row['clip']}" for row in clipped])
        right.set(ylabel=f"BLEU, {first}", xlabel="offsets are clipped at k")
    for axes in (left, *others):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    figure.savefig(plot)


def curve_of(folder: pathlib.Path, row: kept.Row) -> list[tuple[int, float]]:
    """Returns steps and validation losses of a run, as they were kept."""
    return _validations(folder / f"{_name(row)}.csv")


def _name(row: kept.Row) -> str:
    clip = "" if row["clip"] is None else f"-clip{row['clip']}"
    return f"{row['spec']}-{row['target']}{clip}-{row['steps']}-{row['seed']}"


def _rank(item: Any) -> tuple[Any, ...]:
    (spec, target, steps, clip), _ = item
    return -steps, target, spec, -1 if clip is None else clip


def _spread(values: list[float], places: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{places}f}"
    return kept.spread(values, places)


def _keep_curve(run: pathlib.Path, path: pathlib.Path) -> None:
    """Keeps the losses of a run: those of validation, and of training beside them."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    every = {row["step"] for row in rows if row["split"] == "validation"}
    lines = ["step,split,loss"]
    lines += [
        f"{row['step']},{row['split']},{float(row['loss']):.4f}"
        for row in rows
        if row["step"] in every
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _validations(path: pathlib.Path) -> list[tuple[int, float]]:
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    return [(int(row["step"]), float(row["loss"])) for row in rows]


if __name__ == "__main__":
    typer.run(main)
