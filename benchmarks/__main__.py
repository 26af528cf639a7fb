"""`python -m benchmarks`: times the peers of all cases in turn, and writes the page."""

import datetime
import pathlib
import sys
from typing import Annotated

import typer

from benchmarks import cases, report
from benchmarks.case import Case
from benchmarks.machine import machine
from benchmarks.race import Result, Unequal, race
from benchmarks.report import Record

_ROOT = pathlib.Path(__file__).parent.parent


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Cases; all of them if not given.")
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option(help="Sizes, counted from 0; all if not given.")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="Peers besides ours; all if not given.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often each peer runs.")] = 9,
    seconds: Annotated[
        float, typer.Option(help="When rounds of one program end; 3 are always run.")
    ] = 8.0,
    sweep: Annotated[bool, typer.Option(help="Whether to plot over sizes too.")] = True,
    quick: Annotated[
        bool, typer.Option(help="One round at tiny sizes, printed and not kept.")
    ] = False,
    out: Annotated[
        pathlib.Path, typer.Option(help="The folder of results in JSON.")
    ] = _ROOT / "docs" / "results" / "benchmarks",
    page: Annotated[
        pathlib.Path, typer.Option(help="The page whose tables are written anew.")
    ] = _ROOT / "docs" / "benchmarks.md",
) -> None:
    """Times the peers of cases in turn, each in its own process."""
    names = names or cases.names()
    unknown = {name for name in names if "." not in name} - set(cases.names())
    if unknown:
        sys.exit(f"error: no case `{min(unknown)}`; there are {cases.names()}.")
    print(machine())
    unequal = []
    for name in names:
        case = cases.load(name)
        try:
            peers = _peers(name, case, peer)
            for at, sizes in enumerate([case.tiny] if quick else case.sizes):
                if quick or size is None or at in size:
                    found = _race(name, sizes, peers, 1 if quick else rounds, seconds)
                    if not quick:
                        _keep(out / f"{name}-{at}.json", name, sizes, found)
            if sweep and case.sweep and not quick and peer is None and size is None:
                peers = [peers[0], *case.sweep.peers]
                for at, sizes in enumerate(case.sweep.sizes):
                    found = _race(name, sizes, peers, min(rounds, 5), seconds / 2)
                    _keep(out / f"{name}-sweep-{at}.json", name, sizes, found)
        except Unequal as error:
            unequal.append(f"{name}: {error}")
            print(f"error: {unequal[-1]}", flush=True)
    if not quick:
        report.write(out, page, names)
    if unequal:
        sys.exit(f"error: values differ: {'; '.join(unequal)}.")


def _peers(name: str, case: Case, asked: list[str] | None) -> list[str]:
    """Returns ours, and those asked for that the case has."""
    ours, *others = case.peers
    unknown = [one for one in asked or [] if one not in others]
    if unknown:
        sys.exit(f"error: `{name}` has no peer `{unknown[0]}`; it has {others}.")
    return [ours, *(asked or others)]


def _race(
    name: str, sizes: report.Sizes, peers: list[str], rounds: int, seconds: float
) -> list[Result]:
    print(f"\n{cases.load(name).title}, {report.listed(sizes)}\n", flush=True)
    results = race(name, sizes, peers=peers, rounds=rounds, seconds=seconds)
    print(report.table(results), flush=True)
    return results


def _keep(
    path: pathlib.Path, name: str, sizes: report.Sizes, results: list[Result]
) -> None:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = Record(
        case=name, machine=machine(), date=today, sizes=dict(sizes), results=results
    )
    record.save(path)


if __name__ == "__main__":
    typer.run(main)
