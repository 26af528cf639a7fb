"""`python -m benchmarks.profile CASE`: where the time of one program of a peer goes.

XLA's own profiler, read back: how long each instruction of the compiled program took, by
what it computes. Instructions may run side by side, and one may use all cores, so that the
times of all are more or less than that of the call. Only peers that XLA compiles can be
asked.
"""

import collections
import dataclasses
import pathlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import rich
import rich.markup
import rich.table
import typer

from benchmarks import cases
from benchmarks.case import Programs

_THREADS = ("tf_XLA", "XLA")  # What the names of XLA's threads begin with.
_NO_INSTRUCTIONS = ("ThunkExecutor", "ThreadpoolListener", "end: ", "$")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)$")
_OF_PYTHON = re.compile(r'op_name="(?P<path>[^"]*)"')
_SHAPE = re.compile(r"^\(?(?P<shape>\w+\[[\d,]*\])")


@dataclasses.dataclass(kw_only=True)
class Spent:
    """What all instructions of one kind took.

    Attributes:
      calls: how often one ran, a call of the program.
      milliseconds: from its beginning to its end, a call of the program.
    """

    calls: float = 0.0
    milliseconds: float = 0.0


def main(
    name: Annotated[str, typer.Argument(help="A case.")],
    size: Annotated[int, typer.Option(help="Which size, counted from 0.")] = 0,
    peer: Annotated[str | None, typer.Option(help="A peer; ours if not given.")] = None,
    forward: Annotated[
        bool, typer.Option(help="Without gradients, rather than with them.")
    ] = False,
    calls: Annotated[int, typer.Option(help="How many calls are looked at.")] = 5,
) -> None:
    """Prints the time of each kind of instruction, most first."""
    if name not in cases.names():
        sys.exit(f"error: no case `{name}`; there are {cases.names()}.")
    case = cases.load(name)
    peer = peer or next(iter(case.peers))
    if peer not in case.peers:
        sys.exit(f"error: `{name}` has no peer `{peer}`; it has {list(case.peers)}.")
    if not 0 <= size < len(case.sizes):
        sys.exit(f"error: `--size` must be 0 to {len(case.sizes) - 1}; got {size}.")
    programs = case.peers[peer](case.inputs(**case.sizes[size]))
    call = programs.forward if forward else programs.both
    if call is None or not programs.texts:
        sys.exit(f"error: `{peer}` has no such program that XLA compiled.")
    wall, spent = profiled(call, _kinds(programs, forward), calls)
    _print(f"{case.title}: {peer}", wall, spent)


def profiled(
    call: Callable[[], Any], kinds: Mapping[str, str], calls: int
) -> tuple[float, dict[str, Spent]]:
    """Returns milliseconds a call, and what each kind of instruction took of them.

    Args:
      call: a compiled program.
      kinds: what the instructions compute, by name.
      calls: how many are looked at.
    """
    import jax

    call()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                call()
        spent: dict[str, Spent] = collections.defaultdict(Spent)
        for event in _events(pathlib.Path(folder)):
            if event.name in kinds:
                each = spent[kinds[event.name]]
                each.calls += 1 / calls
                each.milliseconds += event.duration_ns / 1e6 / calls
    began = time.perf_counter()  # Anew: a trace costs time of its own.
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) * 1e3 / calls, dict(spent)


def _events(folder: pathlib.Path) -> Iterator[Any]:
    import jax

    (path,) = folder.rglob("*.xplane.pb")
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            if line.name.startswith(_THREADS):
                yield from line.events


def _kinds(programs: Programs, forward: bool) -> dict[str, str]:
    """Returns what each instruction computes, such as `dot_general f32[8,512,512]`."""
    assert programs.texts is not None
    text = programs.texts()[0 if forward else 1]
    kinds = {}
    for line in text.splitlines():
        found = _INSTRUCTION.match(line)
        if found is None or found["name"].startswith(_NO_INSTRUCTIONS):
            continue
        path = _OF_PYTHON.search(found["rest"])
        shape = _SHAPE.match(found["rest"])
        last = path["path"].rsplit("/", 1)[-1] if path else found["name"].split(".")[0]
        is_while = " while(" in found["rest"]  # Its body's instructions are counted.
        is_call = " call(" in found["rest"] or " conditional(" in found["rest"]
        if not is_while and not is_call:
            kinds[found["name"]] = f"{last} {shape['shape'] if shape else ''}".strip()
    return kinds


def _print(title: str, wall: float, spent: Mapping[str, Spent]) -> None:
    table = rich.table.Table(title=f"{title}, {wall:,.1f} ms a call")
    table.add_column("what is computed")
    for column in ("times", "ms", "share"):
        table.add_column(column, justify="right")
    total = sum(each.milliseconds for each in spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1].milliseconds)
    for kind, each in ordered:
        share = each.milliseconds / total
        if share >= 0.01:
            table.add_row(
                rich.markup.escape(kind),
                f"{each.calls:,.0f}",
                f"{each.milliseconds:,.2f}",
                f"{share:.0%}",
            )
    table.add_row("all", "", f"{total:,.2f}", "100%")
    rich.print(table)


if __name__ == "__main__":
    typer.run(main)
