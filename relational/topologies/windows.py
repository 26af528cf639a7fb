"""Windows: every place of a grid hears the places around it.

Attention to neighbourhoods, dilated, strided, and shifted inwards at the border."""

import dataclasses
from typing import Any, Literal

from relational import _pytrees
from relational._checks import shown
from relational.topologies.grids import (
    Axes,
    Filtering,
    Neighbourhood,
    array_module,
    each_axis,
    set_axes,
    set_grid,
)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Neighbourhood):
    """Each place of a grid hears the places around it: neighbourhood attention.

    Args:
      grid: places along each axis: `(height, width)`, or of any number of axes.
      size: places heard along each axis; of an even number one more lies before.
      dilation: how far apart they are.
      stride: so many neighbours along each axis share the window of the one in their
        middle (generalised neighbourhood attention, Hassani et al. 2025).
      border: "cut" leaves places beyond the grid out; "shift" moves a window inwards,
        so that everybody hears as many (Hassani et al. 2023, section 3.1).
      Numbers stand for all axes alike.

    >>> print(Window(grid=(5,), size=3).text())
    ##...
    ###..
    .###.
    ..###
    ...##
    >>> print(Window(grid=(5,), size=3, border="shift").text())
    ###..
    ###..
    .###.
    ..###
    ..###
    >>> Window(grid=(64, 64), size=(7, 7)).degrees().max()
    np.int64(49)
    """

    grid: tuple[int, ...]
    size: Axes
    dilation: Axes = 1
    stride: Axes = 1
    border: Literal["cut", "shift"] = "cut"

    def __post_init__(self) -> None:
        set_grid(self)
        for name in ("size", "dilation", "stride"):
            set_axes(self, name)
        if self.border not in ("cut", "shift"):
            raise ValueError(
                f'`Window.border` must be "cut" or "shift"; got {shown(self.border)}.'
            )
        for count, size, step in zip(self.grid, self.lengths, self.steps, strict=True):
            if self.border == "shift" and size * step > count:
                raise ValueError(
                    "`Window.size` times `dilation` must fit the grid where windows are "
                    f"shifted; got {size} x {step} on {count} places. Make it smaller, "
                    'or take `border="cut"`.'
                )

    @property
    def receiver_grid(self) -> tuple[int, ...]:
        return self.grid

    @property
    def sender_grid(self) -> tuple[int, ...]:
        return self.grid

    def first(self, axis: int, place: Any) -> Any:
        xp = array_module(place)
        count, size = self.grid[axis], self.lengths[axis]
        step, stride = self.steps[axis], each_axis(self.stride)[axis]
        # Places `dilation` apart are a grid of their own, as if they were neighbours.
        phase, index = place % step, place // step
        length = (count - phase + step - 1) // step
        if stride > 1:
            index = xp.minimum(index // stride * stride + stride // 2, length - 1)
        index = index - size // 2
        if self.border == "shift":
            index = xp.clip(index, 0, length - size)
        return index * step + phase

    def filtering(self) -> Filtering | None:
        if self.border == "shift" or max(each_axis(self.stride)) > 1:
            return None
        pads = tuple(
            (size // 2 * step, (size - 1 - size // 2) * step)
            for size, step in zip(self.lengths, self.steps, strict=True)
        )
        return Filtering((1,) * len(self.grid), pads)
