"""Keeps a library's log of an error away from a person who is told of it in words.

When a disk is full, orbax and asyncio log some 400 lines of tracebacks from threads of
theirs, beside the error that they raise and that we turn into one line.
"""

import contextlib
import logging
import os
from collections.abc import Iterator

_LOGGERS = ("absl", "asyncio")
_ORBAX = f"{os.sep}orbax{os.sep}"


@contextlib.contextmanager
def without_orbax_logs() -> Iterator[None]:
    """Drops what orbax, and asyncio for it, log in the block; nothing else changes."""

    def is_kept(record: logging.LogRecord) -> bool:
        return record.name != "asyncio" and _ORBAX not in record.pathname

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_kept)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_kept)
