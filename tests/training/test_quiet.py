"""What a library says of an error in threads of its own does not reach the user."""

import sys
import threading

from relational.training._quiet import without_orbax_logs


class _Dying:
    """Raises where nobody can catch it."""

    def __init__(self, error):
        self._error = error

    def __del__(self):
        raise self._error


def _die(error):
    thread = threading.Thread(target=lambda: _Dying(error))
    thread.start()
    thread.join()


def test_only_late_reads_are_dropped(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda item: seen.append(item.exc_value))
    other, late = ValueError("something else"), RuntimeError("Event loop is closed")
    with without_orbax_logs():
        _die(late)
        _die(other)
    assert seen == [other]
    _die(late)
    assert seen == [other, late]
