"""The picture of a topology: a row a receiver, a column a sender, a mark an edge.

Shapes: R receivers, S senders.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from relational.topologies import Tile, Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EDGE = "#0072B2"  # From Okabe and Ito's palette, which colour-blind readers know.
_MASKED_EDGE = "#56A8D8"
_WASTED = "#F3DFC1"
_PAPER = "#F4F4F1"
_INK = "#444444"
_LARGEST_WITH_GAPS = 40  # Beyond it, gaps between cells would hide the cells.
_LARGEST = 4096


def topology(
    topology: Topology,
    num_receivers: int | None = None,
    num_senders: int | None = None,
    *,
    block: int | None = None,
    title: str | None = None,
    axes: "Axes | None" = None,
) -> "Figure":
    """Draws who hears whom: receivers downwards, senders to the right.

    Args:
        topology: what to draw. Of data that differ along leading axes, the first.
        num_receivers: R; needed where the topology carries no node count.
        num_senders: S; by default R.
        block: also shows what a lowering may exploit: tiles of `block` x `block` whose
            edges are dark where the tile is full, lighter where it is partial; pairs
            that a partial tile computes and masks are sand, empty tiles stay blank.
        title: above the picture; by default the topology's own name.
        axes: where to draw; by default a new figure.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig(path)`.

    Raises:
        ValueError: if counts are missing, `block` is below 1, or a side is longer than
            4096, which no picture resolves.

    >>> import relational as rl
    >>> from relational import plotting
    >>> figure = plotting.topology(rl.Causal() & rl.Band(before=4), 16, block=4)
    >>> figure.axes[0].get_ylabel()
    'receiver'
    """
    mask = _mask(topology, num_receivers, num_senders, block)
    shape = (mask.shape[0], mask.shape[1])
    tiles = None if block is None else _classes(topology, block, shape)
    if axes is None:
        from matplotlib.figure import Figure

        axes = Figure(
            figsize=_size(*shape), dpi=150, layout="constrained"
        ).add_subplot()
    axes.imshow(_colours(mask, tiles), interpolation="nearest", aspect="equal")
    _draw_gaps(axes, shape)
    if block is not None:
        _draw_tiles(axes, shape, block)
    _dress(axes, _name(topology) if title is None else title)
    found: Figure = axes.figure.figure  # Of a part of a figure, the whole.
    return found


def _mask(
    topology: Topology,
    num_receivers: int | None,
    num_senders: int | None,
    block: int | None,
) -> Bool[np.ndarray, "R S"]:
    if block is not None and block < 1:
        raise ValueError(f"`block` must be 1 or more; got {block}. It counts nodes.")
    sizes = topology.sizes(num_receivers, num_senders)
    if max(sizes) > _LARGEST:
        raise ValueError(
            f"`num_receivers` and `num_senders` must be at most {_LARGEST} for a "
            f"picture; got {sizes[0]} and {sizes[1]}. Draw a smaller one of the kind."
        )
    mask = topology.mask(*sizes)
    first: Bool[np.ndarray, "R S"] = mask.reshape(-1, *sizes)[0]
    return first


def _classes(topology: Topology, block: int, shape: tuple[int, int]) -> Any:
    """Returns the class of the tile that each pair lies in, [R, S]."""
    tiles = topology.tiles(block, *shape)
    spread = np.repeat(np.repeat(tiles, block, axis=0), block, axis=1)
    return spread[: shape[0], : shape[1]]


def _colours(mask: Bool[np.ndarray, "R S"], tiles: Any) -> Float[np.ndarray, "R S 3"]:
    from matplotlib.colors import to_rgb

    image = np.empty((*mask.shape, 3))
    image[:] = to_rgb(_PAPER)
    image[mask] = to_rgb(_EDGE)
    if tiles is not None:
        image[mask & (tiles == Tile.PARTIAL)] = to_rgb(_MASKED_EDGE)
        image[~mask & (tiles == Tile.PARTIAL)] = to_rgb(_WASTED)
    return image


def _size(num_receivers: int, num_senders: int) -> tuple[float, float]:
    """Returns a figure size in inches with the longer side of the picture at 3.4."""
    scale = 3.4 / max(num_receivers, num_senders, 1)
    return (
        max(1.2, scale * num_senders) + 0.6,
        max(1.2, scale * num_receivers) + 0.6,
    )


def _draw_gaps(axes: "Axes", shape: tuple[int, int]) -> None:
    if max(shape) > _LARGEST_WITH_GAPS:
        return
    for row in range(1, shape[0]):
        axes.axhline(row - 0.5, color="white", linewidth=1)
    for column in range(1, shape[1]):
        axes.axvline(column - 0.5, color="white", linewidth=1)


def _draw_tiles(axes: "Axes", shape: tuple[int, int], block: int) -> None:
    for row in range(block, shape[0], block):
        axes.axhline(row - 0.5, color=_INK, linewidth=0.7)
    for column in range(block, shape[1], block):
        axes.axvline(column - 0.5, color=_INK, linewidth=0.7)


def _name(topology: Topology) -> str:
    text = str(topology)
    is_composed = text.startswith("(") and text.endswith(")")
    return text[1:-1] if is_composed else text


def _dress(axes: "Axes", title: str) -> None:
    axes.set_title(title, fontsize=9, color=_INK, pad=6)
    axes.set_xlabel("sender", fontsize=8, color=_INK)
    axes.set_ylabel("receiver", fontsize=8, color=_INK)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
