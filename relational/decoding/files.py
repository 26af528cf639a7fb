"""Composed pieces as files: MIDI to be played, piano rolls to be seen, perhaps sound."""

import dataclasses
from pathlib import Path

from relational.decoding.audio import render
from relational.decoding.chorales import Composed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """What was written of one piece."""

    midi: Path
    """The MIDI file."""

    picture: Path
    """The piano roll, in which prime and continuation are told apart."""

    sound: Path | None
    """The WAV file, if one was asked for."""


def write(
    composed: Composed, folder: Path, *, name: str, with_sound: bool = False
) -> list[Files]:
    """Writes pieces as MIDI, as piano rolls and perhaps as sound.

    Args:
        composed: the pieces.
        folder: where, made if there is none.
        name: of the files; a number follows it where there are several pieces.
        with_sound: whether to write sound, which needs a synthesiser.

    Returns:
        The files of each piece.

    Raises:
        ValueError: if a MIDI file cannot be written, or there is no synthesiser.
        OSError: if the folder cannot be made, or a picture not be written.

    >>> import tempfile, numpy as np
    >>> from relational.decoding import Generated
    >>> nothing = Generated(tokens=np.zeros([1, 0]), log_probabilities=np.zeros([1, 0]),
    ...                     prime_length=0, seconds=0.0)
    >>> chord = Composed(pitch=np.array([[[72, 67, 64, 48]] * 16]), prime_steps=4,
    ...                  first_beat=0, generated=nothing)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [files] = write(chord, Path(folder), name="chord")
    ...     files.midi.name, files.picture.name
    ('chord.mid', 'chord.png')
    """
    from relational.datasets import write_midi
    from relational.plotting.piano_roll import piano_roll

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, pitch in enumerate(composed.pitch, start=1):
        stem = f"{name}-{number}" if len(composed.pitch) > 1 else name
        files = Files(
            midi=folder / f"{stem}.mid",
            picture=folder / f"{stem}.png",
            sound=folder / f"{stem}.wav" if with_sound else None,
        )
        write_midi(pitch, files.midi)
        figure = piano_roll(
            pitch, prime_steps=composed.prime_steps, first_beat=composed.first_beat
        )
        figure.savefig(files.picture)
        if files.sound is not None:
            render(files.midi, files.sound)
        written.append(files)
    return written
