"""Stencils: who hears whom in a convolution, between two grids.

Senders are places of one grid, receivers those of another, perhaps coarser one."""

import dataclasses
from typing import Any, Literal

from relational import _pytrees
from relational._checks import is_whole, shown
from relational.topologies.grids import (
    Axes,
    Filtering,
    Neighbourhood,
    each_axis,
    set_axes,
    set_grid,
)

Padding = Literal["same", "valid"] | tuple[tuple[int, int], ...]


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stencil(Neighbourhood):
    """Each place of a grid hears a box of another: who hears whom in a convolution.

    Senders are the places of `grid`, receivers those of the grid that comes out, one
    for every `stride` places. `.T` leads back, from the smaller to the larger grid.

    Args:
      grid: senders along each axis: `(height, width)`, or of any number of axes.
      size: of the filter.
      stride: senders from one receiver to the next.
      dilation: senders from one tap to the next.
      padding: "same" (as many receivers as senders, divided by `stride`), "valid" (no
        box leaves the grid), or a pair (before, after) for each axis.
      Numbers stand for all axes alike.

    >>> print(Stencil(grid=(6,), size=3, stride=2).text())
    ###...
    ..###.
    ....##
    >>> Stencil(grid=(28, 28), size=3, padding="valid").receiver_grid
    (26, 26)
    """

    grid: tuple[int, ...]
    size: Axes
    stride: Axes = 1
    dilation: Axes = 1
    padding: Padding = "same"

    def __post_init__(self) -> None:
        set_grid(self)
        for name in ("size", "stride", "dilation"):
            set_axes(self, name)
        self._check_padding()
        if min(self.receiver_grid) < 1:
            raise ValueError(
                "`Stencil.size` must fit the padded grid; got size "
                f"{self.size} with dilation {self.dilation} on {self.grid}, padding "
                f'{self.padding!r}. Make it smaller, or take `padding="same"`.'
            )

    def _check_padding(self) -> None:
        if isinstance(self.padding, str) and self.padding in ("same", "valid"):
            return
        pairs = self.padding
        is_listed = isinstance(pairs, tuple | list) and len(pairs) == len(self.grid)
        if not is_listed or not all(map(_is_pair, pairs)):
            raise ValueError(
                '`Stencil.padding` must be "same", "valid" or a pair (before, after) of '
                f"counts for each of {len(self.grid)} axes; got {shown(pairs)}."
            )
        fixed = tuple(tuple(map(int, pair)) for pair in pairs)
        object.__setattr__(self, "padding", fixed)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """Places that are missing before and after the grid, along each axis."""
        if not isinstance(self.padding, str):
            return self.padding
        if self.padding == "valid":
            return ((0, 0),) * len(self.grid)
        found = []
        for count, size, stride, step in self._axes():
            wanted = (-(-count // stride) - 1) * stride + (size - 1) * step + 1
            total = max(wanted - count, 0)
            found.append((total // 2, total - total // 2))
        return tuple(found)

    def _axes(self) -> Any:
        return zip(self.grid, self.lengths, self.strides, self.steps, strict=True)

    @property
    def strides(self) -> tuple[int, ...]:
        """How many senders lie from one receiver to the next, along each axis."""
        return each_axis(self.stride)

    @property
    def receiver_grid(self) -> tuple[int, ...]:
        return tuple(
            (count + before + after - (size - 1) * step - 1) // stride + 1
            for (count, size, stride, step), (before, after) in zip(
                self._axes(), self.pads, strict=True
            )
        )

    @property
    def sender_grid(self) -> tuple[int, ...]:
        return self.grid

    def first(self, axis: int, place: Any) -> Any:
        return place * self.strides[axis] - self.pads[axis][0]

    def filtering(self) -> Filtering | None:
        return Filtering(self.strides, self.pads)


def _is_pair(value: Any) -> bool:
    is_listed = isinstance(value, tuple | list) and len(value) == 2
    return is_listed and all(is_whole(each) and each >= 0 for each in value)
