"""A chorale as a sequence of nodes: tokens, and what each node knows.

Between the pieces that `chorales.load` gives and the arrays that a model hears stands
this file. Four voices on a grid of sixteenths become one token a voice and step, read
step by step from the soprano down: S1 A1 T1 B1 S2 ... A rest is a token. Node `i` hears
the token before it and predicts token `i`.

Source: Huang et al. 2018, Music Transformer, section 3.3 and 4.1 (the serialisation;
the relations on pitch and time that the attributes serve).

Shapes: S steps, T = 4 S tokens, B batch.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Shaped

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
NUM_VOICES = len(VOICES)
LOWEST_PITCH = 36  # MIDI; the chorales span C2 to A5.
HIGHEST_PITCH = 81
SILENCE = -1  # In an array of pitches.
REST = 0  # As a token.
START = (
    HIGHEST_PITCH - LOWEST_PITCH + 2
)  # 47: heard by the first node, never predicted.
VOCABULARY_SIZE = START + 1
DEFAULT_PITCH = 60  # What a node hears of pitch before any note has sounded.
NUM_BEATS = 32  # Positions in the bar are clipped to 0 ... 31.
BEATS_PER_BAR = 16  # Sixteenths in a bar of four quarters.

_TOKEN_TO_PITCH = LOWEST_PITCH - 1


def tokens_of(pitch: Shaped[np.ndarray, "..."]) -> Int[np.ndarray, " T"]:
    """The token sequence of a piece: S1 A1 T1 B1 S2 ...

    Args:
        pitch: MIDI pitches of soprano, alto, tenor and bass on a grid of sixteenths,
            36 to 81, or -1 where the voice rests, [S, 4].

    Returns:
        Tokens, int32 [4 S]: 0 is a rest, 1 to 46 are the pitches 36 to 81.

    Raises:
        ValueError: if `pitch` is not an [S, 4] array of whole numbers, or holds a
            pitch that has no token.

    >>> tokens_of(np.array([[72, 67, 64, 48], [72, 67, 64, -1]]))
    array([37, 32, 29, 13, 37, 32, 29,  0], dtype=int32)
    """
    pitch = _checked_pitch(pitch)
    tokens = np.where(pitch == SILENCE, REST, pitch - _TOKEN_TO_PITCH)
    return tokens.astype(np.int32).reshape(-1)  # [S, 4] -> [4 S], steps outermost.


def pitch_of(tokens: Shaped[np.ndarray, "..."]) -> Int[np.ndarray, "S 4"]:
    """The piece that a token sequence spells: the inverse of `tokens_of`.

    Args:
        tokens: ids 0 to 46, as many as four times the steps, [T].

    Returns:
        MIDI pitches, -1 where a voice rests, int32 [T / 4, 4].

    Raises:
        ValueError: if the length is no multiple of 4, or a token is not in 0 ... 46.

    >>> pitch_of(np.array([37, 32, 29, 0]))
    array([[72, 67, 64, -1]], dtype=int32)
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or len(tokens) % NUM_VOICES:
        raise ValueError(
            "`tokens` must be one sequence with 4 tokens a step; got shape "
            f"{tokens.shape}. Cut it at a multiple of 4."
        )
    wrong = (tokens < REST) | (tokens >= START)
    if wrong.any():
        raise ValueError(
            f"`tokens` must be 0 (rest) to {START - 1}; got {tokens[wrong][0]} at "
            f"position {int(wrong.argmax())}. The start token is heard, never spelled."
        )
    pitch = np.where(tokens == REST, SILENCE, tokens + _TOKEN_TO_PITCH)
    return pitch.astype(np.int32).reshape(-1, NUM_VOICES)  # [T] -> [S, 4].


