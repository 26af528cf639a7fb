"""`relational score`: how likely a trained model finds given translations."""

from pathlib import Path
from typing import Annotated

import typer

from relational.command_line import translating
from relational.command_line.compiling import KeepOption, keep_programs
from relational.command_line.translating import (
    AverageOption,
    CheckpointOption,
    RunArgument,
)

_MOST_ROWS, _MOST_TOKENS, _NUM_SHAPES = 128, 8192, 8  # Of a batch.


def score(
    run: RunArgument,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A line is a sentence.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Its translation, line by line.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where the figures are written, a line a pair: log-probability, "
            "tabulator, tokens; the standard output if not given.",
        ),
    ] = None,
    checkpoint: CheckpointOption = "best",
    average: AverageOption = 1,
    keeps: KeepOption = True,
) -> None:
    """Print the log-probability of given translations, and their numbers of tokens."""
    import numpy as np

    from relational import datasets, decoding
    from relational.datasets import length_buckets, token_batches
    from relational.datasets.token_batches import TokenPairs

    keep_programs(keeps)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    text = datasets.read_pairs([source, target])
    loaded = translating.load(run, checkpoint, average)
    pairs = TokenPairs(
        source=loaded.subwords.encode_all(text.source),
        target=loaded.subwords.target.encode_all(text.target),
    )
    buckets = length_buckets.fit(
        pairs.lengths,
        num_buckets=_NUM_SHAPES,
        tokens=_MOST_TOKENS,
        most=min(_MOST_ROWS, len(pairs)),
    )
    nats = np.zeros(len(pairs))
    for batch in token_batches.evaluation(pairs, buckets=buckets):
        found = decoding.score(loaded.task.model, loaded.params, batch)
        is_pair = batch["piece"] >= 0
        nats[batch["piece"][is_pair]] = found.log_probabilities[is_pair]
    counts = pairs.target.lengths
    lines = [f"{each:.4f}\t{count}\n" for each, count in zip(nats, counts, strict=True)]
    if output is None:
        typer.echo("".join(lines), nl=False)
    else:
        output.write_text("".join(lines), "utf-8")
    mean = -nats.sum() / counts.sum()
    typer.echo(
        f"{len(pairs)} pairs, {counts.sum()} tokens, {mean:.4f} nats/token when the true "
        f"tokens before are given ({loaded.which})",
        err=True,
    )
