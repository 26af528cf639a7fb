"""One peer's process: `python -m benchmarks.peer CASE SIZES PEER FOLDER`.

It builds its programs, leaves their results in FOLDER, says so, and then runs what each
line of its input names, answering with seconds. What goes wrong is an answer too.
"""

import ctypes
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import cases
from benchmarks.case import CannotRun, Case, Programs, check_memory

# The first calls of a turn pay for the turns of the others: their threads, their caches.
_LEAST_SECONDS = 0.05
_MOST_CALLS = 50


def main() -> None:
    name, sizes, peer, folder = sys.argv[1:]
    case = cases.load(name)
    programs = _answer(lambda: _prepare(case, json.loads(sizes), peer, folder))
    for line in sys.stdin:
        _answer(lambda line=line: _timed(getattr(programs, line.strip())))


def _prepare(
    case: Case, sizes: dict[str, int], peer: str, folder: str
) -> tuple[dict[str, Any], Programs]:
    programs = case.peers[peer](case.inputs(**sizes))
    temporary = programs.temporary() if programs.temporary else None
    check_memory(max(temporary or (0,)), "its temporary arrays")
    np.savez(pathlib.Path(folder) / f"{peer}.npz", **programs.results())
    runs = [programs.forward] + ([programs.both] if programs.both else [])
    said = {
        "temporary": temporary,
        "memory": [_added_memory(run) for run in runs],
    }
    return said, programs


def _timed(program: Callable[[], Any]) -> tuple[dict[str, Any], None]:
    """Tells how long a call takes: the median of as many as take a twentieth second."""
    program()  # Caches and memory are warm before the clock starts.
    times: list[float] = []
    while not times or (sum(times) < _LEAST_SECONDS and len(times) < _MOST_CALLS):
        start = time.perf_counter()
        program()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times)}, None


def _answer(work: Callable[[], tuple[dict[str, Any], Any]]) -> Any:
    """Tells what `work` says, or why it failed, which ends this process."""
    try:
        said, result = work()
    except CannotRun as error:
        said, result = {"failed": str(error)}, None
    except Exception as error:  # noqa: BLE001  # Whatever it is, it is told.
        lines = str(error).strip().splitlines() or ["no message"]
        said, result = {"failed": f"{type(error).__name__}: {lines[0][:200]}"}, None
    print(json.dumps(said), flush=True)
    if "failed" in said:
        sys.exit()
    return result


def _added_memory(program: Callable[[], Any]) -> float | None:
    """Returns by how many bytes one call raises resident memory, where Linux tells."""
    try:
        time.sleep(0.1)  # XLA's threads free what the last call left.
        ctypes.CDLL(None).malloc_trim(0)  # What was freed is given back first.
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
        before = _resident("VmRSS")
        program()
        return _resident("VmHWM") - before
    except (OSError, AttributeError):
        return None


def _resident(field: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field + ":"))
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
