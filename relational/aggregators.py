"""Aggregators: how a node listens, as sums of lifted edges under a shift.

An aggregator is four small functions of a receiver's edges. `shift` keeps the numbers
tame (a maximum, a mean) and carries no gradient; `lift` says what one edge
contributes; contributions are added; `finish` turns the sums into the node's result.
Partial results under different shifts merge: `reshift` both to a common one and add.
That is why one definition serves a segment and a tile, in any order, and why one
backward rule serves every aggregator: the result does not depend on the shift.

Shapes: * the shape of one receiver's score (), message [F], or of many in any order.
"""

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from relational import _pytrees
from relational._checks import shown

Sums = dict[str, Any]


class Aggregator(abc.ABC):
    """How a node listens. Subclasses are final.

    Attributes:
      shift_of: whether the shift is one of the edges' `score` or `message`; None
        where nothing needs to be kept tame.
      shift_by: how edges' values make a shift.
    """

    shift_of: ClassVar[Literal["score", "message"] | None] = None
    shift_by: ClassVar[Literal["max", "min", "mean"] | None] = None
    hears_score: ClassVar[bool] = False

    @abc.abstractmethod
    def lift(self, score: Any, message: Any, shift: Any) -> Sums:
        """Returns what one edge contributes to the sums."""

    @abc.abstractmethod
    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        """Returns the sums as they would be under the shift `new`."""

    @abc.abstractmethod
    def finish(self, sums: Sums, shift: Any) -> Any:
        """Returns the receiver's result; zero (or a stated value) without edges."""


class Weighting(Aggregator):
    """An aggregator that is linear in the message: a sum of weight * message.

    Each message term can be contracted on its own, so that a message of the sender
    alone costs one matrix product. Its sums are `total` (of weights, []) and
    `message` (of weight * message, [F]).
    """

    @abc.abstractmethod
    def weight(self, score: Any, shift: Any) -> Any:
        """Returns the weight of one edge from its score."""

    def lift(self, score: Any, message: Any, shift: Any) -> Sums:
        weight = self.weight(score, shift)
        return {"total": weight, "message": _spread(weight, message) * message}


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Sum(Weighting):
    """The sum of the messages.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([1.0, 5.0, 3.0])
    >>> rl.propagate(rl.Causal(), senders=notes, aggregator=rl.Sum(),
    ...              message=lambda sender: sender).tolist()
    [1.0, 6.0, 9.0]
    """

    def weight(self, score: Any, shift: Any) -> Any:
        del score, shift
        return jnp.float32(1)

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        del old, new
        return sums

    def finish(self, sums: Sums, shift: Any) -> Any:
        del shift
        return sums["message"]


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Mean(Weighting):
    """The mean of the messages; zero where no edge arrives.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([1.0, 5.0, 3.0])
    >>> rl.propagate(rl.Causal(), senders=notes, aggregator=rl.Mean(),
    ...              message=lambda sender: sender).tolist()
    [1.0, 3.0, 3.0]
    """

    def weight(self, score: Any, shift: Any) -> Any:
        del score, shift
        return jnp.float32(1)

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        del old, new
        return sums

    def finish(self, sums: Sums, shift: Any) -> Any:
        del shift
        return _ratio(sums["message"], sums["total"])


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Softmax(Weighting):
    """The mean of the messages, weighted by the exponentials of the scores.

    Attention (Vaswani et al. 2017, equation 1) when the score is a scaled product. What
    has a score of minus infinity is not heard; where all have, the result is zero, as
    where no edge arrives.

    >>> import jax.numpy as jnp, relational as rl
    >>> score = jnp.log(jnp.array([1.0, 2.0, 1.0]))  # Weights 1, 2, 1 before division.
    >>> rl.propagate(rl.Complete(), senders={"score": score, "note": jnp.array([8.0, 4.0, 0.0])},
    ...              aggregator=rl.Softmax(), score=lambda sender: sender.score,
    ...              message=lambda sender: sender.note, num_receivers=1).round(4).tolist()
    [4.0]
    """

    shift_of = "score"
    shift_by = "max"
    hears_score = True

    def weight(self, score: Any, shift: Any) -> Any:
        return _grown(score, shift)

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        scale = _rescaled(old, new)
        return {
            "total": sums["total"] * scale,
            "message": sums["message"] * _spread(scale, sums["message"]),
        }

    def finish(self, sums: Sums, shift: Any) -> Any:
        del shift
        return _ratio(sums["message"], sums["total"])


