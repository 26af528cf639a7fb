"""The loop that writes targets: a source's pass, then a token at a time, all compiled.

The source is computed once, with the keys and values that targets will hear. Then a loop
over positions writes the targets of all sources at once, by search or by drawing. It
stops where it is told to, so that what is certain may be shown, and is taken up again.

Shapes: B sources, S tokens of a source, P of a prefix, V vocabulary, K hypotheses of a
beam, R = B K rows.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from relational import Cache
from relational.decoding import sampling
from relational.decoding.beam import (
    Advance,
    Beam,
    Hypotheses,
    Search,
    begun,
    certain,
    further,
    ranked,
)
from relational.models import Model
from relational.models.edge_sets import LENGTH
from relational.models.translation import Ends


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """Targets that are drawn, up to a position."""

    position: Int[Array, ""]
    tokens: Int[Array, "B L+1"]
    total: Float[Array, " B"]
    lengths: Int[Array, " B"]
    state: Any
    is_done: Bool[Array, " B"]


Writing = Search | Drawn
"""Targets that are being written."""


@functools.partial(jax.jit, static_argnames=("model", "ends", "beam", "capacity"))
def begin(
    params: Any,
    source: Int[Array, "B S"],
    source_length: Int[Array, " B"],
    longest: Int[Array, " B"],
    *,
    model: Model,
    ends: Ends,
    beam: Beam | None,
    capacity: int,
) -> tuple[Sequence[Cache | None], Writing]:
    """Computes the sources; returns their caches, and targets without a token.

    The place of a cache that grows holds None: it lies in what is written.

    S and the capacity are multiples, so many lengths share this program.

    Args:
      longest: tokens of each target at most.
      beam: None to draw.
      The others: as for `translate`.
    """
    batch = len(source)
    inputs = {
        ends.source: {"token": source, LENGTH: source_length},
        ends.target: {"token": jnp.full((batch, 1), ends.start, jnp.int32)},
    }
    caches = model.start(params, inputs, capacity)
    if beam is not None:
        caches = jax.tree.map(lambda leaf: jnp.repeat(leaf, beam.size, axis=0), caches)
    # What is fixed stays outside of the state: the hypotheses of a source all hear the
    # same, so it need not follow them from row to row.
    fixed = [cache if cache.is_fixed else None for cache in caches]
    growing = [cache for cache in caches if not cache.is_fixed]
    if beam is not None:
        search = begun(
            growing, batch=batch, capacity=capacity, how=beam, start=ends.start
        )
        return fixed, search
    none = jnp.zeros(batch, jnp.int32)
    return fixed, Drawn(
        position=jnp.int32(0),
        tokens=jnp.full((batch, capacity + 1), ends.start, jnp.int32),
        total=jnp.zeros(batch),
        lengths=none,
        state=growing,
        is_done=longest <= 0,
    )


@functools.partial(
    jax.jit, static_argnames=("model", "ends", "beam"), donate_argnames="writing"
)
def go_on(
    params: Any,
    fixed: Sequence[Cache | None],
    writing: Writing,
    until: Int[Array, ""],
    longest: Int[Array, " B"],
    forced: Int[Array, "B P"],
    seed: Array,
    numbers: Any,
    *,
    model: Model,
    ends: Ends,
    beam: Beam | None,
) -> tuple[Writing, Hypotheses, Bool[Array, ""]]:
    """Writes up to a position; returns where it stands, and whether all is written.

    Args:
      fixed: what `begin` gave.
      writing: likewise, or what the call before gave.
      until: the position.
      forced: tokens that targets begin with, padded with the start.
      numbers: of a search, alpha; of a draw, those of `Sampling`.
      The others: as for `begin`.
    """
    advance = _stepper(model, params, fixed, ends)
    if isinstance(writing, Drawn):
        drawn = _drawn(advance, writing, until, longest, forced, seed, numbers, ends)
        return drawn, _listed(drawn, ends), jnp.all(drawn.is_done)
    assert beam is not None

    def constrain(log_p: Array, position: Array) -> Array:
        return _allowed(log_p, forced[:, None], position, ends.start)

    search = further(
        advance,
        writing,
        until=until,
        longest=longest,
        how=beam,
        end=ends.end,
        alpha=numbers,
        constrain=constrain,
    )
    # A search that ends stands still, before it reaches the position.
    return search, ranked(search, longest, beam), search.position < until


def certain_of(writing: Writing, ends: Ends) -> Int[np.ndarray, "B L"]:
    """Returns the tokens that no later step can change, padded with the start."""
    if isinstance(writing, Drawn):
        return np.asarray(writing.tokens)[:, 1:]
    return certain(writing, ends.start)


def _stepper(
    model: Model, params: Any, fixed: Sequence[Cache | None], ends: Ends
) -> Advance:
    """Returns a function from tokens, and the caches that grow, to logits."""

    def advance(tokens: Array, position: Array, state: Any) -> tuple[Array, Any]:
        at = jnp.full(tokens.shape, position, jnp.int32)
        node = {ends.target: {"token": tokens[:, None]}}
        left = list(state)
        caches = tuple(left.pop(0) if each is None else each for each in fixed)
        logits, after = model.step(params, caches, node, at)
        return logits[:, 0], [cache for cache in after if not cache.is_fixed]

    return advance


def _drawn(
    advance: Advance,
    drawn: Drawn,
    until: Int[Array, ""],
    longest: Int[Array, " B"],
    forced: Int[Array, "B P"],
    seed: Array,
    numbers: Any,
    ends: Ends,
) -> Drawn:
    """Draws one target a source, token by token; cold, the likeliest tokens."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(seed), jnp.arange(len(longest))
    )

    def is_open(drawn: Drawn) -> Array:
        return jnp.any(~drawn.is_done) & (drawn.position < until)

    def step(drawn: Drawn) -> Drawn:
        position, tokens, is_done = drawn.position, drawn.tokens, drawn.is_done
        last = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
        logits, state = advance(last, position, drawn.state)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        allowed = _allowed(log_p, forced, position, ends.start)
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
        token = jnp.where(is_done, ends.start, sampling.drawn(now, allowed, numbers))
        chosen = jnp.take_along_axis(log_p, token[:, None], axis=1)[:, 0]
        return Drawn(
            position=position + 1,
            tokens=jax.lax.dynamic_update_index_in_dim(tokens, token, position + 1, 1),
            total=drawn.total + jnp.where(is_done, 0, chosen),
            lengths=drawn.lengths + jnp.where(is_done, 0, 1),
            state=state,
            is_done=is_done | (token == ends.end) | (position + 1 >= longest),
        )

    after: Drawn = jax.lax.while_loop(is_open, step, drawn)
    return after


def _listed(drawn: Drawn, ends: Ends) -> Hypotheses:
    return Hypotheses(
        tokens=drawn.tokens[:, None, 1:],
        scores=drawn.total[:, None],
        lengths=drawn.lengths[:, None],
        is_finished=jnp.any(drawn.tokens[:, 1:] == ends.end, axis=1)[:, None],
    )


def _allowed(
    log_p: Float[Array, "B ... V"],
    forced: Int[Array, "B ... P"],
    position: Array,
    start: int,
) -> Float[Array, "B ... V"]:
    """Rules out the start, and all but the token that a prefix asks for.

    Places where nothing is asked for hold the start.
    """
    ones = (1,) * (log_p.ndim - 1)
    every = jnp.arange(log_p.shape[-1], dtype=jnp.int32).reshape(*ones, -1)
    allowed = every != start
    if forced.shape[-1]:
        place = jnp.minimum(position, forced.shape[-1] - 1)
        asked = jax.lax.dynamic_index_in_dim(forced, place, -1)
        is_free = (asked == start) | (position >= forced.shape[-1])
        allowed = allowed & (is_free | (every == asked))
    return jnp.where(allowed, log_p, -jnp.inf)
