"""The picture of what one head of attention listens to, over the chorale it listens in.

To the left the piece as a piano roll, with arcs from the notes of one chord, about to be
sung, to the notes that the head listens to; to the right the whole matrix of weights.

Shapes: S steps (sixteenths), T = 4 S tokens.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from relational.datasets.serialisation import (
    BEATS_PER_BAR,
    NUM_VOICES,
    SILENCE,
    VOICES,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (
    "#D55E00",
    "#E69F00",
    "#009E73",
    "#0072B2",
)  # Okabe and Ito's, as piano_roll.
_INK, _FAINT = "#333333", "#9A9A96"
_NOTE_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_BLACK_KEYS = (1, 3, 6, 8, 10)
_MARGIN = 2  # Semitones above and below the notes.
_MIDDLE = np.array([60])  # What is shown of a piece without notes.
_LEAST_ARC = 0.03  # A smaller share of the weight is not drawn as an arc.


def draw_attention(
    weights: Shaped[np.ndarray, "..."],
    pitch: Shaped[np.ndarray, "..."],
    *,
    step: int | None = None,
    first_beat: int = 0,
    title: str | None = None,
) -> "Figure":
    """Draws what one head listens to when it is asked for the four notes of a step.

    Node j has heard token j - 1 and nothing of token j, so its weight is drawn at the
    note of token j - 1. The brighter a note, the more weight the four nodes together
    give it; an arc leads from each note of the step to each note that gets 3 % or more.

    Args:
        weights: how much each node listens to each other, [T, T], rows adding up to 1.
        pitch: MIDI pitches of the piece, -1 where a voice rests, [S, 4].
        step: whose notes are asked for; by default the first beat of the last bar.
        first_beat: the position in its bar of the first step; bars have 16 steps.
        title: above the picture.

    Returns:
        A figure that belongs to no window: save it with `figure.savefig(path)`.

    Raises:
        ValueError: if the shapes do not fit, or `step` lies outside the piece.

    >>> chords = np.array([[72, 67, 64, 48]] * 16)
    >>> alike = np.tril(np.ones([64, 64])) / np.arange(1, 65)[:, None]
    >>> figure = draw_attention(alike, chords, step=15)
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['bar', 'listens to the token of bar']
    """
    from matplotlib.figure import Figure

    weights, pitch = np.asarray(weights), np.asarray(pitch)
    step = _checked(weights, pitch, step, first_beat)
    figure = Figure(figsize=(14, 5.6), dpi=150, layout="constrained")
    roll, matrix = figure.subplots(1, 2, width_ratios=(1.75, 1))
    _draw_roll(roll, weights, pitch, step)
    _draw_arcs(roll, weights, pitch, step)
    _draw_matrix(matrix, weights, step)
    _draw_bars(roll, matrix, len(pitch), first_beat)
    _draw_legend(figure, title)
    return figure


def _checked(
    weights: Shaped[np.ndarray, "..."],
    pitch: Shaped[np.ndarray, "..."],
    step: int | None,
    first_beat: int,
) -> int:
    """Returns the step that is looked at."""
    if pitch.ndim != 2 or pitch.shape[1] != NUM_VOICES or not len(pitch):
        raise ValueError(
            "`pitch` must have shape [steps, 4] (soprano, alto, tenor, bass) and at "
            f"least one step; got {list(pitch.shape)}."
        )
    num_steps, num_tokens = len(pitch), pitch.size
    if weights.shape != (num_tokens, num_tokens):
        raise ValueError(
            f"`weights` must have shape [{num_tokens}, {num_tokens}], a row and a column "
            f"for each of the 4 x {num_steps} tokens; got {list(weights.shape)}. Give "
            "one head of one piece."
        )
    if not 0 <= first_beat < BEATS_PER_BAR:
        raise ValueError(
            f"`first_beat` must be 0 to {BEATS_PER_BAR - 1}; got {first_beat}."
        )
    if step is None:
        last_bar = (num_steps - 1 + first_beat) // BEATS_PER_BAR * BEATS_PER_BAR
        return max(0, last_bar - first_beat)
    if not 0 <= step < num_steps:
        raise ValueError(f"`step` must be 0 to {num_steps - 1}; got {step}.")
    return step


def _heard(weights: Float[np.ndarray, "T T"], step: int) -> Float[np.ndarray, "4 S 4"]:
    """Returns the weight on each token, for the four nodes of a step.

    The first node has heard the start token, which is no note of the piece.
    """
    rows = weights[NUM_VOICES * step : NUM_VOICES * (step + 1)]
    moved = np.pad(rows[:, 1:], ((0, 0), (0, 1)))
    return moved.reshape(NUM_VOICES, -1, NUM_VOICES)


def _draw_roll(
    axes: "Axes",
    weights: Float[np.ndarray, "T T"],
    pitch: Int[np.ndarray, "S 4"],
    step: int,
) -> None:
    """Draws the notes faintly, and each step of them as bright as it is listened to."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    notes = pitch[pitch != SILENCE] if (pitch != SILENCE).any() else _MIDDLE
    lowest, highest = int(notes.min()) - _MARGIN, int(notes.max()) + _MARGIN
    _draw_keys(axes, lowest, highest)
    total = _heard(weights, step).sum(axis=0)  # [S, 4]
    brightness = np.sqrt(total / max(float(total.max()), 1e-9))
    for voice, colour in enumerate(_COLOURS):
        for first, end, note in _notes(pitch[:, voice]):
            body = Rectangle(
                (first + 0.06, note - 0.42),
                end - first - 0.12,
                0.84,
                facecolor="white",
                edgecolor=colour,
                linewidth=0.8,
                alpha=0.9 if first <= step else 0.35,
                zorder=3,
            )
            axes.add_patch(body)
        sounding = np.flatnonzero(pitch[:, voice] != SILENCE)
        if not len(sounding):
            continue
        cells = [
            Rectangle((float(s), float(pitch[s, voice]) - 0.42), 1.0, 0.84)
            for s in sounding
        ]
        shades = PatchCollection(cells, facecolor=colour, linewidth=0, zorder=4)
        shades.set_alpha(brightness[sounding, voice])
        axes.add_collection(shades)
    axes.axvspan(step, step + 1, color="#FFF3C4", linewidth=0, zorder=0.5)
    axes.set_xlim(0, len(pitch))
    axes.set_ylim(lowest - 0.5, highest + 0.5)