def attributes(
    tokens: Int[np.ndarray, " T"],
    beat: Int[np.ndarray, " S"],
    *,
    first_step: int = 0,
) -> dict[str, Shaped[np.ndarray, " T"]]:
    """What each node of a piece, or of a window of one, knows: arrays [T] by name.

    Node `i` predicts token `i`, having heard the tokens before it.

    - `token`: the token to be predicted.
    - `previous`: the token before it; `START` at the first node.
    - `voice`: 0 soprano, 1 alto, 2 tenor, 3 bass: whose token is predicted.
    - `beat`: the position in the bar of the predicted token, in sixteenths, 0 ... 31.
    - `onset`: the step of the predicted token within the piece.
    - `pitch`: the MIDI pitch of `previous`. Where that is a rest or `START`, it is the
      last pitch that sounded (in any voice), or 60 if none has, so that the difference
      of two nodes' pitches is always a musical interval.
    - `weight`: 1.0 (float32, all others int32); padding, made elsewhere, weighs 0.0.

    A window begins afresh: its first node hears `START` and nothing is carried into it,
    just as in a decoder that begins there; only `beat` and `onset` tell where it stands.

    Args:
        tokens: ids 0 to 46, [T = 4 S].
        beat: the position of each step in its bar, in sixteenths, [S].
        first_step: the onset of the first step, for a window of a longer piece.

    Returns:
        The seven arrays by name.

    Raises:
        ValueError: if `tokens` has not four tokens for each entry of `beat`.

    >>> nodes = attributes(np.array([37, 32, 29, 0, 39, 32, 29, 0]), np.array([12, 13]))
    >>> nodes["previous"]
    array([47, 37, 32, 29,  0, 39, 32, 29], dtype=int32)
    >>> nodes["pitch"]  # After the bass's rest, the tenor's 64 is carried on.
    array([60, 72, 67, 64, 64, 74, 67, 64], dtype=int32)
    >>> nodes["beat"]
    array([12, 12, 12, 12, 13, 13, 13, 13], dtype=int32)
    """
    length = len(tokens)
    if length != NUM_VOICES * len(beat):
        raise ValueError(
            "`tokens` must hold 4 tokens for each entry of `beat`; got "
            f"{length} tokens and {len(beat)} steps. Cut both at the same step."
        )
    position = np.arange(length, dtype=np.int32)
    previous = np.append(np.int32(START), tokens)[:length].astype(np.int32)
    return {
        "token": np.asarray(tokens, np.int32),
        "previous": previous,
        "voice": position % NUM_VOICES,
        "beat": np.repeat(np.clip(beat, 0, NUM_BEATS - 1), NUM_VOICES).astype(np.int32),
        "onset": np.int32(first_step) + position // NUM_VOICES,
        "pitch": _carried_pitch(previous),
        "weight": np.ones(length, np.float32),
    }


def attributes_of_next(
    tokens: Sequence[int] | Int[np.ndarray, " T"],
    *,
    first_beat: int = 0,
    beats_per_bar: int = BEATS_PER_BAR,
    first_step: int = 0,
) -> dict[str, int]:
    """What the node after `tokens` knows: the slow, obvious form for one sequence.

    Agrees with `attributes` where the bars are all of one length.

    Args:
        tokens: the tokens so far, possibly none.
        first_beat: the position in the bar of the first step, in sixteenths.
        beats_per_bar: sixteenths in a bar.
        first_step: the onset of the first step.

    Returns:
        `previous`, `voice`, `beat`, `onset` and `pitch` as whole numbers.

    >>> attributes_of_next([37, 32, 29, 0], first_beat=15)
    {'previous': 0, 'voice': 0, 'beat': 0, 'onset': 1, 'pitch': 64}
    """
    step = len(tokens) // NUM_VOICES
    sounding = [int(token) for token in tokens if token not in (REST, START)]
    return {
        "previous": int(tokens[-1]) if len(tokens) else START,
        "voice": len(tokens) % NUM_VOICES,
        "beat": min((first_beat + step) % beats_per_bar, NUM_BEATS - 1),
        "onset": first_step + step,
        "pitch": sounding[-1] + _TOKEN_TO_PITCH if sounding else DEFAULT_PITCH,
    }


