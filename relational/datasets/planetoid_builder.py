"""The TFDS builder of Cora and Citeseer: one example, the whole graph, no TensorFlow.

Most users want `planetoid.load_planetoid`, which hides it; this module imports TFDS, and
nothing imports it before a data set is asked for.
"""

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from relational.datasets import planetoid, planetoid_source

_DESCRIPTION = """\
A graph of papers: the words that each holds, its class, and which papers cite each other
(undirected, each pair once, no self-citations), with the public split of Planetoid.
"""

_CITATION = """\
@inproceedings{yang2016revisiting,
  title={Revisiting Semi-Supervised Learning with Graph Embeddings},
  author={Yang, Zhilin and Cohen, William W. and Salakhutdinov, Ruslan},
  booktitle={ICML}, year={2016}}
"""


class Planetoid(tfds.core.GeneratorBasedBuilder):
    """Citation graphs for TFDS; configurations `cora` (the default) and `citeseer`.

    Args:
        data_source: the folder of the files; see `planetoid.load_planetoid`.
        **of_tfds: `data_dir`, `config` and what else TFDS takes.

    >>> [config.name for config in Planetoid.BUILDER_CONFIGS]
    ['cora', 'citeseer']
    """

    VERSION = tfds.core.Version(planetoid.VERSION)
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(name="cora", description="2708 papers of 7 classes."),
        tfds.core.BuilderConfig(
            name="citeseer", description="3327 papers of 6 classes."
        ),
    ]

    def __init__(
        self, *, data_source: str | os.PathLike[str] | None = None, **of_tfds: Any
    ) -> None:
        self._data_source = data_source
        super().__init__(**of_tfds)

    def _info(self) -> tfds.core.DatasetInfo:
        pairs = tfds.features.Tensor(shape=(None, 2), dtype=np.int32)
        numbers = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            citation=_CITATION,
            homepage=planetoid_source.HOMEPAGE,
            features=tfds.features.FeaturesDict(
                {"edges": pairs, "words": pairs, "labels": numbers, "part": numbers}
            ),
            disable_shuffling=True,
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # It retries for minutes where there is no network.
        papers = planetoid_source.read(self.builder_config.name, self._data_source)
        return {"graph": self._generate_examples(papers)}

    def _generate_examples(
        self, papers: planetoid_source.Papers
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        yield 0, papers._asdict()
