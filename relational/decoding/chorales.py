"""Chorales drawn from a model: where generation meets this one data set.

Shapes: B pieces, P steps (sixteenths) of the prime, S steps in all.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

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
    window: int | None = None,
) -> Composed:
    """Draws chorales from a model, or continues one.

    What is longer than the window is drawn in parts, each a continuation of half a
    window: no model is asked about lengths that it was not trained on.

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
      window: how many tokens the model was trained to hear, a multiple of 4; by
        default it hears everything.

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
    _check(task, steps, count, prime_steps, first_beat, window)
    vocabulary = task.spec.nodes[task.spec.read_out.node].vocabulary
    nodes, forbidden = ChoraleNodes(task), tuple(range(START, vocabulary))

    def draw(heard: Int[np.ndarray, "B P"], part: "_Part") -> Generated:
        beat = (first_beat + part.start // NUM_VOICES) % BEATS_PER_BAR
        return generate(
            task.model,
            params,
            prime=heard,
            length=part.stop - part.middle,
            nodes=nodes,
            state={
                "pitch": jnp.full(count, DEFAULT_PITCH, jnp.int32),
                "first_beat": jnp.full(count, beat, jnp.int32),
            },
            seed=(seed + part.number) % 2**32 if part.number else seed,
            how=how,
            forbidden=forbidden,
        )

    generated = _in_parts(
        draw, np.tile(tokens, (count, 1)), len(tokens) + steps * NUM_VOICES, window
    )
    return Composed(
        pitch=np.stack([pitch_of(row) for row in generated.tokens]),
        prime_steps=prime_steps,
        first_beat=first_beat,
        generated=generated,
    )


class _Part(NamedTuple):
    """Tokens start to middle are heard, those from middle to stop are drawn."""

    number: int
    start: int
    middle: int
    stop: int


def _parts(known: int, total: int, window: int | None) -> Iterator[_Part]:
    if window is None or total <= window:
        yield _Part(0, 0, known, total)
        return
    half = window // 2 // NUM_VOICES * NUM_VOICES
    for number in itertools.count():
        start = 0 if known < window else known - half
        stop = min(start + window, total)
        yield _Part(number, start, known, stop)
        known = stop
        if stop == total:
            return


def _in_parts(
    draw: Callable[[Int[np.ndarray, "B P"], _Part], Generated],
    prime: Int[np.ndarray, "B P"],
    total: int,
    window: int | None,
) -> Generated:
    """Returns all parts as one; a prime's tokens that no part heard have NaN."""
    tokens, seconds = prime, 0.0
    known = np.full((len(prime), total), np.nan, np.float32)
    for part in _parts(prime.shape[1], total, window):
        found = draw(tokens[:, part.start :], part)
        fresh = slice(part.start if not part.number else part.middle, part.stop)
        known[:, fresh] = found.log_probabilities[:, fresh.start - part.start :]
        tokens = np.concatenate([tokens[:, : part.start], found.tokens], axis=1)
        seconds += found.seconds
    return Generated(
        tokens=tokens,
        log_probabilities=known,
        prime_length=prime.shape[1],
        seconds=seconds,
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
    task: NextToken,
    steps: int,
    count: int,
    prime_steps: int,
    first_beat: int,
    window: int | None,
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
    if window is not None and (window < 2 * NUM_VOICES or window % NUM_VOICES):
        raise ValueError(
            f"`window` must be a multiple of {NUM_VOICES}, and two steps of "
            f"{NUM_VOICES} tokens or more; got {window}."
        )
    if count < 1:
        raise ValueError(f"`count` must be 1 or more; got {count}.")
    if not 0 <= first_beat < BEATS_PER_BAR:
        raise ValueError(
            f"`first_beat` must be 0 to {BEATS_PER_BAR - 1}; got {first_beat}."
        )
