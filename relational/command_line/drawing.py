"""Options of the commands that draw tokens; see `decoding.Sampling`."""

from typing import Annotated

import typer

TemperatureOption = Annotated[
    float,
    typer.Option(
        "--temperature",
        metavar="T",
        help="1 is the model itself, less is bolder, 0 takes the likeliest token.",
    ),
]
TopKOption = Annotated[
    int | None,
    typer.Option("--top-k", metavar="K", help="Draw from the K likeliest tokens."),
]
TopPOption = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        help="Draw from the fewest tokens that have this probability together.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", help="Of all that is drawn.")
]