def _draw_keys(axes: "Axes", lowest: int, highest: int) -> None:
    for key in range(lowest, highest + 1):
        if key % 12 in _BLACK_KEYS:
            axes.axhspan(key - 0.5, key + 0.5, color="#F6F6F4", linewidth=0, zorder=0)
    named = [key for key in range(lowest + 1, highest) if key % 12 in (0, 4, 7)]
    axes.set_yticks(named, [f"{_NOTE_NAMES[key % 12]}{key // 12 - 1}" for key in named])


def _notes(column: Int[np.ndarray, " S"]) -> list[tuple[int, int, int]]:
    """The notes of a voice: first step, step after the last, pitch."""
    edges = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
    pairs = itertools.pairwise(edges)
    return [(a, b, int(column[a])) for a, b in pairs if column[a] != SILENCE]


def _draw_arcs(
    axes: "Axes",
    weights: Float[np.ndarray, "T T"],
    pitch: Int[np.ndarray, "S 4"],
    step: int,
) -> None:
    """Draws an arc from each note of the step to each note that it listens to much."""
    from matplotlib.patches import FancyArrowPatch

    heard = _heard(weights, step)  # [4, S, 4]
    for receiver, colour in enumerate(_COLOURS):
        own = pitch[step, receiver]
        at = (step + 0.5, _level(pitch, step, receiver))
        axes.plot(
            *at, "o", color=colour, markersize=7, markeredgecolor="white", zorder=9
        )
        if own == SILENCE:
            axes.annotate("rest", at, color=colour, fontsize=7, zorder=9)
        for share, to in _targets(heard[receiver], pitch):
            arc = FancyArrowPatch(
                at,
                to,
                connectionstyle="arc3,rad=0.25",
                arrowstyle="-",
                color=colour,
                linewidth=0.6 + 5.0 * share,
                alpha=min(1.0, 0.35 + 1.2 * share),
                zorder=7,
                capstyle="round",
            )
            axes.add_patch(arc)


def _targets(
    heard: Float[np.ndarray, "S 4"], pitch: Int[np.ndarray, "S 4"]
) -> list[tuple[float, tuple[float, float]]]:
    """The share of weight of each note that gets enough, and the point that gets it."""
    found = []
    for voice in range(NUM_VOICES):
        for first, end, note in _notes(pitch[:, voice]):
            shares = heard[first:end, voice]
            share = float(shares.sum())
            if share >= _LEAST_ARC:
                middle = float((shares * np.arange(first, end)).sum()) / share
                found.append((share, (middle + 0.5, float(note))))
    return found


def _level(pitch: Int[np.ndarray, "S 4"], step: int, voice: int) -> float:
    """The height of a note; of a rest, that of the voice's last note, or the middle."""
    sounding = pitch[: step + 1, voice]
    sounding = sounding[sounding != SILENCE]
    every = pitch[pitch != SILENCE]
    if len(sounding):
        return float(sounding[-1])
    return float(every.mean()) if len(every) else float(_MIDDLE[0])


def _draw_matrix(axes: "Axes", weights: Float[np.ndarray, "T T"], step: int) -> None:
    from matplotlib.colors import PowerNorm

    num_steps = len(weights) / NUM_VOICES
    shift = 1 / NUM_VOICES  # Column j is the node that has heard token j - 1.
    axes.imshow(
        np.where(weights > 0, weights, np.nan),
        cmap="BuPu",
        norm=PowerNorm(0.4, vmin=0, vmax=max(float(weights.max()), 1e-9)),
        extent=(-shift, num_steps - shift, num_steps, 0),
        interpolation="nearest",
        aspect="equal",
    )
    axes.axhspan(step, step + 1, color="#FFE58A", alpha=0.5, linewidth=0, zorder=0.5)
    axes.plot(num_steps + 0.8, step + 0.5, "<", color=_INK, markersize=5, clip_on=False)
    axes.set_xlim(-shift, num_steps)
    axes.set_ylim(num_steps, 0)
    axes.set_xlabel("listens to the token of bar", fontsize=8, color=_INK)
    axes.set_ylabel("asked for the token of bar", fontsize=8, color=_INK)


def _draw_bars(roll: "Axes", matrix: "Axes", num_steps: int, first_beat: int) -> None:
    """Draws and numbers the bars of both; the first full one is bar 1."""
    lines = range(-first_beat % BEATS_PER_BAR, num_steps, BEATS_PER_BAR)
    names = [str(bar) for bar in range(1, len(lines) + 1)]
    for line in lines:
        roll.axvline(line, color="#BDBDBA", linewidth=0.7, zorder=1)
        matrix.axvline(line, color=_FAINT, linewidth=0.3)
        matrix.axhline(line, color=_FAINT, linewidth=0.3)
    roll.set_xticks(list(lines), names)
    matrix.set_xticks(list(lines), names)
    matrix.set_yticks(list(lines), names)
    roll.set_xlabel("bar", fontsize=8, color=_INK)
    for axes in (roll, matrix):
        axes.tick_params(length=0, labelsize=8, labelcolor="#555555")
        for side in axes.spines.values():
            side.set_visible(False)


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
