"""Sets of TFDS as pairs: one that is prepared is read without TensorFlow."""

import importlib.util

import numpy as np
import pytest
import tensorflow_datasets as tfds

from relational import specs
from relational.datasets import Pairs, load_tfds_pairs
from relational.models.text_data import ParallelData
from tests.datasets.texts import sentences

ENGLISH, GERMAN = sentences()


class MadePairs(tfds.core.GeneratorBasedBuilder):
    """Sentences as texts of TFDS are kept, with an empty one among them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Tensor(shape=(), dtype=np.object_)
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"de": text, "en": text}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            "train": self._generate_examples([*ENGLISH, " "], [*GERMAN, "Leer."]),
            "blank": self._generate_examples([" "], ["Leer."]),
            "validation": self._generate_examples(ENGLISH[:3], GERMAN[:3]),
        }

    def _generate_examples(self, english, german):
        for index, (one, two) in enumerate(zip(english, german, strict=True)):
            yield index, {"en": one.encode(), "de": f"{two}\n".encode()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tfds")
    MadePairs(data_dir=str(made), file_format="array_record").download_and_prepare()
    return made


def load(folder, source="en", target="de", split="train"):
    return load_tfds_pairs("made_pairs", source, target, split, data_dir=folder)


def test_a_prepared_set_is_read_either_way_and_in_part(folder):
    assert load(folder) == Pairs(ENGLISH, GERMAN)
    assert load(folder, "de", "en") == Pairs(GERMAN, ENGLISH)
    assert load(folder, split="train[:7]") == Pairs(ENGLISH[:7], GERMAN[:7])


def test_a_spec_names_a_set_and_its_splits(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path))
    spec = specs.TFDSTextSpec(
        name="made_pairs", source="en", target="de", test="train[:5]", vocabulary=300
    )
    data = ParallelData(spec, batch_size=4, data_source=str(folder))
    assert data.splits == ("test",)
    assert data.text("test") == Pairs(ENGLISH[:5], GERMAN[:5])
    assert len(list(data.evaluation("validation"))) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "fr"}, "it has 'de', 'en', and no 'fr'"),
        ({"split": "tests"}, "`made_pairs` has no such split: Unknown split 'tests'"),
        ({"split": "blank"}, "`made_pairs` must have pairs in 'blank'; it has none"),
    ],
)
def test_what_a_set_does_not_have_is_told(folder, changes, words):
    with pytest.raises(ValueError, match=words):
        load(folder, **changes)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)
def test_a_set_that_must_be_prepared_needs_tensorflow(tmp_path):
    with pytest.raises(ImportError, match="TensorFlow is needed") as told:
        load_tfds_pairs("wmt14_translate/de-en", "en", "de", "train", data_dir=tmp_path)
    assert len(str(told.value).splitlines()) == 1
