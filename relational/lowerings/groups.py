"""Graphs in groups: some leading axes are taken at once, the others step by step.

A tile of one graph (one head) may be far smaller than a cache, and its products too
small to be fast; then several graphs share a step. Trailing axes go together first: the
heads of one example, then examples.

Shapes: *lead leading axes, of which every operand has each full or 1; G steps; *inner
what a step takes of each axis.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational.lowerings.problem import each_lead, restore_lead


class Stacked(NamedTuple):
    """Operands cut into groups.

    Attributes:
      leaves: a pytree of [G or fewer, *inner, ...]; each inner axis full or 1.
      places: for each leaf, [G]: which of its rows a step reads.
    """

    leaves: Any
    places: Any

    def at(self, step: Any) -> Any:
        """Returns the operands of a step, [*inner, ...]; `step` is a slice of `places`."""
        return jax.tree.map(
            lambda leaf, place: jax.lax.dynamic_index_in_dim(
                leaf, place, keepdims=False
            ),
            self.leaves,
            step,
        )


@dataclasses.dataclass(frozen=True)
class Groups:
    """How leading axes are cut: axis a has `outer[a] * inner[a]` entries.

    >>> Groups.of((4, 8), 2), Groups.of((4, 8), 16).num_steps
    (Groups(outer=(4, 4), inner=(1, 2)), 2)
    """

    outer: tuple[int, ...]
    inner: tuple[int, ...]

    @classmethod
    def of(cls, lead: tuple[int, ...], most: float) -> "Groups":
        """Returns the largest groups of at most `most` graphs.

        An axis is split only where all after it are taken whole, so that to cut an
        array is to reshape it.
        """
        outer, inner, left = [], [], most
        for size in reversed(lead):
            fits = range(1, 1 + int(max(1, min(size, left))))
            taken = max((each for each in fits if not size % each), default=size)
            outer.append(size // max(1, taken))
            inner.append(taken)
            left = left / taken if taken == size else 1
        return cls(tuple(outer[::-1]), tuple(inner[::-1]))

    @property
    def lead(self) -> tuple[int, ...]:
        return tuple(o * i for o, i in zip(self.outer, self.inner, strict=True))

    @property
    def num_steps(self) -> int:
        return math.prod(self.outer)

    @property
    def size(self) -> int:
        """How many graphs a step takes."""
        return math.prod(self.inner)

    def stack(self, led: Any) -> Stacked:
        """Returns operands [*lead, ...], each axis full or 1, cut into groups."""
        return Stacked(jax.tree.map(self.cut, led), jax.tree.map(self._places, led))

    def cut(self, leaf: Any) -> Any:
        """Returns one array, [its steps, *inner, ...]."""
        own = leaf.shape[: len(self.outer)]
        outer, inner = (
            [size if full != 1 else 1 for size, full in zip(sizes, own, strict=True)]
            for sizes in (self.outer, self.inner)
        )
        return leaf.reshape(math.prod(outer), *inner, *leaf.shape[len(own) :])

    def _places(self, leaf: Any) -> Any:
        steps = np.indices(self.outer).reshape(len(self.outer), self.num_steps)
        at = np.zeros(self.num_steps, np.int32)
        own = leaf.shape[: len(self.outer)]
        for full, size, step in zip(own, self.outer, steps, strict=True):
            at = at * size + step if full != 1 else at
        return jnp.asarray(at, jnp.int32)

    def map(self, function: Callable[[Any], Any], led: Any) -> Any:
        """Maps a function of one graph: [*lead, ...].

        Args:
          function: takes `led` without its leading axes.
          led: a pytree of [*lead, ...], each axis full or 1.
        """
        stacked = self.stack(led)

        def one(step: Any) -> Any:
            found = each_lead(function, stacked.at(step), len(self.inner))
            return restore_lead(found, self.inner)

        def rejoin(leaf: Any) -> Any:
            return leaf.reshape(*self.lead, *leaf.shape[1 + len(self.inner) :])

        if self.num_steps == 1:
            first = jax.tree.map(lambda places: places[0], stacked.places)
            found = jax.tree.map(lambda leaf: leaf[None], one(first))
        else:
            found = jax.lax.map(one, stacked.places)
        return jax.tree.map(rejoin, found)
