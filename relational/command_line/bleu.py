"""`relational bleu`: how good the translations of a trained model are."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relational.command_line import translating
from relational.command_line.compiling import KeepOption, keep_programs
from relational.command_line.train import DataOption
from relational.command_line.translating import (
    ALPHA,
    BEAM,
    AlphaOption,
    AverageOption,
    BatchOption,
    BeamOption,
    CheckpointOption,
    ExtraOption,
    How,
    LoadedRun,
    RunArgument,
)

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import rich.table

    from relational.datasets import Pairs
    from relational.decoding import Score
    from relational.decoding.lines import Translated


def bleu(
    run: RunArgument,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            metavar="SPLIT",
            help="Such as validation or test; by default those that the data are judged "
            "by. Can be repeated.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Where translations are kept; RUN/translations if not given.",
        ),
    ] = None,
    beam: BeamOption = BEAM,
    alpha: AlphaOption = ALPHA,
    extra: ExtraOption = 50,
    batch: BatchOption = 32,
    checkpoint: CheckpointOption = "best",
    average: AverageOption = 1,
    data_source: DataOption = None,
    keeps: KeepOption = True,
) -> None:
    """Translate splits of the data, and print BLEU and chrF with their signatures."""
    from rich.console import Console

    keep_programs(keeps)
    how = How(beam=beam, alpha=alpha, extra=extra, batch=batch)
    loaded = translating.load(run, checkpoint, average)
    kept, console = folder or run / "translations", Console()
    texts = references(loaded, splits, data_source)
    rows = {
        split: scored(split, pairs, loaded, how, kept) for split, pairs in texts.items()
    }
    counts = {split: len(pairs.source) for split, pairs in texts.items()}
    console.print(_table(rows, counts))
    for score in next(iter(rows.values())):
        console.print(f"{score.name}: {score.signature}", soft_wrap=True)
    console.print(f"{loaded.which}; {how}; translations in {kept}", soft_wrap=True)


def references(
    loaded: LoadedRun, splits: Sequence[str] | None, data_source: Path | None
) -> "dict[str, Pairs]":
    """Returns the sentences of splits; by default, of those that the data are judged by."""
    from relational.models.text_data import ParallelData

    place = None if data_source is None else str(data_source)
    data = ParallelData(loaded.data, batch_size=1, data_source=place)
    return {split: data.text(split) for split in splits or data.splits}


def scored(
    split: str, pairs: "Pairs", loaded: LoadedRun, how: How, folder: Path
) -> "tuple[Score, Score]":
    """Returns BLEU and chrF of a split, whose translations are kept in a folder."""
    from relational.decoding import scores_of

    options = json.dumps({**loaded.identity, **how.identity}, sort_keys=True)
    digest = hashlib.sha256(options.encode()).hexdigest()[:8]
    path = folder / f"{split}-{digest}.{loaded.data.target}"
    lines = translating.into_file(path, pairs.source, loaded, how, _text)
    return scores_of(lines, pairs.target, language=loaded.data.target)


def _text(each: "Translated", number: int) -> str:
    del number  # There is one translation a line.
    return each.text


def _table(
    rows: "dict[str, tuple[Score, Score]]", counts: dict[str, int]
) -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("split", style="bold")
    for name in (*(score.name for score in next(iter(rows.values()))), "sentences"):
        table.add_column(name, justify="right")
    for split, scores in rows.items():
        values = (f"{score.value:.2f}" for score in scores)
        table.add_row(split, *values, str(counts[split]))
    return table
