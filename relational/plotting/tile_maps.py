"""The picture of a plan: which pairs of nodes its lowering computes, and which it skips.

A row is a receiver, a column a sender. What is no edge and computed all the same, only
to be masked, is what a lowering wastes; what it never touches stays blank.

Shapes: R receivers, S senders.
"""

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from relational.explaining.covers import Cover, cover
from relational.explaining.pictures import is_known
from relational.lowerings.problem import Problem
from relational.lowerings.window import Cut, Window, neighbourhood
from relational.plans import Plan
from relational.topologies import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FREE = "#0072B2"  # From Okabe and Ito's palette, which colour-blind readers know.
_MASKED = "#56A8D8"
_WASTED = "#F3DFC1"
_PAPER = "#F4F4F1"
_HALO = "#D55E00"
_INK = "#444444"
_TITLE_WIDTH = 76
_MOST_LINES = 64  # Blocks on a side: more outlines would hide what they hold.
_KINDS = (
    ("computed, no mask needed", _FREE),
    ("computed under a mask", _MASKED),
    ("computed and masked away", _WASTED),
    ("never computed", _PAPER),
)


def tile_maps(*plans: Plan) -> "Figure":
    """Draws which pairs of nodes plans compute: receivers downwards, senders across.

    Args:
        *plans: of `rl.explain` or `rl.lower`; each gets a map, one below the other. A
            neighbourhood on a grid of two axes also gets a picture of the grid, with
            its blocks, and one of them with the nodes that it takes.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig(path)`.

    Raises:
        ValueError: if there is no plan, edges are not known, or a side is longer than
            4096, which no picture resolves.

    >>> import jax, relational as rl
    >>> from relational import plotting
    >>> nodes = jax.ShapeDtypeStruct((64, 4), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender,
    ...                 lowering=rl.lowerings.Tiles(block=16))
    >>> plotting.tile_maps(plan).axes[0].get_title(loc="left").splitlines()[1]
    'tiles: 4 blocks of 16 receivers, 1.23 pairs computed an edge'
    """
    from matplotlib.figure import Figure

    if not plans:
        raise ValueError("`plans` must hold a plan; got none, so nothing to draw.")
    found = [cover(plan) for plan in plans]
    grids = [_grid_cuts(plan) for plan in plans]
    columns = 1 + any(grid is not None for grid in grids)
    figure = Figure(
        figsize=(5.2 * columns + 0.2, 5.4 * len(plans)), dpi=150, layout="constrained"
    )
    axes = figure.subplots(len(plans), columns, squeeze=False)
    for row, plan, drawn, cuts in zip(axes, plans, found, grids, strict=True):
        _draw_map(row[0], plan, drawn)
        if cuts is not None:
            _draw_grid(row[1], plan.problem, cuts)
        elif columns > 1:
            row[1].set_axis_off()
    return figure


def _draw_map(axes: "Axes", plan: Plan, cover: Cover) -> None:
    from matplotlib.patches import Patch, Rectangle

    shape = cover.edges.shape
    axes.imshow(_colours(cover), interpolation="antialiased", aspect="equal")
    if len(cover.outlines) <= _MOST_LINES:
        for receiver, sender, height, width in cover.outlines:
            corner = (sender - 0.5, receiver - 0.5)
            axes.add_patch(
                Rectangle(corner, width, height, fill=False, ec=_INK, lw=0.6)
            )
    shares = _shares(cover)
    handles = [
        Patch(facecolor=colour, edgecolor=_INK, lw=0.4, label=f"{name} {share:.0%}")
        for (name, colour), share in zip(_KINDS, shares, strict=True)
        if share
    ]
    ratio = cover.computed.sum() / max(1, cover.edges.sum())
    an_edge = "an edge" if is_known(plan.problem.topology) else "a possible edge"
    said = f"{plan.lowering.name}: {cover.words}, {ratio:.2f} pairs computed {an_edge}"
    _dress(
        axes, f"{_name(plan.problem.topology)}\n{said}", ("receiver", "sender"), shape
    )
    _legend(axes, handles)


