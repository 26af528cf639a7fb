"""Rotary positions: queries and keys are turned by where their nodes stand.

The product of a query at m and a key at n then depends on n - m, whatever else is added
to the score.

Shapes: *lead any leading axes, N nodes, K width of a head, W turned channels.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import check_count, shown
from relational.terms import accumulator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotary:
    """Turns pairs of channels by angles that grow with the position.

    Pair i of W / 2 is turned by m theta_i at position m, with theta_i = base^(-2 i / W).

    Args:
      base: the wavelengths go from 2 pi almost to 2 pi base.
      width: W, an even number: the first W channels are turned, the others stay; None
        for all.
      layout: which channels are a pair, (0, 1), (2, 3), ... as in the paper
        ("interleaved"), or (0, W / 2), (1, W / 2 + 1), ... ("halves").

    Raises:
      ValueError: if `base` is not above 1, or `width` is odd.

    >>> import jax.numpy as jnp
    >>> turned = Rotary().turned(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0, 1]))
    >>> [[round(float(x), 4) for x in row] for row in turned]  # The cosine and sine of 1.
    [[1.0, 0.0], [0.5403, 0.8415]]

    Su et al. 2021, "RoFormer: enhanced transformer with rotary position embedding",
    equations 14, 15 and 34. Part of the channels, and the other layout, are those of
    GPT-NeoX (Black et al. 2022).
    """

    base: float = 10_000.0
    width: int | None = None
    layout: Literal["interleaved", "halves"] = "interleaved"

    def __post_init__(self) -> None:
        if not (isinstance(self.base, int | float | np.number) and self.base > 1):
            raise ValueError(
                f"`Rotary.base` must be more than 1; got {shown(self.base)}. The longest "
                "wavelength grows with it."
            )
        if self.width is not None:
            advice = "It counts channels, two a pair."
            check_count("Rotary.width", self.width, least=2, advice=advice)
            if self.width % 2:
                raise ValueError(
                    f"`Rotary.width` must be even; got {self.width}. {advice}"
                )
        if self.layout not in ("interleaved", "halves"):
            raise ValueError(
                "`Rotary.layout` must be 'interleaved' or 'halves'; got "
                f"{shown(self.layout)}."
            )

    def turned(self, channels: jax.Array, positions: jax.Array) -> jax.Array:
        """Returns channels, turned in float32 or better, of the type that they came in.

        Args:
          channels: [*lead, N, K].
          positions: integers that broadcast to [*lead, N].

        Raises:
          ValueError: if W is odd, or more than K.
        """
        width = self._width(channels.shape[-1])
        frequency = self.base ** (-np.arange(0, width, 2) / width)
        exact = accumulator(channels.dtype)
        at = jnp.asarray(positions, exact)[..., None]
        at = at.reshape((1,) * (channels.ndim - at.ndim) + at.shape)
        ones = (1,) * (channels.ndim - 1)
        angle = at * jnp.asarray(frequency, exact).reshape(*ones, -1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)  # [..., N, W / 2]
        part = channels[..., :width].astype(exact)
        if self.layout == "interleaved":
            pairs = part.reshape(*part.shape[:-1], width // 2, 2)
            first, second = pairs[..., 0], pairs[..., 1]
        else:
            first, second = jnp.split(part, 2, axis=-1)
        both = (first * cos - second * sin, first * sin + second * cos)
        if self.layout == "interleaved":
            turned = jnp.stack(both, axis=-1).reshape(part.shape)
        else:
            turned = jnp.concatenate(both, axis=-1)
        turned = turned.astype(channels.dtype)
        if width == channels.shape[-1]:
            return turned
        return jnp.concatenate([turned, channels[..., width:]], axis=-1)

    def _width(self, most: int) -> int:
        width = most if self.width is None else self.width
        if width % 2 or width > most:
            raise ValueError(
                "`Rotary.width` must be even, and at most the width of a head, "
                f"{most}; got {width}. Give `width={most - most % 2}`."
            )
        return width
