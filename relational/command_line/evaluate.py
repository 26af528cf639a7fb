"""`relational evaluate`: to measure the model of a run on a split of its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line.run_folder import spec_in
from relational.command_line.train import DataOption
from relational.command_line.translating import AverageOption

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import rich.table

    from relational.training import Which


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="SPLIT",
            help="Such as validation or test; by default those that the data are judged "
            "by. Can be repeated.",
        ),
    ] = None,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="WHICH",
            help="best, newest, or a step that is kept.",
        ),
    ] = "best",
    average: AverageOption = 1,
    data_source: DataOption = None,
) -> None:
    """Print what the model is judged by, such as nats per token or an accuracy."""
    from rich.console import Console

    from relational import specs, training
    from relational.models import tasks

    spec = spec_in(run)
    loaded = training.load_mean(run, checkpoint=which(checkpoint), count=average)
    task, data = tasks.from_spec(spec, data_source=data_source, run=run)
    if data.fingerprint != loaded.position.fingerprint:
        typer.echo(
            "Note: these are not the data that the run was trained on.", err=True
        )
    precision = spec.training.precision
    chosen: Sequence[str] = splits or getattr(data, "splits", ["validation"])
    found = [
        training.evaluate(task, loaded.params, data, split, precision=precision)
        for split in chosen
    ]
    rows = [training.judged(task, each) for each in found]
    names = [each.split for each in found]
    console = Console()
    console.print(_table(names, rows, loaded.position.step))
    if isinstance(spec.data, specs.SpringsSpec) and splits is None:
        console.print(_roll_outs(task, loaded.params))


def which(text: str) -> "Which":
    """Returns what `--checkpoint` means."""
    if text == "best":
        return "best"
    if text == "newest":
        return "newest"
    if text.isdecimal():
        return int(text)
    raise ValueError(
        f"--checkpoint must be `best`, `newest` or a step; got `{text}`. Steps that are "
        "kept are the folders of RUN/checkpoints."
    )


def _table(
    splits: list[str], rows: "list[Mapping[str, str]]", step: int
) -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("split", style="bold")
    for name in (*rows[0], "checkpoint step"):
        table.add_column(name, justify="right")
    for split, row in zip(splits, rows, strict=True):
        table.add_row(split, *row.values(), str(step))
    return table


def _roll_outs(task: Any, params: Any) -> "rich.table.Table":
    """Returns how far the model of springs drifts on its own, beside a baseline."""
    from rich.table import Table

    from relational.models.roll_outs import roll_outs

    table = Table(
        box=None,
        pad_edge=False,
        title="\nmean distance from the true positions, on its own for 50 steps from rest",
        title_justify="left",
        title_style="",
    )
    table.add_column("masses", style="bold")
    steps = (1, 10, 25, 50)
    headings = (*(f"step {step}" for step in steps), "mean of 50")
    for name in (*headings, "constant velocity, mean"):
        table.add_column(name, justify="right")
    for size, found in roll_outs(task, params):
        means = (found.error[1:].mean(), found.constant_velocity[1:].mean())
        values = (*(found.error[step] for step in steps), *means)
        table.add_row(f"{size}", *(f"{float(value):.3f} m" for value in values))
    return table
