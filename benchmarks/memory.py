"""`python -m benchmarks.memory`: temporary memory of relative attention over length.

XLA's own figure for a compiled program: what it needs besides its arguments and its
results. Nothing is run, so that forms can be shown that no machine could hold.
"""

import pathlib
from typing import Annotated

import matplotlib
import typer

from benchmarks import cases

_PEERS = {
    "relational": "this library",
    "JAX skewed": "skewed",
    "JAX pairwise": "pairwise",
}
_LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)


def main(
    plot: Annotated[
        pathlib.Path | None, typer.Option(help="A picture to write.")
    ] = None,
) -> None:
    """Prints temporary memory, forward / forward and backward, MiB, as a table."""
    case = cases.load("relative_attention")
    found: dict[str, list[tuple[float, float]]] = {peer: [] for peer in _PEERS}
    print(f"| length | {' | '.join(_PEERS.values())} |\n|---|{'---|' * len(_PEERS)}")
    for length in _LENGTHS:
        inputs = case.inputs(length=length, heads=8, width=64)
        for peer, values in found.items():
            programs = case.peers[peer](inputs)
            assert programs.temporary is not None
            forward, both = programs.temporary()
            values.append((forward / 2**20, both / 2**20))
        cells = [f"{a:,.0f} / {b:,.0f}" for a, b in (v[-1] for v in found.values())]
        print(f"| {length} | {' | '.join(cells)} |".replace(",", " "), flush=True)
    if plot is not None:
        _draw(found, plot)


def _draw(found: dict[str, list[tuple[float, float]]], path: pathlib.Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for peer, values in found.items():
        both = [value for _, value in values]
        axes.loglog(_LENGTHS, both, marker="o", label=_PEERS[peer])
        axes.annotate(
            f"{both[-1]:,.0f} MiB".replace(",", "\N{THIN SPACE}"),
            (_LENGTHS[-1], both[-1]),
            (0, 8),
            ha="right",
            textcoords="offset points",
        )
    axes.set_xticks(_LENGTHS, [str(length) for length in _LENGTHS])
    axes.set_xticks([], minor=True)
    axes.margins(y=0.12)
    axes.set(
        xlabel="length",
        ylabel="temporary memory, MiB",
        title="Relative causal attention, forward and backward",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    typer.run(main)
