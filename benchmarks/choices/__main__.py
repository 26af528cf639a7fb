"""`python -m benchmarks.choices`: times the lowerings of 200 cases, or reports."""

import pathlib
import time
from typing import Annotated

import typer

from benchmarks.choices import fitting, report
from benchmarks.choices.grid import cases
from benchmarks.choices.measuring import append, measure, read

_FILE = pathlib.Path("docs/results/choices.jsonl")


def main(
    out: Annotated[
        pathlib.Path, typer.Option(help="Measurements, a line a case; continued.")
    ] = _FILE,
    only: Annotated[str, typer.Option(help="Words that a case's name has.")] = "",
    is_report: Annotated[
        bool, typer.Option("--report", help="Measure nothing; judge what was found.")
    ] = False,
    page: Annotated[
        pathlib.Path | None, typer.Option(help="Where the report is put as well.")
    ] = None,
    is_fit: Annotated[
        bool, typer.Option("--fit", help="Print rates fitted to what was found.")
    ] = False,
) -> None:
    """Times every lowering on every case; a second call goes on where one stopped."""
    wanted = [case for case in cases() if only in case.name]
    if is_fit:
        print(fitting.as_code(fitting.rates(wanted, read(out))))
    elif is_report:
        found = read(out)
        halves = report.held_out(wanted, found)
        text = report.table(report.outcomes(wanted, found), halves)
        print(text)
        if page is not None:
            report.write(page, text)
    else:
        _measure(wanted, out)


def _measure(wanted, out):
    done = read(out)
    for at, case in enumerate(wanted):
        if case.name in done:
            continue
        start = time.perf_counter()
        found = measure(case)
        append(out, found)
        times = ", ".join(
            f"{name} {pair[0] * 1e3:.3g} / {pair[1] * 1e3:.3g} ms"
            for name, pair in found.seconds.items()
            if pair
        )
        took = time.perf_counter() - start
        print(f"{at}: {case.name}: {times} ({took:.1f} s)", flush=True)


if __name__ == "__main__":
    typer.run(main)
