"""Sampling: from the logits of a model to one token.

Each way of changing a distribution is a pure function on logits, and they compose. All
of their numbers may be traced, so a program that is compiled once serves every
temperature. A token that is ruled out has the logit minus infinity. Nothing is sorted:
the least logit that is kept is found bit by bit (`relational.decoding.thresholds`).

Shapes: B batch, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from relational._checks import is_whole, shown
from relational.decoding import thresholds

_ALL = 2**31 - 1  # More than any vocabulary has.


Numbers = tuple[Float[Array, ""], Int[Array, ""], Float[Array, ""], Float[Array, ""]]
"""Temperature, k, p and min p."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn: logits are tempered, then cut to top k, top p, and min p.

    Attributes:
      temperature: 1 is the model itself, less is bolder, 0 takes the likeliest token.
      top_k: how many of the likeliest tokens may be drawn; None means all.
      top_p: only the fewest likeliest tokens that together have this probability may
        be drawn; None means all.
      min_p: only tokens with at least this share of the likeliest token's probability
        may be drawn; None means all.

    Raises:
      ValueError: if a number is out of its range.

    >>> logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> [round(float(x), 3) for x in jax.nn.softmax(Sampling(top_k=2)(logits))[0]]
    [0.625, 0.375, 0.0]
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)
        if self.top_k is not None:
            _check_top_k(self.top_k)
        if self.top_p is not None:
            _check_top_p(self.top_p)
        if self.min_p is not None:
            _check_min_p(self.min_p)

    def __call__(self, logits: Float[Array, "B V"]) -> Float[Array, "B V"]:
        """Returns the logits of the distribution that is drawn from."""
        return changed(logits, *self.numbers())

    def numbers(self) -> "Numbers":
        """Returns temperature, k, p and min p as arrays, with what keeps all for None."""
        return (
            jnp.asarray(self.temperature, jnp.float32),
            jnp.asarray(_ALL if self.top_k is None else self.top_k, jnp.int32),
            jnp.asarray(1.0 if self.top_p is None else self.top_p, jnp.float32),
            jnp.asarray(0.0 if self.min_p is None else self.min_p, jnp.float32),
        )


def changed(
    logits: Float[Array, "B V"],
    temperature: ArrayLike,
    k: ArrayLike,
    p: ArrayLike,
    min_p: ArrayLike,
) -> Float[Array, "B V"]:
    """Returns `logits` after `tempered`, `keep_top_k`, `keep_top_p` and `keep_min_p`.

    >>> logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    >>> jax.nn.softmax(changed(logits, 1.0, 2, 0.6, 0.0)).tolist()
    [[1.0, 0.0, 0.0]]
    """
    kept = keep_top_p(keep_top_k(tempered(logits, temperature), k), p)
    return keep_min_p(kept, min_p)


