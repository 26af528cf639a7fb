"""`relational demo`: the whole path in minutes, from data to a chorale and pictures."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relational.command_line.leaving import stop

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import rich.console
    import rich.table

    from relational import specs, training
    from relational.models.tasks import Chorales, NextToken

_BARS, _STEPS_PER_BAR = 16, 16
_LOOKED_AT = 64  # Steps of the chorale in which a head is looked at: four bars.
_SEED = 0
_TEMPERATURE, _TOP_P = 1.0, 0.95  # The model as it is, but for its unlikeliest.


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="The folder of the run.")
    ] = Path("runs/demo"),
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            help="Steps of training; those of the spec `demo` if not given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a small Music Transformer on chorales, and let it write one."""
    from rich.console import Console

    from relational import datasets, training
    from relational.models import tasks

    console = Console()
    spec = _spec(folder, steps)
    task, data = tasks.from_spec(spec)
    assert isinstance(task, tasks.NextToken)
    assert isinstance(data, tasks.Chorales)
    if not datasets.is_prepared(data.spec.source):
        console.print(
            f"Preparing the chorales of {data.spec.source}: this takes half a minute, "
            "once."
        )
    baselines = _baselines(data)
    try:
        result = training.train(task, data, spec, folder, baselines=baselines)
    except training.Interrupted as interrupted:
        stop(str(interrupted), interrupted.signal_number)
    except FloatingPointError as error:
        raise ValueError(str(error)) from error
    made = _Made(folder)
    if not made.is_of(result.step):
        console.print("Writing a chorale, and looking at a head ...")
        _make(made, task, result)
    console.print()
    console.print(_losses(result, baselines))
    console.print()
    console.print(_speeds(made))
    console.print()
    console.print(_files(made, result.run))


@dataclasses.dataclass(frozen=True)
class _Made:
    """The files of a demo beside those of its run."""

    folder: Path

    @property
    def midi(self) -> Path:
        return self.folder / "chorale.mid"

    @property
    def piano_roll(self) -> Path:
        return self.folder / "chorale.png"

    @property
    def attention(self) -> Path:
        return self.folder / "attention.png"

    @property
    def facts(self) -> Path:
        """Written last: it says for which step of the training the others are."""
        return self.folder / "demo.json"

    def is_of(self, step: int) -> bool:
        """Whether all files are there, and of this step of the training."""
        paths = (self.midi, self.piano_roll, self.attention)
        return all(path.is_file() for path in paths) and self.read().get("step") == step

    def read(self) -> dict[str, float]:
        try:
            facts = json.loads(self.facts.read_text("utf-8"))
        except (OSError, ValueError):  # Absent, or cut short.
            return {}
        return facts if isinstance(facts, dict) else {}


def _spec(folder: Path, steps: int | None) -> "specs.Spec":
    """Returns the spec of the run if it exists, else the shipped one, maybe shorter."""
    from relational import specs

    path = folder / "spec.yaml"
    if steps is None:
        return specs.load(path if path.is_file() else "demo")
    if steps < 1:
        raise ValueError(f"--steps must be 1 or more; got {steps}.")
    spec = specs.load("demo")
    return dataclasses.replace(spec, training=_shortened(spec.training, steps))


def _shortened(training: "specs.TrainingSpec", steps: int) -> "specs.TrainingSpec":
    """Returns a training of so many steps, with a warm-up that leaves time to learn."""
    from relational.specs import ConstantSpec

    schedule = training.schedule
    if not isinstance(schedule, ConstantSpec) and schedule.warmup > steps // 10:
        schedule = dataclasses.replace(schedule, warmup=max(1, steps // 10))
    return dataclasses.replace(
        training,
        steps=steps,
        schedule=schedule,
        log_every=min(training.log_every, max(2, steps // 20)),
    )


def _baselines(data: "Chorales") -> dict[str, float]:
    from relational import datasets

    probability = datasets.repeat_probability(data.pieces("train"))
    repeat = datasets.repeat_loss(data.pieces("validation"), probability)
    return {"uniform": datasets.uniform_loss(), "repeat the last chord": repeat}


def _make(made: _Made, task: "NextToken", result: "training.Result") -> None:
    """Writes a chorale, its picture, that of a head, and how fast all went."""
    from relational import decoding, training
    from relational.decoding import files
    from relational.decoding.listening import listening, most_telling
    from relational.plotting.attention import draw_attention

    params = training.load(made.folder).params
    composed = decoding.compose(
        task,
        params,
        steps=_BARS * _STEPS_PER_BAR,
        seed=_SEED,
        how=decoding.Sampling(temperature=_TEMPERATURE, top_p=_TOP_P),
    )
    files.write(composed, made.folder, name=made.midi.stem)
    pitch = composed.pitch[0, :_LOOKED_AT]
    weights = listening(task, params, pitch)
    attention, head = most_telling(weights)
    title = (
        f"What head {head + 1} of attention {attention + 1} listens to, asked for the "
        "first chord of the last bar"
    )
    figure = draw_attention(weights[attention][head], pitch, title=title)
    figure.savefig(made.attention)
    facts = {
        "step": result.step,
        "training_tokens_per_second": result.tokens_per_second
        or made.read().get("training_tokens_per_second", 0.0),
        "generation_tokens_per_second": composed.generated.tokens_per_second,
    }
    made.facts.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _losses(
    result: "training.Result", baselines: dict[str, float]
) -> "rich.table.Table":
    from relational import training

    rows = training.read_metrics(result.run.metrics)
    validation = [row for row in rows if row["split"] == "validation"]
    table = _table("on the validation pieces", "nats/token", "standard error")
    for name, loss in baselines.items():
        table.add_row(name, f"{loss:.3f}", "")
    before, after = validation[0], min(validation, key=lambda row: float(row["loss"]))
    for name, row in (
        ("the model before training", before),
        (f"the model after {after['step']} steps", after),
    ):
        loss, error = float(row["loss"]), float(row["standard_error"])
        table.add_row(name, f"{loss:.3f}", f"{error:.3f}")
    return table


def _speeds(made: _Made) -> "rich.table.Table":
    facts = made.read()
    table = _table("speed", "tokens/s")
    for name in ("training", "generation"):
        speed = f"{facts.get(f'{name}_tokens_per_second', 0.0):,.0f}"
        table.add_row(name, speed.replace(",", " "))
    return table


def _files(made: _Made, run: "training.Run") -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("file", style="bold", no_wrap=True)
    table.add_column("path", overflow="fold")
    for name, path in (
        ("MIDI", made.midi),
        ("piano roll", made.piano_roll),
        ("loss curve", run.curves),
        ("attention", made.attention),
    ):
        table.add_row(name, str(path))
    return table


def _table(first: str, *others: str) -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first, style="bold", no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table
