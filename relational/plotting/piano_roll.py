"""The picture of a chorale: time to the right, pitch upwards, a colour for each voice.

Shapes: S steps (sixteenths).
"""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from relational.datasets.serialisation import BEATS_PER_BAR, SILENCE, VOICES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = ("#D55E00", "#E69F00", "#009E73", "#0072B2")
_NOTE_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_BLACK_KEYS = (1, 3, 6, 8, 10)
_MARGIN = 3  # Semitones above and below the notes.
_MIDDLE = np.array([60])  # What is shown of a piece without notes.


def piano_roll(
    pitch: Shaped[np.ndarray, "..."],
    *,
    prime_steps: int = 0,
    first_beat: int = 0,
    title: str | None = None,
) -> "Figure":
    """Draws a piece as a piano roll: a bar for each held note, a colour for each voice.

    Args:
        pitch: MIDI pitches of soprano, alto, tenor and bass in sixteenths, -1 where a
            voice rests, [S, 4].
        prime_steps: how many steps at the beginning were given and not generated; they
            are shaded, and a dashed line ends them.
        first_beat: the position in its bar of the first step, 12 for an upbeat of a
            quarter; bars have 16 steps.
        title: above the picture.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig(path)`.

    Raises:
        ValueError: if `pitch` is not [S, 4] with at least one step, `prime_steps`
            lies outside the piece, or `first_beat` outside the bar.

    >>> figure = piano_roll(np.array([[72, 67, 64, 48]] * 16), prime_steps=4)
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['Soprano', 'Alto', 'Tenor', 'Bass']
    """
    from matplotlib.figure import Figure

    pitch = _checked(np.asarray(pitch), prime_steps, first_beat)
    num_steps = len(pitch)
    notes = pitch[pitch != SILENCE] if (pitch != SILENCE).any() else _MIDDLE
    lowest, highest = int(notes.min()) - _MARGIN, int(notes.max()) + _MARGIN
    width = float(np.clip(2.0 + 0.05 * num_steps, 7.5, 16.0))
    figure = Figure(figsize=(width, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _draw_keys(axes, lowest, highest)
    _draw_bar_lines(axes, num_steps, first_beat)
    for voice, colour in enumerate(_COLOURS):
        _draw_voice(axes, pitch, voice, colour)
    if prime_steps:
        _draw_prime(axes, prime_steps, num_steps)
    axes.set_xlim(0, num_steps)
    axes.set_ylim(lowest - 0.5, highest + 0.5)
    _draw_legend(figure, title)
    return figure


def _checked(
    pitch: Shaped[np.ndarray, "..."], prime_steps: int, first_beat: int
) -> Int[np.ndarray, "S 4"]:
    if pitch.ndim != 2 or pitch.shape[1] != len(VOICES) or not len(pitch):
        raise ValueError(
            "`pitch` must have shape [steps, 4] (soprano, alto, tenor, bass) and at "
            f"least one step; got {list(pitch.shape)}."
        )
    if not 0 <= first_beat < BEATS_PER_BAR:
        raise ValueError(
            f"`first_beat` must be 0 to {BEATS_PER_BAR - 1}; got {first_beat}."
        )
    if not 0 <= prime_steps <= len(pitch):
        raise ValueError(
            f"`prime_steps` must be 0 to {len(pitch)}, the steps there are; got "
            f"{prime_steps}."
        )
    return pitch


def _draw_keys(axes: "Axes", lowest: int, highest: int) -> None:
    """Shades the rows of the black keys and names those of C, E and G."""
    for key in range(lowest, highest + 1):
        if key % 12 in _BLACK_KEYS:
            axes.axhspan(key - 0.5, key + 0.5, color="#F3F3F1", linewidth=0, zorder=0)
        if key % 12 == 0:
            axes.axhline(key - 0.5, color="#D9D9D6", linewidth=0.8, zorder=1)
    named = [key for key in range(lowest + 1, highest) if key % 12 in (0, 4, 7)]
    axes.set_yticks(named, [f"{_NOTE_NAMES[key % 12]}{key // 12 - 1}" for key in named])
    axes.tick_params(axis="both", length=0, labelsize=8, labelcolor="#555555")
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_bar_lines(axes: "Axes", num_steps: int, first_beat: int) -> None:
    """Draws and numbers the bars; the first full one is bar 1."""
    lines = range(-first_beat % BEATS_PER_BAR, num_steps + 1, BEATS_PER_BAR)
    for step in lines:
        axes.axvline(step, color="#BDBDBA", linewidth=0.7, zorder=1)
    numbered = [(step, bar) for bar, step in enumerate(lines, 1) if step < num_steps]
    shown = numbered[:: max(1, len(numbered) // 16)]
    axes.set_xticks([step for step, _ in shown], [str(bar) for _, bar in shown])
    axes.set_xlabel("bar", fontsize=8, color="#555555")


def _draw_voice(
    axes: "Axes", pitch: Int[np.ndarray, "S 4"], voice: int, colour: str
) -> None:
    """Draws the notes of one voice, thinner where a higher voice sings the same."""
    from matplotlib.patches import FancyBboxPatch

    for first, end, note in _notes(pitch[:, voice]):
        height = 0.45 if (pitch[first:end, :voice] == note).any() else 0.9
        axes.add_patch(
            FancyBboxPatch(
                (first + 0.12, note - height / 2),
                end - first - 0.24,
                height,
                boxstyle="round,pad=0,rounding_size=0.18",
                facecolor=colour,
                edgecolor="white",
                linewidth=0.6,
                zorder=3 + voice,
            )
        )


def _notes(column: Int[np.ndarray, " S"]) -> Iterator[tuple[int, int, int]]:
    """The notes of a voice: first step, step after the last, pitch."""
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    for first, end in itertools.pairwise(edges):
        if column[first] != SILENCE:
            yield first, end, int(column[first])


def _draw_prime(axes: "Axes", prime_steps: int, num_steps: int) -> None:
    axes.axvspan(0, prime_steps, color="#FFF3C4", alpha=0.75, linewidth=0, zorder=0.5)
    axes.axvline(
        prime_steps, color="#333333", linewidth=1.1, linestyle=(0, (4, 3)), zorder=9
    )
    _write_above(axes, 0, "prime")
    if prime_steps < num_steps:
        _write_above(axes, prime_steps, " continuation")


def _write_above(axes: "Axes", step: int, word: str) -> None:
    axes.text(
        step,
        1.01,
        word,
        transform=axes.get_xaxis_transform(),
        va="bottom",
        fontsize=8,
        color="#333333",
        style="italic",
    )


def _draw_legend(figure: "Figure", title: str | None) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, label=voice)
        for voice, colour in zip(VOICES, _COLOURS, strict=True)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    if title:
        figure.suptitle(title, fontsize=12, color="#222222")
