import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from relational.plotting.piano_roll import piano_roll

_PITCH = np.array([[72, 67, 64, 48]] * 20 + [[71, 67, -1, 48]] * 28)


def _bars(figure):
    """Each note as (first step, number of steps, pitch, colour)."""
    (axes,) = figure.axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [
        (
            round(box.get_x()),
            round(box.get_width()),
            round(box.get_y() + box.get_height() / 2),
            to_hex(box.get_facecolor()),
        )
        for box in boxes
    ]


def test_each_held_note_is_one_bar_in_the_colour_of_its_voice():
    figure = piano_roll(_PITCH)
    colours = [
        to_hex(patch.get_facecolor()) for patch in figure.legends[0].get_patches()
    ]
    assert len(set(colours)) == 4
    soprano, alto, tenor, bass = colours
    assert _bars(figure) == [
        (0, 20, 72, soprano),
        (20, 28, 71, soprano),
        (0, 48, 67, alto),
        (0, 20, 64, tenor),
        (0, 48, 48, bass),
    ]


@pytest.mark.parametrize(("first_beat", "steps"), [(0, [0, 16, 32]), (12, [4, 20, 36])])
def test_bars_are_numbered_where_they_begin(first_beat, steps):
    (axes,) = piano_roll(_PITCH, first_beat=first_beat).axes
    assert axes.get_xticks().tolist() == steps
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]


def test_the_prime_is_told_apart():
    (axes,) = piano_roll(_PITCH, prime_steps=16).axes
    assert [text.get_text().strip() for text in axes.texts] == ["prime", "continuation"]
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert set(dashed.get_xdata()) == {16}
    assert not piano_roll(_PITCH).axes[0].texts


def test_a_unison_shows_both_voices():
    (axes,) = piano_roll(np.array([[60, 60, 55, 48]] * 4)).axes
    heights = [p.get_height() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    assert heights[1] < heights[0] == heights[2] == heights[3]


def test_the_title_is_written_and_the_figure_is_saved_without_a_window():
    figure = piano_roll(_PITCH, title="Chorale")
    assert figure.get_suptitle() == "Chorale"
    picture = io.BytesIO()
    figure.savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")


def test_silence_is_drawn_too():
    assert _bars(piano_roll(np.full((3, 4), -1))) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pitch": np.zeros((4, 3), int)}, r"`pitch` must have.*got \[4, 3\]"),
        ({"pitch": np.zeros((0, 4), int)}, "at least one step"),
        ({"prime_steps": 49}, "`prime_steps` must be 0 to 48.*got 49"),
        ({"first_beat": 16}, "`first_beat` must be 0 to 15; got 16"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        piano_roll(**{"pitch": _PITCH, **arguments})
