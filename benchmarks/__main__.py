"""`python -m benchmarks CASE`: times the peers of a case in turn."""

import json
import pathlib
import platform
import sys
from importlib import metadata
from typing import Annotated

import typer

from benchmarks import cases
from benchmarks.race import Result, Unequal, race

_VERSIONS = ("jax", "jaxlib", "torch", "numpy")


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Cases; all of them if not given.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Sizes, counted from 0; the first.")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="Peers besides ours; all if not given.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often each peer runs.")] = 9,
    out: Annotated[
        pathlib.Path | None, typer.Option(help="A folder for results in JSON.")
    ] = None,
) -> None:
    """Times the peers of cases in turn, each in its own process; prints a table."""
    print(_machine())
    for name in names or cases.names():
        case = cases.load(name)
        ours = next(iter(case.peers))
        peers = [ours, *(peer or [p for p in case.peers if p != ours])]
        unknown = [p for p in peers if p not in case.peers]
        if unknown:
            sys.exit(f"error: no peer `{unknown[0]}`; there are {list(case.peers)}.")
        for at in size or [0]:
            sizes = ", ".join(f"{k} {v}" for k, v in case.sizes[at].items())
            print(f"\n### {case.title}, {sizes}\n")
            try:
                results = race(name, at, rounds=rounds, peers=peers)
            except Unequal as error:
                sys.exit(f"error: {error}")
            print(_table(results))
            if out is not None:
                _write(out / f"{name}-{at}.json", case.sizes[at], results)


def _machine() -> str:
    versions = []
    for name in _VERSIONS:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return f"Python {platform.python_version()}, {', '.join(versions)}; {_processor()}"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return f"{len(models)} cores, {models[0]}" if models else platform.processor()


def _table(results: list[Result]) -> str:
    """Returns Markdown: milliseconds, their spread, and each one's ratio to ours."""
    lines = [
        "| | forward, ms | x | forward and backward, ms | x | temporary, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        cells = [result.peer]
        for program in ("forward", "both"):
            ratio = result.median(program) / results[0].median(program)
            milliseconds, spread = result.median(program) * 1e3, result.spread(program)
            cells += [f"{milliseconds:.1f} ± {spread * 1e3:.1f}", f"{ratio:.2f}"]
        memory = result.temporary
        cells.append("" if memory is None else f"{memory[0]:.0f} / {memory[1]:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _write(path: pathlib.Path, sizes: dict, results: list[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": _machine(),
        "sizes": dict(sizes),
        "results": [vars(result) for result in results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
