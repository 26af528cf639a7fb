"""Listening for SIGINT and SIGTERM without stopping in the middle of a step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop, and by which signal."""

    signal_number: int | None = None

    @property
    def name(self) -> str:
        """Name of the signal, such as `SIGTERM`."""
        assert self.signal_number is not None
        return signal.Signals(self.signal_number).name


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Yields what is set by the first SIGINT or SIGTERM within the block.

    A second signal of the kind does what it did before the block, at once. Python
    lets only the main thread handle signals: in another one nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            # None: a handler that was not set from Python, and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal_number = number
        restore()

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
