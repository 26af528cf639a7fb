"""A session: the part of a run that one process trains.

It takes batches to steps, and steps to rows, evaluations and checkpoints, each at
its own interval. The device is never waited for in between, except to keep it from
falling far behind.

Shapes: K batches in a step.
"""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NoReturn

import numpy as np

from relational.specs import TrainingSpec
from relational.training.checkpoints import Checkpoints
from relational.training.evaluation import Evaluation, evaluate_batches
from relational.training.failures import Interrupted
from relational.training.metrics import (
    MetricsFile,
    Row,
    added,
    evaluation_row,
    training_row,
)
from relational.training.positions import Position
from relational.training.progress import Progress
from relational.training.restoring import steps as steps_of
from relational.training.signals import StopRequest
from relational.training.steps import Report, State, essentials, update
from relational.training.tasks import Batch, Batches, Data, Task
from relational.training.tensorboard import Events

SPLIT = "validation"
_STEPS_BEHIND = 2  # Steps that the device may be behind: enough to keep it busy.


class _StopError(Exception):
    """Somebody asked to stop."""


@dataclasses.dataclass(kw_only=True)
class Session:
    """Where training stands, and all that it reads from and writes to."""

    task: Task
    training: TrainingSpec
    data: Data
    batches: Batches
    state: State
    position: Position
    """Where the run stood when the session, or its last checkpoint, began."""
    checkpoints: Checkpoints
    metrics: MetricsFile
    events: Events
    progress: Progress
    request: StopRequest

    def __post_init__(self) -> None:
        self._essentials = essentials(self.training)
        self._first_step = self._step = self.position.step
        self._totals = dict(self.position.unlogged)
        self._unread: deque[Report] = deque()
        self._tokens = 0.0  # Since the last row of this session.
        self._shapes: set[object] = set()

    @property
    def num_shapes(self) -> int:
        """Shapes of batches so far: what this session has compiled."""
        return len(self._shapes)

    def run(self) -> None:
        """Trains up to the last step.

        Raises:
          OSError, FloatingPointError, Interrupted: as `train` says.
        """
        try:
            self._catch_up()
            while not self._is_complete():
                self._take_step()
                if self._is_due(self.training.log_every):
                    self._log()
                is_best = (
                    self._is_due(self.training.evaluate_every) and self._evaluate()
                )
                is_last = self._is_complete()
                if is_last and self._totals:  # Out of patience between two rows.
                    self._log()
                if is_last or is_best or self._is_due(self.training.checkpoint_every):
                    self._save()
                self._heed()
            self.checkpoints.wait()
        except _StopError:
            self._leave()

    def _catch_up(self) -> None:
        """Evaluates a new run, or one that was stopped before it was evaluated."""
        is_due = self._is_due(self.training.evaluate_every)
        if is_due and self.position.evaluated_step != self._step:
            self._evaluate()
            if self._step == self.training.steps:  # No later checkpoint will say it.
                self._save()

    def _is_complete(self) -> bool:
        """Says whether all steps are taken, or patience is at its end."""
        if self._step >= self.training.steps:
            return True
        patience, evaluated = self.training.patience, self.position.evaluated_step
        if patience is None or evaluated is None:
            return False
        return evaluated - self.position.improved_step >= patience

    def _heed(self) -> None:
        if self.request.signal_number is not None:
            raise _StopError

    def _is_due(self, every: int) -> bool:
        return self._step % every == 0 or self._step == self.training.steps

    def _take_step(self) -> None:
        is_first = self._step == self._first_step
        batches = next_step(self.batches, self.training.accumulate)
        self._shapes.add(tuple(leaf.shape for leaf in batches.values()))
        self.state, report = update(
            self.state, batches, task=self.task, training=self._essentials
        )
        self._step += 1
        self._unread.append(report)
        if len(self._unread) > _STEPS_BEHIND:
            self._unread[-1 - _STEPS_BEHIND].values.block_until_ready()
        self.progress.advance(self._step)
        if is_first:  # It was compiled, which says nothing about the speed.
            self._read_reports()
            self._tokens = 0.0
            self.progress.restart_clock(self._step)

    def _read_reports(self) -> None:
        """Fetches what the steps had to say, and adds it to the totals.

        Raises:
          FloatingPointError: one of them was not finite.
        """
        first = self._step - len(self._unread) + 1
        for step, report in enumerate(self._unread, start=first):
            numbers = report.numbers()
            what = _trouble(numbers)
            if what:
                raise self._not_finite(step, what)
            self._tokens += numbers["tokens"]
            self._totals = added(self._totals, numbers)
        self._unread.clear()

    def _log(self) -> None:
        self._read_reports()
        row = training_row(self._step, self._totals)
        self.metrics.write(row)
        self.progress.logged(self._step, float(row["loss"]), self._tokens)
        speed = self.progress.tokens_per_second
        self.events.write(
            self._step, {**_scalars(row), "train/tokens_per_second": speed}
        )
        self._totals, self._tokens = {}, 0.0

    def _evaluate(self) -> bool:
        """Evaluates, and says whether the loss is the lowest so far."""
        self._read_reports()
        with self.progress.clock_stopped():
            found = evaluate_batches(
                self.task,
                self.state.params,
                self._evaluation(),
                SPLIT,
                precision=self.training.precision,
            )
        if not math.isfinite(found.loss):
            raise self._not_finite(self._step, f"validation loss is {found.loss}")
        row = evaluation_row(self._step, found)
        self.metrics.write(row)
        self.events.write(self._step, _scalars(row))
        best = self.position.best_loss
        is_best = self._step > 0 and (best is None or found.loss < best)
        self._note_improvement(found)
        self.position = dataclasses.replace(
            self.position, validation=found, evaluated_step=self._step
        )
        if is_best:
            self.position = dataclasses.replace(
                self.position, best_step=self._step, best_loss=found.loss
            )
        self.progress.evaluated(self._step, found, is_best=is_best)
        return is_best

    def _note_improvement(self, found: Evaluation) -> None:
        """Keeps when all was last as good as ever, for `patience`."""
        if not self._step:  # What was not trained cannot be as good.
            return
        best, before = self.position.best_loss, self.position.best_measures
        is_good = best is None or found.loss <= best
        highest = dict(before)
        for name, value in found.measures.items():
            is_good = is_good or value >= before.get(name, -math.inf)
            highest[name] = max(value, before.get(name, value))
        self.position = dataclasses.replace(
            self.position,
            best_measures=highest,
            improved_step=self._step if is_good else self.position.improved_step,
        )

    def _evaluation(self) -> Iterator[Batch]:
        for batch in self.data.evaluation(SPLIT):
            self._heed()  # A full evaluation may take longer than a stop may wait.
            yield batch

    def _save(self) -> None:
        self._read_reports()
        self.position = dataclasses.replace(
            self.position,
            step=self._step,
            batches=self.batches.get_state(),
            unlogged=self._totals,
        )
        self.checkpoints.save(self.state, self.position)

    def _leave(self) -> NoReturn:
        """Saves a checkpoint, if this step has none, and ends the session."""
        if self.position.step != self._step:
            self._save()
        self.checkpoints.wait()
        assert self.request.signal_number is not None
        if self._step:
            where = f"after step {self._step} of {self.training.steps}"
            kept = "The checkpoint of that step is saved: start the same run again to "
        else:
            where, kept = "before the first step", "Start the same run again to "
        raise Interrupted(
            f"Stopped by {self.request.name} {where}. {kept}go on.",
            signal_number=self.request.signal_number,
        )

    def _not_finite(self, step: int, what: str) -> FloatingPointError:
        self.checkpoints.wait()
        kept = steps_of(self.checkpoints.folder)
        last = f"the last good one is of step {kept[-1]}" if kept else "there is none"
        return FloatingPointError(
            f"Training stopped at step {step}: the {what}. No checkpoint was written "
            f"after that; {last}. Try a lower rate, a smaller `training.clip_norm` or "
            "float32, in a new folder."
        )


def next_step(batches: Batches, num_batches: int) -> Batch:
    """Returns the next K batches as arrays [K, B, ...]."""
    try:
        taken = [next(batches) for _ in range(num_batches)]
    except StopIteration:
        raise ValueError(
            "`data.training` must never end, and it did. Let it begin again, for "
            "example by `repeat()` in grain."
        ) from None
    if num_batches == 1:  # No copy where there is nothing to join.
        return {name: np.asarray(leaf)[None] for name, leaf in taken[0].items()}
    return {name: np.stack([batch[name] for batch in taken]) for name in taken[0]}


def _trouble(numbers: Mapping[str, float]) -> str:
    """Returns what is not finite in a report, nothing if all is well."""
    if not numbers["tokens"]:
        return "batch has no counted token"
    if not math.isfinite(numbers["loss"]):
        return f"loss is {numbers['loss']}"
    if not math.isfinite(numbers["gradient_norm"]):
        return f"loss is finite, but the gradient's norm is {numbers['gradient_norm']}"
    return ""


def _scalars(row: Row) -> dict[str, float]:
    """Returns the numbers of a row under names like `train/loss`."""
    return {
        f"{row['split']}/{name}": float(value)
        for name, value in row.items()
        if name not in ("step", "split")
    }
