"""`relational train`: to train the model of a spec, or to go on where it stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line.leaving import stop
from relational.command_line.spec import SetOption

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs
    from relational.models.tasks import AnyData

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Read the data set from this file or folder, not from its address. What was "
        "prepared before is in the cache and not read again.",
    ),
]
"""Where data are read, for the other commands as well."""


def train(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="A file, the name of a shipped spec, or the folder of a run to go on.",
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="FOLDER",
            help="The folder of the run; runs/ and the spec's name if not given.",
        ),
    ] = None,
    settings: SetOption = None,
    data_source: DataOption = None,
) -> None:
    """Train the model of a spec; a run that exists goes on where it stopped."""
    from relational import specs, training
    from relational.models import tasks

    is_run = (Path(spec) / "spec.yaml").is_file()
    loaded = specs.load(Path(spec) / "spec.yaml" if is_run else spec)
    loaded = specs.override(loaded, settings or [])
    folder = run or (Path(spec) if is_run else Path("runs") / loaded.name)
    task, data = tasks.from_spec(loaded, data_source=data_source, run=folder)
    try:
        result = training.train(
            task, data, loaded, folder, baselines=_baselines(loaded, data)
        )
    except training.Interrupted as interrupted:
        stop(str(interrupted), interrupted.signal_number)
    except FloatingPointError as error:
        raise ValueError(str(error)) from error
    typer.echo(f"Curves: {result.run.curves}")
    next_one = "bleu" if isinstance(loaded.data, specs.TextSpec) else "evaluate"
    typer.echo(f"Next: relational {next_one} {folder}")


def _baselines(spec: "specs.Spec", data: "AnyData") -> dict[str, float]:
    """Returns losses to compare with, for the data sets that have any."""
    from relational import datasets
    from relational.specs import ChoralesSpec

    if not isinstance(spec.data, ChoralesSpec):
        return {}
    pieces: Any = data
    probability = datasets.repeat_probability(pieces.pieces("train"))
    repeat = datasets.repeat_loss(pieces.pieces("validation"), probability)
    return {"uniform": datasets.uniform_loss(), "repeat the last chord": repeat}
