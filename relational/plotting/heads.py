"""The picture of what every head of several attentions listens to.

A row of matrices an attention, a column a head; in each a row a receiver, a column a
sender, and the darker a cell, the more that receiver listens to that sender.

Shapes: A attentions, H heads, R receivers, S senders.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#444444"
_FAINT = "#C9C9C4"
_SMALL = 1.5  # Inches of the longer side of a matrix without words.
_LINE = 0.19  # Inches of a row that has a word beside it.
_LETTER = 0.075  # Inches that a letter of such a word takes.


def draw_heads(
    weights: Sequence[Shaped[np.ndarray, "..."]],
    *,
    receivers: Sequence[str] | None = None,
    senders: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draws the weights of attentions, head by head.

    Args:
        weights: of each attention, [H, R, S]: how much each node listens to each other.
        receivers: a word for each receiver, R. Without words, matrices are small.
        senders: a word for each sender, S.
        names: of the attentions, A, to the left of their rows.
        title: above the picture.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig(path)`.

    Raises:
        ValueError: if there are no weights, or shapes and words do not fit.

    >>> alike = np.full([2, 3, 4], 0.25)
    >>> figure = draw_heads([alike], receivers="abc", senders="wxyz")
    >>> len(figure.axes), [word.get_text() for word in figure.axes[0].get_xticklabels()]
    (2, ['w', 'x', 'y', 'z'])

    After the viewer of attention in Tensor2Tensor (Vaswani et al. 2018).
    """
    from matplotlib.figure import Figure

    arrays = [np.asarray(each) for each in weights]
    _check(arrays, receivers, senders, names)
    shape = arrays[0].shape
    width, height = _size(shape, receivers, senders)
    margin = 0.35 if names is None else 0.6
    top = 0.35 if title is None else 0.7
    figure = Figure(
        figsize=(shape[0] * width + margin, len(arrays) * height + top),
        dpi=150,
        layout="constrained",
    )
    places = figure.subplots(len(arrays), shape[0], squeeze=False)
    for row, heads in zip(places, arrays, strict=True):
        for axes, head in zip(row, heads, strict=True):
            _draw_head(axes, head, receivers, senders)
    for number, axes in enumerate(places[0]):
        axes.set_title(f"head {number}", fontsize=9, color=_INK)
    for name, row in zip(names or (), places, strict=False):
        row[0].set_ylabel(name, fontsize=9, color=_INK)
    if title is not None:
        figure.suptitle(title, fontsize=10, color=_INK)
    return figure


def _check(
    arrays: Sequence[Shaped[np.ndarray, "..."]],
    receivers: Sequence[str] | None,
    senders: Sequence[str] | None,
    names: Sequence[str] | None,
) -> None:
    shapes = [list(each.shape) for each in arrays]
    if not arrays or len(shapes[0]) != 3 or not arrays[0].size:
        raise ValueError(
            "`weights` must hold at least one array [heads, receivers, senders]; got "
            f"{shapes}. Take one example of a batch."
        )
    other = next((each for each in shapes if each != shapes[0]), None)
    if other is not None:
        raise ValueError(
            f"`weights` must have one shape; got {shapes[0]} and {other}. Draw attentions "
            "over other edge sets in a picture of their own."
        )
    for name, words, count in (
        ("receivers", receivers, shapes[0][1]),
        ("senders", senders, shapes[0][2]),
        ("names", names, len(arrays)),
    ):
        if words is not None and len(words) != count:
            raise ValueError(
                f"`{name}` must be {count} words, as `weights` have it; got {len(words)}."
            )


def _size(
    shape: tuple[int, ...],
    receivers: Sequence[str] | None,
    senders: Sequence[str] | None,
) -> tuple[float, float]:
    """Returns the inches of a matrix, with the words beside it."""
    _, num_receivers, num_senders = shape
    scale = _SMALL / max(num_receivers, num_senders)
    if receivers is not None or senders is not None:
        scale = max(scale, _LINE)
    beside, below = (
        _LETTER * max(map(len, words or ("",))) for words in (receivers, senders)
    )
    return scale * num_senders + beside + 0.15, scale * num_receivers + below + 0.25


def _draw_head(
    axes: "Axes",
    head: Shaped[np.ndarray, "R S"],
    receivers: Sequence[str] | None,
    senders: Sequence[str] | None,
) -> None:
    axes.imshow(
        head, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="equal"
    )
    axes.set_xticks([] if senders is None else range(len(senders)))
    axes.set_yticks([] if receivers is None else range(len(receivers)))
    if senders is not None:
        axes.set_xticklabels(senders, rotation=90)
    if receivers is not None:
        axes.set_yticklabels(receivers)
    axes.tick_params(length=0, labelsize=8, labelcolor=_INK)
    for side in axes.spines.values():
        side.set(color=_FAINT, linewidth=0.6)
