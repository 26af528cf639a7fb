"""Draws `architecture.svg`: what one says, what is computed, and how it is chosen.

Run it from anywhere: `python docs/images/make_architecture.py [folder]`.
"""

import pathlib
import sys

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

import relational as rl

BLUE, SKY, SAND, GREEN, RED = "#0072B2", "#56A8D8", "#F3DFC1", "#009E73", "#D55E00"
INK, GREY, PAPER, PALE = "#222222", "#777777", "#FAFAF8", "#ECECE8"
WIDTH, HEIGHT, BOTTOM = 12.0, 8.9, -0.2


def draw() -> Figure:
    """Returns the picture."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=110, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(BOTTOM, BOTTOM + HEIGHT)
    axes.axis("off")
    _draw_makers(axes)
    _draw_questions(axes)
    _draw_propagate(axes)
    _draw_lowerings(axes)
    _draw_legend(axes)
    return figure


def _draw_makers(axes: Axes) -> None:
    """The upper row: where calls of `propagate` come from."""
    _band(axes, 7.97, "models are data")
    texts = (
        ("spec", "a model, its data and its\ntraining in a short YAML file"),
        ("model", "embeds nodes, stacks blocks,\nreads out; built from a spec"),
        ("block", "a Haiku module: graph in,\ngraph out; owns parameters"),
    )
    for index, (name, text) in enumerate(texts):
        x = 0.4 + 3.83 * index
        _card(axes, x, 7.5, 3.54, 0.95)
        axes.text(x + 0.2, 8.17, name, fontsize=13, weight="bold", color=INK)
        axes.text(
            x + 0.2, 8.02, text, fontsize=9.5, color=GREY, va="top", linespacing=1.35
        )
        if index:
            _arrow(axes, (x - 0.27, 7.97), (x - 0.02, 7.97))
    _arrow(axes, (9.83, 7.46), (9.83, 7.14))
    own = "a block, or a function of your own, says:"
    axes.text(9.68, 7.28, own, fontsize=9.5, color=GREY, va="center", ha="right")


def _draw_questions(axes: Axes) -> None:
    """The middle row: the three things that a call says."""
    _band(axes, 5.64, "you say")
    cards = (
        ("Who may hear whom?", "a topology", "Causal() & Band(before=3)"),
        ("What does one edge say?", "terms", "score and message of an edge"),
        ("How does a node listen?", "an aggregator", "Softmax, Sum, Max, Std, …"),
    )
    for index, (question, noun, example) in enumerate(cards):
        x = 0.4 + 3.83 * index
        _card(axes, x, 4.2, 3.54, 2.88)
        axes.text(x + 0.2, 6.72, question, fontsize=13, weight="bold", color=INK)
        axes.text(x + 0.2, 6.42, noun, fontsize=11, color=BLUE, style="italic")
        axes.text(
            x + 1.77,
            4.36,
            example,
            fontsize=9,
            color=GREY,
            ha="center",
            family="monospace" if not index else None,
        )
    mask = (rl.Causal() & rl.Band(before=3)).mask(7)
    _matrix(axes, 1.42, 4.66, 1.5, np.where(mask, 2, 0))
    _edge(axes, 4.23)
    _listener(axes, 8.06)


def _edge(axes: Axes, x: float) -> None:
    """Two nodes, an edge with a label, and the terms on it."""
    sender, receiver = (x + 0.55, 5.2), (x + 2.99, 5.2)
    _arrow(
        axes, (sender[0] + 0.24, 5.2), (receiver[0] - 0.26, 5.2), color=BLUE, width=2
    )
    _node(axes, sender, "sender")
    _node(axes, receiver, "receiver", color=RED)
    axes.text(x + 1.77, 5.28, "offset -2", fontsize=9, color=GREEN, ha="center")
    score = "score = query·key + query·row[offset]"
    axes.text(x + 1.77, 5.98, score, fontsize=9.5, color=INK, ha="center")
    axes.text(x + 1.77, 5.73, "message = value", fontsize=9.5, color=INK, ha="center")


def _listener(axes: Axes, x: float) -> None:
    """One node that hears four others, some more than others."""
    receiver = (x + 2.62, 5.4)
    heights = (6.12, 5.66, 5.2, 4.74)
    for height, weight in zip(heights, (0.1, 0.6, 0.25, 0.05), strict=True):
        sender = (x + 0.6, height)
        _arrow(axes, sender, receiver, color=BLUE, width=0.8 + 5 * weight, style="-")
        axes.add_patch(Circle(sender, 0.11, facecolor=SKY, edgecolor="none", zorder=4))
        axes.text(
            x + 0.4,
            height,
            f"{weight:.2f}",
            fontsize=8.5,
            color=GREY,
            ha="right",
            va="center",
        )
    _node(axes, receiver, "receiver", color=RED)


def _draw_propagate(axes: Axes) -> None:
    """The bar in the middle: the one function."""
    for index in range(3):
        x = 2.17 + 3.83 * index
        _arrow(axes, (x, 4.16), (x, 3.86))
    axes.add_patch(
        FancyBboxPatch(
            (0.4, 3.06),
            11.2,
            0.76,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=BLUE,
            edgecolor="none",
            zorder=2,
        )
    )
    axes.text(
        0.75, 3.44, "propagate", fontsize=17, weight="bold", color="white", va="center"
    )
    axes.text(
        5.9,
        3.44,
        r"$\mathrm{out}_i = \rho\,(\{(\mathrm{score}_k,\ \mathrm{message}_k)$"
        r"$\ :\ \mathrm{edge}\ k\ \mathrm{ends\ in}\ i\})$",
        fontsize=14,
        color="white",
        va="center",
        ha="center",
    )
    axes.text(
        11.35,
        3.44,
        "pure JAX, no parameters",
        fontsize=9.5,
        color="white",
        va="center",
        ha="right",
    )


def _draw_lowerings(axes: Axes) -> None:
    """The lower row: the orders of evaluation, which never change the value."""
    _band(axes, 1.46, "it derives how")
    mask = (rl.Causal() & rl.Band(before=3)).mask(9)
    classes = (rl.Causal() & rl.Band(before=3)).tiles(3, 9)
    spread = np.repeat(np.repeat(classes, 3, axis=0), 3, axis=1)
    dense = np.where(mask, 2, 1)
    tiled = np.where(spread == 0, 0, np.where(mask, 2, 1))
    last = np.zeros((9, 9), int)
    last[8] = np.where(mask[8], 2, 0)
    rows = (
        ("edges", "one edge at a time:\nthe definition", None),
        ("dense", "all pairs with a mask:\nsmall or dense graphs", dense),
        ("tiles", "empty tiles skipped,\nnothing N x N stored", tiled),
        ("step", "one node at a time:\ndecoding, from a cache", last),
    )
    for index, (name, text, picture) in enumerate(rows):
        x = 0.4 + 2.853 * index
        _card(axes, x, 0.28, 2.64, 2.36)
        _arrow(axes, (x + 1.32, 3.02), (x + 1.32, 2.7))
        axes.text(x + 0.2, 2.27, name, fontsize=13, weight="bold", color=INK)
        axes.text(
            x + 0.2, 2.15, text, fontsize=9, color=GREY, va="top", linespacing=1.3
        )
        if picture is None:
            _edge_list(axes, x + 0.74)
        else:
            _matrix(axes, x + 0.74, 0.42, 1.16, picture)


def _draw_legend(axes: Axes) -> None:
    kinds = (
        (BLUE, "an edge"),
        (SAND, "computed, then masked"),
        (PALE, "never computed"),
    )
    x = 6.0 - 2.45
    for colour, text in kinds:
        axes.add_patch(Rectangle((x, -0.03), 0.13, 0.13, facecolor=colour))
        axes.text(x + 0.22, 0.035, text, fontsize=9, color=GREY, va="center")
        x += 0.55 + 0.088 * len(text)


def _edge_list(axes: Axes, x: float) -> None:
    for row, (sender, receiver) in enumerate(((0, 0), (0, 1), (1, 1), (0, 2), (1, 2))):
        y = 1.5 - 0.215 * row
        axes.text(x + 0.2, y, str(sender), fontsize=8.5, color=INK, va="center")
        axes.text(
            x + 0.9, y, str(receiver), fontsize=8.5, color=INK, va="center", ha="right"
        )
        _arrow(axes, (x + 0.38, y), (x + 0.74, y), color=BLUE, width=1.2, head=7)
    axes.text(x + 0.55, 0.42, "⋮", fontsize=9, color=GREY, ha="center", va="center")


def _matrix(axes: Axes, x: float, y: float, side: float, kinds: np.ndarray) -> None:
    """Draws pairs: 0 not computed, 1 computed and masked, 2 an edge."""
    cell = side / len(kinds)
    colours = (PALE, SAND, BLUE)
    for (row, column), kind in np.ndenumerate(kinds):
        corner = (x + column * cell, y + side - (row + 1) * cell)
        axes.add_patch(
            Rectangle(
                corner,
                cell * 0.9,
                cell * 0.9,
                facecolor=colours[kind],
                edgecolor="none",
                zorder=3,
            )
        )


def _node(axes: Axes, at: tuple[float, float], name: str, *, color: str = SKY) -> None:
    axes.add_patch(Circle(at, 0.2, facecolor=color, edgecolor="none", zorder=4))
    axes.text(at[0], at[1] - 0.4, name, fontsize=9, color=INK, ha="center")


def _card(axes: Axes, x: float, y: float, width: float, height: float) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=PAPER,
            edgecolor="#CFCFCB",
            linewidth=1,
            zorder=1,
        )
    )


def _band(axes: Axes, y: float, word: str) -> None:
    """Writes what a row is at its left, upwards."""
    axes.text(
        0.17,
        y,
        word,
        fontsize=9.5,
        color=GREY,
        rotation=90,
        va="center",
        ha="center",
        style="italic",
    )


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    color: str = GREY,
    width: float = 1.3,
    head: float = 12,
    style: str = "-|>",
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=head,
            color=color,
            linewidth=width,
            shrinkA=0,
            shrinkB=0,
            zorder=2,
        )
    )


if __name__ == "__main__":
    default = pathlib.Path(__file__).parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    matplotlib.rcParams["svg.hashsalt"] = "relational"  # The same file every time.
    draw().savefig(folder / "architecture.svg", metadata={"Date": None})
