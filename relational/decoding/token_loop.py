"""The loop that continues sequences: the pass over a prime, then a token at a time.

Both are compiled. The loop stops where it is told to, so that tokens may be shown as they
come, and is taken up again.

Shapes: B pieces, P tokens of the prime, T tokens in all, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from relational.decoding import sampling
from relational.models import Model

Nodes = Callable[
    [Int[Array, " B"], Int[Array, ""], Any],
    tuple[dict[str, dict[str, Shaped[Array, " B"]]], Any],
]
"""(the token before [B], position, state) -> (inputs of the model [B], next state).

At position 0 there is no token before, and what is given instead means nothing. The
function is hashable, and equal to itself the next time: a program is compiled for each.
"""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """Sequences up to a position."""

    position: Int[Array, ""]
    last: Int[Array, " B"]
    state: Any
    caches: Any
    tokens: Int[Array, "B T"]
    known: Float[Array, "B T"]
    """The log-probability of each token."""


@functools.partial(jax.jit, static_argnames=("model", "nodes", "capacity"))
def begin(
    params: Any,
    prime: Int[Array, "B P"],
    prime_length: Int[Array, ""],
    state: Any,
    *,
    model: Model,
    nodes: Nodes,
    capacity: int,
) -> Drawing:
    """Takes the prime; P and T, the capacity, are multiples: many lengths share this."""
    num_pieces = prime.shape[0]
    before = jnp.pad(prime, ((0, 0), (1, 0)))  # [B, P + 1], the token before each.
    first, _ = nodes(before[:, 0], jnp.int32(0), state)
    caches = model.start(params, _as_one_node(first), capacity)
    beyond = ((0, 0), (0, capacity - prime.shape[1]))
    known = jnp.zeros((num_pieces, capacity), jnp.float32)
    if prime.shape[1]:
        inputs, state = _prime_nodes(nodes, before[:, :-1], prime_length, state)
        lengths = jnp.full(num_pieces, prime_length)
        logits, caches = model.prefill(params, caches, inputs, lengths)
        known = jnp.pad(_log_probability(logits, prime), beyond)
    return Drawing(
        position=prime_length,
        last=jax.lax.dynamic_index_in_dim(before, prime_length, 1, keepdims=False),
        state=jax.tree.map(jnp.copy, state),  # The loop takes what it is given.
        caches=caches,
        tokens=jnp.pad(prime, beyond),
        known=known,
    )


@functools.partial(
    jax.jit, static_argnames=("model", "nodes", "forbidden"), donate_argnames="drawing"
)
def go_on(
    params: Any,
    drawing: Drawing,
    until: Int[Array, ""],
    seed: Array,
    numbers: sampling.Numbers,
    *,
    model: Model,
    nodes: Nodes,
    forbidden: tuple[int, ...],
) -> Drawing:
    """Draws tokens up to a position; the arrays of `drawing` are gone afterwards."""
    num_pieces = drawing.tokens.shape[0]
    pieces = jnp.arange(num_pieces)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), pieces)

    def step(position: Array, drawing: Drawing) -> Drawing:
        inputs, state = nodes(drawing.last, position, drawing.state)
        at = jnp.full(num_pieces, position)
        logits, caches = model.step(params, drawing.caches, _as_one_node(inputs), at)
        allowed = sampling.without(logits[:, 0].astype(jnp.float32), forbidden)
        token = sampling.drawn(_at_position(keys, position), allowed, numbers)
        chosen = _log_probability(logits, token[:, None])[:, 0]

        def put(into: Array, each: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(into, each, position, 1)

        return Drawing(
            position=position + 1,
            last=token,
            state=state,
            caches=caches,
            tokens=put(drawing.tokens, token),
            known=put(drawing.known, chosen),
        )

    after: Drawing = jax.lax.fori_loop(drawing.position, until, step, drawing)
    return after


def _prime_nodes(
    nodes: Nodes, before: Int[Array, "B P"], length: Int[Array, ""], state: Any
) -> tuple[dict[str, dict[str, Array]], Any]:
    """Returns the inputs of nodes [B, P], and the state after the first `length`."""

    def one(state: Any, numbered: tuple[Array, Array]) -> tuple[Any, Any]:
        position, token = numbered
        inputs, following = nodes(token, position, state)
        is_given = position < length
        kept = jax.tree.map(
            lambda new, old: jnp.where(is_given, new, old), following, state
        )
        return kept, inputs

    positions = jnp.arange(before.shape[1], dtype=jnp.int32)
    state, inputs = jax.lax.scan(one, state, (positions, before.T))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), inputs), state


def _as_one_node(inputs: Any) -> Any:
    """Returns inputs [B] as those of node sets with one node, [B, 1]."""
    return jax.tree.map(lambda leaf: leaf[:, None], inputs)


def _at_position(keys: PRNGKeyArray, position: Array) -> PRNGKeyArray:
    folded: PRNGKeyArray = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
    return folded


def _log_probability(
    logits: Float[Array, "B T V"], tokens: Int[Array, "B T"]
) -> Float[Array, "B T"]:
    """Returns what the model itself, uncut and untempered, thinks of tokens."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
