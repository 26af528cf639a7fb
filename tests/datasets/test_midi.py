import random
import re
import struct
import sys

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from relational.datasets import load, read_midi, write_midi
from tests import fuzzing

_sounds = st.one_of(st.just(-1), st.integers(36, 81))
_chorales = (
    st.integers(1, 40)
    .flatmap(lambda steps: hnp.arrays(np.int32, (steps, 4), elements=_sounds))
    .filter(lambda pitch: (pitch >= 0).any())
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("midi") / "piece.mid"


def _without_last_silence(pitch):
    return pitch[: np.flatnonzero((pitch >= 0).any(axis=1))[-1] + 1]


def _file(path, *tracks, ticks_per_beat=480):
    """Writes tracks of (pitch, start, end, channel), in quarters."""
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    for name, notes in tracks:
        events = [
            (round(time * ticks_per_beat), kind, pitch, channel)
            for pitch, start, end, channel in notes
            for kind, time in (("note_on", start), ("note_off", end))
        ]
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        now = 0
        for ticks, kind, pitch, channel in sorted(events):  # Offs before ons.
            track.append(
                mido.Message(kind, note=pitch, channel=channel, time=ticks - now)
            )
            now = ticks
        file.tracks.append(track)
    file.save(path)
    return path


@settings(deadline=None)
@given(_chorales)
def test_a_written_piece_is_read_back(path, pitch):
    write_midi(pitch, path)
    read = read_midi(path)
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, _without_last_silence(pitch))


def test_every_chorale_is_read_back(path, jsb_folder, cache):
    for piece in load("jsb", "test", data_source=jsb_folder, cache=cache)[::4]:
        write_midi(piece["pitch"], path)
        np.testing.assert_array_equal(read_midi(path), piece["pitch"])


def test_held_pitches_are_one_note_and_voices_are_tracks(path):
    pitch = np.array([[72, 60, -1, 48]] * 3 + [[74, 60, 55, 48]] + [[-1] * 4] * 4)
    write_midi(pitch, path, tempo=100.0, velocity=70, program=52)
    file = mido.MidiFile(path)
    conductor, *voices = file.tracks
    assert conductor[0].tempo == 600_000  # Microseconds for a quarter.
    assert [track.name for track in voices] == ["Soprano", "Alto", "Tenor", "Bass"]
    starts = [[m.note for m in track if m.type == "note_on"] for track in voices]
    assert starts == [[72, 74], [60], [55], [48]]
    assert file.length == pytest.approx(8 * 0.15)  # Sixteenths of 0.15 s, rests too.
    (tenor,) = [m for m in voices[2] if m.type == "note_on"]
    assert tenor.time == 3 * file.ticks_per_beat // 4
    assert tenor.velocity == 70
    assert [m.program for m in voices[2] if m.type == "program_change"] == [52]


def test_unnamed_parts_are_seated_by_their_height(path):
    parts = {48: 0, 72: 1, 55: 2, 60: 3}
    tracks = [("", [(pitch, 0, 1, channel)]) for pitch, channel in parts.items()]
    assert read_midi(_file(path, *tracks)).tolist() == [[72, 60, 55, 48]] * 4
    assert read_midi(_file(path, *tracks[:3])).tolist() == [[72, 55, -1, 48]] * 4
    assert read_midi(_file(path, *tracks[:2])).tolist() == [[72, -1, -1, 48]] * 4
    assert read_midi(_file(path, *tracks[:1])).tolist() == [[48, -1, -1, -1]] * 4


def test_channels_of_one_track_are_parts(path):
    notes = [(50, 0, 1, 5), (60, 0, 1, 0), (67, 0, 1, 2), (76, 0, 1, 3)]
    assert read_midi(_file(path, ("all", notes))).tolist() == [[76, 67, 60, 50]] * 4


def test_a_keyboard_part_is_dealt_from_the_top(path):
    notes = [(60, 0, 1, 0), (64, 0, 0.5, 0), (67, 0, 0.25, 0), (48, 0.75, 1, 0)]
    assert read_midi(_file(path, ("piano", notes))).tolist() == [
        [67, 64, 60, -1],
        [64, 60, -1, -1],
        [60, -1, -1, -1],
        [60, 48, -1, -1],
    ]


def test_times_are_rounded_and_legato_is_forgiven(path):
    notes = [(60, 0.02, 0.55, 0), (62, 0.49, 1.0, 0), (64, 0.97, 1.03, 0)]
    read = read_midi(_file(path, ("melody", notes)))
    assert read[:, 0].tolist() == [60, 60, 62, 62, 64]
    legato = [(60, 0, 0.7, 0), (62, 0.5, 1.0, 0)]
    assert read_midi(_file(path, ("", legato)))[:, 0].tolist() == [60, 60, 62, 62]


def test_percussion_is_not_heard(path):
    notes = [(60, 0, 1, 0), (38, 0, 2, 9)]
    assert read_midi(_file(path, ("", notes)))[:, 0].tolist() == [60] * 4


def _standard(*tracks, division=480, kind=1):
    header = b"MThd" + struct.pack(">IHHh", 6, kind, len(tracks), division)
    return header + b"".join(
        b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks
    )


