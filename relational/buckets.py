"""Buckets: a relation whose labels are exact nearby and coarse far away, as T5 has it.

Shapes: L labels.
"""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import check_count, is_whole, shown
from relational.relations import PositionRelation


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True, kw_only=True)
class Buckets(PositionRelation):
    """Sender position minus receiver position, in buckets that widen with the distance.

    Of the h labels of one side, the first e = h // 2 are the distances 0 to e - 1, one
    each; distance d beyond has the label

        min(h - 1, e + floor((h - e) log(d / e) / log(furthest / e)))

    Senders that come later have h labels of their own (`later=True`, h = num_buckets /
    2), or are all at distance 0 (`later=False`, h = num_buckets), for causal topologies.

    Args:
      num_buckets: L.
      furthest: the distance from which on all share the last label of their side.
      later: whether senders after the receiver are told from those before it.

    Raises:
      ValueError: if there are too few buckets, or `furthest` is no farther than the
        distances that have a label each.

    >>> import numpy as np
    >>> Buckets(num_buckets=8, furthest=16, later=False).label(-np.arange(0, 20, 2))
    array([0, 2, 4, 5, 6, 6, 7, 7, 7, 7], dtype=int32)

    Raffel et al. 2020, "Exploring the limits of transfer learning with a unified
    text-to-text transformer", section 2.1; its formula is that of the authors' code.
    """

    num_buckets: int = 32
    furthest: int = 128
    later: bool = True

    def __post_init__(self) -> None:
        least = 4 if self.later else 2
        advice = "Each side needs a bucket for what is near and one for what is far."
        check_count("Buckets.num_buckets", self.num_buckets, least=least, advice=advice)
        if self.later and self.num_buckets % 2:
            raise ValueError(
                "`Buckets.num_buckets` must be even, for two sides; got "
                f"{self.num_buckets}. Or `later=False`, for one."
            )
        if not is_whole(self.furthest) or self.furthest <= self._exact:
            raise ValueError(
                f"`Buckets.furthest` must be more than {self._exact}, below which each "
                f"distance has a bucket; got {shown(self.furthest)}."
            )

    @property
    def num_labels(self) -> int:
        return self.num_buckets

    @property
    def _a_side(self) -> int:
        return self.num_buckets // 2 if self.later else self.num_buckets

    @property
    def _exact(self) -> int:
        return self._a_side // 2

    def label(self, difference: Any) -> Any:
        xp = np if isinstance(difference, np.ndarray | int) else jnp
        difference = xp.asarray(difference)
        distance = xp.abs(difference) if self.later else xp.maximum(-difference, 0)
        bounds = _bounds(self._a_side, self._exact, self.furthest)
        # Counting bounds needs neither logarithms, which round differently on every
        # device, nor a gather, which not every kernel has.
        label = sum((distance >= bound).astype(np.int32) for bound in bounds)
        if self.later:
            label = label + self._a_side * (difference > 0).astype(np.int32)
        return label

    def value(self, label: Any) -> Any:
        return label


@functools.lru_cache(maxsize=64)
def _bounds(a_side: int, exact: int, furthest: int) -> tuple[int, ...]:
    """Returns the least distance of each label of a side but the first."""
    far = np.arange(exact, furthest + 1, dtype=np.int64)
    share = np.log(far.astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(furthest / exact)
    )
    coarse = np.minimum(exact + (share * (a_side - exact)).astype(int), a_side - 1)
    labels = np.concatenate([np.arange(exact), coarse])
    return tuple(int(np.argmax(labels >= label)) for label in range(1, a_side))
