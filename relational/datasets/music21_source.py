"""The chorales of music21's own corpus: found, parsed in parallel, split.

A work is taken if it has exactly one soprano, alto, tenor and bass; instruments beside
the voices are left out. It is dropped, and counted, if the voices rest for more than a
quarter of the time (interludes of an orchestra that is not there), if it leaves the range
of the tokens, or if a voice holds two notes at once. In music21 10.5, 402 of the 410
scores remain: 3 are of another make, 5 have long interludes, none leaves the range.

music21 needs a twentieth of a second for a chorale, so that processes share the work:
each is this module, run as a script, which is safe whatever the caller's own script
looks like (`multiprocessing` would run that again).

Shapes: S steps (sixteenths).
"""

import dataclasses
import json
import logging
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from relational.datasets.chorales import Piece
from relational.datasets.melodies import families, split_of
from relational.datasets.serialisation import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    SILENCE,
    VOICES,
)

_MOST_RESTS = 0.25
_STEPS_PER_QUARTER = 4
_MOST_PROCESSES = 4
_SUFFIXES = (".mxl", ".xml")  # The corpus also holds analyses, without notes.

_log = logging.getLogger(__name__)


def read(works: Sequence[str] = ()) -> dict[str, list[Piece]]:
    """The pieces of each split, in the order of their names.

    All settings of a melody are on one side (`melodies.families`); the side is a hash
    of the family's name (`melodies.split_of`).

    Args:
        works: only the works of these names, such as `"bwv1.6"`; all if empty.

    Returns:
        `{"train": [...], "validation": [...], "test": [...]}`.

    Raises:
        ImportError: if music21 is absent.
        ValueError: if `works` names one that the corpus does not have.
    """
    scores = [score for score in _parse_all(_paths(works)) if score.refusal is None]
    scores.sort(key=lambda score: score.name)
    pitches = [np.array(score.pitch, np.int32) for score in scores]  # Each [S, 4].
    kin = families([score.name for score in scores], [p[:, 0] for p in pitches])
    pieces: dict[str, list[Piece]] = {"train": [], "validation": [], "test": []}
    for index, (score, pitch, family) in enumerate(
        zip(scores, pitches, kin, strict=True)
    ):
        beat = np.array(score.beat, np.int32)
        pieces[split_of(family)].append(Piece(pitch=pitch, beat=beat, index=index))
    return pieces


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Score:
    """What a process reports of one file."""

    name: str
    pitch: list[list[int]] = dataclasses.field(default_factory=list)  # [S, 4]
    beat: list[int] = dataclasses.field(default_factory=list)  # [S]
    refusal: str | None = None  # Why it is no chorale of ours.


def _paths(works: Sequence[str]) -> list[str]:
    try:
        from music21 import corpus
    except ImportError as error:
        raise ImportError(
            "source 'music21' needs the package music21: `pip install "
            "'relational-nets[music]'`, or use source 'jsb'."
        ) from error
    found = {
        path.stem: os.fspath(path)
        for path in sorted(corpus.getComposer("bach"))
        if path.suffix in _SUFFIXES
    }
    missing = sorted(set(works) - set(found))
    if missing:
        raise ValueError(
            f"`works` must name works of Bach in music21's corpus; got {missing}. "
            "Names look like 'bwv1.6'."
        )
    return [found[name] for name in (works or found)]


def _parse_all(paths: Sequence[str]) -> list[_Score]:
    num_processes = max(1, min(_MOST_PROCESSES, os.cpu_count() or 1, len(paths)))
    shares = [paths[first::num_processes] for first in range(num_processes)]
    with ThreadPoolExecutor(num_processes) as pool:  # A thread waits for each process.
        scores = [score for share in pool.map(_parse_apart, shares) for score in share]
    refusals = Counter(score.refusal for score in scores if score.refusal)
    _log.info("%d works parsed; left out: %s", len(scores), dict(refusals))
    return scores


def _parse_apart(paths: Sequence[str]) -> list[_Score]:
    """Parses `paths` in a process of its own."""
    search = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(list(paths)),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"a process that parses music21's corpus failed:\n{done.stderr.strip()}"
        )
    return [_Score(**json.loads(line)) for line in done.stdout.splitlines()]


def _parse(path: str) -> _Score:
    from music21 import converter

    name = Path(path).stem
    score: Any = converter.parse(path, forceSource=True, storePickle=False)
    voices = [_only(score.parts, voice) for voice in VOICES]
    if None in voices:
        return _Score(name=name, refusal="not one each of the four voices")
    columns = [_column(voice) for voice in voices]
    if None in columns:
        return _Score(name=name, refusal="two notes at once in a voice")
    num_steps = max(len(column) for column in columns if column)
    pitch = np.full((num_steps, len(VOICES)), SILENCE)
    for voice, column in enumerate(columns):
        pitch[: len(column or ()), voice] = column
    return _Score(
        name=name,
        pitch=pitch.tolist(),
        beat=_beats(voices[0], num_steps),
        refusal=_refusal(pitch),
    )


def _refusal(pitch: np.ndarray[Any, np.dtype[np.int_]]) -> str | None:
    rests = pitch == SILENCE
    if rests.mean() > _MOST_RESTS:
        return "mostly interludes"
    if (((pitch < LOWEST_PITCH) | (pitch > HIGHEST_PITCH)) & ~rests).any():
        return "out of range"
    return None


def _only(parts: Any, voice: str) -> Any | None:
    """The one part that is named after `voice`, or None."""
    named = [part for part in parts if re.match(rf"{voice}\b", part.partName or "")]
    return named[0] if len(named) == 1 else None


def _column(part: Any) -> list[int] | None:
    """The pitch that sounds in `part` at each sixteenth; None if two sound at once.

    Shorter notes between two sixteenths fall through the grid; grace notes too.
    """
    column: list[int] = []
    for sound in part.flatten().notesAndRests:
        if sound.isChord:
            return None
        first = math.ceil(sound.offset * _STEPS_PER_QUARTER)
        end = math.ceil((sound.offset + sound.quarterLength) * _STEPS_PER_QUARTER)
        pitch = SILENCE if sound.isRest else int(sound.pitch.midi)
        column.extend([SILENCE] * (first - len(column)))
        column[first:end] = [pitch] * (end - first)
    return column


def _beats(part: Any, num_steps: int) -> list[int]:
    """The position in its bar of each step, in sixteenths; an upbeat ends its bar."""
    beats = [0] * num_steps
    for measure in part.getElementsByClass("Measure"):
        first = math.ceil(measure.offset * _STEPS_PER_QUARTER)
        missing = int(measure.paddingLeft * _STEPS_PER_QUARTER)
        bar = int(measure.barDuration.quarterLength * _STEPS_PER_QUARTER)
        for step in range(first, num_steps):  # Later measures overwrite their own.
            beats[step] = (step - first + missing) % bar
    return beats


def _main() -> None:
    """Reads paths (JSON) from the input; writes a score (JSON) a line to the output."""
    for path in json.load(sys.stdin):
        print(json.dumps(dataclasses.asdict(_parse(path))), flush=True)


if __name__ == "__main__":
    _main()