def draw(keys: PRNGKeyArray, logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Draws a token for each row, with a key for each row.

    So what is drawn for a piece does not depend on the pieces beside it.

    Args:
      keys: [B].
      logits: [B, V], of any scale.

    Returns:
      Tokens, int32 [B].

    >>> draw(jax.random.split(jax.random.key(0), 2), jnp.array([[0.0, -jnp.inf]] * 2))
    Array([0, 0], dtype=int32)
    """
    if jnp.shape(keys)[:1] != logits.shape[:1]:
        raise ValueError(
            f"`keys` must be a key for each row of `logits`, {logits.shape[0]}; got "
            f"shape {jnp.shape(keys)}. `jax.random.split` makes several of one."
        )
    drawn: Int[Array, " B"] = jax.vmap(jax.random.categorical)(keys, logits)
    return drawn.astype(jnp.int32)


def drawn(
    keys: PRNGKeyArray, logits: Float[Array, "B V"], numbers: Numbers
) -> Int[Array, " B"]:
    """Draws a token for each row after `changed`: what a loop of drawing does.

    At temperature 0 that is the likeliest token, and neither cut nor drawn.

    Args:
      keys: [B].
      logits: [B, V].
      numbers: those of a `Sampling`.

    >>> cold = Sampling(temperature=0.0).numbers()
    >>> drawn(jax.random.split(jax.random.key(0), 1), jnp.array([[1.0, 3.0, 2.0]]), cold)
    Array([1], dtype=int32)
    """
    return jax.lax.cond(
        numbers[0] == 0,
        lambda: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        lambda: draw(keys, changed(logits, *numbers)),
    )


def tempered(
    logits: Float[Array, "B V"], temperature: ArrayLike
) -> Float[Array, "B V"]:
    """Divides logits by a temperature; at 0 only the likeliest token stays.

    softmax(l / T)_v is proportional to softmax(l)_v^(1/T). Of equal logits, the lowest
    token stays at 0.

    Args:
      logits: [B, V].
      temperature: T, 0 or more.

    Returns:
      Logits [B, V], moved so that the largest is 0.

    Raises:
      ValueError: if `temperature` is a number below 0 or not finite.

    >>> logits = jnp.log(jnp.array([[0.8, 0.2]]))
    >>> [round(float(x), 4) for x in jax.nn.softmax(tempered(logits, 0.5))[0]]
    [0.9412, 0.0588]
    """
    _check_temperature(temperature)
    temperature = jnp.asarray(temperature, logits.dtype)
    is_greedy = temperature == 0
    fallen = logits - logits.max(axis=-1, keepdims=True)
    divided = fallen / jnp.where(is_greedy, jnp.ones_like(temperature), temperature)
    likeliest = jnp.argmax(fallen, axis=-1, keepdims=True)
    every = jnp.arange(logits.shape[-1], dtype=likeliest.dtype)[None]
    alone = jnp.where(every == likeliest, fallen, -jnp.inf)
    return jnp.where(is_greedy, alone, divided)


def keep_top_k(logits: Float[Array, "B V"], k: ArrayLike) -> Float[Array, "B V"]:
    """Rules out all but the k likeliest tokens (Fan et al. 2018, section 5.4).

    Of equal logits, the lowest tokens stay, so that k are kept exactly.

    Args:
      logits: [B, V].
      k: 1 or more; as much as V keeps all.

    Returns:
      Logits [B, V].

    Raises:
      ValueError: if `k` is a number below 1 or no whole number.

    >>> keep_top_k(jnp.array([[1.0, 3.0, 2.0]]), 2).tolist()
    [[-inf, 3.0, 2.0]]
    """
    _check_top_k(k)
    k = jnp.asarray(k, jnp.int32)
    return jax.lax.cond(
        k < logits.shape[-1],
        lambda: jnp.where(thresholds.is_of_largest(logits, k), logits, -jnp.inf),
        lambda: logits,
    )


def keep_top_p(logits: Float[Array, "B V"], p: ArrayLike) -> Float[Array, "B V"]:
    """Rules out all but the nucleus (Holtzman et al. 2020, equation 2).

    The nucleus is the smallest set of likeliest tokens with a probability of p or more
    together. Of equal logits, the lowest tokens stay.

    Args:
      logits: [B, V].
      p: above 0, at most 1; 1 keeps all.

    Returns:
      Logits [B, V].

    Raises:
      ValueError: if `p` is a number outside this range.

    >>> keep_top_p(jnp.array([[0.0, 0.7, 0.0]]), 0.75).round()  # 1/4, 1/2, 1/4
    Array([[  0.,   1., -inf]], dtype=float32)
    """
    _check_top_p(p)
    # Above 0 in this type as well: the likeliest token is always kept.
    p = jnp.maximum(jnp.asarray(p, logits.dtype), jnp.finfo(logits.dtype).tiny)
    # Sums of floats may reach 1 early; a p of 1 keeps all.
    return jax.lax.cond(
        p < 1,
        lambda: jnp.where(thresholds.is_of_nucleus(logits, p), logits, -jnp.inf),
        lambda: logits,
    )


def keep_min_p(logits: Float[Array, "B V"], p: ArrayLike) -> Float[Array, "B V"]:
    """Rules out tokens with less than p times the probability of the likeliest.

    Args:
      logits: [B, V].
      p: from 0, which keeps all, to 1, which keeps the likeliest.

    Returns:
      Logits [B, V].

    Raises:
      ValueError: if `p` is a number outside this range.

    >>> keep_min_p(jnp.log(jnp.array([[0.6, 0.25, 0.15]])), 0.4).round(2).tolist()
    [[-0.5099999904632568, -1.3899999856948853, -inf]]

    Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent
    LLM Outputs", section 3.
    """
    _check_min_p(p)
    least = logits.max(axis=-1, keepdims=True) + jnp.log(jnp.asarray(p, logits.dtype))
    return jnp.where(logits >= least, logits, -jnp.inf)


def check_forbidden(forbidden: object) -> None:
    """Raises a ValueError unless these are ids, of whatever vocabulary."""
    if not isinstance(forbidden, Sequence) or not all(map(is_whole, forbidden)):
        raise ValueError(
            f"`forbidden` must be a list of ids, whole numbers; got {shown(forbidden)}."
        )


def without(
    logits: Float[Array, "B V"], forbidden: Sequence[int]
) -> Float[Array, "B V"]:
    """Rules tokens out.

    Args:
      logits: [B, V].
      forbidden: tokens, ids below V.

    Returns:
      Logits [B, V].

    Raises:
      ValueError: if a token is no id, or none would be left.

    >>> without(jnp.array([[1.0, 3.0, 2.0]]), [1]).tolist()
    [[1.0, -inf, 2.0]]
    """
    size = logits.shape[-1]
    check_forbidden(forbidden)
    wrong = [token for token in forbidden if not 0 <= token < size]
    if wrong or len(set(forbidden)) >= size:
        raise ValueError(
            f"`forbidden` must be some of the ids 0 to {size - 1}, not all; got "
            f"{list(forbidden)[:8]}. The vocabulary has {size} tokens."
        )
    if not forbidden:
        return logits
    return logits.at[:, jnp.asarray(forbidden, jnp.int32)].set(-jnp.inf)


def _check_temperature(temperature: object) -> None:
    if isinstance(temperature, jax.Array):
        return  # It may be traced; a program's caller has looked at it.
    if not _is_between(0, temperature, math.inf) or temperature == math.inf:
        raise ValueError(
            f"`temperature` must be a number of 0 or more; got {temperature}. 1 is the "
            "model itself, 0 takes the likeliest token."
        )


def _check_top_k(k: object) -> None:
    if isinstance(k, jax.Array):
        return
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise ValueError(
            f"`top_k` must be a whole number of 1 or more; got {k}. Leave it out to "
            "draw from all tokens."
        )
    if k > _ALL:
        raise ValueError(
            f"`top_k` must be {_ALL} or less; got {k}. Leave it out to draw from all "
            "tokens."
        )


def _check_top_p(p: object) -> None:
    if isinstance(p, jax.Array):
        return
    if not _is_between(0, p, 1) or p == 0:
        raise ValueError(
            f"`top_p` must be above 0 and at most 1; got {p}. 1 draws from all tokens."
        )


def _check_min_p(p: object) -> None:
    if isinstance(p, jax.Array):
        return
    if not _is_between(0, p, 1):
        raise ValueError(
            f"`min_p` must be from 0 to 1; got {p}. 0 draws from all tokens."
        )


def _is_between(low: float, value: object, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    return bool(low <= value <= high)
