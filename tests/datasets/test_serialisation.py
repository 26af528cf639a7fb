import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from relational.datasets.serialisation import (
    DEFAULT_PITCH,
    START,
    VOCABULARY_SIZE,
    attributes,
    attributes_of_next,
    next_attributes,
    pitch_of,
    tokens_of,
    transposed,
    transpositions,
)

_sounds = st.one_of(st.just(-1), st.integers(36, 81))
_chorales = st.integers(0, 24).flatmap(
    lambda steps: hnp.arrays(np.int32, (steps, 4), elements=_sounds)
)


def test_there_are_48_tokens_and_start_is_the_last():
    assert VOCABULARY_SIZE == 48
    assert START == 47
    assert tokens_of(np.array([[36, 81, -1, 60]])).tolist() == [1, 46, 0, 25]


def test_voices_are_interleaved_step_by_step_from_the_soprano_down():
    pitch = np.array([[72, 67, 64, 48], [74, 65, 62, 50]])
    assert (tokens_of(pitch) + 35).tolist() == [72, 67, 64, 48, 74, 65, 62, 50]


@settings(deadline=None)
@given(_chorales)
def test_tokens_spell_the_piece_they_were_made_of(pitch):
    tokens = tokens_of(pitch)
    assert tokens.dtype == np.int32
    assert len(tokens) == 4 * len(pitch)
    np.testing.assert_array_equal(pitch_of(tokens), pitch)


@settings(deadline=None, max_examples=50)
@given(_chorales, st.integers(0, 15), st.integers(1, 40), st.integers(0, 100))
def test_node_by_node_agrees_with_all_at_once(pitch, first_beat, bar, first_step):
    tokens = tokens_of(pitch)
    beat = (np.arange(len(pitch)) + first_beat) % bar
    parallel = attributes(tokens, beat, first_step=first_step)
    for position in range(len(tokens)):
        node = attributes_of_next(
            tokens[:position],
            first_beat=first_beat,
            beats_per_bar=bar,
            first_step=first_step,
        )
        assert node == {name: parallel[name][position] for name in node}


@settings(deadline=None, max_examples=10)
@given(
    hnp.arrays(np.int32, (3, 6, 4), elements=_sounds),
    hnp.arrays(np.int32, 3, elements=st.integers(0, 15)),
)
def test_a_jitted_loop_agrees_with_all_at_once(pitches, first_beat):
    tokens = np.stack([tokens_of(pitch) for pitch in pitches])  # [B, T]
    nodes = _decode(tokens, first_beat)
    for row, row_tokens in enumerate(tokens):
        parallel = attributes(row_tokens, (np.arange(6) + first_beat[row]) % 16)
        for name, values in nodes.items():
            assert values.dtype == jnp.int32
            np.testing.assert_array_equal(values[:, row], parallel[name], name)


@jax.jit
def _decode(tokens, first_beat):
    """Decodes as a generator would, were it to draw `tokens`."""

    def step(carry, inputs):
        token_before, pitch = carry
        position, token = inputs
        node = next_attributes(token_before, position, pitch, first_beat=first_beat)
        return (token, node["pitch"]), node

    num_rows, num_tokens = tokens.shape
    begin = (jnp.zeros(num_rows, jnp.int32), jnp.full(num_rows, DEFAULT_PITCH))
    inputs = (jnp.arange(num_tokens), jnp.asarray(tokens).T)
    return jax.lax.scan(step, begin, inputs)[1]  # [T, B]


def test_pitch_carries_over_rests_the_last_note_that_sounded():
    tokens = tokens_of(np.array([[-1, 64, -1, -1], [-1, -1, 50, 40]]))
    nodes = attributes(tokens, np.array([0, 1]))
    assert nodes["pitch"].tolist() == [60, 60, 64, 64, 64, 64, 64, 50]
    assert nodes["previous"].tolist() == [47, 0, 29, 0, 0, 0, 0, 15]


def test_beats_beyond_31_are_clipped():
    nodes = attributes(np.zeros(8, np.int32), np.array([31, 40]))
    assert nodes["beat"].tolist() == [31] * 8
    assert attributes_of_next([0] * 4, first_beat=40, beats_per_bar=64)["beat"] == 31


@settings(deadline=None)
@given(_chorales, st.integers(0, 12))
def test_every_allowed_transposition_stays_in_range_and_the_next_does_not(pitch, reach):
    tokens = tokens_of(pitch)
    lowest, highest = transpositions(tokens, reach)
    assert -reach <= lowest <= 0 <= highest <= reach
    sounding = pitch[pitch >= 0]
    for semitones in (lowest, highest):
        moved = pitch_of(transposed(tokens, semitones))
        np.testing.assert_array_equal(moved < 0, pitch < 0)
        np.testing.assert_array_equal(moved[pitch >= 0], sounding + semitones)
    if len(sounding):
        assert highest == reach or sounding.max() + highest == 81
        assert lowest == -reach or sounding.min() + lowest == 36


@pytest.mark.parametrize(
    ("pitch", "words"),
    [
        (np.zeros((4, 3), int), r"`pitch` must have shape \[steps, 4\].*got \[4, 3\]"),
        (np.zeros(4, int), r"got \[4\]"),
        (np.full((2, 4), 60.0), "whole numbers.*got float64.*int32"),
        (np.array([[60, 60, 60, 35]]), "36 to 81.*got 35 at step 0, voice 3.*octaves"),
        (np.array([[60, 82, 60, 36]]), "got 82 at step 0, voice 1"),
        (np.array([[60, -2, 60, 36]]), "got -2"),
    ],
)
def test_a_piece_without_tokens_is_refused(pitch, words):
    with pytest.raises(ValueError, match=words):
        tokens_of(pitch)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (np.zeros(5, int), r"4 tokens a step; got shape \(5,\).*multiple of 4"),
        (np.array([1, 2, START, 3]), "0 .rest. to 46; got 47 at position 2.*start"),
        (np.array([1, -1, 2, 3]), "got -1 at position 1"),
    ],
)
def test_tokens_that_spell_nothing_are_refused(tokens, words):
    with pytest.raises(ValueError, match=words):
        pitch_of(tokens)


def test_beats_must_match_the_tokens():
    with pytest.raises(ValueError, match=r"4 tokens for each.*8 tokens and 3 steps"):
        attributes(np.zeros(8, np.int32), np.arange(3))