def _colours(cover: Cover) -> Any:
    from matplotlib.colors import to_rgb

    image = np.empty((*cover.edges.shape, 3))
    image[:] = to_rgb(_PAPER)
    image[cover.computed & ~cover.edges] = to_rgb(_WASTED)
    image[cover.computed & cover.edges] = to_rgb(_MASKED)
    image[cover.is_free & cover.edges] = to_rgb(_FREE)
    return image


def _shares(cover: Cover) -> list[float]:
    """Returns the share of all pairs of each kind."""
    free = (cover.is_free & cover.edges).mean()
    masked = (cover.computed & cover.edges).mean() - free
    wasted = (cover.computed & ~cover.edges).mean()
    return [
        float(share) for share in (free, masked, wasted, 1 - free - masked - wasted)
    ]


def _grid_cuts(plan: Plan) -> list[Cut] | None:
    """Returns how both axes of a grid are cut, where a plan cuts one."""
    if not isinstance(plan.lowering, Window):
        return None
    cuts = plan.lowering.plan(plan.problem)
    return cuts if len(cuts) == 2 else None


def _draw_grid(axes: "Axes", problem: Problem, cuts: list[Cut]) -> None:
    """Draws the senders' grid, and on it the blocks of receivers, one with its halo."""
    from matplotlib.patches import Patch, Rectangle

    topology = neighbourhood(problem.topology)
    assert topology is not None
    rows, columns = topology.sender_grid
    scales = [
        sender / receiver
        for sender, receiver in zip(
            topology.sender_grid, topology.receiver_grid, strict=True
        )
    ]
    axes.set_facecolor(_PAPER)
    middle = [len(cut.receivers) // 2 for cut in cuts]

    def box(starts: list[float], sizes: list[float], **how: Any) -> None:
        corner = (starts[1] - 0.5, starts[0] - 0.5)
        axes.add_patch(Rectangle(corner, sizes[1], sizes[0], **how))

    own = [
        cut.receivers[at] * s for cut, at, s in zip(cuts, middle, scales, strict=True)
    ]
    sizes = [cut.receiver_size * s for cut, s in zip(cuts, scales, strict=True)]
    halo = [float(cut.senders[at]) for cut, at in zip(cuts, middle, strict=True)]
    box(halo, [float(cut.sender_size) for cut in cuts], facecolor=_WASTED)
    box(own, sizes, facecolor=_MASKED)
    for row in cuts[0].receivers:
        for column in cuts[1].receivers:
            starts = [row * scales[0], column * scales[1]]
            box(starts, sizes, fill=False, ec=_INK, lw=0.4)
    box(halo, [float(cut.sender_size) for cut in cuts], fill=False, ec=_HALO, lw=1.2)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_aspect("equal")
    taken = " x ".join(str(cut.sender_size) for cut in cuts)
    held = " x ".join(str(cut.receiver_size) for cut in cuts)
    handles = [
        Patch(facecolor=_MASKED, label=f"a block of {held} receivers"),
        Patch(facecolor=_WASTED, edgecolor=_HALO, label=f"its {taken} senders"),
    ]
    title = f"the same on the grid of {rows} x {columns} senders"
    _dress(axes, title, ("row", "column"), (rows, columns))
    _legend(axes, handles)


def _dress(
    axes: "Axes", title: str, names: tuple[str, str], shape: tuple[int, int]
) -> None:
    axes.set_title(title, fontsize=8.5, color=_INK, loc="left")
    axes.set_ylabel(names[0], fontsize=8, color=_INK)
    axes.set_xlabel(names[1], fontsize=8, color=_INK)
    axes.set_yticks(_ticks(shape[0]))
    axes.set_xticks(_ticks(shape[1]))
    axes.tick_params(labelsize=7, colors=_INK, length=2)
    axes.spines[:].set_color("#cccccc")


def _legend(axes: "Axes", handles: list[Any]) -> None:
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=2,
        fontsize=7,
        frameon=False,
    )


def _name(topology: Topology) -> str:
    """Returns a topology in words, in lines that fit above its picture."""
    text = str(topology)
    is_composed = text.startswith("(") and text.endswith(")")
    return textwrap.fill(text[1:-1] if is_composed else text, _TITLE_WIDTH)


def _ticks(count: int) -> list[int]:
    """Returns some round places from 0 to the last node."""
    step = max(1, 2 ** math.ceil(math.log2(max(1, count / 8))))
    return list(range(0, count, step))
