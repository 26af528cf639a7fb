"""Chorales drawn from a model: where generation meets this one data set.

Shapes: B pieces, P steps (sixteenths) of the prime, S steps in all.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from relational.datasets.serialisation import (
    BEATS_PER_BAR,
    DEFAULT_PITCH,
    NUM_VOICES,
    START,
    VOCABULARY_SIZE,
    next_attributes,
    pitch_of,
    tokens_of,
)
from relational.decoding.generate import Generated, generate
from relational.decoding.sampling import Sampling
from relational.models.tasks import NextToken

MOST_STEPS = 8192
"""The longest piece, prime included: 512 bars, twice what a prime may have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composed:
    """Pieces, and what the model thought of them.

    >>> nothing = Generated(tokens=np.zeros([1, 0]), log_probabilities=np.zeros([1, 0]),
    ...                     prime_length=0, seconds=0.0)
    >>> Composed(pitch=np.array([[[72, 67, 64, 48]] * 16]), prime_steps=4, first_beat=0,
    ...          generated=nothing).pitch.shape
    (1, 16, 4)
    """

    pitch: Int[np.ndarray, "B S 4"]
    """MIDI pitches of soprano, alto, tenor and bass, -1 where a voice rests."""

    prime_steps: int
    """How many of the steps were given."""

    first_beat: int
    """The position in its bar of the first step."""

    generated: Generated
    """Tokens, log-probabilities and speed."""


def compose(
    task: NextToken,
    params: Any,
    *,
    steps: int,
    count: int = 1,
    prime: Shaped[np.ndarray, "P 4"] | None = None,
    first_beat: int = 0,
    seed: int = 0,
    how: Sampling | None = None,
) -> Composed:
    """Draws chorales from a model, or continues one.

    Args:
      task: a model of chorales, as `relational.models.tasks.from_spec` gives it.
      params: its parameters.
      steps: how many sixteenths are drawn, after the prime.
      count: how many pieces.
      prime: the beginning of all pieces, as `read_midi` gives it.
      first_beat: the position in its bar of the first step, 12 for an upbeat of a
        quarter; bars have 16 steps.
      seed: of all that is drawn.
      how: temperature and cuts.

    Returns:
      The pieces.

    Raises:
      ValueError: if an argument is out of its range.

    >>> import jax
    >>> from relational import specs
    >>> spec = specs.override(specs.load("transformer"), ["model.blocks[0].repeat=1"])
    >>> task = NextToken(spec.model)
    >>> one = next_attributes(jnp.zeros(1, int), 0, jnp.zeros(1, int))
    >>> params = task.init(jax.random.key(0), {name: one[name][None] for name in one})
    >>> compose(task, params, steps=2, count=3).pitch.shape
    (3, 2, 4)
    """
    tokens = np.zeros(0, np.int32) if prime is None else tokens_of(np.asarray(prime))
    prime_steps = len(tokens) // NUM_VOICES
    _check(task, steps, count, prime_steps, first_beat)
    vocabulary = task.spec.nodes[task.spec.read_out.node].vocabulary
    generated = generate(
        task.model,
        params,
        prime=np.tile(tokens, (count, 1)),
        length=steps * NUM_VOICES,
        nodes=ChoraleNodes(task),
        state={
            "pitch": jnp.full(count, DEFAULT_PITCH, jnp.int32),
            "first_beat": jnp.full(count, first_beat, jnp.int32),
        },
        seed=seed,
        how=how,
        forbidden=tuple(range(START, vocabulary)),
    )
    return Composed(
        pitch=np.stack([pitch_of(row) for row in generated.tokens]),
        prime_steps=prime_steps,
        first_beat=first_beat,
        generated=generated,
    )


@dataclasses.dataclass(frozen=True)
class ChoraleNodes:
    """What the nodes of a chorale are given; the state carries what they need.

    Attributes:
      task: the model's task, which names its inputs.
    """

    task: NextToken

    def __call__(
        self, token: Int[Array, " B"], position: Int[Array, ""], state: Any
    ) -> tuple[Any, Any]:
        """Returns the inputs of the nodes at `position`, and the next state."""
        known = next_attributes(
            token, position, state["pitch"], first_beat=state["first_beat"]
        )
        return self.task.inputs(known), {**state, "pitch": known["pitch"]}


def _check(
    task: NextToken, steps: int, count: int, prime_steps: int, first_beat: int
) -> None:
    vocabulary = task.spec.nodes[task.spec.read_out.node].vocabulary
    if vocabulary < VOCABULARY_SIZE:
        raise ValueError(
            f"`task` must be of a model with {VOCABULARY_SIZE} tokens or more, as "
            f"chorales have; its vocabulary is {vocabulary}. Train one that has."
        )
    if steps < 1 or prime_steps + steps > MOST_STEPS:
        raise ValueError(
            f"`steps` must be 1 to {MOST_STEPS - prime_steps} (prime and continuation "
            f"have at most {MOST_STEPS} sixteenths, {MOST_STEPS // BEATS_PER_BAR} bars); "
            f"got {steps}."
        )
    if count < 1:
        raise ValueError(f"`count` must be 1 or more; got {count}.")
    if not 0 <= first_beat < BEATS_PER_BAR:
        raise ValueError(
            f"`first_beat` must be 0 to {BEATS_PER_BAR - 1}; got {first_beat}."
        )