_SAME = 16  # Units in the last place by which equal messages may differ.


class _Extreme(Aggregator):
    """The largest or smallest message; ties share the gradient evenly."""

    shift_of = "message"

    def lift(self, score: Any, message: Any, shift: Any) -> Sums:
        del score
        # A backward pass computes messages again, in programs that round otherwise.
        size = jnp.where(jnp.isinf(shift), 0, jnp.abs(shift))
        near = _SAME * jnp.finfo(message.dtype).eps * size
        chosen = (message == shift) | (jnp.abs(message - shift) <= near)
        chosen |= jnp.isnan(message)
        return {
            "count": chosen.astype(message.dtype),
            "message": jnp.where(chosen, message, 0),
        }

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        kept = (old == new) | jnp.isnan(new)  # What is not a number stays so.
        return {name: jnp.where(kept, value, 0) for name, value in sums.items()}

    def finish(self, sums: Sums, shift: Any) -> Any:
        del shift
        return sums["message"] / jnp.maximum(sums["count"], 1)


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Max(_Extreme):
    """The largest message, feature by feature; zero where no edge arrives.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([1.0, 5.0, 3.0])
    >>> rl.propagate(rl.Causal(), senders=notes, aggregator=rl.Max(),
    ...              message=lambda sender: sender).tolist()
    [1.0, 5.0, 5.0]
    """

    shift_by = "max"


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Min(_Extreme):
    """The smallest message, feature by feature; zero where no edge arrives.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([1.0, 5.0, 3.0])
    >>> rl.propagate(rl.Causal(), senders=notes, aggregator=rl.Min(),
    ...              message=lambda sender: sender).tolist()
    [1.0, 1.0, 1.0]
    """

    shift_by = "min"


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class LogSumExp(Aggregator):
    """The logarithm of the sum of the exponentials of the messages.

    Args:
      unreached: the value where no edge arrives; the limit is minus infinity, which
        most networks do not survive.

    >>> import jax.numpy as jnp, relational as rl
    >>> rl.propagate(rl.Complete(), senders=jnp.log(jnp.array([1.0, 2.0, 4.0])),
    ...              aggregator=rl.LogSumExp(), message=lambda sender: sender,
    ...              num_receivers=1).round(4).tolist()  # log 7
    [1.9459]
    """

    unreached: float = 0.0

    shift_of = "message"
    shift_by = "max"

    def __post_init__(self) -> None:
        if not isinstance(self.unreached, int | float | np.number):
            raise TypeError(
                f"`LogSumExp.unreached` must be a number; got {shown(self.unreached)}. "
                "It is the value where no edge arrives."
            )

    def lift(self, score: Any, message: Any, shift: Any) -> Sums:
        del score
        return {"sum": _grown(message, shift)}

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        return {"sum": sums["sum"] * _rescaled(old, new)}

    def finish(self, sums: Sums, shift: Any) -> Any:
        heard = sums["sum"] != 0
        value = jnp.log(jnp.where(heard, sums["sum"], 1)) + _finite(shift)
        silent = jnp.where(shift == -jnp.inf, shift, self.unreached)
        return jnp.where(heard, value, silent.astype(value.dtype))


@_pytrees.register(data=())
@dataclasses.dataclass(frozen=True)
class Std(Aggregator):
    """The standard deviation of the messages (divided by their count).

    Its gradient is taken as zero where the deviation is zero.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([1.0, 5.0, 3.0])
    >>> rl.propagate(rl.Causal(), senders=notes, aggregator=rl.Std(),
    ...              message=lambda sender: sender).tolist()
    [0.0, 2.0, 1.6329931]
    """

    shift_of = "message"
    shift_by = "mean"

    def lift(self, score: Any, message: Any, shift: Any) -> Sums:
        del score
        centred = message - shift
        return {
            "count": jnp.ones_like(message),
            "first": centred,
            "second": centred * centred,
        }

    def reshift(self, sums: Sums, old: Any, new: Any) -> Sums:
        count, first, step = sums["count"], sums["first"], old - new
        return {
            "count": count,
            "first": first + count * step,
            "second": sums["second"] + 2 * step * first + count * step * step,
        }

    def finish(self, sums: Sums, shift: Any) -> Any:
        del shift
        count = jnp.maximum(sums["count"], 1)
        mean = sums["first"] / count
        variance = sums["second"] / count - mean * mean
        spread = ~(variance <= 0)  # And where it is not a number.
        return jnp.where(spread, jnp.sqrt(jnp.where(spread, variance, 1)), 0)


