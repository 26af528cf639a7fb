"""What heads listen to, and the picture of it."""

import matplotlib.patches
import numpy as np
import pytest

from relational.decoding.listening import listening, most_telling
from relational.plotting.attention import draw_attention

CHORDS = np.array([[72, 67, 64, 48]] * 8 + [[74, 65, 62, 50]] * 8)


def test_every_head_of_every_layer_listens_to_what_was_before(causal, prime) -> None:
    task, params = causal
    found = listening(task, params, prime, first_beat=12)
    assert [weights.shape for weights in found] == [(2, 20, 20)] * 2
    later = np.triu(np.ones([20, 20], bool), 1)
    for weights in found:
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
        assert not weights[:, later].any()
    assert abs(found[0] - found[1]).max() > 0.01


def test_a_piece_is_looked_at_in_windows(causal) -> None:
    task, params = causal
    with pytest.raises(ValueError, match=r"`pitch` must have 1 to 256 steps; got 257"):
        listening(task, params, np.full([257, 4], 60))


def test_a_head_that_listens_far_and_to_few_tells_most() -> None:
    size = 16
    alike = np.tril(np.ones([size, size])) / np.arange(1, size + 1)[:, None]
    near, far = np.eye(size), np.eye(size)[np.maximum(np.arange(size) - 8, 0)]
    assert most_telling([np.stack([alike, near]), np.stack([far, near])]) == (1, 0)


def _arcs(figure) -> list[matplotlib.patches.FancyArrowPatch]:
    patches = figure.axes[0].patches
    return [p for p in patches if isinstance(p, matplotlib.patches.FancyArrowPatch)]


def test_arcs_lead_to_the_tokens_that_were_heard() -> None:
    # All four nodes of step 9 listen to node 6, which has heard token 5: the alto's
    # first note, at step 1.
    weights = np.eye(64)
    weights[36:40] = np.eye(64)[6]
    figure = draw_attention(weights, CHORDS, step=9)
    arcs = _arcs(figure)
    assert len(arcs) == 4
    ends = [arc.get_path().vertices[-1][0] for arc in arcs]
    np.testing.assert_allclose(ends, 1.5, atol=0.05)  # Shrunk by a point or two.


def test_the_start_token_is_no_note() -> None:
    weights = np.tile(np.eye(64)[0], (64, 1))
    assert not _arcs(draw_attention(weights, CHORDS, step=9))


def test_rests_and_silent_pieces_can_be_drawn(tmp_path) -> None:
    silent = np.full([4, 4], -1)
    figure = draw_attention(np.eye(16), silent, title="nothing")
    figure.savefig(tmp_path / "silent.png")
    assert figure.get_suptitle() == "nothing"


def test_the_first_beat_of_the_last_bar_is_asked_for() -> None:
    weights = np.tril(np.ones([64, 64])) / np.arange(1, 65)[:, None]
    figure = draw_attention(weights, CHORDS, first_beat=12)
    roll = figure.axes[0]
    assert roll.get_xticks().tolist() == [4]
    assert {line.get_xdata()[0] for line in roll.lines} >= {4.5}  # Where its nodes are.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"weights": np.eye(63)},
            r"`weights` must have shape \[64, 64\].*got \[63, 63\]",
        ),
        ({"pitch": CHORDS[:, :3]}, r"`pitch` must have shape \[steps, 4\]"),
        ({"pitch": CHORDS[:0]}, "at least one step"),
        ({"step": 16}, "`step` must be 0 to 15; got 16"),
        ({"first_beat": 16}, "`first_beat` must be 0 to 15; got 16"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw_attention(**{"weights": np.eye(64), "pitch": CHORDS} | changes)
