"""The TFDS builder of Multi30k: an example is a sentence in two languages, no TensorFlow.

TFDS can write its feature `Text` only with TensorFlow, so a sentence is stored as the
bytes of its UTF-8. Most users want `parallel_text.load_multi30k`, which hides this; the
module imports TFDS, and nothing imports it before a data set is asked for.
"""

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from relational.datasets import multi30k_source, parallel_text

_DESCRIPTION = """\
Multi30k, task 1: descriptions of images in English, with their translations by people.
"""

_CITATION = """\
@inproceedings{elliott2016multi30k,
  title={{Multi30K}: Multilingual {English-German} Image Descriptions},
  author={Elliott, Desmond and Frank, Stella and Sima'an, Khalil and Specia, Lucia},
  booktitle={Proceedings of the 5th Workshop on Vision and Language}, year={2016}}
"""


class Multi30k(tfds.core.GeneratorBasedBuilder):
    """Multi30k for TFDS; a configuration is two languages, in the order of letters.

    Args:
        data_source: the folder of its files; see `parallel_text.load_multi30k`.
        **of_tfds: `data_dir`, `config` and what else TFDS takes.

    >>> [config.name for config in Multi30k.BUILDER_CONFIGS]
    ['de_en', 'de_fr', 'en_fr']
    """

    VERSION = tfds.core.Version(parallel_text.VERSION)
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name=name, description=f"Multi30k, {name}.")
        for name in ("de_en", "de_fr", "en_fr")
    ]

    def __init__(
        self, *, data_source: str | os.PathLike[str] | None = None, **of_tfds: Any
    ) -> None:
        self._data_source = data_source
        super().__init__(**of_tfds)

    @property
    def _languages(self) -> list[str]:
        return str(self.builder_config.name).split("_")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            language: tfds.features.Tensor(shape=(None,), dtype=np.uint8)
            for language in self._languages
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            citation=_CITATION,
            homepage="https://github.com/multi30k/dataset",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # Sentences keep the order of their files.
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # It retries for minutes where there is no network.
        return {
            split: self._generate_examples(split) for split in multi30k_source.SPLITS
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        sides = [
            multi30k_source.read(language, split, self._data_source)
            for language in self._languages
        ]
        for index, lines in enumerate(zip(*sides, strict=True)):
            yield (
                index,
                {
                    language: np.frombuffer(line.encode(), np.uint8)
                    for language, line in zip(self._languages, lines, strict=True)
                },
            )