@_pytrees.register(data=("key",))
@dataclasses.dataclass(frozen=True)
class Dropout:
    """Drops each weight of an edge with probability `rate`, and scales the others.

    The choice is a hash of (key, leading index, receiver, sender), so that it is the
    same for every tile, order and lowering, and when recomputed.

    Args:
      rate: from 0 to below 1; static.
      key: a JAX key.

    >>> import jax, jax.numpy as jnp, relational as rl
    >>> heard = rl.propagate(
    ...     rl.Self(), senders=jnp.ones(1000), aggregator=rl.Sum(),
    ...     message=lambda sender: sender, dropout=rl.Dropout(0.5, jax.random.key(0)))
    >>> sorted(set(heard.tolist()))  # Dropped, or kept and scaled by 1 / (1 - rate).
    [0.0, 2.0]
    """

    rate: float
    key: Any

    def __post_init__(self) -> None:
        is_number = isinstance(self.rate, int | float | np.number)
        if not is_number or not 0 <= self.rate < 1:
            raise ValueError(
                "`Dropout.rate` must be a number from 0 to below 1; got "
                f"{shown(self.rate)}. 0 drops nothing."
            )
        if not is_key(self.key):
            raise ValueError(
                "`Dropout.key` must be one JAX key, such as `jax.random.key(0)`; got "
                f"{shown(self.key)}."
            )


def is_key(key: Any) -> bool:
    """Says whether this is one key of JAX, new (`key`) or old (`PRNGKey`)."""
    dtype = getattr(key, "dtype", None)
    if dtype is None:
        return False
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return bool(key.shape == ())
    return dtype == jnp.uint32 and key.ndim == 1


def _grown(value: Any, shift: Any) -> Any:
    """Returns exp(value - shift); of minus infinity zero, also where all are that."""
    return jnp.exp(value - _finite(shift))


def _rescaled(old: Any, new: Any) -> Any:
    """Returns what takes sums of exp(value - old) to sums of exp(value - new)."""
    return jnp.exp(jnp.where(old == new, 0, old - new))


def _finite(shift: Any) -> Any:
    """Returns a shift, or none where it is infinite and could not be taken off."""
    return jnp.where(jnp.isinf(shift), 0, shift)


def _spread(weight: Any, message: Any) -> Any:
    """Returns `weight` with unit axes for the features of `message`."""
    return weight.reshape(weight.shape + (1,) * (message.ndim - weight.ndim))


def _ratio(value: Any, total: Any) -> Any:
    """Returns value / total, and zero with zero gradient where the total is zero."""
    heard = total != 0  # A total that is not a number was heard, and says so.
    safe = jnp.where(heard, total, 1)
    return jnp.where(_spread(heard, value), value / _spread(safe, value), 0)


def keep_scale(
    rate: float, seed: jax.Array, lead: jax.Array, receiver: Any, sender: Any
) -> jax.Array:
    """Returns 0 for a dropped edge and 1 / (1 - rate) for a kept one.

    Args:
      rate: share of edges dropped.
      seed, lead, receiver, sender: as for `edge_bits`.
    """
    bits = edge_bits(seed, lead, receiver, sender)
    kept = bits >= jnp.uint32(min(int(rate * 2**32), 2**32 - 1))
    return jnp.where(kept, jnp.float32(1 / (1 - rate)), jnp.float32(0))


def edge_bits(seed: jax.Array, lead: jax.Array, receiver: Any, sender: Any) -> Any:
    """Returns 32 random bits for each edge, whatever tile or list it stands in.

    A counter hash: two rounds of multiply and shift a pair (in the form of
    MurmurHash3's finaliser, with the constants of lowbias32), one round a row, so that
    it costs little beside the exponential.

    Args:
      seed: [2] uint32, from a key.
      lead: [] uint32, the leading index.
      receiver, sender: integers that broadcast against each other.
    """
    row = _mix(seed[0] ^ _mix(lead + jnp.uint32(0x9E3779B9)))
    row = _mix(row + jnp.asarray(receiver).astype(jnp.uint32) * jnp.uint32(0x85EBCA6B))
    column = jnp.asarray(sender).astype(jnp.uint32) * jnp.uint32(0xC2B2AE35) + seed[1]
    return _mix(row ^ column)


def _mix(bits: Any) -> Any:
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
