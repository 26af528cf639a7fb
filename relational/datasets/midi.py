"""Chorales as MIDI files, and MIDI files as primes.

`write_midi` and `read_midi` stand between the [S, 4] arrays of the library and the
programs of musicians. A file from outside is not to be trusted: whatever its bytes, it
is read in bounded time and memory, or refused with one sentence.

Shapes: S steps (sixteenths).
"""

import io
import os
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from relational._checks import is_whole, shown
from relational.datasets.serialisation import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    NUM_VOICES,
    SILENCE,
    VOICES,
    tokens_of,
)

if TYPE_CHECKING:
    import mido

_STEPS_PER_QUARTER = 4
_TICKS_PER_STEP = 120
_MOST_STEPS = 4096  # 256 bars; the longest chorale has 45.
_MOST_BYTES = 128 * 2**10  # A chorale has 3 KiB; mido needs a second for this many.
_PERCUSSION = 9  # The channel that General MIDI reserves for it, counted from 0.
_CHURCH_ORGAN = 19
# mido reads a number of any length in quadratic time; the standard allows four bytes.
_ENDLESS_NUMBER = re.compile(rb"[\x80-\xff]{1000}")
_SEATS = {1: (0,), 2: (0, 3), 3: (0, 1, 3), 4: (0, 1, 2, 3)}


def write_midi(
    pitch: Shaped[np.ndarray, "..."],
    path: str | os.PathLike[str],
    *,
    tempo: float = 80.0,
    velocity: int = 80,
    program: int = _CHURCH_ORGAN,
) -> None:
    """Writes a piece as a MIDI file with a track for each voice.

    Equal pitches in successive steps of a voice become one held note.

    Args:
        pitch: MIDI pitches of soprano, alto, tenor and bass in sixteenths, 36 to 81, or
            -1 where a voice rests, [S, 4].
        path: the file, replaced if it exists.
        tempo: quarters in a minute.
        velocity: how loud the notes are, 1 to 127.
        program: the General MIDI instrument, counted from 0; 19 is a church organ.

    Raises:
        ValueError: if an argument is out of range or the file cannot be written.
        ImportError: if mido is absent.

    >>> import tempfile
    >>> chord = np.array([[72, 67, 64, 48]] * 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_midi(chord, folder + "/chord.mid")
    ...     read_midi(folder + "/chord.mid").tolist() == chord.tolist()
    True
    """
    mido = _mido()
    tokens_of(pitch)  # Checks it.
    is_number = isinstance(tempo, int | float | np.number)
    _check(is_number and 4 <= tempo <= 1000, "tempo", "4 to 1000", tempo)
    is_loud = is_whole(velocity) and 1 <= velocity <= 127
    _check(is_loud, "velocity", "1 to 127", velocity)
    is_known = is_whole(program) and 0 <= program <= 127
    _check(is_known, "program", "0 to 127", program)
    file = mido.MidiFile(type=1, ticks_per_beat=_TICKS_PER_STEP * _STEPS_PER_QUARTER)
    microseconds = mido.bpm2tempo(tempo)
    file.tracks.append(
        mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=microseconds)])
    )
    for voice, name in enumerate(VOICES):
        head = [
            mido.MetaMessage("track_name", name=name),
            mido.Message("program_change", channel=voice, program=program),
        ]
        notes = _events(np.asarray(pitch)[:, voice], voice, velocity)
        file.tracks.append(mido.MidiTrack([*head, *notes]))
    try:
        file.save(os.fspath(path))
    except OSError as error:
        raise ValueError(
            f"`path` must be a file that can be written; got {os.fspath(path)!r} "
            f"({error.strerror})."
        ) from error


def _events(
    column: Int[np.ndarray, " S"], channel: int, velocity: int
) -> Iterator["mido.Message"]:
    """The messages of one voice; their `time` is the ticks since the one before."""
    mido = _mido()
    silent_steps = 0
    for pitch, num_steps in _runs(column):
        if pitch == SILENCE:
            silent_steps += num_steps
            continue
        note = {"note": pitch, "channel": channel}
        wait, length = silent_steps * _TICKS_PER_STEP, num_steps * _TICKS_PER_STEP
        yield mido.Message("note_on", **note, velocity=velocity, time=wait)
        yield mido.Message("note_off", **note, velocity=0, time=length)
        silent_steps = 0
    yield mido.MetaMessage("end_of_track", time=silent_steps * _TICKS_PER_STEP)


