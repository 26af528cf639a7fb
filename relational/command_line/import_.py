"""`relational import`: a model that was trained elsewhere, as the folder of a run."""

from pathlib import Path
from typing import Annotated

import typer

from relational.command_line.spec import SetOption

_MOST_NAMED = 3
_TRANSLATORS = ("marian", "t5")


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="GPT-2, BERT, T5 or Marian, as Hugging Face's `save_pretrained` writes it.",
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="FOLDER",
            help="The folder of the run; runs/ and the model's folder if not given.",
        ),
    ] = None,
    settings: SetOption = None,
) -> None:
    """Make a run of a model of Hugging Face: its spec, as a graph, and its weights."""
    from relational import weights

    imported = weights.load(folder)
    target = run or Path("runs") / folder.resolve().name
    weights.write_run(imported, target, settings or [])
    count = sum(leaf.size for its in imported.params.values() for leaf in its.values())
    typer.echo(f"{imported.kind}: {count:,} parameters in {target}")
    if imported.ignored:
        named = ", ".join(imported.ignored[:_MOST_NAMED])
        more = len(imported.ignored) - _MOST_NAMED
        typer.echo(f"Not used: {named}" + (f" and {more} more" if more > 0 else ""))
    if imported.subwords is not None:
        typer.echo(f"Next: relational translate {target}")
    elif imported.kind in _TRANSLATORS:
        typer.echo(
            "No vocabulary lies beside the weights (`spiece.model`; or `source.spm`, "
            "`target.spm` and `vocab.json`), so that the run cannot translate text. Put "
            "it there and import again."
        )
    else:
        typer.echo(
            f"Its tokens are numbers of its own tokenizer. Spec: {target}/spec.yaml"
        )
