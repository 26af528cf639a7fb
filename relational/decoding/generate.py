"""Generation: a whole batch of sequences in compiled programs.

A prime is taken in one parallel pass; then a loop over positions draws a token, hands it
to the next node, and so on, with the caches of the model's attentions. Nothing here
knows a data set: what a node is given besides its token is a function that is passed in.

Shapes: B pieces, P tokens of the prime, T tokens in all, V vocabulary.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from relational._checks import check_count, check_seed, check_tokens
from relational.decoding import sampling
from relational.decoding.sampling import Sampling
from relational.decoding.token_loop import Drawing, Nodes, begin, go_on
from relational.models import Model

_GRAIN, _PRIME_GRAIN = 256, 64  # Lengths up to the next multiple share a program.


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

    Two programs, for the prime and for the loop, are compiled once for a model,
    `nodes`, `forbidden` and a number of pieces, and for lengths up to the next multiple
    of 64 of the prime, of 256 of all. Another seed, temperature, prime or state costs nothing. What is drawn for a
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
    pieces = Pieces.of(
        model,
        params,
        prime=prime,
        length=length,
        nodes=nodes,
        state=state,
        seed=seed,
        how=how,
        forbidden=forbidden,
    )
    drawing, before = pieces.begin()
    drawing, after = pieces.go_on(drawing, pieces.total)
    return Generated(
        tokens=np.asarray(drawing.tokens)[:, : pieces.total],
        log_probabilities=np.asarray(drawing.known)[:, : pieces.total],
        prime_length=pieces.total - length,
        seconds=before + after,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """A call of `generate`, checked: the programs of `token_loop`, and their arrays."""

    params: Any
    prime: Int[np.ndarray, "B P"]
    total: int
    state: Any
    chosen: tuple[Array, sampling.Numbers]
    static: Mapping[str, Any]
    forbidden: tuple[int, ...]

    @classmethod
    def of(
        cls,
        model: Model,
        params: Any,
        *,
        prime: Shaped[np.ndarray, "B P"],
        length: int,
        nodes: Nodes,
        state: Any,
        seed: int,
        how: Sampling | None,
        forbidden: tuple[int, ...],
    ) -> "Pieces":
        """Checks the arguments of `generate`."""
        prime = np.asarray(prime)
        _check(prime, length, seed)
        if model.spec is not None:
            read = model.spec.nodes[model.spec.read_out.node]
            check_tokens("prime", prime, read.vocabulary)
        sampling.check_forbidden(forbidden)
        return cls(
            params=params,
            prime=prime,
            total=prime.shape[1] + length,
            state=state,
            chosen=(jnp.asarray(seed, jnp.uint32), (how or Sampling()).numbers()),
            static={"model": model, "nodes": nodes},
            forbidden=tuple(forbidden),
        )

    def begin(self) -> tuple[Drawing, float]:
        """Returns what `token_loop.begin` does, and seconds without compilation."""
        length = self.prime.shape[1]
        padding = ((0, 0), (0, -length % _PRIME_GRAIN))
        prime = jnp.asarray(np.pad(self.prime, padding), jnp.int32)
        dynamic = (self.params, prime, jnp.int32(length), self.state)
        capacity = _rounded_up(self.total)
        lowered = begin.lower(*dynamic, capacity=capacity, **self.static)
        program = lowered.compile()  # Kept by jax: the second time this takes no time.
        began = time.perf_counter()
        drawing: Drawing = jax.block_until_ready(program(*dynamic))
        return drawing, time.perf_counter() - began

    def go_on(self, drawing: Drawing, until: int) -> tuple[Drawing, float]:
        """Returns what `token_loop.go_on` does, and seconds without compilation."""
        dynamic = (self.params, drawing, jnp.int32(until), *self.chosen)
        lowered = go_on.lower(*dynamic, forbidden=self.forbidden, **self.static)
        program = lowered.compile()
        began = time.perf_counter()
        after: Drawing = jax.block_until_ready(program(*dynamic))
        return after, time.perf_counter() - began


def _rounded_up(length: int) -> int:
    return -(-length // _GRAIN) * _GRAIN


def _check(prime: Shaped[np.ndarray, "..."], length: int, seed: int) -> None:
    if prime.ndim != 2 or not len(prime) or not np.issubdtype(prime.dtype, np.integer):
        raise ValueError(
            "`prime` must be whole numbers [pieces, tokens] with one piece or more; got "
            f"{prime.dtype} of shape {list(prime.shape)}. Without a prime, give "
            "`np.zeros([pieces, 0], np.int32)`."
        )
    advice = "It counts the tokens after the prime."
    check_count("length", length, least=1, advice=advice)
    check_seed("seed", seed)
