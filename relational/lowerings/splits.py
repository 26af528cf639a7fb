"""Operands as a rule for gradients sees them: what moves, and what does not.

Lowerings with a backward pass of their own take the floating leaves of their operands
apart from the others, and add up the cotangents of what several graphs share.

Shapes: *lead the leading axes.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from relational.lowerings.problem import Operands
from relational.terms import accumulator


@dataclasses.dataclass(frozen=True)
class Split:
    """Which leaves of the operands are differentiable."""

    treedef: Any
    moving: tuple[bool, ...]

    def divide(self, operands: Any) -> tuple[list[Any], list[Any]]:
        leaves = self.treedef.flatten_up_to(operands)
        pairs = list(zip(leaves, self.moving, strict=True))
        return [x for x, moves in pairs if moves], [
            x for x, moves in pairs if not moves
        ]

    def join(self, moving: list[Any], fixed: list[Any]) -> Any:
        sources = {True: iter(moving), False: iter(fixed)}
        leaves = [next(sources[moves]) for moves in self.moving]
        return jax.tree.unflatten(self.treedef, leaves)

    @classmethod
    def of(cls, operands: Any) -> "Split":
        """Returns the split of a pytree of arrays."""
        leaves, treedef = jax.tree.flatten(operands)
        moving = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
        return cls(treedef, tuple(moving))


def summed(
    split: Split, operands: Operands, found: list[Any], batch_axes: int
) -> list[Any]:
    """Returns cotangents of the shapes of the operands, from those of every graph.

    Args:
      found: [*lead, ...] each, for the leaves that move; added up where an operand was
        shared.
    """

    def gather(leaf: Any, total: Any, has_lead: bool) -> Any:
        own = leaf.shape[:batch_axes] if has_lead else (1,) * batch_axes
        extra = [
            at for at in range(batch_axes) if own[at] == 1 and total.shape[at] != 1
        ]
        whole = total.sum(axis=extra, keepdims=True)
        return whole.reshape(leaf.shape).astype(leaf.dtype)

    moving, _ = split.divide(operands)
    led, _ = split.divide(is_led(operands))
    return [gather(*each) for each in zip(moving, found, led, strict=True)]


def is_led(operands: Operands) -> Operands:
    """Says, leaf by leaf, which operands have leading axes."""
    led = jax.tree.map(lambda _: True, operands)
    return led._replace(shared=jax.tree.map(lambda _: False, operands.shared))


def nothing(shape: tuple[int, ...], dtype: Any) -> Any:
    """Returns zeros to add cotangents to: in bfloat16, ones would add up to 256."""
    is_real = jnp.issubdtype(dtype, jnp.floating)
    return jnp.zeros(shape, accumulator(dtype) if is_real else dtype)
