"""The TFDS builder of ESOL and FreeSolv: an example is a molecule, no TensorFlow.

Most users want `molecules.load_molecules`, which hides it; this module imports TFDS, and
nothing imports it before a data set is asked for.
"""

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from relational.datasets import molecules, molecules_source

_DESCRIPTION = """\
Molecules as graphs of their heavy atoms, with one measured number each: the logarithm of
the solubility in water (ESOL) or the free energy of hydration (FreeSolv).
"""

_CITATION = """\
@article{delaney2004esol,
  title={{ESOL}: Estimating Aqueous Solubility Directly from Molecular Structure},
  author={Delaney, John S.},
  journal={J. Chem. Inf. Comput. Sci.}, volume={44}, year={2004}}
@article{mobley2014freesolv,
  title={{FreeSolv}: A Database of Experimental and Calculated Hydration Free Energies},
  author={Mobley, David L. and Guthrie, J. Peter},
  journal={J. Comput. Aided Mol. Des.}, volume={28}, year={2014}}
"""


class MoleculeSets(tfds.core.GeneratorBasedBuilder):
    """Molecules for TFDS; configurations `esol` (the default) and `freesolv`.

    Args:
        data_source: the file or its folder; see `molecules.load_molecules`.
        **of_tfds: `data_dir`, `config` and what else TFDS takes.

    >>> [config.name for config in MoleculeSets.BUILDER_CONFIGS]
    ['esol', 'freesolv']
    """

    VERSION = tfds.core.Version(molecules.VERSION)
    BUILDER_CONFIGS: ClassVar[list[tfds.core.BuilderConfig]] = [
        tfds.core.BuilderConfig(
            name="esol", description="Solubility of 1128 molecules."
        ),
        tfds.core.BuilderConfig(
            name="freesolv", description="Free energy of hydration of 642 molecules."
        ),
    ]

    def __init__(
        self, *, data_source: str | os.PathLike[str] | None = None, **of_tfds: Any
    ) -> None:
        self._data_source = data_source
        super().__init__(**of_tfds)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "atoms": tfds.features.Tensor(
                shape=(None, len(molecules.ATOM_FEATURES)), dtype=np.int32
            ),
            "bonds": tfds.features.Tensor(shape=(None, 2), dtype=np.int32),
            "bond_types": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "target": tfds.features.Scalar(dtype=np.float32),
            "index": tfds.features.Scalar(dtype=np.int32),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            citation=_CITATION,
            homepage=molecules_source.SOURCES[self.builder_config.name].address,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # Molecules keep the order of their source.
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        del dl_manager  # It retries for minutes where there is no network.
        found = molecules_source.read(self.builder_config.name, self._data_source)
        return {"molecules": self._generate_examples(found)}

    def _generate_examples(
        self, found: list[molecules_source.Molecule]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, molecule in enumerate(found):
            yield index, {**molecule._asdict(), "index": index}
