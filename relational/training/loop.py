"""The training loop: one for every model of the library.

`train` opens a run, finds where it stands, and has a session take it to its end.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import rich.console

from relational.specs import Spec, TrainingSpec
from relational.training.checkpoints import Checkpoints
from relational.training.evaluation import Evaluation, words_of
from relational.training.failures import naming
from relational.training.metrics import COLUMNS, MetricsFile, read_metrics
from relational.training.positions import Position
from relational.training.progress import Progress
from relational.training.restoring import path_of
from relational.training.runs import Run, opened, replace
from relational.training.session import Session, next_step
from relational.training.signals import listening
from relational.training.steps import (
    State,
    abstract_state,
    essentials,
    initial_state,
    update,
)
from relational.training.tasks import Batch, Batches, Data, Params, Task, Words
from relational.training.tensorboard import Events


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a training came to."""

    run: Run
    """The run's folder and the paths in it."""

    params: Params
    """Parameters after the last step (the best are in the checkpoint `best_step`)."""

    step: int
    """Steps taken, over all sessions of the run."""

    validation: Evaluation | None
    """The last evaluation."""

    best_step: int | None
    """Step of the checkpoint with the lowest validation loss."""

    best_loss: float | None
    """Its validation loss, in nats per token."""

    tokens_per_second: float
    """Training tokens a second at the end of this session, 0 if nothing was left."""


