import numpy as np
import pytest

from relational.datasets.chorales_builder import Chorales
from relational.datasets.serialisation import tokens_of

pytest.importorskip("music21")

from relational.datasets import music21_source

_WORKS = (
    "bwv269",
    "bwv1.6",
    "bwv267",
    "bwv112.5",
    "bwv112.5-sc",
    "bwv248.9-1",
    "bwv227.3",
)
_SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def few():
    """The five of seven works that are taken: one is an interlude, one in five parts."""
    return music21_source.read(_WORKS)


def _all(splits):
    pieces = [piece for split in _SPLITS for piece in splits[split]]
    return sorted(pieces, key=lambda piece: piece["index"])


def test_four_voices_are_taken_and_all_else_is_left_out(few):
    pieces = _all(few)
    assert [piece["index"] for piece in pieces] == [0, 1, 2, 3, 4]
    for piece in pieces:
        assert piece["pitch"].shape == (len(piece["beat"]), 4)
        assert len(tokens_of(piece["pitch"])) == piece["pitch"].size


def test_bwv_269_begins_as_it_is_printed(few):
    """Riemenschneider no. 1: an upbeat of a quarter, G major, three quarters a bar."""
    (piece,) = [piece for piece in _all(few) if piece["index"] == 4]
    assert piece["beat"][:8].tolist() == [8, 9, 10, 11, 0, 1, 2, 3]
    assert piece["pitch"][0].tolist() == [67, 62, 59, 43]  # G4 D4 B3 G2
    assert piece["pitch"][4].tolist() == [67, 62, 59, 55]  # The bass leaps an octave.
    assert piece["pitch"][8].tolist() == [67, 64, 60, 52]  # G4 E4 C4 E3


def test_every_sixteenth_holds_what_music21_says_sounds_there(few):
    from music21 import converter, corpus

    (path,) = [p for p in corpus.getComposer("bach") if p.stem == "bwv1.6"]
    score = converter.parse(path, forceSource=True, storePickle=False)
    pitch = _all(few)[0]["pitch"]
    for voice, name in enumerate(("Soprano", "Alto", "Tenor", "Bass")):
        (part,) = [part for part in score.parts if part.partName == name]
        sounds = part.flatten().notesAndRests.stream()
        for step in range(len(pitch)):
            sound = sounds.getElementAtOrBefore(step / 4)
            expected = -1 if sound.isRest else sound.pitch.midi
            assert pitch[step, voice] == expected, (name, step)


def test_settings_of_one_melody_are_on_one_side(few):
    side = {piece["index"]: split for split in _SPLITS for piece in few[split]}
    assert side[1] == side[2]  # bwv112.5 and its version with instruments.
    assert [len(few[split]) for split in _SPLITS] == [4, 0, 1]


def test_tfds_writes_and_reads_the_corpus_without_tensorflow(few, tmp_path):
    builder = Chorales(data_dir=tmp_path, works=_WORKS, file_format="array_record")
    builder.download_and_prepare()
    assert builder.builder_config.name == "music21"
    assert set(builder.info.splits) == {"train", "test"}
    for split in builder.info.splits:
        read = list(builder.as_data_source(split=split))
        assert len(read) == len(few[split])
        for one, other in zip(read, few[split], strict=True):
            assert one["index"] == other["index"]
            np.testing.assert_array_equal(one["pitch"], other["pitch"])
            np.testing.assert_array_equal(one["beat"], other["beat"])


def test_an_unknown_work_is_named():
    with pytest.raises(ValueError, match=r"`works` must name.*got \['bwv9999'\]"):
        music21_source.read(["bwv9999"])
