"""The loop that writes targets: a source's pass, then a token at a time, all compiled.

The source is computed once, with the keys and values that targets will hear. Then a loop
over positions writes the targets of all sources at once, by search or by drawing.

Shapes: B sources, S tokens of a source, P of a prefix, V vocabulary, K hypotheses of a
beam, R = B K rows.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from relational.decoding import sampling
from relational.decoding.beam import Advance, Beam, Hypotheses, beam_search
from relational.models import Model
from relational.models.edge_sets import LENGTH
from relational.models.translation import Ends


@functools.partial(jax.jit, static_argnames=("model", "ends", "beam", "capacity"))
def decode(
    params: Any,
    source: Int[Array, "B S"],
    source_length: Int[Array, " B"],
    longest: Int[Array, " B"],
    forced: Int[Array, "B P"],
    seed: Array,
    numbers: Any,
    *,
    model: Model,
    ends: Ends,
    beam: Beam | None,
    capacity: int,
) -> Hypotheses:
    """Writes targets; S, P and the capacity are multiples, so many lengths share this.

    Args:
      longest: tokens of each target at most.
      forced: tokens that targets begin with, padded with the start.
      numbers: of a search, alpha; of a draw, those of `Sampling`.
      beam: None to draw.
      The others: as for `translate`.
    """
    inputs = {
        ends.source: {"token": source, LENGTH: source_length},
        ends.target: {"token": jnp.full((len(source), 1), ends.start, jnp.int32)},
    }
    caches = model.start(params, inputs, capacity)
    if beam is None:
        state, advance = _stepper(model, params, caches, ends)
        return _drawn(advance, state, longest, capacity, forced, seed, numbers, ends)
    rows = jax.tree.map(lambda leaf: jnp.repeat(leaf, beam.size, axis=0), caches)
    state, advance = _stepper(model, params, rows, ends)

    def constrain(log_p: Array, position: Array) -> Array:
        return _allowed(log_p, forced[:, None], position, ends.start)

    return beam_search(
        advance,
        state,
        longest=longest,
        capacity=capacity,
        how=beam,
        start=ends.start,
        end=ends.end,
        alpha=numbers,
        constrain=constrain,
    )


def _stepper(
    model: Model, params: Any, caches: Sequence[Any], ends: Ends
) -> tuple[Any, Advance]:
    """Returns the caches that change, and a function from tokens to logits.

    What is fixed stays outside of the state: the hypotheses of a source all hear the
    same, so it need not follow them from row to row.
    """
    growing = [cache for cache in caches if not cache.is_fixed]

    def advance(tokens: Array, position: Array, state: Any) -> tuple[Array, Any]:
        left = list(state)
        now = tuple(cache if cache.is_fixed else left.pop(0) for cache in caches)
        at = jnp.full(tokens.shape, position, jnp.int32)
        node = {ends.target: {"token": tokens[:, None]}}
        logits, after = model.step(params, now, node, at)
        return logits[:, 0], [cache for cache in after if not cache.is_fixed]

    return growing, advance


def _drawn(
    advance: Advance,
    state: Any,
    longest: Int[Array, " B"],
    capacity: int,
    forced: Int[Array, "B P"],
    seed: Array,
    numbers: Any,
    ends: Ends,
) -> Hypotheses:
    """Returns one target a source, drawn token by token; cold, the likeliest tokens."""
    batch = len(longest)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.key(seed), jnp.arange(batch)
    )

    def go_on(carry: Any) -> Array:
        return jnp.any(~carry[-1])

    def step(carry: Any) -> Any:
        position, tokens, total, lengths, state, is_done = carry
        last = jax.lax.dynamic_index_in_dim(tokens, position, 1, keepdims=False)
        logits, state = advance(last, position, state)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        changed = sampling.changed(
            _allowed(log_p, forced, position, ends.start), *numbers
        )
        now = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
        token = jnp.where(is_done, ends.start, sampling.draw(now, changed))
        chosen = jnp.take_along_axis(log_p, token[:, None], axis=1)[:, 0]
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, position + 1, 1)
        total = total + jnp.where(is_done, 0, chosen)
        lengths = lengths + jnp.where(is_done, 0, 1)
        is_done = is_done | (token == ends.end) | (position + 1 >= longest)
        return position + 1, tokens, total, lengths, state, is_done

    tokens = jnp.full((batch, capacity + 1), ends.start, jnp.int32)
    zeros, none = jnp.zeros(batch), jnp.zeros(batch, jnp.int32)
    carry = (jnp.int32(0), tokens, zeros, none, state, longest <= 0)
    _, tokens, total, lengths, _, _ = jax.lax.while_loop(go_on, step, carry)
    return Hypotheses(
        tokens=tokens[:, None, 1:],
        scores=total[:, None],
        lengths=lengths[:, None],
        is_finished=jnp.any(tokens[:, 1:] == ends.end, axis=1)[:, None],
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
