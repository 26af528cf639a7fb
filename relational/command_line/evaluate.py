"""`relational evaluate`: to measure the model of a run on a split of its data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relational.command_line.train import DataOption

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import rich.table

    from relational.training import Evaluation, Which


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="SPLIT",
            help="train, validation (the default) or test. Can be repeated.",
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
    data_source: DataOption = None,
) -> None:
    """Print the negative log-likelihood per token, with its standard error."""
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
    loaded = training.load(run, checkpoint=_which(checkpoint))
    task, data = tasks.from_spec(spec, data_source=data_source)
    if data.fingerprint != loaded.position.fingerprint:
        typer.echo(
            "Note: these are not the data that the run was trained on.", err=True
        )
    precision = spec.training.precision
    found = [
        training.evaluate(task, loaded.params, data, split, precision=precision)
        for split in splits or ["validation"]
    ]
    Console().print(_table(found, loaded.position.step))


def _which(text: str) -> "Which":
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


def _table(found: "list[Evaluation]", step: int) -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("split", style="bold")
    for name in ("nats/token", "standard error", "tokens", "pieces", "checkpoint step"):
        table.add_column(name, justify="right")
    for row in found:
        table.add_row(
            row.split,
            f"{row.loss:.4f}",
            f"{row.standard_error:.4f}",
            f"{row.tokens:,}".replace(",", " "),
            str(row.pieces),
            str(step),
        )
    return table