def _runs(column: Int[np.ndarray, " S"]) -> Iterator[tuple[int, int]]:
    """The pitches of a voice and for how many steps each is held."""
    edges = np.flatnonzero(np.diff(column)) + 1
    for held in np.split(column, edges):
        if len(held):
            yield int(held[0]), len(held)


def read_midi(path: str | os.PathLike[str]) -> Int[np.ndarray, "S 4"]:
    """Reads a MIDI file of one to four voices as a piece.

    Times are rounded to sixteenths; tempo, loudness and percussion are not looked at.
    A part is what one track plays on one channel. Up to four parts of one note at a
    time are the voices: by their tracks' names if these are Soprano, Alto, Tenor and
    Bass, else from the highest on average to the lowest; two parts are soprano and
    bass, three leave out the tenor. Any other file is read as one keyboard part, whose
    notes at each step go to the voices from the highest down; unisons count once.
    Silence at the end is cut off. Repeated notes are held ones, as in the data.

    Args:
        path: a Standard MIDI File.

    Returns:
        MIDI pitches, -1 where a voice rests, int32 [S, 4], at least one step.

    Raises:
        ValueError: with the file and the reason, if it is not found, no file, larger
            than 128 KiB, not a MIDI file, cut short, broken, without notes, of more
            than four notes at once, outside the range 36 to 81, or longer than 4096
            sixteenths.
        ImportError: if mido is absent.

    >>> read_midi("/nonexistent/prime.mid")
    Traceback (most recent call last):
    ...
    ValueError: '/nonexistent/prime.mid' cannot be a prime: it does not exist.
    """
    _mido()
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`path` must be the path of a file; got {shown(path)}.")
    try:
        return _read_midi(Path(path))
    except _Refusal as refusal:
        raise ValueError(
            f"{os.fspath(path)!r} cannot be a prime: {refusal}."
        ) from refusal


class _Refusal(Exception):
    """Why a file cannot be used: the end of a sentence."""


class _Note(NamedTuple):
    """A note of a part, in sixteenths: `first` to before `end`; both may coincide."""

    first: int
    end: int
    pitch: int


class _Part(NamedTuple):
    """What one track plays on one channel."""

    name: str
    notes: list[_Note]


