"""`relational evaluate`: to measure the model of a run on a split of its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

    path = run / "spec.yaml"
    if not path.is_file():
        raise ValueError(
            f"RUN must be the folder of a run, with a `spec.yaml`; got `{run}`. "
            "`relational train` makes one."
        )
    spec = specs.load(path)
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
    Console().print(_table(names, rows, loaded.position.step))


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
