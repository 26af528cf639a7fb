"""`python -m benchmarks.molecules`: trains what has not been trained, and prints a table."""

import itertools
import pathlib
import time
from typing import Annotated

import typer

import relational.datasets as data
from benchmarks import kept
from benchmarks.machine import machine
from benchmarks.molecules.models import MODELS

_ROOT = pathlib.Path(__file__).parent.parent.parent
_KEPT = _ROOT / "docs" / "results" / "molecules.jsonl"


def main(
    sets: Annotated[
        list[str] | None, typer.Argument(help="esol, freesolv; both if not given.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Some of the models; all if not given.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many splits, from 0.")] = 10,
    out: Annotated[
        pathlib.Path, typer.Option(help="Where results are kept, a line a run.")
    ] = _KEPT,
) -> None:
    """Trains what has not been trained, and prints a table of what was kept."""
    print(machine())
    made = {}
    for seed in range(seeds):
        for name, kind in itertools.product(
            sets or data.molecules.UNITS, model or MODELS
        ):
            run = {"set": name, "model": kind, "seed": seed}
            if kept.holds(kept.rows(out), run):
                continue
            if (name, kind) not in made:  # Compiled once, for all seeds.
                made[name, kind] = MODELS[kind].over(data.load_molecules(name))
            began = time.perf_counter()
            found = made[name, kind](seed)
            seconds = round(time.perf_counter() - began, 2)
            kept.keep(out, {**run, **found, "seconds": seconds})
            print(kept.rows(out)[-1], flush=True)
    print(table(kept.rows(out)))


def table(found: list[kept.Row]) -> str:
    """Returns mean and standard deviation over splits, in Markdown."""
    titles = (
        "set",
        "model",
        "splits",
        "test RMSE",
        "validation RMSE",
        "training RMSE",
        "parameters",
        "seconds a run",
    )
    lines = kept.head(titles)
    for name in data.molecules.UNITS:
        for model in MODELS:
            rows = [row for row in found if (row["set"], row["model"]) == (name, model)]
            if rows:
                test, validation, train = (
                    kept.spread((row[part] for row in rows), 2)
                    for part in ("test", "validation", "train")
                )
                seconds = sorted(row["seconds"] for row in rows)[len(rows) // 2]
                lines.append(
                    f"| {name} | {model} | {len(rows)} | {test} | {validation} | "
                    f"{train} | "
                    f"{rows[0]['parameters']:,} | {seconds:.0f} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