_NOTE = b"\x00\x90\x3c\x40\x83\x60\x80\x3c\x00"  # Middle C, for 480 ticks.
_END = b"\x00\xff\x2f\x00"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"RIFF1234", r"not a MIDI file \(it does not begin with MThd\)"),
        (_standard(_NOTE + _END)[:-6], "it is cut short"),
        (_standard(_NOTE + _END)[:10], "it is cut short"),
        (_standard(_END), "it has no notes that last"),
        (_standard(), "it has no notes that last"),
        (_standard(b"\x00\x90\x3c\x40\x00\x80\x3c\x00" + _END), "no notes that last"),
        (_standard(_NOTE.replace(b"\x3c", b"\x20") + _END), "its pitch 32 is outside"),
        (_standard(_NOTE.replace(b"\x3c", b"\x60") + _END), "its pitch 96 is outside"),
        (_standard(_NOTE + _END, division=-6360), "in seconds and not in beats"),
        (_standard(_NOTE + _END, division=0), "in seconds and not in beats"),
        (_standard(b"\x00\x3c\x40" + _END), "it is broken .running status"),
        (_standard(b"\x00\x90\x3c\xf0" + _END), "it is broken .data byte must"),
        (_standard(b"\x00\xff\x59\x02\x63\x63" + _END), "it is broken"),
        (_standard(b"\xff" * 5000), "a number without end"),
        (
            _standard(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x00"),
            "longer than 4096",
        ),
        (_standard(b"\xff" * 900 + b"\x7f" + _NOTE[1:] + _END), "longer than 4096"),
        (_standard(_NOTE + _END) + b"\x00" * 2**18, "it is larger than 128 KiB"),
        (
            _standard(*(_NOTE.replace(b"\x3c", bytes([60 + n])) for n in range(5))),
            "it has 5 notes at once, and there are 4 voices",
        ),
    ],
)
def test_a_file_that_cannot_be_a_prime_is_refused(path, content, words):
    path.write_bytes(content)
    message = rf"^'{re.escape(str(path))}' cannot be a prime: .*{words}"
    with pytest.raises(ValueError, match=message) as caught:
        read_midi(path)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no\.mid' cannot be a prime: it does not ex"):
        read_midi(tmp_path / "no.mid")
    with pytest.raises(ValueError, match="cannot be a prime: it is a folder"):
        read_midi(tmp_path)
    with pytest.raises(ValueError, match="cannot be a prime: it"):
        read_midi("a\0b")
    with pytest.raises(ValueError, match="cannot be a prime: it"):
        read_midi("n" * 5000)


_NUM_SEEDS = 10


@pytest.mark.parametrize("seed", range(_NUM_SEEDS))
def test_mutated_files_are_read_or_refused_and_nothing_else(path, seed):
    chance = random.Random(seed)
    originals = _originals(path, seed)
    num_read = num_refused = 0
    for _ in range(fuzzing.num_files(_NUM_SEEDS)):
        mutant = _mutated(chance.choice(originals), chance)
        path.write_bytes(mutant)
        with fuzzing.trying(mutant):
            if _is_read(path):
                num_read += 1
            else:
                num_refused += 1
    assert min(num_read, num_refused) > 10


def _originals(path, seed):
    """Returns files of four voices, of a keyboard part, and of one track for all."""
    pitch = np.random.default_rng(seed).integers(40, 80, (12, 4))
    write_midi(pitch, path)
    voices = path.read_bytes()
    notes = [(60, 0, 1, 0), (64, 0, 0.5, 0), (67, 0, 0.25, 0), (48, 0.75, 1, 9)]
    keyboard = _file(path, ("piano", notes), ticks_per_beat=96).read_bytes()
    parts = [(50, 0, 1, 5), (60, 0, 1, 0), (67, 0, 1, 2), (76, 0, 1, 3)]
    return [voices, keyboard, _file(path, ("all", parts)).read_bytes()]


def _is_read(path):
    """Returns whether a file is read, after a look at what is said of it."""
    try:
        read = read_midi(path)
    except ValueError as error:
        message = str(error)
        assert message.startswith(f"{str(path)!r} cannot be a prime: it")
        assert len(message.splitlines()) == 1
        return False
    assert read.shape == (len(read), 4)
    assert ((read == -1) | ((read >= 36) & (read <= 81))).all()
    assert (read[-1] >= 0).any()
    return True


def _mutated(content, chance):
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        at = chance.randrange(len(content))
        match chance.randrange(7):
            case 0 | 1 | 2:
                content[at] = chance.randrange(256)
            case 3:
                del content[at : at + chance.randrange(1, 9)]
            case 4:
                content[at:at] = chance.randbytes(chance.randrange(9))
            case 5:
                content[at : at + 4] = b"\xff\xff\xff\x7f"
            case 6:
                content[at:at] = b"\xff" * chance.randrange(600)
        content = content[:4000] or bytearray(b"M")
    return bytes(content)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tempo": 0.0}, "`tempo` must be 4 to 1000; got 0"),
        ({"velocity": 128}, "`velocity` must be 1 to 127; got 128"),
        ({"program": -1}, "`program` must be 0 to 127; got -1"),
    ],
)
def test_wrong_arguments_of_writing_are_named(path, wrong, words):
    with pytest.raises(ValueError, match=words):
        write_midi(np.full((4, 4), 60), path, **wrong)


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`pitch` must be 36 to 81.*got 20"):
        write_midi(np.full((4, 4), 20), tmp_path / "low.mid")
    with pytest.raises(ValueError, match="`path` must be a file that can be written"):
        write_midi(np.full((4, 4), 60), tmp_path / "nowhere" / "piece.mid")


def test_without_mido_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    with pytest.raises(ImportError, match=r"pip install 'relational-nets\[music\]'"):
        write_midi(np.full((4, 4), 60), tmp_path / "piece.mid")
    with pytest.raises(ImportError, match=r"pip install 'relational-nets\[music\]'"):
        read_midi(tmp_path / "piece.mid")
