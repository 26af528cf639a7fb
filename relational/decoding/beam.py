"""Beam search: the likeliest sequences, by keeping the few likeliest beginnings.

The search knows no model: it is given a function from the last token of each beginning,
and a state, to the logits of the next, and carries the state along. Hypotheses that have
ended are kept apart from those that still grow, and judged by their length as well.

Shapes: B batch, K hypotheses (the size of the beam), R = B K rows, L tokens, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from relational._checks import check_count, shown

Advance = Callable[
    [Int[Array, " R"], Int[Array, ""], Any], tuple[Float[Array, "R V"], Any]
]
"""(last token of each row, its position, state) -> (logits of the next, next state).

Leaves of the state begin with an axis of R rows, the K of one example side by side."""

_NEVER = -math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beam:
    """How sequences are searched for.

    Attributes:
      size: how many beginnings are kept, K; 1 is greedy search.
      alpha: of the length penalty; 0 is none, more prefers longer sequences.
      num_best: how many sequences are returned, at most `size`. The search ends when no
        beginning can become better than the last of them.

    Raises:
      ValueError: if a number is out of its range.

    >>> Beam(num_best=5)
    Traceback (most recent call last):
    ...
    ValueError: `Beam.num_best` must be at most `size`, 4; got 5.
    """

    size: int = 4
    alpha: float = 0.6
    num_best: int = 1

    def __post_init__(self) -> None:
        check_count("Beam.size", self.size, least=1, advice="It counts hypotheses.")
        check_count("Beam.num_best", self.num_best, least=1, advice="1 is the best.")
        if self.num_best > self.size:
            raise ValueError(
                f"`Beam.num_best` must be at most `size`, {self.size}; got "
                f"{self.num_best}."
            )
        is_number = isinstance(self.alpha, int | float)
        if not is_number or not 0 <= self.alpha < math.inf:
            raise ValueError(
                f"`Beam.alpha` must be a number of 0 or more; got {shown(self.alpha)}. "
                "0 compares log-probabilities as they are."
            )


def length_penalty(length: ArrayLike, alpha: ArrayLike) -> Float[Array, "..."]:
    """Returns what a log-probability is divided by: ((5 + length) / 6)^alpha.

    Args:
      length: tokens of a sequence, its end included.
      alpha: 0 or more.

    >>> [round(float(length_penalty(n, 0.6)), 4) for n in (1, 10, 50)]
    [1.0, 1.7329, 3.7786]

    Wu et al. 2016, "Google's Neural Machine Translation System", equation 14.
    """
    base = (5.0 + jnp.asarray(length, jnp.float32)) / 6.0
    return base ** jnp.asarray(alpha, jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypotheses:
    """Sequences of each example, the best first; an absent one has minus infinity.

    >>> found = Hypotheses(tokens=jnp.array([[[3, 1, 0]]]), scores=jnp.array([[-0.5]]),
    ...                    lengths=jnp.array([[2]]), is_finished=jnp.array([[True]]))
    >>> found.tokens[0, 0, : found.lengths[0, 0]].tolist()  # The best of the first.
    [3, 1]
    """

    tokens: Int[Array, "B K L"]
    """Tokens from the first to the end, padded with the start."""

    scores: Float[Array, "B K"]
    """Log-probability over length penalty; of what has not ended, log-probability."""

    lengths: Int[Array, "B K"]
    """Number of tokens, the end included."""

    is_finished: Bool[Array, "B K"]
    """Whether the sequence has ended; those that were cut off follow those that have."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """What the search holds: L + 1 places, of which the first is the start."""

    alive: Int[Array, "B K L+1"]
    log_p: Float[Array, "B K"]
    ended: Int[Array, "B K L+1"]
    scores: Float[Array, "B K"]
    lengths: Int[Array, "B K"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """A search that has come to a position: `begun`, taken `further`, then `ranked`."""

    position: Int[Array, ""]
    found: _Found
    state: Any


def beam_search(
    advance: Advance,
    state: Any,
    *,
    longest: Int[Array, " B"],
    capacity: int,
    how: Beam,
    start: int,
    end: int,
    alpha: ArrayLike | None = None,
    constrain: Callable[[Float[Array, "B K V"], Int[Array, ""]], Any] | None = None,
) -> Hypotheses:
    """Returns the best sequences of each example.

    In each step every beginning is continued by every token. Of the 2 K best, those that
    end join the K best that have ended, and the K best others go on. A beam of 1 takes the
    best, and is done when that is the end: greedy search. What is found for an example
    does not depend on the examples beside it.

    Args:
      advance: the model; see `Advance`.
      state: at the start, a pytree with leaves [R, ...].
      longest: how many tokens a sequence has at most, for each example; the end counts.
      capacity: the largest that `longest` can be, L.
      how: sizes; they are part of the program.
      start: the token before the first.
      end: the token that ends a sequence.
      alpha: that of `how`, if it should be no part of the program.
      constrain: (log-probabilities [B, K, V], position) -> the same, with minus infinity
        where a token may not be.

    Example: two tokens and an end, whatever comes before.

    >>> odds = jnp.log(jnp.array([0.5, 0.2, 0.3]))
    >>> def advance(tokens, position, state):
    ...     return jnp.broadcast_to(odds, (len(tokens), 3)), state
    >>> found = beam_search(advance, (), longest=jnp.array([4]), capacity=4,
    ...                     how=Beam(size=2, alpha=0.0, num_best=2), start=0, end=1)
    >>> found.tokens.tolist(), jnp.exp(found.scores).round(3)
    ([[[1, 0, 0, 0], [0, 1, 0, 0]]], Array([[0.2, 0.1]], dtype=float32))

    The search of Tensor2Tensor (Vaswani et al. 2017, section 6.1), where `num_best` of 1
    is its early stopping. We differ from it in that a beam of 1 does not go on beside the
    end, in that an example that is done changes no more, and in that minus infinity is
    minus infinity.
    """
    power = how.alpha if alpha is None else alpha
    search = further(
        advance,
        begun(state, batch=longest.shape[0], capacity=capacity, how=how, start=start),
        until=jnp.int32(capacity),
        longest=longest,
        how=how,
        end=end,
        alpha=power,
        constrain=constrain,
    )
    return ranked(search, longest, how)


def begun(state: Any, *, batch: int, capacity: int, how: Beam, start: int) -> Search:
    """Returns a search before its first token; arguments are those of `beam_search`."""
    size = how.size
    tokens = jnp.full((batch, size, capacity + 1), start, jnp.int32)
    # Of weak types, the program of `further` would be compiled a second time. Only the
    # first may go on, since the others are equal.
    never = jnp.full(size, _NEVER, jnp.float32)
    first = never.at[0].set(0)
    found = _Found(
        alive=tokens,
        log_p=jnp.broadcast_to(first, (batch, size)),
        ended=tokens,
        scores=jnp.broadcast_to(never, (batch, size)),
        lengths=jnp.zeros((batch, size), jnp.int32),
    )
    return Search(position=jnp.int32(0), found=found, state=state)


def further(
    advance: Advance,
    search: Search,
    *,
    until: Int[Array, ""],
    longest: Int[Array, " B"],
    how: Beam,
    end: int,
    alpha: ArrayLike,
    constrain: Callable[[Float[Array, "B K V"], Int[Array, ""]], Any] | None = None,
) -> Search:
    """Takes a search to a position, or to its end if that comes first.

    Args:
      until: the position; the others are those of `beam_search`.
    """
    power = jnp.asarray(alpha, jnp.float32)
    batch, size = longest.shape[0], how.size
    most = length_penalty(longest, power)

    def is_done(position: Array, found: _Found) -> Bool[Array, " B"]:
        bound = found.log_p.max(axis=1) / most  # The best that can still come.
        is_settled = found.scores[:, how.num_best - 1] > bound
        return is_settled | (position >= longest)

    def go_on(search: Search) -> Array:
        is_open = jnp.any(~is_done(search.position, search.found))
        return is_open & (search.position < until)

    def step(search: Search) -> Search:
        position, found = search.position, search.found
        last = jax.lax.dynamic_index_in_dim(found.alive, position, 2, keepdims=False)
        logits, state = advance(last.reshape(-1), position, search.state)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        log_p = log_p.reshape(batch, size, -1)
        if constrain is not None:
            log_p = constrain(log_p, position)
        following, parents = _grown(found, log_p, position, end, power)
        done = is_done(position, found)
        found = jax.tree.map(
            lambda new, old: jnp.where(
                done.reshape(-1, *(1,) * (new.ndim - 1)), old, new
            ),
            following,
            found,
        )
        state = _of_parents(state, parents)
        return Search(position=position + 1, found=found, state=state)

    after: Search = jax.lax.while_loop(go_on, step, search)
    return after


def _grown(
    found: _Found,
    log_p: Float[Array, "B K V"],
    position: Int[Array, ""],
    end: int,
    alpha: Array,
) -> tuple[_Found, Int[Array, "B K"]]:
    """Returns what is found after one more token, and which beginning each goes on."""
    batch, size, vocabulary = log_p.shape
    total = (found.log_p[..., None] + log_p).reshape(batch, -1)
    num_looked_at = 1 if size == 1 else 2 * size  # At most K of 2 K can end.
    best, index = jax.lax.top_k(total, num_looked_at)  # [B, 2 K]
    parents, token = index // vocabulary, (index % vocabulary).astype(jnp.int32)
    tokens = _take(found.alive, parents)
    tokens = jax.lax.dynamic_update_index_in_dim(
        tokens, token[..., None], position + 1, 2
    )
    has_ended = token == end
    log_p, kept = jax.lax.top_k(jnp.where(has_ended, _NEVER, best), size)
    score = jnp.where(has_ended, best, _NEVER) / length_penalty(position + 1, alpha)
    scores = jnp.concatenate([found.scores, score], axis=1)
    lengths = jnp.pad(
        found.lengths, ((0, 0), (0, score.shape[1])), constant_values=position + 1
    )
    ended = jnp.concatenate([found.ended, tokens], axis=1)
    scores, chosen = jax.lax.top_k(scores, size)
    following = _Found(
        alive=_take(tokens, kept),
        log_p=log_p,
        ended=_take(ended, chosen),
        scores=scores,
        lengths=_take(lengths, chosen),
    )
    return following, _take(parents, kept)


def ranked(search: Search, longest: Int[Array, " B"], how: Beam) -> Hypotheses:
    """Returns those that have ended, then those that were cut off, as they rank."""
    found, num_best = search.found, how.num_best
    has_ended = found.scores > _NEVER
    tokens = jnp.concatenate([found.ended, found.alive], axis=1)
    scores = jnp.concatenate([found.scores, found.log_p], axis=1)
    cut = jnp.broadcast_to(longest[:, None], found.lengths.shape).astype(jnp.int32)
    lengths = jnp.concatenate([found.lengths, cut], axis=1)
    rank = jnp.concatenate(
        [jnp.where(has_ended, 0, 2), jnp.where(found.log_p > _NEVER, 1, 2)], axis=1
    )
    order = jnp.argsort(rank, axis=1, stable=True)[:, :num_best]
    return Hypotheses(
        tokens=_take(tokens, order)[..., 1:],
        scores=_take(scores, order),
        lengths=_take(lengths, order),
        is_finished=_take(rank, order) == 0,
    )


def certain(search: Search, start: int) -> Int[np.ndarray, "B L"]:
    """Returns the tokens that all hypotheses of an example share, padded with `start`.

    Whatever the search finds further on, it begins so.
    """
    found = jax.tree.map(np.asarray, search.found)
    tokens = np.concatenate([found.ended, found.alive], axis=1)[..., 1:]
    is_there = np.concatenate([found.scores, found.log_p], axis=1) > _NEVER
    first = tokens[np.arange(len(tokens)), is_there.argmax(axis=1)][:, None]
    is_shared = ((tokens == first) | ~is_there[..., None]).all(axis=1)
    is_shared &= np.arange(tokens.shape[-1]) < int(search.position)
    length = np.cumprod(is_shared, axis=1).sum(axis=1, keepdims=True)
    return np.where(np.arange(tokens.shape[-1]) < length, first[:, 0], start)


def _take(array: Array, index: Int[Array, "B I"]) -> Array:
    """Returns the chosen hypotheses of each example, [B, I, ...]."""
    spread = index.reshape(*index.shape, *(1,) * (array.ndim - 2))
    return jnp.take_along_axis(array, spread, axis=1)


def _of_parents(state: Any, parents: Int[Array, "B K"]) -> Any:
    """Returns the state of the rows that each hypothesis goes on from."""
    batch, size = parents.shape
    if size == 1:
        return state  # There is no other.
    rows = (jnp.arange(batch, dtype=parents.dtype)[:, None] * size + parents).reshape(
        -1
    )
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), state)
