"""Generation: one compiled program for a whole batch of sequences.

A prime is taken in one parallel pass; then a loop over positions draws a token, hands it
to the next node, and so on, with the caches of the model's attentions. Nothing here
knows a data set: what a node is given besides its token is a function that is passed in.

Shapes: B pieces, P tokens of the prime, T tokens in all, V vocabulary.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from relational.decoding import sampling
from relational.decoding.sampling import Sampling
from relational.models import Model

Nodes = Callable[
    [Int[Array, " B"], Int[Array, ""], Any],
    tuple[dict[str, dict[str, Shaped[Array, " B"]]], Any],
]
"""(the token before [B], position, state) -> (inputs of the model [B], next state).

At position 0 there is no token before, and what is given instead means nothing. The
function is hashable, and equal to itself the next time: a program is compiled for each.
"""

_MOST_SEED = 2**32 - 1
_GRAIN = 256  # Lengths up to the next multiple of it share a program.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
    """What was drawn, and how likely the model held it.

    >>> drawn = Generated(tokens=np.array([[3, 1, 2]]), prime_length=1, seconds=0.5,
    ...                   log_probabilities=np.log([[0.5, 0.25, 0.25]]))
    >>> drawn.nats_per_token.round(3).tolist(), drawn.tokens_per_second  # log 4
    ([1.386], 4.0)
    """

    tokens: Int[np.ndarray, "B T"]
    """The prime and its continuation."""

    log_probabilities: Float[np.ndarray, "B T"]
    """The model's own, of each token after those before it, the prime's included."""

    prime_length: int
    """How many of the tokens were given."""

    seconds: float
    """What the program took, without compilation."""

    @property
    def nats_per_token(self) -> Float[np.ndarray, " B"]:
        """The mean surprise of the drawn tokens, for each piece."""
        drawn = self.log_probabilities[:, self.prime_length :]
        surprise: Float[np.ndarray, " B"] = -drawn.mean(axis=1)
        return surprise

    @property
    def tokens_per_second(self) -> float:
        """Drawn tokens of all pieces a second, the pass over the prime included."""
        drawn = self.tokens[:, self.prime_length :]
        return float(drawn.size / max(self.seconds, 1e-9))


def generate(
    model: Model,
    params: Any,
    *,
    prime: Shaped[np.ndarray, "B P"],
    length: int,
    nodes: Nodes,
    state: Any,
    seed: int = 0,
    how: Sampling | None = None,
    forbidden: tuple[int, ...] = (),
) -> Generated:
    """Continues primes by tokens drawn from a model.

    The program is compiled once for a model, `nodes`, `forbidden` and a number of
    pieces, and for lengths up to the next multiple of 256: the prime's, and that of
    all. Another seed, temperature, prime or state costs nothing. What is drawn for a
    piece follows from the seed and its number in the batch.

    Args:
      model: which can be stepped: nobody hears a later node.
      params: its parameters.
      prime: tokens that are given; [B, 0] begins from nothing.
      length: how many tokens are drawn after the prime.
      nodes: what each node is given; see `Nodes`.
      state: what `nodes` gets at position 0: a pytree of arrays.
      seed: 0 to 2^32 - 1.
      how: temperature and cuts; by default the model's own distribution.
      forbidden: tokens that are never drawn.

    Returns:
      Tokens and their log-probabilities.

    Raises:
      ValueError: if an argument is out of its range, or a node of the model hears a
        later one.

    >>> from relational import models, specs
    >>> changes = ["model.nodes.token.embed={}", "model.blocks[0].repeat=1"]
    >>> spec = specs.override(specs.load("transformer"), changes).model
    >>> model = models.build(spec)
    >>> def nodes(token, position, state):  # Each node is given the token before it.
    ...     return {"token": {"token": token}}, state
    >>> one = {"token": {"token": np.zeros([1, 1], np.int32)}}
    >>> params = jax.jit(model.init)(jax.random.key(0), one)
    >>> prime = np.zeros([2, 4], np.int32)
    >>> generate(model, params, prime=prime, length=8, nodes=nodes, state=()).tokens.shape
    (2, 12)
    """
    prime = np.asarray(prime)
    _check(prime, length, seed)
    prime_length, total = prime.shape[1], prime.shape[1] + length
    padding = _rounded_up(prime_length) - prime_length
    dynamic = (
        params,
        jnp.asarray(np.pad(prime, ((0, 0), (0, padding))), jnp.int32),
        jnp.asarray(prime_length, jnp.int32),
        jnp.asarray(total, jnp.int32),
        state,
        jnp.asarray(seed, jnp.uint32),
        (how or Sampling()).numbers(),
    )
    lowered = _decode.lower(
        *dynamic,
        model=model,
        nodes=nodes,
        capacity=_rounded_up(total),
        forbidden=forbidden,
    )
    program = lowered.compile()  # Kept by jax: the second time this takes no time.
    began = time.perf_counter()
    tokens, log_probabilities = map(np.asarray, program(*dynamic))  # This waits.
    seconds = time.perf_counter() - began
    return Generated(
        tokens=tokens[:, :total],
        log_probabilities=log_probabilities[:, :total],
        prime_length=prime_length,
        seconds=seconds,
    )


def _rounded_up(length: int) -> int:
    return -(-length // _GRAIN) * _GRAIN


def _check(prime: Shaped[np.ndarray, "..."], length: int, seed: int) -> None:
    if prime.ndim != 2 or not len(prime) or not np.issubdtype(prime.dtype, np.integer):
        raise ValueError(
            "`prime` must be whole numbers [pieces, tokens] with one piece or more; got "
            f"{prime.dtype} of shape {list(prime.shape)}. Without a prime, give "
            "`np.zeros([pieces, 0], np.int32)`."
        )
    if length < 1:
        raise ValueError(
            f"`length` must be 1 or more; got {length}. It counts the tokens after the "
            "prime."
        )
    if not 0 <= seed <= _MOST_SEED:
        raise ValueError(f"`seed` must be 0 to {_MOST_SEED}; got {seed}.")


@functools.partial(jax.jit, static_argnames=("model", "nodes", "capacity", "forbidden"))
def _decode(
    params: Any,
    prime: Int[Array, "B P"],
    prime_length: Int[Array, ""],
    total: Int[Array, ""],
    state: Any,
    seed: Array,
    numbers: sampling.Numbers,
    *,
    model: Model,
    nodes: Nodes,
    capacity: int,
    forbidden: tuple[int, ...],
) -> tuple[Int[Array, "B T"], Float[Array, "B T"]]:
    """Draws until `total`; P and T are multiples, so that many lengths share this."""
    num_pieces = prime.shape[0]
    pieces = jnp.arange(num_pieces)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), pieces)
    before = jnp.pad(prime, ((0, 0), (1, 0)))  # [B, P + 1], the token before each.
    first, _ = nodes(before[:, 0], jnp.int32(0), state)
    caches = model.start(params, _as_one_node(first), capacity)
    beyond = ((0, 0), (0, capacity - prime.shape[1]))
    tokens, known = jnp.pad(prime, beyond), jnp.zeros((num_pieces, capacity))
    if prime.shape[1]:
        inputs, state = _prime_nodes(nodes, before[:, :-1], prime_length, state)
        lengths = jnp.full(num_pieces, prime_length)
        logits, caches = model.prefill(params, caches, inputs, lengths)
        known = jnp.pad(_log_probability(logits, prime), beyond)

    def step(position: Array, carry: Any) -> Any:
        token, state, caches, tokens, known = carry
        inputs, state = nodes(token, position, state)
        at = jnp.full(num_pieces, position)
        logits, caches = model.step(params, caches, _as_one_node(inputs), at)
        allowed = sampling.without(logits[:, 0].astype(jnp.float32), forbidden)
        drawn = sampling.draw(
            _at_position(keys, position), sampling.changed(allowed, *numbers)
        )
        chosen = _log_probability(logits, drawn[:, None])[:, 0]
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, drawn, position, 1)
        known = jax.lax.dynamic_update_index_in_dim(known, chosen, position, 1)
        return drawn, state, caches, tokens, known

    last = jax.lax.dynamic_index_in_dim(before, prime_length, 1, keepdims=False)
    carry = (last, state, caches, tokens, known)
    _, _, _, tokens, known = jax.lax.fori_loop(prime_length, total, step, carry)
    return tokens, known


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
    every = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.take_along_axis(every, tokens[..., None], axis=-1)[..., 0]