def _read_midi(path: Path) -> Int[np.ndarray, "S 4"]:
    file = _parsed(_bytes_of(path))
    if file.ticks_per_beat <= 0:
        raise _Refusal("its times are in seconds and not in beats")
    parts = [part for track in file.tracks for part in _parts(track, file)]
    _check_notes([note for part in parts for note in part.notes])
    columns = [_column(part.notes) for part in parts[: NUM_VOICES + 1]]
    single = [column for column in columns if column is not None]
    if len(single) == len(parts) <= NUM_VOICES:
        pitch = _seated(parts, single)
    else:
        pitch = _from_the_top([note for part in parts for note in part.notes])
    last = int(np.flatnonzero((pitch != SILENCE).any(axis=1))[-1])
    return pitch[: last + 1]


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _Refusal("it is a folder")
        if not path.exists():
            raise _Refusal("it does not exist")
        if not path.is_file():
            raise _Refusal("it is not a file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name.
        raise _Refusal(f"it cannot be opened ({error})") from error
    if not content:
        raise _Refusal("it is empty")
    if not content.startswith(b"MThd"):
        raise _Refusal("it is not a MIDI file (it does not begin with MThd)")
    if len(content) > _MOST_BYTES:
        raise _Refusal(f"it is larger than {_MOST_BYTES // 2**10} KiB")
    if _ENDLESS_NUMBER.search(content):
        raise _Refusal("it is broken (a number without end)")
    return content


def _parsed(content: bytes) -> "mido.MidiFile":
    try:
        return _mido().MidiFile(file=io.BytesIO(content))
    except EOFError as error:
        raise _Refusal("it is cut short") from error
    except OSError as error:  # What mido raises when it knows why.
        raise _Refusal(f"it is broken ({str(error)[:80]})") from error
    except Exception as error:  # What escapes it: an IndexError, a KeyError, ...
        raise _Refusal("it is broken (its messages make no sense)") from error


def _parts(track: "mido.MidiTrack", file: "mido.MidiFile") -> list[_Part]:
    """The parts of one track, in the order of their first notes."""
    now = 0
    began: dict[tuple[int, int], int] = {}  # When each sounding note did.
    notes: dict[int, list[_Note]] = {}  # By channel.

    def end(key: tuple[int, int]) -> None:
        channel, pitch = key
        first = began.pop(key)
        if now > first:
            beat = file.ticks_per_beat
            note = _Note(_step(first, beat), _step(now, beat), pitch)
            notes.setdefault(channel, []).append(note)

    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = (message.channel, message.note)
        if key in began:
            end(key)
        if message.type == "note_on" and message.velocity:
            began[key] = now
    for key in list(began):
        end(key)
    notes.pop(_PERCUSSION, None)
    name = str(track.name)
    return [_Part(name, sorted(channel)) for channel in notes.values()]


def _step(ticks: int, ticks_per_beat: int) -> int:
    """The nearest sixteenth; halves are rounded up."""
    step = (2 * _STEPS_PER_QUARTER * ticks + ticks_per_beat) // (2 * ticks_per_beat)
    if step > _MOST_STEPS:
        raise _Refusal(f"it is longer than {_MOST_STEPS} sixteenths")
    return step


def _check_notes(notes: Sequence[_Note]) -> None:
    if not notes:
        raise _Refusal("it has no notes that last (percussion does not count)")
    wrong = [n.pitch for n in notes if not LOWEST_PITCH <= n.pitch <= HIGHEST_PITCH]
    if wrong:
        raise _Refusal(
            f"its pitch {wrong[0]} is outside {LOWEST_PITCH} to {HIGHEST_PITCH} "
            "(C2 to A5); transpose it by octaves"
        )


def _column(notes: Sequence[_Note]) -> Int[np.ndarray, " S"] | None:
    """The one pitch at each step, or None if there are two at some step.

    Legato is forgiven: a note may last a step into the next. A note that rounds to no
    length gets a step if no other note needs it.
    """
    column = np.full(max(note.end for note in notes) + 1, SILENCE, np.int32)
    for note, later in zip_longest(notes, notes[1:]):
        if later is not None and note.first < later.first == note.end - 1:
            note = note._replace(end=later.first)
        if (column[note.first : note.end] != SILENCE).any():
            return None
        column[note.first : note.end] = note.pitch
    for note in notes:
        if note.first == note.end and column[note.first] == SILENCE:
            column[note.first] = note.pitch
    return column


def _seated(
    parts: Sequence[_Part], columns: Sequence[Int[np.ndarray, "..."]]
) -> Int[np.ndarray, "S 4"]:
    """Gives each part, of one note at a time, its voice."""
    names = [part.name for part in parts]
    if set(names) <= set(VOICES) and len(set(names)) == len(names):
        seats = [VOICES.index(name) for name in names]
    else:
        height = [-float(column[column != SILENCE].mean()) for column in columns]
        order = sorted(range(len(parts)), key=height.__getitem__)
        seats = [_SEATS[len(parts)][order.index(part)] for part in range(len(parts))]
    num_steps = max(len(column) for column in columns)
    pitch = np.full((num_steps, NUM_VOICES), SILENCE, np.int32)
    for seat, column in zip(seats, columns, strict=True):
        pitch[: len(column), seat] = column
    return pitch


def _from_the_top(notes: Sequence[_Note]) -> Int[np.ndarray, "S 4"]:
    """Deals the notes at each step to the voices, from the highest down."""
    num_steps = max(note.end for note in notes) + 1
    sounding = np.zeros((num_steps, HIGHEST_PITCH - LOWEST_PITCH + 1), bool)
    for note in notes:
        sounding[note.first : note.end, note.pitch - LOWEST_PITCH] = True
    for note in notes:
        if note.first == note.end and not sounding[note.first].any():
            sounding[note.first, note.pitch - LOWEST_PITCH] = True
    most = int(sounding.sum(axis=1).max())
    if most > NUM_VOICES:
        raise _Refusal(
            f"it has {most} notes at once, and there are {NUM_VOICES} voices"
        )
    pitch = np.full((num_steps, NUM_VOICES), SILENCE, np.int32)
    for step in np.flatnonzero(sounding.any(axis=1)):
        chord = np.flatnonzero(sounding[step])[::-1] + LOWEST_PITCH
        pitch[step, : len(chord)] = chord
    return pitch


def _check(is_right: bool, name: str, bounds: str, value: object) -> None:
    if not is_right:
        raise ValueError(f"`{name}` must be {bounds}; got {shown(value)}.")


def _mido() -> Any:
    try:
        import mido
    except ImportError as error:
        raise ImportError(
            "MIDI files need the package mido: `pip install 'relational-nets[music]'`."
        ) from error
    return mido
