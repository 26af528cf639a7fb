"""What a person sees while a model trains: a bar on a terminal, else plain lines."""

import contextlib
import time
import types
from collections.abc import Iterator
from typing import Self

import rich.console
import rich.progress

from relational.training.evaluation import Evaluation
from relational.training.tasks import Words

_SMOOTHING = 0.3  # Share of the newest interval in the running speed.


class Progress:
    """Shows loss, tokens a second and time left. A context manager."""

    def __init__(
        self,
        *,
        steps: int,
        done: int,
        console: rich.console.Console | None,
        words: Words,
    ) -> None:
        """Prepares the bar for a training of `steps`, of which some are done."""
        self._words = words
        self.console = console or rich.console.Console()
        self.tokens_per_second = 0.0
        self._steps = steps
        self._steps_per_second = 0.0
        self._last_step = done
        self._last_time = time.monotonic()
        self._bar = _bar(self.console)
        self._task = self._bar.add_task(
            "training", total=steps, completed=done, loss="", speed=""
        )
        self._is_live = self.console.is_terminal or self.console.is_jupyter

    def __enter__(self) -> Self:
        if self._is_live:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        del kind, error, trace
        if self._is_live:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Leaves the time of the block out of the speed."""
        start = time.monotonic()
        yield
        self._last_time += time.monotonic() - start

    def restart_clock(self, step: int) -> None:
        """Measures the speed from this step on."""
        self._last_step = step
        self._last_time = time.monotonic()

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._is_live:
            self._bar.update(self._task, completed=step)

    def logged(self, step: int, loss: float, tokens: float) -> None:
        """Shows a row of training metrics: nats per token, and tokens since the last."""
        seconds = max(time.monotonic() - self._last_time, 1e-9)
        steps = step - self._last_step
        if steps:  # None: the only step since was the first, which was not timed.
            self.tokens_per_second = _mixed(self.tokens_per_second, tokens / seconds)
            self._steps_per_second = _mixed(self._steps_per_second, steps / seconds)
        speed = f"{self.tokens_per_second:,.0f} {self._words.counted}/s".replace(
            ",", " "
        )
        if self._is_live:
            self._bar.update(self._task, loss=f"loss {loss:.4f}", speed=speed)
        else:
            words = [f"step {step}/{self._steps}", f"loss {loss:.4f}"]
            if self._steps_per_second:  # Unknown after one step, which compiled.
                left = _clock((self._steps - step) / self._steps_per_second)
                words += [speed, f"{left} left"]
            self.say("  ".join(words))
        self.restart_clock(step)

    def evaluated(self, step: int, evaluation: Evaluation, *, is_best: bool) -> None:
        """Shows an evaluation."""
        best = "  best so far" if is_best else ""
        self.say(
            f"step {step}/{self._steps}  {evaluation.split} {evaluation.loss:.4f} "
            f"± {evaluation.standard_error:.4f} {self._words.loss}{best}"
        )


def _bar(console: rich.console.Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[loss]}"),
        rich.progress.TextColumn("{task.fields[speed]}"),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("left"),
        console=console,
        refresh_per_second=5,
    )


def _mixed(old: float, new: float) -> float:
    return new if old == 0 else (1 - _SMOOTHING) * old + _SMOOTHING * new


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    )
