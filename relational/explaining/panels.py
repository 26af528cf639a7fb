"""Explanations as tables, for terminals and notebooks: drawn by `rich`."""

import io
from typing import TYPE_CHECKING

from relational.explaining import words
from relational.explaining.costs import cost
from relational.explaining.measuring import Measured
from relational.explaining.pictures import picture
from relational.plans import Plan

if TYPE_CHECKING:  # Imported where it is used: `import relational` need not wait.
    from rich.panel import Panel
    from rich.table import Table

    from relational.explain import Explanation

_WIDTH = 120  # Of a page in a notebook, in characters.


def panels(explanation: "Explanation") -> "Table":
    """Returns a panel for each plan, one below the other."""
    from rich.table import Table

    grid = Table.grid(expand=True)
    for at, (plan, count) in enumerate(
        zip(explanation.plans, explanation.counts, strict=True)
    ):
        grid.add_row(_panel(plan, count, explanation.measured_of(at)))
    if not explanation.plans:
        grid.add_row(str(explanation))
    return grid


def html(explanation: "Explanation") -> str:
    """Returns the panels as HTML."""
    from rich.console import Console

    console = Console(record=True, file=io.StringIO(), width=_WIDTH)
    console.print(panels(explanation))
    style = "white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace"
    return console.export_html(
        inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>'
    )


def _panel(plan: Plan, count: int, measured: tuple[Measured, ...]) -> "Panel":
    from rich.console import Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.text import Text

    problem, estimated = plan.problem, cost(plan)
    graphs = f" x {problem.num_graphs:,} graphs" if problem.num_graphs != 1 else ""
    counts = (
        f"{problem.num_receivers:,} receivers x {problem.num_senders:,} senders"
        f"{graphs}, {problem.num_edges:,} edges, density {words.density(plan):.2f}"
    )
    chosen = Text.assemble(
        ("lowering ", "dim"),
        (plan.lowering.name, "bold green"),
        f", {words.why(plan)}: {words.counted(estimated.operations)}, "
        f"{words.size(estimated.moved)} moved, {words.size(estimated.bytes)} at a time, "
        f"about {words.time(estimated.seconds)} forward",
    )
    return Panel(
        Group(
            counts,
            "",
            Text(picture(problem), style="cyan"),
            "",
            _terms(plan),
            "",
            chosen,
            "",
            _candidates(plan, measured),
        ),
        title=escape(str(problem.topology)),
        subtitle=f"{count} times" if count > 1 else None,
        title_align="left",
        subtitle_align="left",
    )


def _terms(plan: Plan) -> "Table":
    table = _table("role", "depends on", "class", "becomes", "operations")
    for each in cost(plan).terms:
        table.add_row(
            each.role,
            ", ".join(sorted(each.term.depends)) or "nothing",
            each.term.kind,
            each.becomes,
            words.counted(each.operations).removesuffix(" operations"),
        )
    table.add_row("listens by", words.listening(plan), style="dim")
    return table


def _candidates(plan: Plan, measured: tuple[Measured, ...]) -> "Table":
    from rich.markup import escape

    table = _table("lowering", "estimated", "memory")
    if measured:
        for name in ("measured", "+ gradients", "memory"):
            table.add_column(name)
    table.add_column("verdict", ratio=1)
    found = {each.lowering: each for each in measured}
    for candidate in words.considered(plan):
        name = candidate.lowering.name
        taken = found.get(name, Measured(name))
        times = [taken.forward, taken.both] if measured else []
        sizes = [taken.forward_bytes, taken.both_bytes] if measured else []
        known = [size for size in sizes if size is not None]
        is_able, is_chosen = not candidate.reasons, name == plan.lowering.name
        said = [*candidate.reasons, words.too_large(candidate, plan), taken.reason]
        verdict = filter(None, ["chosen" if is_chosen else "", *said])
        table.add_row(
            name,
            words.time(candidate.seconds) if is_able else "",
            words.size(candidate.bytes) if is_able else "",
            *("" if each is None else words.time(each) for each in times),
            *([words.size(max(known)) if known else ""] if measured else []),
            escape("; ".join(verdict)),
            style="bold green" if is_chosen else "" if is_able else "dim",
        )
    return table


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column)
    return table
