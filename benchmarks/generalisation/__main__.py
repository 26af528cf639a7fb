"""`python -m benchmarks.generalisation train sorting tuned 0`: one run, or a part of it.

A run stops after `--minutes` and goes on when the command is given again; when it is at
its end, it is measured, and a line is added to the results.
"""

import json
import pathlib
import time
from typing import Annotated

import typer

from benchmarks.generalisation import report as reports
from benchmarks.generalisation.chains import Chains
from benchmarks.generalisation.puzzles import Puzzle
from benchmarks.generalisation.settings import SETTINGS
from benchmarks.generalisation.training import Run

_RESULTS = pathlib.Path("docs/results/generalisation.jsonl")
_PIECE = 500  # Iterations between two saves.
_TASKS = {"shortest_path": Puzzle, "sorting": Puzzle, "springs": Chains}

app = typer.Typer(no_args_is_help=True)


@app.command()
def train(
    task: Annotated[str, typer.Argument(help="shortest_path, sorting or springs.")],
    setting: Annotated[str, typer.Argument(help="published or tuned.")],
    seed: Annotated[int, typer.Argument(help="Of parameters and of the order.")],
    minutes: Annotated[float, typer.Option(help="Stops after so long.")] = 8.0,
    folder: Annotated[
        pathlib.Path, typer.Option(help="For batches, and for parameters.")
    ] = pathlib.Path("runs/generalisation"),
    results: Annotated[pathlib.Path, typer.Option(help="JSON lines.")] = _RESULTS,
) -> None:
    """Trains one network and, at the end, measures it."""
    deadline = time.monotonic() + 60 * minutes
    chosen = SETTINGS[task][setting]
    problem = _TASKS[task](task, chosen, folder)
    path = folder / f"{task}-{setting}-{seed}.pickle"
    run = Run.load(path) if path.exists() else problem.trainer.start(seed)
    while run.step < chosen.iterations and time.monotonic() < deadline:
        last = min(chosen.iterations, _PIECE * (run.step // _PIECE + 1))
        loss = problem.trainer.train(run, seed, last, deadline)
        if run.step == last:
            found = problem.brief(run)
            run.curve.append({"step": last, "loss": round(loss, 5), **found})
            print(task, setting, seed, run.curve[-1], flush=True)
        run.save(path)
    if run.step < chosen.iterations:
        raise typer.Exit(3)  # There is more to do.
    line = {
        "task": task,
        "setting": setting,
        "seed": seed,
        "iterations": run.step,
        "cpu_seconds": round(run.cpu_seconds, 1),
        "found": problem.measure(run),
    }
    if task != "springs":  # Twice as many steps of the core, without training.
        line["found_twice"] = problem.measure(run, steps=2 * chosen.processing)
    line["curve"] = run.curve
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


@app.command()
def report(
    results: Annotated[pathlib.Path, typer.Argument(help="JSON lines.")] = _RESULTS,
    page: Annotated[
        pathlib.Path, typer.Option(help="Gets tables between its markers.")
    ] = pathlib.Path("docs/graph_results.md"),
    plot: Annotated[
        pathlib.Path | None, typer.Option(help="A picture to write.")
    ] = None,
) -> None:
    """Writes the tables of docs/graph_results.md anew."""
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    page.write_text(reports.written(page.read_text("utf-8"), lines), "utf-8")
    if plot is not None:
        reports.draw(lines, plot)


if __name__ == "__main__":
    app()
