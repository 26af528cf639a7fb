"""One peer's process: `python -m benchmarks.peer CASE SIZE PEER FOLDER`.

It builds its programs, leaves their results in FOLDER, says so, and then runs what each
line of its input names, answering with seconds.
"""

import json
import pathlib
import sys
import time

import numpy as np

from benchmarks import cases


def main() -> None:
    name, at, peer, folder = sys.argv[1:]
    case = cases.load(name)
    programs = case.peers[peer](case.inputs(**case.sizes[int(at)]))
    to_numpy = programs.to_numpy
    results = {"forward": to_numpy(programs.forward())}
    if programs.both is not None:
        results |= {f"d {k}": v for k, v in to_numpy(programs.both()).items()}
    np.savez(pathlib.Path(folder) / f"{peer}.npz", **results)
    temporary = programs.temporary() if programs.temporary else None
    tell({"ready": peer, "both": programs.both is not None, "temporary": temporary})
    for line in sys.stdin:
        program = getattr(programs, line.strip())
        program()  # Caches and memory are warm before the clock starts.
        start = time.perf_counter()
        program()
        seconds = time.perf_counter() - start
        tell({"seconds": seconds})


def tell(what: dict) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