def next_attributes(
    token: Int[Array, " B"],
    position: ArrayLike,
    carried_pitch: Int[Array, " B"],
    *,
    first_beat: ArrayLike = 0,
    beats_per_bar: ArrayLike = BEATS_PER_BAR,
    first_step: ArrayLike = 0,
) -> dict[str, Int[Array, " B"]]:
    """What the node at `position` knows, from the token just drawn: for jitted loops.

    The `pitch` that is returned is the `carried_pitch` of the next call; begin with
    `DEFAULT_PITCH` everywhere. Agrees with `attributes_of_next`.

    Args:
        token: the token at `position - 1`, [B]. At position 0 it is not looked at.
        position: which node this is, counted from 0: a scalar or [B].
        carried_pitch: the `pitch` of the node before, [B].
        first_beat: the position in the bar of the first step: a scalar or [B].
        beats_per_bar: sixteenths in a bar: a scalar or [B].
        first_step: the onset of the first step: a scalar or [B].

    Returns:
        `previous`, `voice`, `beat`, `onset` and `pitch`, int32 [B] each.

    >>> drawn, carried = jnp.array([37, 0]), jnp.array([60, 64])
    >>> nodes = next_attributes(drawn, 5, carried, first_beat=12)
    >>> [nodes[name].tolist() for name in ("previous", "voice", "beat", "pitch")]
    [[37, 0], [1, 1], [13, 13], [72, 64]]
    """

    def row(value: ArrayLike) -> Int[Array, " B"]:
        return jnp.broadcast_to(jnp.asarray(value, jnp.int32), token.shape)

    step = row(position) // NUM_VOICES
    previous = jnp.where(row(position) == 0, START, row(token))
    sounds = (previous != REST) & (previous != START)
    return {
        "previous": previous,
        "voice": row(position) % NUM_VOICES,
        "beat": jnp.minimum(
            (row(first_beat) + step) % row(beats_per_bar), NUM_BEATS - 1
        ),
        "onset": row(first_step) + step,
        "pitch": jnp.where(sounds, previous + _TOKEN_TO_PITCH, row(carried_pitch)),
    }


def transposed(tokens: Int[np.ndarray, " T"], semitones: int) -> Int[np.ndarray, " T"]:
    """The same piece, higher by `semitones`; rests stay rests.

    Args:
        tokens: ids 0 to 46, [T].
        semitones: how far, within `transpositions(tokens, ...)`.

    Returns:
        Tokens, [T].

    >>> transposed(np.array([37, 0, 29, 13]), -1)
    array([36,  0, 28, 12])
    """
    return np.where(tokens == REST, REST, tokens + semitones)


def transpositions(tokens: Int[np.ndarray, " T"], reach: int) -> tuple[int, int]:
    """The lowest and highest transposition of at most `reach` that stay in range.

    Args:
        tokens: ids 0 to 46, [T].
        reach: semitones up and down, 0 or more.

    Returns:
        `(lowest, highest)`, in semitones: `-reach <= lowest <= 0 <= highest <= reach`.

    >>> transpositions(np.array([45, 0, 29, 13]), 5)  # 45 is A flat 5; A5 is the top.
    (-5, 1)
    """
    sounding = tokens[tokens != REST]
    if not len(sounding):
        return 0, 0
    room_below = int(sounding.min()) - 1
    room_above = START - 1 - int(sounding.max())
    return -min(reach, room_below), min(reach, room_above)


def _carried_pitch(previous: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    sounds = (previous != REST) & (previous != START)
    latest = np.maximum.accumulate(np.where(sounds, np.arange(len(previous)), -1))
    pitch = np.where(latest < 0, DEFAULT_PITCH, previous[latest] + _TOKEN_TO_PITCH)
    return pitch.astype(np.int32)


def _checked_pitch(pitch: Shaped[np.ndarray, "..."]) -> Int[np.ndarray, "S 4"]:
    pitch = np.asarray(pitch)
    if pitch.ndim != 2 or pitch.shape[1] != NUM_VOICES:
        raise ValueError(
            "`pitch` must have shape [steps, 4] (soprano, alto, tenor, bass); got "
            f"{list(pitch.shape)}."
        )
    if not np.issubdtype(pitch.dtype, np.integer):
        raise ValueError(
            f"`pitch` must hold whole numbers (MIDI pitches); got {pitch.dtype}. "
            "Round it and convert it to int32."
        )
    out_of_range = (pitch < LOWEST_PITCH) | (pitch > HIGHEST_PITCH)
    wrong = out_of_range & (pitch != SILENCE)
    if wrong.any():
        step, voice = np.argwhere(wrong)[0]
        raise ValueError(
            f"`pitch` must be {LOWEST_PITCH} to {HIGHEST_PITCH}, or -1 for a rest; got "
            f"{pitch[step, voice]} at step {step}, voice {voice}. Transpose the piece "
            "by octaves."
        )
    return pitch
