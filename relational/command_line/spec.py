"""`relational spec`: to list, show, check and compare specs, and their JSON Schema."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    from relational import specs

app = typer.Typer(no_args_is_help=True, help="Look at specs: models as data.")

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A file, or the name of a shipped spec.")
]
"""A spec on the command line, for the other commands as well."""

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Replace a value, as in --set training.steps=200. Can be repeated.",
    ),
]
"""Values to override on the command line, for the other commands as well."""


@app.command("list")
def list_() -> None:
    """List the specs that come with the library."""
    from rich.console import Console
    from rich.table import Table

    from relational import specs

    table = Table(box=None, pad_edge=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("what it is")
    for name in specs.names():
        table.add_row(name, specs.load(name).source)
    Console().print(table)


@app.command()
def show(spec: SpecArgument, settings: SetOption = None) -> None:
    """Print a spec as it would be written to a file."""
    from relational import specs

    typer.echo(specs.dumps(_loaded(spec, settings)), nl=False)


@app.command()
def check(spec: SpecArgument, settings: SetOption = None) -> None:
    """Check a spec, and say all that is wrong with it."""
    loaded = _loaded(spec, settings)
    typer.echo(f"{spec}: all is well with `{loaded.name}`")


@app.command()
def diff(before: SpecArgument, after: SpecArgument) -> None:
    """Print the lines in which two specs differ."""
    from relational import specs

    lines = specs.difference(specs.load(before), specs.load(after))
    if not lines:
        typer.echo("no difference")
        return
    colors = {"-": typer.colors.RED, "+": typer.colors.GREEN}
    for line in (f"--- {before}", f"+++ {after}", *lines):
        typer.secho(line, fg=colors[line[0]], bold=line[1] != " ")


@app.command()
def schema() -> None:
    """Print the JSON Schema of specs, for editors."""
    import json

    from relational import specs

    typer.echo(json.dumps(specs.schema(), indent=2))


def _loaded(spec: str, settings: list[str] | None) -> "specs.Spec":
    from relational import specs

    return specs.override(specs.load(spec), settings or [])
