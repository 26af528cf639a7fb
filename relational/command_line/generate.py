"""`relational generate`: what a trained model goes on with.

Chorales are written as MIDI and as pictures; text is printed as it comes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line import writing
from relational.command_line.compiling import KeepOption, keep_programs
from relational.command_line.drawing import (
    SeedOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from relational.command_line.run_folder import spec_in

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import rich.table

    from relational import specs
    from relational.decoding import Composed
    from relational.decoding.files import Files

_MOST_PIECES = 100
_STEPS_PER_BAR = 16
_BARS, _TOKENS = 16, 100
_MUSIC = "--output, --prime, --bars, --count and --audio"


def generate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Where files are written; RUN/generated if not given.",
        ),
    ] = None,
    prime: Annotated[
        Path | None,
        typer.Option(
            "--prime", metavar="FILE", help="A MIDI file that the pieces begin with."
        ),
    ] = None,
    bars: Annotated[
        int, typer.Option("--bars", metavar="N", help="Bars to write, after the prime.")
    ] = _BARS,
    beginning: Annotated[
        str,
        typer.Option("--text", metavar="TEXT", help="What a text begins with."),
    ] = "",
    tokens: Annotated[
        int,
        typer.Option("--tokens", metavar="N", help="Tokens of text, after that."),
    ] = _TOKENS,
    temperature: TemperatureOption = 1.0,
    top_k: TopKOption = None,
    top_p: TopPOption = None,
    seed: SeedOption = 0,
    count: Annotated[
        int, typer.Option("--count", metavar="N", help="How many pieces.")
    ] = 1,
    is_audible: Annotated[
        bool,
        typer.Option("--audio", help="Write sound as well, by fluidsynth or timidity."),
    ] = False,
    keeps: KeepOption = True,
) -> None:
    """Write new chorales or text, or continue some, by the best checkpoint of a run."""
    from rich.console import Console

    from relational import datasets, decoding, specs, training
    from relational.datasets.serialisation import NUM_VOICES
    from relational.decoding import files
    from relational.models.tasks import NextToken

    how = decoding.Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    _check(bars, count, is_audible)
    spec: Any = _spec_of(run)
    keep_programs(keeps)
    if isinstance(spec.data, specs.PlainTextSpec):
        of_music = (output, prime, bars, count, is_audible)
        _check_options(of_music, (None, None, _BARS, 1, False), _MUSIC, "music")
        writing.write(run, spec, beginning=beginning, length=tokens, seed=seed, how=how)
        return
    _check_options((beginning, tokens), ("", _TOKENS), "--text and --tokens", "text")
    pitch = None if prime is None else datasets.read_midi(prime)
    loaded = training.load(run)
    composed = decoding.compose(
        NextToken(spec.model),
        loaded.params,
        steps=bars * _STEPS_PER_BAR,
        count=count,
        prime=pitch,
        seed=seed,
        how=how,
        window=max(spec.data.window, 2 * NUM_VOICES),
    )
    written = files.write(
        composed,
        output or run / "generated",
        name=f"seed-{seed}",
        with_sound=is_audible,
    )
    speed = f"{composed.generated.tokens_per_second:,.0f}".replace(",", " ")
    console = Console()
    console.print(_table(written, composed))
    console.print(f"Checkpoint of step {loaded.position.step}, {speed} tokens/s")


def _check_options(
    came: tuple[object, ...], not_given: tuple[object, ...], names: str, kind: str
) -> None:
    if came != not_given:
        raise ValueError(
            f"{names} go with a run that makes {kind}; this one makes something else."
        )


def _check(bars: int, count: int, is_audible: bool) -> None:
    from relational.decoding import audio
    from relational.decoding.chorales import MOST_STEPS

    for name, value, most in (
        ("bars", bars, MOST_STEPS // _STEPS_PER_BAR),
        ("count", count, _MOST_PIECES),
    ):
        if not 1 <= value <= most:
            raise ValueError(f"--{name} must be 1 to {most}; got {value}.")
    if is_audible and audio.find() is None:
        raise ValueError(f"--audio: {audio.NONE_FOUND}")


def _spec_of(run: Path) -> "specs.Spec":
    from relational import specs

    spec = spec_in(run)
    is_of_tokens = isinstance(spec.model, specs.ModelSpec)
    if is_of_tokens and isinstance(spec.data, specs.ChoralesSpec | specs.PlainTextSpec):
        return spec
    if is_of_tokens:
        why = "has tokens of its own, and takes them in Python: `models.build`"
        if isinstance(spec.data, specs.TextSpec):
            why = "was trained on pairs of sentences. `relational translate` uses it"
        raise ValueError(
            f"RUN must be a run that makes music or text; `{run}` has `{spec.name}`, "
            f"which {why}."
        )
    raise ValueError(
        f"RUN must be a run whose model makes sequences; `{run}` has `{spec.name}`, a "
        "graph network, which answers. `relational evaluate` says how well."
    )


def _table(written: "list[Files]", composed: "Composed") -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("MIDI", "piano roll", "sound"):
        if name != "sound" or written[0].sound is not None:
            table.add_column(name, overflow="fold")
    table.add_column("nats/token", justify="right", no_wrap=True)
    for files, nats in zip(written, composed.generated.nats_per_token, strict=True):
        paths = (files.midi, files.picture, files.sound)
        texts = [str(path) for path in paths if path is not None]
        table.add_row(*texts, f"{nats:.4f}")
    return table
