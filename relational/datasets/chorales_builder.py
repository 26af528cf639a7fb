"""The TFDS builder of the chorales: two sources, one format, no TensorFlow.

It is written and read as array_record, with tensors as its only features, so that
TensorFlow is never needed. Most users want `chorales.load`, which hides it; this module
imports TFDS, and nothing imports it before a data set is asked for.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from relational.datasets import chorales, jsb_source, music21_source
from relational.datasets.chorales import Piece

_DESCRIPTION = """\
Four-part chorales of J. S. Bach on a grid of sixteenths: the pitch of each voice and the
position in the bar at each step. Held and repeated notes are not told apart, repeats
are not played out, fermatas are not kept.
"""

_CITATION = """\
@inproceedings{boulanger2012modeling,
  title={Modeling Temporal Dependencies in High-Dimensional Sequences},
  author={Boulanger-Lewandowski, Nicolas and Bengio, Yoshua and Vincent, Pascal},
  booktitle={ICML}, year={2012}}
@inproceedings{cuthbert2010music21,
  title={music21: A Toolkit for Computer-Aided Musicology},
  author={Cuthbert, Michael Scott and Ariza, Christopher},
  booktitle={ISMIR}, year={2010}}
"""


class Chorales(tfds.core.GeneratorBasedBuilder):
    """Bach's chorales for TFDS; configurations `music21` (the default) and `jsb`.

    Args:
        data_source: for `jsb`, the file or its folder; see `chorales.load`.
        works: for `music21`, only the works of these names (`"bwv1.6"`); all if empty.
        **of_tfds: `data_dir`, `config` and what else TFDS takes.

    >>> [config.name for config in Chorales.BUILDER_CONFIGS]
    ['music21', 'jsb']
    """

    VERSION = tfds.core.Version(chorales.VERSION)
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(
            name="music21",
            description="The four-part chorales of music21's own corpus.",
        ),
        tfds.core.BuilderConfig(
            name="jsb",
            description="JSB Chorales, separated voices, splits of 229, 76 and 77.",
        ),
    ]

    def __init__(
        self,
        *,
        data_source: str | os.PathLike[str] | None = None,
        works: Sequence[str] = (),
        **of_tfds: Any,
    ) -> None:
        self._data_source = data_source
        self._works = tuple(works)
        super().__init__(**of_tfds)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            citation=_CITATION,
            homepage=jsb_source.ADDRESS if self._is_jsb() else None,
            features=tfds.features.FeaturesDict(
                {
                    "pitch": tfds.features.Tensor(shape=(None, 4), dtype=np.int32),
                    "beat": tfds.features.Tensor(shape=(None,), dtype=np.int32),
                    "index": tfds.features.Scalar(dtype=np.int32),
                }
            ),
            disable_shuffling=True,  # Pieces keep the order of their source.
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, Piece]]]:
        del dl_manager  # It retries for minutes where there is no network.
        if self._is_jsb():
            splits = jsb_source.read(self._data_source)
        else:
            splits = music21_source.read(self._works)
        return {  # TFDS does not write a split without examples, as a few works may give.
            name: self._generate_examples(pieces)
            for name, pieces in splits.items()
            if pieces
        }

    def _generate_examples(
        self, pieces: Iterable[Piece]
    ) -> Iterator[tuple[int, Piece]]:
        for piece in pieces:
            yield piece["index"], piece

    def _is_jsb(self) -> bool:
        return bool(self.builder_config.name == "jsb")
