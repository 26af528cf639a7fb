"""Runs the peers of a case in turn, each in its own process, and compares them.

A peer that cannot run is reported with its reason, and the others go on; one whose
values differ stops the race.
"""

import contextlib
import dataclasses
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.case import Arrays

_LEAST_ROUNDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What was found of one peer at one size.

    Attributes:
      forward, both: seconds, round by round; empty where there is no such program.
      temporary: XLA's own figure of temporary memory of (forward, both), MiB.
      memory: by how much a call of each program raised resident memory, MiB.
      error: the largest, relative to the reference; None where there was none.
      failed: why it could not run, or None.
    """

    peer: str
    forward: list[float] = dataclasses.field(default_factory=list)
    both: list[float] = dataclasses.field(default_factory=list)
    temporary: list[float] | None = None
    memory: list[float | None] | None = None
    error: float | None = None
    failed: str | None = None

    def median(self, program: str) -> float:
        return statistics.median(getattr(self, program) or [float("nan")])

    def spread(self, program: str) -> float:
        """Returns half the distance between the quartiles, in seconds."""
        times = getattr(self, program)
        if len(times) < 4:
            return float("nan")
        first, _, third = statistics.quantiles(times, n=4)
        return (third - first) / 2


class Unequal(Exception):
    """A peer's results are not those of the others."""


class Failed(Exception):
    """A peer's process cannot go on; the message says why."""


def race(
    name: str,
    sizes: Mapping[str, int],
    *,
    peers: Sequence[str],
    rounds: int,
    seconds: float = float("inf"),
) -> list[Result]:
    """Returns each peer's result for one size of a case, ours first.

    Args:
      name: the case.
      sizes: the size, by keyword.
      peers: which of the case's peers.
      rounds: how often each peer runs; they take turns.
      seconds: after so many, rounds of a program end, but for the first three.

    Raises:
      Unequal: if outputs or gradients differ.
    """
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        starts = {
            peer: stack.enter_context(_start(name, sizes, peer, folder))
            for peer in peers
        }
        found = {peer: found for peer, (_, found) in starts.items()}
        running = {
            peer: process
            for peer, (process, _) in starts.items()
            if found[peer].failed is None
        }
        _compare(folder, list(running), cases.load(name).tolerance, found)
        for program in ("forward", "both"):
            began = time.monotonic()
            for done in range(rounds):
                if done >= _LEAST_ROUNDS and time.monotonic() - began > seconds:
                    break
                _round(program, running, found)
    return list(found.values())


def largest_error(
    found: Mapping[str, Any],
    reference: Mapping[str, Any],
    tolerance: tuple[float, float],
) -> float:
    """Returns the largest error of outputs and gradients.

    Args:
      found: of one peer, as `Programs.results` has them.
      reference: of another; what it lacks is not compared.
      tolerance: what is allowed of outputs and gradients.

    Raises:
      Unequal: if an error is larger than that.
    """
    worst = 0.0
    for name in found:
        if name not in reference:
            continue
        if found[name].shape != reference[name].shape:
            shapes = found[name].shape, reference[name].shape
            raise Unequal(f"{name}: shape {shapes[0]}, and {shapes[1]} elsewhere")
        allowed = tolerance[0] if name == "forward" else tolerance[1]
        scale = max(1.0, float(np.abs(reference[name]).max()))
        error = float(np.abs(found[name] - reference[name]).max()) / scale
        if not error <= allowed:
            raise Unequal(f"{name}: error {error:.1e} over {allowed:.0e}")
        worst = max(worst, error)
    return worst


@contextlib.contextmanager
def _start(
    name: str, sizes: Mapping[str, int], peer: str, folder: pathlib.Path
) -> Iterator[tuple[subprocess.Popen, Result]]:
    command = [sys.executable, "-m", "benchmarks.peer", name, json.dumps(dict(sizes))]
    with subprocess.Popen(
        [*command, peer, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            ready = _read(process)
        except Failed as error:
            result = Result(peer=peer, failed=str(error))
        else:
            result = Result(
                peer=peer,
                temporary=ready["temporary"] and _mebibytes(ready["temporary"]),
                memory=_mebibytes(ready["memory"]),
            )
        yield process, result
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _mebibytes(sizes: list[Any]) -> list[Any]:
    return [size and size / 2**20 for size in sizes]


def _round(
    program: str, running: dict[str, subprocess.Popen], found: dict[str, Result]
) -> None:
    """Lets every peer that still runs take its turn."""
    for peer, process in list(running.items()):
        if program == "both" and len(found[peer].memory or []) < 2:
            continue
        try:
            getattr(found[peer], program).append(_ask(process, program)["seconds"])
        except Failed as error:
            del running[peer]
            found[peer] = Result(peer=peer, failed=str(error))


def _ask(process: subprocess.Popen, program: str) -> dict[str, Any]:
    with contextlib.suppress(BrokenPipeError):  # Then there is no answer either.
        process.stdin.write(program + "\n")
        process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        code = process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        raise Failed(f"its process ended {how}")
    answer = json.loads(line)
    if "failed" in answer:
        raise Failed(answer["failed"])
    return answer


def _compare(
    folder: pathlib.Path,
    running: Sequence[str],
    tolerance: tuple[float, float],
    found: dict[str, Result],
) -> None:
    """Sets each peer's error, against the first that is not ours."""
    others = [peer for peer in running if peer != next(iter(found))]
    if len(running) < 2:
        return
    references: Arrays = dict(np.load(folder / f"{others[0]}.npz"))
    for peer in running:
        values = np.load(folder / f"{peer}.npz")
        try:
            error = largest_error(values, references, tolerance)
        except Unequal as error_:
            raise Unequal(f"{peer}, {error_}") from None
        found[peer] = dataclasses.replace(found[peer], error=error)
