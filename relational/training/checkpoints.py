"""Checkpoints: a state and its place in the run, on disk in one piece or not at all.

orbax writes a checkpoint into a temporary folder, in the background, and renames it
when it is complete: whoever is killed in between leaves the earlier checkpoints as
they were. A checkpoint carries a sum over all its bits, so that one that was
damaged later is found out, and an older one taken.

Layout: `00000200/{params,optimizer,position}`, one folder a step.
"""

import dataclasses
import gc
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Self

from relational.training._digests import bit_sum, structure
from relational.training._quiet import without_orbax_logs
from relational.training.failures import naming, unwritten
from relational.training.positions import Position
from relational.training.restoring import (
    UnreadableError,
    none_readable,
    path_of,
    read_state,
    steps,
)
from relational.training.steps import State

_PURPOSE = "write the checkpoint"
_DOOMED = ".doomed-"
_LEFTOVERS = ("*.orbax-checkpoint-tmp*", f"{_DOOMED}*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored:
    """A checkpoint that was read, and the newer ones that could not be."""

    state: State
    position: Position
    set_aside: tuple[str, ...]
    """A line for each newer checkpoint that could not be read, with the reason."""


class Checkpoints:
    """The checkpoints of one run, while it trains.

    Kept are the newest `keep` and the best by validation loss. A context manager:
    on leaving it, the last checkpoint is complete.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Opens `folder` and clears what a killed process left half done."""
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.folder = folder
        self._quiet = without_orbax_logs()
        self._keep = keep
        self._best: int | None = None
        self._being_written: Path | None = None
        with naming(folder, "keep checkpoints"):
            folder.mkdir(exist_ok=True)
            _sweep(folder)
        self._writer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())

    def __enter__(self) -> Self:
        self._quiet.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        del kind, trace
        try:
            self.wait()
        except OSError:
            if error is None:  # An error that is under way says more than this one.
                raise
        finally:
            self._writer.close()
            _sweep(self.folder)
            self._quiet.__exit__(None, None, None)

    def save(self, state: State, position: Position) -> None:
        """Begins to write a checkpoint; `state` may be given away on return.

        At most one checkpoint is being written: this waits for the one before.

        Raises:
          OSError: this checkpoint or the one before could not be written, as on a
            full disk. The complete ones are untouched.
        """
        self.wait()
        args = self._ocp.args
        seal = {
            "structure": structure((state.params, state.optimizer)),
            "params": int(bit_sum(state.params)),
            "optimizer": int(bit_sum(state.optimizer)),
        }
        items = args.Composite(
            params=args.StandardSave(state.params),
            optimizer=args.StandardSave(state.optimizer),
            position=args.JsonSave({**position.as_json(), "seal": seal}),
        )
        path = path_of(self.folder, position.step)
        self._being_written = path
        self._best = position.best_step
        self._attempt(lambda: self._writer.save(path, items, force=True))

    def wait(self) -> None:
        """Returns when the last checkpoint is complete and the old ones are pruned.

        Raises:
          OSError: it could not be written.
        """
        if self._being_written is not None:
            self._attempt(self._writer.wait_until_finished)
            self._being_written = None
            with naming(self.folder, "delete old checkpoints"):
                self._prune()

    def restore(self, like: State) -> Restored | None:
        """Returns the newest checkpoint that can be read, or None if there is none.

        Newer ones that cannot be read are kept under another name.

        Args:
          like: shapes, dtypes and device of the state.

        Raises:
          ValueError: there are checkpoints, but none can be read, or they belong to
            another model.
        """
        damaged: dict[int, str] = {}
        for step in reversed(steps(self.folder)):
            try:
                state, position = read_state(path_of(self.folder, step), like)
            except UnreadableError as reason:
                damaged[step] = str(reason)
            else:
                lines = tuple(self._set_aside(*item) for item in damaged.items())
                return Restored(state=state, position=position, set_aside=lines)
        if damaged:
            raise none_readable(self.folder, damaged)
        return None

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # orbax's have no common base.
            path = self._being_written
            self._being_written = None
            assert path is not None
            _sweep(self.folder)  # Half a checkpoint is of no use on a full disk.
            failure = unwritten(path, _PURPOSE, error)
        else:
            return
        gc.collect()  # Abandoned tasks of orbax say so in the log, which is quiet here.
        raise failure

    def _prune(self) -> None:
        newest = steps(self.folder)[-self._keep :]
        for step in steps(self.folder):
            if step not in newest and step != self._best:
                path = path_of(self.folder, step)
                # Renamed first: half a deleted checkpoint must not look like one.
                shutil.rmtree(path.rename(path.with_name(f"{_DOOMED}{path.name}")))

    def _set_aside(self, step: int, reason: str) -> str:
        path = path_of(self.folder, step)
        number = len(list(self.folder.glob(f"{path.name}.unreadable*")))
        aside = path.rename(path.with_name(f"{path.name}.unreadable-{number}"))
        return (
            f"The checkpoint of step {step} cannot be read ({reason}); it is now "
            f"`{aside.name}`, and the one before is taken."
        )


def _sweep(folder: Path) -> None:
    for pattern in _LEFTOVERS:
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
