"""What the commands that translate share: their options, and a run that is loaded."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs, training
    from relational.datasets import Subwords
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
    subwords: "Subwords"
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
    from relational.models.text_data import SUBWORDS
    from relational.models.translation import Translation

    path = run / "spec.yaml"
    if not path.is_file():
        raise ValueError(
            f"RUN must be the folder of a run, with a `spec.yaml`; got `{run}`. "
            "`relational train` makes one."
        )
    spec = specs.load(path)
    model, is_text = spec.model, isinstance(spec.data, specs.TextSpec)
    if not (is_text and isinstance(model, specs.ModelSpec)):
        raise ValueError(
            f"RUN must be a run that was trained on pairs of sentences; `{run}` has "
            f"`{spec.name}`, which was not."
        )
    loaded = training.load_mean(run, checkpoint=which(checkpoint), count=average)
    vocabulary = run / SUBWORDS
    if not vocabulary.is_file():
        raise ValueError(
            f"`{vocabulary}` must be the vocabulary of the run; it is missing. "
            "`relational train` writes it."
        )
    return LoadedRun(
        spec=spec,
        task=Translation(model),
        params=loaded.params,
        position=loaded.position,
        subwords=datasets.Subwords(vocabulary.read_bytes()),
        num_averaged=average,
    )
