"""The picture of what every head listens to."""

import itertools

import numpy as np
import pytest

from relational import plotting


def random_weights(*shape):
    weights = np.random.default_rng(0).random(shape)
    return weights / weights.sum(axis=-1, keepdims=True)


def words_of(labels):
    return [label.get_text() for label in labels]


def test_rows_are_attentions_and_columns_are_heads() -> None:
    weights = random_weights(2, 3, 5, 4)
    figure = plotting.draw_heads(list(weights), names=["first", "second"])
    drawn = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_allclose(np.stack(drawn), weights.reshape(6, 5, 4))
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["first", "second"]
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        f"head {head}" for head in range(3)
    ]


def test_one_colour_means_one_weight_in_all_matrices() -> None:
    weights = random_weights(2, 2, 5, 4)
    figure = plotting.draw_heads([weights[0] / 4, weights[1]])
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0, 1)}


def test_words_stand_beside_their_rows_and_do_not_overlap() -> None:
    receivers = [f"receiver{number}" for number in range(12)]
    senders = [f"word{number}" for number in range(9)]
    figure = plotting.draw_heads(
        [random_weights(4, 12, 9)], receivers=receivers, senders=senders, title="t"
    )
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert words_of(axes.get_yticklabels()) == receivers
        assert words_of(axes.get_xticklabels()) == senders
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(below.y1 <= above.y0 for above, below in itertools.pairwise(boxes))
    first, second = (axes.get_tightbbox().get_points() for axes in figure.axes[:2])
    assert first[1, 0] <= second[0, 0]  # Words of a matrix end before the next one.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"weights": []},
            r"at least one array \[heads, receivers, senders\]; got \[\]",
        ),
        ({"weights": [np.eye(3)]}, r"got \[\[3, 3\]\]. Take one example"),
        (
            {"weights": [np.ones([2, 3, 4]), np.ones([2, 3, 3])]},
            r"`weights` must have one shape; got \[2, 3, 4\] and \[2, 3, 3\]",
        ),
        ({"receivers": ["a"]}, "`receivers` must be 3 words.*got 1"),
        ({"senders": ["a"] * 5}, "`senders` must be 4 words.*got 5"),
        ({"names": ["a", "b"]}, "`names` must be 1 words.*got 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plotting.draw_heads(**{"weights": [np.ones([2, 3, 4])]} | changes)
