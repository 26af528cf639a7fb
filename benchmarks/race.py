"""Runs the peers of a case in turn, each in its own process, and compares them."""

import contextlib
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np

from benchmarks import cases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A peer's seconds, round by round; its temporary memory, MiB; its error."""

    peer: str
    forward: list[float]
    both: list[float]
    temporary: list[float] | None
    error: float

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


def race(name: str, at: int, *, rounds: int, peers: list[str]) -> list[Result]:
    """Returns each peer's result for one size of a case, ours first.

    Args:
      name: the case.
      at: the size, by index.
      rounds: how often each peer runs; they take turns.
      peers: which of the case's peers.

    Raises:
      Unequal: if outputs or gradients differ.
    """
    case = cases.load(name)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        running = [stack.enter_context(_start(name, at, p, folder)) for p in peers]
        errors = _compare(pathlib.Path(folder), peers, case.tolerance)
        times: dict[str, dict[str, list[float]]] = {
            peer: {"forward": [], "both": []} for peer in peers
        }
        for program in ("forward", "both"):
            for _ in range(rounds):
                for peer, (process, ready) in zip(peers, running, strict=True):
                    if program == "forward" or ready["both"]:
                        answer = _ask(process, program)
                        times[peer][program].append(answer["seconds"])
    return [
        Result(
            peer=peer,
            temporary=ready["temporary"] and [b / 2**20 for b in ready["temporary"]],
            error=errors[peer],
            **times[peer],
        )
        for peer, (_, ready) in zip(peers, running, strict=True)
    ]


@contextlib.contextmanager
def _start(
    name: str, at: int, peer: str, folder: str
) -> Iterator[tuple[subprocess.Popen, dict]]:
    command = [sys.executable, "-m", "benchmarks.peer", name, str(at), peer, folder]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, _read(process)
        process.stdin.close()


def _ask(process: subprocess.Popen, program: str) -> dict:
    process.stdin.write(program + "\n")
    process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen) -> dict:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"A peer stopped: {' '.join(process.args)}")
    return json.loads(line)


def _compare(
    folder: pathlib.Path, peers: list[str], tolerance: tuple[float, float]
) -> dict[str, float]:
    """Returns each peer's largest error, relative to the second peer's values."""
    reference = np.load(folder / f"{peers[min(1, len(peers) - 1)]}.npz")
    errors = {}
    for peer in peers:
        found = np.load(folder / f"{peer}.npz")
        worst = 0.0
        for name in found.files:
            allowed = tolerance[0] if name == "forward" else tolerance[1]
            scale = max(1.0, float(np.abs(reference[name]).max()))
            error = float(np.abs(found[name] - reference[name]).max()) / scale
            if not error <= allowed:
                raise Unequal(f"{peer}, {name}: error {error:.1e} over {allowed:.0e}.")
            worst = max(worst, error)
        errors[peer] = worst
    return errors