def train(
    task: Task,
    data: Data,
    spec: Spec | TrainingSpec,
    folder: Path | str,
    *,
    baselines: Mapping[str, float] | None = None,
    console: rich.console.Console | None = None,
) -> Result:
    """Trains `task` on `data`, in a folder; begins, or goes on where the run stopped.

    A run that was stopped or killed and taken up again computes, bit for bit on a
    CPU, what it would have computed without that. The folder is described in
    `relational.training.runs`.

    Args:
      task: the model and its loss.
      data: its data; the split `validation` is evaluated before the first step, then
        every `evaluate_every` steps and at the end.
      spec: a whole spec, or its training part alone where the model is the caller's
        own code.
      folder: the folder of the run: a new one, or one that this spec was trained in.
      baselines: losses to compare with, in nats per token, drawn as lines.
      console: where progress is shown; the standard output if None.

    Returns:
      What came out. A run that is already complete is not changed.

    Raises:
      ValueError: the folder holds something else, another spec or other data, is
        used by another process, or has no checkpoint that can be read.
      OSError: something could not be written; what was saved before is untouched.
      FloatingPointError: a loss or gradient was not finite. The message names the
        step; the checkpoints are from before it.
      Interrupted: a SIGINT or SIGTERM came, and a checkpoint has been saved.

    A model of one number, the mean of the data, which are all 3:

    >>> import grain, numpy as np, tempfile
    >>> from relational.specs import ConstantSpec
    >>> from relational.training import Outcome
    >>> class Mean:
    ...     def init(self, key, batch):
    ...         return {"mean": jax.numpy.zeros(())}
    ...
    ...     def outcome(self, params, key, batch, *, is_training):
    ...         loss = (batch["x"] - params["mean"]) ** 2
    ...         return Outcome(loss=loss, weight=jax.numpy.ones_like(loss))
    >>> class Threes:
    ...     fingerprint = "threes"
    ...     batch = {"x": np.full(4, 3.0, np.float32)}
    ...
    ...     def training(self, seed):
    ...         batches = grain.MapDataset.source([self.batch]).repeat()
    ...         return iter(batches.to_iter_dataset())
    ...
    ...     def evaluation(self, split):
    ...         return [self.batch]
    >>> spec = TrainingSpec(steps=200, batch_size=4, schedule=ConstantSpec(rate=0.1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     quiet = rich.console.Console(quiet=True)
    ...     result = train(Mean(), Threes(), spec, folder, console=quiet)
    >>> round(float(result.params["mean"]), 1)
    3.0
    """
    training = spec if isinstance(spec, TrainingSpec) else spec.training
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(opened(Path(folder), spec))
        request = stack.enter_context(listening())
        checkpoints = stack.enter_context(
            Checkpoints(run.checkpoints, keep=training.keep)
        )
        batches = data.training(training.seed)
        example = _example(batches, training)
        start = _start(task, training, data, batches, example, checkpoints)
        _keep(run, data)
        step = start.position.step
        names = _auxiliary_names(task, training, start.state, example)
        metrics = MetricsFile(run.metrics, auxiliary=names, step=step)
        words = words_of(task)
        progress = Progress(
            steps=training.steps, done=step, console=console, words=words
        )
        session = Session(
            task=task,
            training=training,
            data=data,
            batches=batches,
            state=start.state,
            position=start.position,
            checkpoints=checkpoints,
            metrics=stack.enter_context(metrics),
            events=stack.enter_context(Events(run.tensorboard, step=step)),
            progress=stack.enter_context(progress),
            request=request,
        )
        for line in _greeting(run, training, start):
            progress.say(line)
        session.run()
        _draw(run, baselines or {}, words)
        progress.say(_farewell(run, training, session.position, words))
        if session.num_shapes > 1:  # One is a matter of course.
            progress.say(
                f"Batches had {session.num_shapes} shapes, for each of which a step "
                "was compiled."
            )
    return Result(
        run=run,
        params=session.state.params,
        step=session.position.step,
        validation=session.position.validation,
        best_step=session.position.best_step,
        best_loss=session.position.best_loss,
        tokens_per_second=progress.tokens_per_second,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Start:
    """Where a session takes up the run."""

    state: State
    position: Position
    notes: tuple[str, ...]
    """What a person should know about it."""


def _example(batches: Batches, training: TrainingSpec) -> Batch:
    """Returns the batches of one step, and leaves the walk where it was."""
    place = batches.get_state()
    example = next_step(batches, training.accumulate)
    batches.set_state(place)
    return example


def _start(
    task: Task,
    training: TrainingSpec,
    data: Data,
    batches: Batches,
    example: Batch,
    checkpoints: Checkpoints,
) -> _Start:
    first = {name: leaf[0] for name, leaf in example.items()}
    restored = checkpoints.restore(abstract_state(task, essentials(training), first))
    begun = Position.first(batches=batches.get_state(), fingerprint=data.fingerprint)
    if restored is None:
        state = initial_state(task, essentials(training), first)
        return _Start(state=state, position=begun, notes=())
    position = restored.position
    if not position.fingerprint:  # Parameters were given; see `beginning`.
        notes = (
            *restored.set_aside,
            "The parameters are those that the run was given.",
        )
        return _Start(state=restored.state, position=begun, notes=notes)
    if position.fingerprint != data.fingerprint:
        raise ValueError(
            f"`data` must be what `{checkpoints.folder.parent}` was trained on (their "
            f"fingerprint was {position.fingerprint}); got {data.fingerprint}. Bring "
            "the old data back, or train in a new folder."
        )
    batches.set_state(position.batches)
    best = position.best_step
    if best is not None and not path_of(checkpoints.folder, best).is_dir():
        # It was damaged or deleted: the next evaluation is the best that we have.
        position = dataclasses.replace(position, best_step=None, best_loss=None)
    return _Start(state=restored.state, position=position, notes=restored.set_aside)


def _keep(run: Run, data: Data) -> None:
    """Puts into the run's folder what is needed to use its model without the data."""
    kept: Mapping[str, bytes] = getattr(data, "kept", {})
    for name, content in kept.items():
        path = run.folder / name
        with naming(path, "keep what belongs to the data"):
            replace(path, content)


def _auxiliary_names(
    task: Task, training: TrainingSpec, state: State, example: Batch
) -> list[str]:
    step = functools.partial(update, task=task, training=essentials(training))
    _, report = jax.eval_shape(step, state, example)
    return [name for name in report.names if name not in COLUMNS]


def _greeting(run: Run, training: TrainingSpec, start: _Start) -> tuple[str, ...]:
    size = sum(leaf.size for leaf in jax.tree.leaves(start.state.params))
    if start.position.step:
        line = f"Going on with `{run.folder}` after step {start.position.step}"
    else:
        line = f"Training in `{run.folder}`"
    return *start.notes, f"{line}: {training.steps} steps, {size:,} parameters."


def _farewell(
    run: Run, training: TrainingSpec, position: Position, words: Words
) -> str:
    line = f"Complete: {position.step} steps in `{run.folder}`"
    if position.step < training.steps:
        line += f", the last {training.patience} of which made nothing as good"
    if position.best_loss is None:
        return f"{line}."
    best = f"{position.best_loss:.4f} {words.loss} at step {position.best_step}"
    return f"{line}; best validation {best}."


def _draw(run: Run, baselines: Mapping[str, float], words: Words) -> None:
    from relational.plotting.curves import draw_curves

    rows = read_metrics(run.metrics)
    figure = draw_curves(rows, baselines=baselines, unit=words.loss)
    with naming(run.curves, "write the curves"):
        figure.savefig(run.curves)
