"""`python -m benchmarks.curves FILE...`: validation losses of several runs, one picture."""

import csv
import pathlib
from typing import Annotated

import matplotlib
import typer


def main(
    metrics: Annotated[list[pathlib.Path], typer.Argument(help="Their metrics.csv.")],
    plot: Annotated[pathlib.Path, typer.Option(help="The picture to write.")],
) -> None:
    """Draws validation loss over steps, after the first evaluation."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for path in metrics:
        with path.open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
        steps = [int(row["step"]) for row in rows[1:]]
        losses = [float(row["loss"]) for row in rows[1:]]
        label = path.stem if path.stem != "metrics" else path.parent.name
        axes.plot(steps, losses, marker="o", label=f"{label} {losses[-1]:.3f}")
    axes.set(xlabel="steps", ylabel="validation, nats per token")
    axes.set_ylim(top=1.0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(plot)


if __name__ == "__main__":
    typer.run(main)
