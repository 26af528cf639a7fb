import math

import numpy as np
import pytest

from relational.datasets import repeat_loss, repeat_probability, uniform_loss


def test_the_uniform_guess_costs_ln_47():
    assert uniform_loss() == pytest.approx(math.log(47))


def test_the_repeat_guess_is_what_counting_by_hand_gives(pieces):
    probability, loss, num_tokens = 0.7, 0.0, 0
    num_repeated = num_later = 0
    for piece in pieces:
        for step, chord in enumerate(piece["pitch"]):
            for voice in range(4):
                num_tokens += 1
                if step == 0:
                    loss += math.log(47)
                    continue
                repeats = chord[voice] == piece["pitch"][step - 1, voice]
                num_repeated, num_later = num_repeated + int(repeats), num_later + 1
                loss -= math.log(probability if repeats else (1 - probability) / 46)
    assert repeat_loss(pieces, probability) == pytest.approx(loss / num_tokens)
    fitted = repeat_probability(pieces)
    assert fitted == pytest.approx((num_repeated + 1) / (num_later + 2))


def test_no_other_probability_does_better_where_it_was_fitted(pieces):
    for piece in pieces:  # Hold each chord for four steps.
        piece["pitch"] = np.repeat(piece["pitch"], 4, axis=0)
    fitted = repeat_probability(pieces)
    best = repeat_loss(pieces, fitted)
    assert all(best <= repeat_loss(pieces, fitted + d) for d in (-0.05, 0.05))


@pytest.mark.parametrize("probability", [0.0, 1.0, -1.0, math.nan])
def test_a_probability_must_be_one(pieces, probability):
    with pytest.raises(ValueError, match="`probability` must lie between 0 and 1"):
        repeat_loss(pieces, probability)


def test_no_pieces_have_no_loss():
    with pytest.raises(ValueError, match="at least one step"):
        repeat_loss([], 0.5)
