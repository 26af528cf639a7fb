"""Metrics of a run for TensorBoard: the rows of the table, and speeds.

tensorboardX's `SummaryWriter` hands events to a thread, which dies silently on a
full disk and leaves the training waiting for ever; here its file format is written
without one.
"""

import os
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from relational.training.failures import naming

_FLUSH_SECONDS = 5.0
_PURPOSE = "write the TensorBoard events"


class Events:
    """Writes scalars of a run. A context manager: it closes the file."""

    def __init__(self, folder: Path, *, step: int) -> None:
        """Opens a new file of events in which what came after `step` counts no more.

        Raises:
          OSError: the folder cannot be written.
        """
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        self._folder = folder
        self._event = Event
        self._scalar = scalar
        self._flushed = time.monotonic()
        with naming(folder, _PURPOSE):
            folder.mkdir(exist_ok=True)
            name = f"events.out.tfevents.{time.time():.0f}.{step}.{os.getpid()}"
            self._file = RecordWriter(str(folder / f"{name}.{time.monotonic_ns()}"))
            self._write(Event(file_version="brain.Event:2"))
            if step:
                restart = SessionLog(status=SessionLog.START)
                self._write(Event(step=step + 1, session_log=restart))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        del kind, trace
        try:
            with naming(self._folder, _PURPOSE):
                self._file.close()
        except OSError:
            if error is None:  # An error that is under way says more than this one.
                raise

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers of a step, named like `train/loss`.

        Raises:
          OSError: the file cannot be written.
        """
        with naming(self._folder, _PURPOSE):
            for name, value in scalars.items():
                summary = self._scalar(name, value)
                self._write(self._event(step=step, summary=summary))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._file.flush()  # It waits for the disk.
                self._flushed = time.monotonic()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())
