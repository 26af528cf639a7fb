"""Keeps a library's log of an error away from a person who is told of it in words.

When a disk is full, orbax and asyncio log some 400 lines of tracebacks from threads of
theirs, beside the error that they raise and that we turn into one line. When one file of
a checkpoint is damaged, the reads of the others end after the event loop that waited
for them, and each prints a traceback of its own.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

_LOGGERS = ("absl", "asyncio")
_LATE_READ = "Event loop is closed"
_ORBAX = f"{os.sep}orbax{os.sep}"


@contextlib.contextmanager
def without_orbax_logs() -> Iterator[None]:
    """Drops what orbax, and asyncio for it, say in the block; nothing else changes."""

    def is_kept(record: logging.LogRecord) -> bool:
        return record.name != "asyncio" and _ORBAX not in record.pathname

    hook = sys.unraisablehook

    def hook_but_late_reads(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != _LATE_READ:
            hook(unraisable)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_kept)
    sys.unraisablehook = hook_but_late_reads
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for logger in loggers:
            logger.removeFilter(is_kept)
