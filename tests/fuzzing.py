"""How many mutations are tried, and what each of them may not do: fail, or hang.

A normal run tries 10,000; `RELATIONAL_FUZZ=1000000` tries a million.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

NUM_MUTATIONS = int(os.environ.get("RELATIONAL_FUZZ", "10000"))
_SPECS_IN_TEN = 7  # The others are MIDI files, which take longer.
_HANG_SECONDS = 30  # A mutation takes milliseconds; a machine may be busy.


def num_specs(num_parts: int) -> int:
    """Returns how many mutated specs each of so many tests tries."""
    return -(-NUM_MUTATIONS * _SPECS_IN_TEN // (10 * num_parts))


def num_files(num_parts: int) -> int:
    """Returns how many mutated MIDI files each of so many tests tries."""
    return -(-NUM_MUTATIONS * (10 - _SPECS_IN_TEN) // (10 * num_parts))


@contextlib.contextmanager
def trying(mutant: object) -> Iterator[None]:
    """Fails, and shows the mutant, if the block raises anything, or does not end."""

    def hang(*_: Any) -> NoReturn:
        # What pytest raises is no `Exception`, so that the library cannot catch it.
        pytest.fail(f"longer than {_HANG_SECONDS} s: {mutant!r}")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, _HANG_SECONDS)
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{error!r} came of {mutant!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
