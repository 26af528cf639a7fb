"""Sound from MIDI files, where a synthesiser is installed.

The library brings none: it looks for fluidsynth (with a sound font) and timidity.
"""

import os
import shutil
import subprocess
from pathlib import Path

_SOUND_FONT = "SOUND_FONT"  # The environment variable that names one.
NONE_FOUND = (
    "sound needs fluidsynth (with a sound font, which the environment variable "
    f"{_SOUND_FONT} may name) or timidity on the PATH; found neither. Install one, or "
    "do without."
)
_FONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
_FONT_KINDS = (".sf2", ".sf3")
_MOST_SECONDS = 300  # A synthesiser that needs longer for a chorale hangs.


def render(midi: Path, wave: Path) -> None:
    """Writes a MIDI file as sound.

    Args:
        midi: the file to play.
        wave: the WAV file to write, replaced if it exists.

    Raises:
        ValueError: if no synthesiser is installed, or it fails.

    >>> synthesiser = find()  # A command line with two blanks, or None.
    >>> synthesiser is None or {"MIDI", "WAVE"} < set(synthesiser)
    True
    """
    command = find()
    if command is None:
        raise ValueError(NONE_FOUND)
    paths = {"MIDI": os.fspath(midi), "WAVE": os.fspath(wave)}
    line = [paths.get(word, word) for word in command]
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{line[0]} failed: {error}.") from error
    if done.returncode or not wave.exists():
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ValueError(
            f"{line[0]} failed on `{midi}`: {' '.join(said) or 'it wrote no sound'}."
        )


def find() -> list[str] | None:
    """Returns the command of a synthesiser, with `MIDI` and `WAVE` for its files."""
    fluidsynth, font = shutil.which("fluidsynth"), _font()
    if fluidsynth and font:
        return [fluidsynth, "-ni", "-F", "WAVE", "-r", "44100", font, "MIDI"]
    timidity = shutil.which("timidity")
    return [timidity, "-Ow", "-o", "WAVE", "MIDI"] if timidity else None


def _font() -> str | None:
    """Returns a sound font: the one that is named, or the first in the usual places."""
    named = os.environ.get(_SOUND_FONT)
    if named:
        return named
    for folder in map(Path, _FONT_FOLDERS):
        fonts = folder.iterdir() if folder.is_dir() else ()
        for font in sorted(fonts):
            if font.suffix in _FONT_KINDS:
                return os.fspath(font)
    return None
