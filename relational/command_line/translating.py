"""What the commands that translate share: their options, and a run that is loaded."""

import dataclasses
import functools
import hashlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line.leaving import stop
from relational.command_line.run_folder import spec_in, vocabulary_in

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs, training
    from relational.datasets import PairedSubwords, Subwords
    from relational.decoding import Sampling
    from relational.decoding.lines import LineTranslator, Translated
    from relational.models.translation import Translation

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder of a run that translates.")
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        "--checkpoint", metavar="WHICH", help="best, newest, or a step that is kept."
    ),
]
AverageOption = Annotated[
    int,
    typer.Option(
        "--average",
        metavar="N",
        help="The mean of N checkpoints: the best, the newest, or those up to the step.",
    ),
]
BEAM, ALPHA = 4, 0.6
"""What a search has if nothing else is said."""

BeamOption = Annotated[
    int,
    typer.Option(
        "--beam", metavar="N", help="Hypotheses that are kept; 1 is greedy search."
    ),
]
AlphaOption = Annotated[
    float,
    typer.Option(
        "--alpha",
        metavar="A",
        help="Of the length penalty: 0 is none, more prefers longer translations.",
    ),
]
ExtraOption = Annotated[
    int,
    typer.Option(
        "--extra",
        metavar="N",
        help="Tokens that a translation may have more than its source.",
    ),
]
BatchOption = Annotated[
    int, typer.Option("--batch", metavar="N", help="Lines that are translated at once.")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A trained translation, ready to be used."""

    spec: "specs.Spec"
    task: "Translation"
    params: Any
    position: "training.Position"
    subwords: "Subwords | PairedSubwords"
    num_averaged: int

    @property
    def data(self) -> "specs.TextSpec":
        """What it was trained on."""
        from relational import specs

        assert isinstance(self.spec.data, specs.TextSpec)
        return self.spec.data

    @property
    def which(self) -> str:
        """The checkpoint, in words."""
        step = f"checkpoint of step {self.position.step}"
        several = f"mean of {self.num_averaged} checkpoints, the first of step "
        return step if self.num_averaged == 1 else f"{several}{self.position.step}"

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells this model from others, as JSON holds it."""
        from relational.training._digests import bit_sum

        return {
            "model": self.spec.name,
            "checkpoint": self.position.step,
            "averaged": self.num_averaged,
            "parameters": f"{int(bit_sum(self.params)):08x}",
            "subwords": self.subwords.digest,
        }


def load(run: Path, checkpoint: str, average: int) -> LoadedRun:
    """Returns the model of a run that translates.

    Raises:
      ValueError: it is no such run, or has no such checkpoint.
    """
    from relational import datasets, specs, training
    from relational.command_line.evaluate import which
    from relational.models.translation import Translation

    spec = spec_in(run)
    model, is_text = spec.model, isinstance(spec.data, specs.TextSpec)
    was_imported = isinstance(spec.data, specs.NoDataSpec)
    if was_imported:
        raise ValueError(
            f"RUN must be a run with a vocabulary; `{run}` was imported without one, and "
            "takes tokens, in Python."
        )
    if not (is_text and isinstance(model, specs.ModelSpec)):
        raise ValueError(
            f"RUN must be a run that was trained on pairs of sentences; `{run}` has "
            f"`{spec.name}`, which was not."
        )
    loaded = training.load_mean(run, checkpoint=which(checkpoint), count=average)
    return LoadedRun(
        spec=spec,
        task=Translation(model),
        params=loaded.params,
        position=loaded.position,
        subwords=datasets.vocabulary_of(vocabulary_in(run)),
        num_averaged=average,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class How:
    """How lines are translated, as the options say it."""

    beam: int
    alpha: float
    extra: int
    batch: int
    nbest: int = 1
    sampling: "Sampling | None" = None
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {"beam": (1, 64), "nbest": (1, 64), "batch": (1, 1024)}
        for name, (least, most) in {**counts, "extra": (0, 4096)}.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"--{name} must be {least} to {most}; got {getattr(self, name)}."
                )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be 0 to {2**32 - 1}; got {self.seed}.")
        if not 0 <= self.alpha <= 10:
            raise ValueError(f"--alpha must be 0 to 10; got {self.alpha:g}.")
        if self.nbest > (1 if self.sampling is not None else self.beam):
            bound = "1, with --sample" if self.sampling else f"--beam, {self.beam}"
            raise ValueError(f"--nbest must be at most {bound}; got {self.nbest}.")

    @property
    def identity(self) -> Mapping[str, Any]:
        """What makes other translations, as JSON holds it."""
        common = {"nbest": self.nbest, "extra": self.extra, "batch": self.batch}
        if self.sampling is None:
            return {**common, "beam": self.beam, "alpha": self.alpha}
        drawn = dataclasses.asdict(self.sampling)
        return {**common, "sampling": drawn, "seed": self.seed}

    def __str__(self) -> str:
        if self.sampling is not None:
            return f"sampled at temperature {self.sampling.temperature:g}"
        if self.beam == 1:
            return "greedy"
        return f"beam {self.beam}, alpha {self.alpha:g}"

    def translator(self, loaded: LoadedRun) -> "LineTranslator":
        """Returns a model as a translator of lines."""
        import numpy as np

        from relational import decoding
        from relational.decoding.lines import LineTranslator

        search = decoding.Beam(size=self.beam, alpha=self.alpha, num_best=self.nbest)
        model = loaded.task.model

        def asked(
            call: Callable[..., Any], source: Any, length: Any, numbers: tuple[int, int]
        ) -> Any:
            # Every batch of a file draws its own numbers, after a restart the same.
            drawn = np.random.SeedSequence((self.seed, *numbers)).generate_state(1)
            return call(
                model,
                loaded.params,
                source,
                length,
                how=self.sampling or search,
                extra_length=self.extra,
                seed=int(drawn[0]),
            )

        return LineTranslator(
            subwords=loaded.subwords,
            decode=functools.partial(asked, decoding.translate),
            stream=functools.partial(asked, decoding.stream_translation),
            batch_size=self.batch,
            num_best=self.nbest,
        )


def into_file(
    output: Path,
    lines: Sequence[str],
    loaded: LoadedRun,
    how: How,
    written: Callable[["Translated", int], str],
) -> list[str]:
    """Translates lines into a file, or goes on with it; returns what it has then.

    Raises:
      ValueError: the file is made of something else.
    """
    from rich.console import Console
    from rich.progress import Progress

    from relational.decoding.continued import continued
    from relational.decoding.lines import translate_into

    source = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    made_of = {
        **loaded.identity,
        **how.identity,
        "lines": len(lines),
        "source": source,
    }
    console = Console(stderr=True)
    with continued(output, made_of, lines_in_group=how.nbest) as file:
        before = file.num_groups
        if before == len(lines):
            return file.read()
        if before:
            console.print(
                f"Going on with `{output}` after line {before}.", soft_wrap=True
            )
        begin = time.monotonic()
        try:
            with Progress(
                console=console, transient=True, disable=not console.is_terminal
            ) as progress:
                bar = progress.add_task("lines", total=len(lines), completed=before)
                for done in translate_into(
                    file, lines, how.translator(loaded), written
                ):
                    progress.update(bar, completed=done)
        except KeyboardInterrupt:
            stop(
                f"Stopped after line {file.num_groups} of {len(lines)}. Start the same "
                "command again to go on.",
                signal.SIGINT,
            )
        speed = (len(lines) - before) / (time.monotonic() - begin)
        console.print(
            f"{len(lines)} lines in `{output}` ({loaded.which}, {how}), "
            f"{speed:.1f} lines/s",
            soft_wrap=True,
        )
        return file.read()
