"""Composed pieces as files, and sound by whatever synthesiser there is."""

import os
import pathlib
import sys

import numpy as np
import pytest

from relational.datasets import read_midi
from relational.decoding import Composed, Generated, audio, files


@pytest.fixture
def composed(prime) -> Composed:
    nothing = np.zeros([2, 4], np.float32)
    generated = Generated(
        tokens=nothing.astype(int),
        log_probabilities=nothing,
        prime_length=0,
        seconds=1.0,
    )
    pitch = np.stack([prime, prime[::-1]])
    return Composed(pitch=pitch, prime_steps=2, first_beat=12, generated=generated)


def _synthesiser(folder: pathlib.Path, name: str, script: str) -> pathlib.Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    path.chmod(0o755)
    return path


def test_pieces_become_midi_and_pictures(composed, tmp_path) -> None:
    written = files.write(composed, tmp_path / "new", name="x")
    assert sorted(os.listdir(tmp_path / "new")) == [
        f"x-{number}.{kind}" for number in (1, 2) for kind in ("mid", "png")
    ]
    for each, pitch in zip(written, composed.pitch, strict=True):
        assert (read_midi(each.midi) == pitch).all()
        assert each.picture.read_bytes().startswith(b"\x89PNG")
        assert each.sound is None


def test_timidity_is_asked_for_sound(composed, tmp_path, monkeypatch) -> None:
    script = "open(sys.argv[3], 'w').write(' '.join(sys.argv[1:]))"
    _synthesiser(tmp_path, "timidity", script)
    monkeypatch.setenv("PATH", str(tmp_path))
    written = files.write(composed, tmp_path, name="x", with_sound=True)
    assert written[0].sound is not None
    said = written[0].sound.read_text()
    assert said == f"-Ow -o {written[0].sound} {written[0].midi}"


def test_fluidsynth_is_preferred_where_it_has_a_sound_font(
    tmp_path, monkeypatch
) -> None:
    font = tmp_path / "any.sf2"
    font.touch()
    path = _synthesiser(tmp_path, "fluidsynth", "")
    _synthesiser(tmp_path, "timidity", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SOUND_FONT", str(font))
    command = audio.find()
    assert command is not None
    assert command[0] == str(path)
    assert command[-2:] == [str(font), "MIDI"]


def test_a_failing_synthesiser_is_told(tmp_path, monkeypatch) -> None:
    _synthesiser(tmp_path, "timidity", "sys.exit('no instrument 19')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"failed on `.*a\.mid`: no instrument 19"):
        audio.render(tmp_path / "a.mid", tmp_path / "a.wav")


def test_without_a_synthesiser_the_error_names_two(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"sound needs fluidsynth .* or timidity"):
        audio.render(tmp_path / "a.mid", tmp_path / "a.wav")
