"""`relational translate`: lines of text by a trained model, into a file or as they come."""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from relational.command_line import translating
from relational.command_line.compiling import KeepOption, keep_programs
from relational.command_line.drawing import (
    SeedOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from relational.command_line.printing import print_at_once
from relational.command_line.translating import (
    ALPHA,
    BEAM,
    AlphaOption,
    AverageOption,
    BatchOption,
    BeamOption,
    CheckpointOption,
    ExtraOption,
    RunArgument,
)

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational.decoding.lines import LineTranslator, Translated


def translate(
    run: RunArgument,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="A line is a sentence; the standard input if not given.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where translations are written; a file that was begun is continued.",
        ),
    ] = None,
    beam: BeamOption = BEAM,
    alpha: AlphaOption = ALPHA,
    nbest: Annotated[
        int,
        typer.Option(
            "--nbest",
            metavar="N",
            help="Print the N best of each line: its number, the score, the text.",
        ),
    ] = 1,
    is_sampled: Annotated[
        bool, typer.Option("--sample", help="Draw from the model, instead of a search.")
    ] = False,
    temperature: TemperatureOption = 1.0,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p",
            metavar="P",
            help="Draw from tokens with this share of the likeliest one's probability.",
        ),
    ] = None,
    seed: SeedOption = 0,
    extra: ExtraOption = 50,
    batch: BatchOption = 32,
    checkpoint: CheckpointOption = "best",
    average: AverageOption = 1,
    keeps: KeepOption = True,
) -> None:
    """Translate lines of text by a trained model."""
    from relational.decoding import Sampling

    keep_programs(keeps)
    drawn = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    if not is_sampled and (drawn, seed) != (Sampling(), 0):
        raise ValueError(
            "--temperature, --top-k, --top-p, --min-p and --seed go with --sample, which "
            "draws; without it, the likeliest translation is searched for."
        )
    if is_sampled and (beam, alpha) != (BEAM, ALPHA):
        raise ValueError(
            "--beam and --alpha go with a search; --sample draws. Leave them out."
        )
    how = translating.How(
        beam=beam,
        alpha=alpha,
        nbest=nbest,
        extra=extra,
        batch=batch,
        sampling=drawn if is_sampled else None,
        seed=seed,
    )
    name = "the standard input" if file is None else str(file)
    lines = None if file is None else _lines(file.read_bytes(), name)
    loaded = translating.load(run, checkpoint, average)
    translator = how.translator(loaded)
    written = _text if nbest == 1 else _ranked
    if output is not None:
        if lines is None:
            lines = _lines(typer.get_binary_stream("stdin").read(), name)
        translating.into_file(output, lines, loaded, how, written)
    elif lines is not None:
        size = translator.chunk_size
        chunks = (lines[at : at + size] for at in range(0, len(lines), size))
        _print(translator, chunks, written)
    elif sys.stdin.isatty():
        typer.echo("A line is translated when you end it; Ctrl-D leaves.", err=True)
        alone = dataclasses.replace(translator, batch_size=1)
        if nbest == 1:
            _say(alone, _typed())
        else:
            _print(alone, _typed(), written)
    else:
        stream = typer.get_binary_stream("stdin")
        _print(translator, _streamed(stream, batch, name), written)


def _print(
    translator: "LineTranslator",
    chunks: Iterator[list[str]],
    written: Callable[["Translated", int], str],
) -> None:
    """Prints the translations of lines as they come."""
    first = 1
    for number, lines in enumerate(chunks):
        found = translator.chunk(lines, number=number, first_line=first)
        texts = [
            f"{written(each, line)}\n"
            for line, best in enumerate(found, start=first)
            for each in best
        ]
        if not print_at_once("".join(texts)):
            return
        first += len(lines)


def _say(translator: "LineTranslator", lines: Iterator[list[str]]) -> None:
    """Prints the translation of each line word by word, as the words come."""
    for number, (line,) in enumerate(lines):
        for words in itertools.chain(translator.words(line, number=number), ["\n"]):
            if not print_at_once(words):
                return


def _typed() -> Iterator[list[str]]:
    prompt = "> " if sys.stdout.isatty() else ""
    while True:
        try:
            yield [input(prompt)]
        except EOFError:
            typer.echo("", err=True)
            return


def _streamed(stream: IO[bytes], size: int, name: str) -> Iterator[list[str]]:
    """Yields lines as many as are translated at once, and those that are left."""
    content: list[bytes] = []
    count = 0
    for line in stream:
        content.append(line)
        if len(content) == size:
            yield _lines(b"".join(content), name, before=count)
            count, content = count + size, []
    if content:
        yield _lines(b"".join(content), name, before=count)


def _lines(content: bytes, name: str, *, before: int = 0) -> list[str]:
    from relational.datasets.parallel_source import lines_of

    return lines_of(content, name, may_be_empty=True, before=before)


def _text(each: "Translated", number: int) -> str:
    del number  # There is one translation a line.
    return each.text


def _ranked(each: "Translated", number: int) -> str:
    return f"{number}\t{each.score:.4f}\t{each.text}"
