"""Molecules and a number that was measured of each: ESOL and FreeSolv.

`load_molecules` is the door; the TFDS builder behind it is
`molecules_builder.MoleculeSets`, the files are read in `molecules_source`. There is no
canonical split: `random_split` draws one by its seed, `Scale` normalises targets by the
training part alone.

Shapes: M molecules, A atoms, E directed edges.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jraph
import numpy as np
from jaxtyping import Float, Int, Int32

from relational._checks import check_count, check_seed
from relational.datasets import preparing
from relational.datasets.graph_pairs import graph

if TYPE_CHECKING:
    from relational.datasets.molecules_builder import MoleculeSets

VERSION = "1.0.0"  # Of the prepared sets; raise it when their content changes.

UNITS = {"esol": "log10(mol/L)", "freesolv": "kcal/mol"}
"""The sets by name, and the units of their targets: of the logarithm of the measured
solubility in water, and of the measured free energy of hydration."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoleculeSizes:
    """What is known of a set before it is read, all molecules together."""

    num_molecules: int
    num_atoms: int
    num_edges: int
    """Two for each bond."""
    most_atoms: int
    """Of one molecule."""


SIZES = {
    "esol": MoleculeSizes(
        num_molecules=1128, num_atoms=14991, num_edges=30856, most_atoms=55
    ),
    "freesolv": MoleculeSizes(
        num_molecules=642, num_atoms=5600, num_edges=10770, most_atoms=24
    ),
}
"""The sets by name."""

ATOM_FEATURES: dict[str, tuple[int, ...]] = {
    "atomic_number": (6, 7, 8, 9, 15, 16, 17, 35, 53),
    "degree": (1, 2, 3, 4),
    "charge": (-1, 0, 1, 2),
    "num_hydrogens": (0, 1, 2, 3, 4),
    "is_aromatic": (0, 1),
    "is_in_ring": (0, 1),
    "chirality": (0, 1, 2),
}
"""What is known of an atom, and the values that occur in either set, in RDKit's numbers.
Each is one-hot in the features of nodes, one behind the other."""

BOND_TYPES = ("single", "double", "triple", "aromatic")
"""One-hot in the features of edges, in this order; files count them from 1."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Molecules:
    """Molecules as graphs, and their targets.

    Attributes:
        graphs: of each molecule its heavy atoms and bonds. Nodes [A, 29] are one-hot by
            `ATOM_FEATURES`, edges [E, 4] by `BOND_TYPES`; a bond is two edges, one in each
            direction, sorted by receiver, then by sender.
        targets: what was measured, float32 [M], in the order of the source.
        unit: of the targets.

    >>> methanol = molecule_graph(np.array([[6, 4, 0, 3, 0, 0, 0], [8, 2, 0, 1, 0, 0, 0]]),
    ...                           np.array([[0, 1]]), np.array([1]))
    >>> known = Molecules(graphs=(methanol,), targets=np.array([1.6], np.float32),
    ...                   unit="log10(mol/L)")
    >>> len(known.graphs), known.graphs[0].n_edge.tolist()
    (1, [2])
    """

    graphs: tuple[jraph.GraphsTuple, ...]
    targets: Float[np.ndarray, " M"]
    unit: str


def load_molecules(
    name: str,
    *,
    data_source: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Molecules:
    """All molecules of a set. The first call prepares the set, later ones read it.

    Args:
        name: `"esol"`, 1128 molecules with their solubility, or `"freesolv"`, 642 with
            their free energy of hydration.
        data_source: the published file, `delaney-processed.csv` or `database.json`, whose
            molecules RDKit reads (`pip install 'relational-nets[molecules]'`); or
            `esol_graphs.npz` or `freesolv_graphs.npz`, which hold what RDKit made of
            them; or the folder of either. Each may be packed with gzip. Without it, the
            environment variable `RELATIONAL_MOLECULES_SOURCE` is looked at, then the
            published file is downloaded. It is read only when the set has not been
            prepared.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Returns:
        The molecules and their targets.

    Raises:
        ValueError: if an argument is unknown, or a file or folder cannot be used.
        ImportError: if RDKit is needed and absent.

    >>> load_molecules("qm9")
    Traceback (most recent call last):
    ...
    ValueError: `name` must be one of 'esol', 'freesolv'; got 'qm9'.

    References: J. Delaney, ESOL: estimating aqueous solubility directly from molecular
    structure, J. Chem. Inf. Comput. Sci. 44, 2004; D. Mobley and J. Guthrie, FreeSolv: a
    database of experimental and calculated hydration free energies, J. Comput. Aided
    Mol. Des. 28, 2014; Z. Wu et al., MoleculeNet, Chemical Science 9, 2018.
    """
    if name not in UNITS:
        listed = ", ".join(map(repr, UNITS))
        raise ValueError(f"`name` must be one of {listed}; got {name!r}.")
    builder = functools.partial(_builder, name, data_source)
    prepared = f"molecule_sets/{name}/{VERSION}"  # As TFDS lays it out.
    examples = preparing.examples(builder, prepared, "molecules", cache)
    examples.sort(key=lambda example: int(example["index"]))
    return Molecules(
        graphs=tuple(
            molecule_graph(example["atoms"], example["bonds"], example["bond_types"])
            for example in examples
        ),
        targets=np.array([example["target"] for example in examples], np.float32),
        unit=UNITS[name],
    )


def molecule_graph(
    atoms: Int[np.ndarray, "A 7"],
    bonds: Int[np.ndarray, "K 2"],
    bond_types: Int[np.ndarray, " K"],
) -> jraph.GraphsTuple:
    """A molecule as a graph with one-hot features, each bond in both directions.

    Args:
        atoms: the numbers named in `ATOM_FEATURES`, in that order.
        bonds: pairs of atoms, each once.
        bond_types: 1 to 4, as `BOND_TYPES` orders them.

    Raises:
        ValueError: if a number is none of those in `ATOM_FEATURES` or `BOND_TYPES`.

    >>> carbon = [6, 4, 0, 3, 0, 0, 0]
    >>> ethane = molecule_graph(np.array([carbon, carbon]), np.array([[0, 1]]),
    ...                         np.array([1]))
    >>> ethane.nodes.shape, ethane.edges.tolist(), ethane.senders.tolist()
    ((2, 29), [[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], [1, 0])
    """
    features = [
        _one_hot(name, atoms[:, column], values)
        for column, (name, values) in enumerate(ATOM_FEATURES.items())
    ]
    types = _one_hot("bond_type", bond_types, range(1, len(BOND_TYPES) + 1))
    both = np.concatenate([bonds, bonds[:, ::-1]])
    order = np.lexsort((both[:, 0], both[:, 1]))  # By receiver, then by sender.
    return graph(
        nodes=np.concatenate(features, axis=1),
        edges=np.concatenate([types, types])[order],
        senders=both[order, 0],
        receivers=both[order, 1],
        num_nodes=len(atoms),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Which examples are for what; together all of them, each once.

    >>> Split(train=np.array([2, 0]), validation=np.array([1]), test=np.array([3])).test
    array([3])
    """

    train: Int32[np.ndarray, " K"]
    validation: Int32[np.ndarray, " L"]
    test: Int32[np.ndarray, " M"]


def random_split(num_examples: int, seed: int) -> Split:
    """Draws 80 % to train, 10 % to validate and 10 % to test, as MoleculeNet does.

    The first two sizes are rounded down; the test has what is left. Results are means
    over the seeds 0 to 9.

    Args:
        num_examples: how many there are.
        seed: of the draw, 0 to 2^32 - 1.

    Raises:
        ValueError: if an argument is out of range.

    >>> split = random_split(642, seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (513, 64, 65)
    """
    check_count(
        "num_examples",
        num_examples,
        least=10,
        advice="A tenth of them is for the test.",
    )
    check_seed("seed", seed, "Each draws another split.")
    order = np.random.Generator(np.random.Philox(seed)).permutation(num_examples)
    num_train, num_validation = num_examples * 8 // 10, num_examples // 10
    train, validation, test = np.split(
        order.astype(np.int32), [num_train, num_train + num_validation]
    )
    return Split(train=train, validation=validation, test=test)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The mean and the standard deviation of training targets.

    >>> scale = scale_of([1.0, 3.0])
    >>> scale, scale.normalised(5.0), scale.restored(3.0)
    (Scale(mean=2.0, std=1.0), 3.0, 5.0)
    """

    mean: float
    std: float

    def normalised(self, targets: Any) -> Any:
        """Targets as models learn them: of the training part, mean 0 and variance 1."""
        return (targets - self.mean) / self.std

    def restored(self, outputs: Any) -> Any:
        """Outputs of a model in the unit of the targets."""
        return outputs * self.std + self.mean


def scale_of(targets: Sequence[float] | Float[np.ndarray, " K"]) -> Scale:
    """The scale of some targets, which should be those of the training part alone.

    Raises:
        ValueError: if they are all equal, or not finite.

    >>> scale_of([2.0, 2.0])
    Traceback (most recent call last):
    ...
    ValueError: `targets` must be finite and not all equal; got a mean of 2.0 and a \
standard deviation of 0.0. Give those of the training part.
    """
    values = np.asarray(targets, float)
    mean, std = float(np.mean(values)), float(np.std(values))
    if not 0 < std < np.inf:
        raise ValueError(
            f"`targets` must be finite and not all equal; got a mean of {mean} and a "
            f"standard deviation of {std}. Give those of the training part."
        )
    return Scale(mean=mean, std=std)


def _one_hot(
    name: str, numbers: Int[np.ndarray, " K"], values: Sequence[int]
) -> Float[np.ndarray, "K V"]:
    unknown = np.setdiff1d(numbers, np.asarray(values))
    if len(unknown):
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(str, values))}; got {unknown[0]}. "
            "Only what occurs in ESOL or FreeSolv has a place in the features."
        )
    return (numbers[:, np.newaxis] == np.asarray(values)).astype(np.float32)


def _builder(
    name: str, data_source: str | os.PathLike[str] | None, folder: str
) -> "MoleculeSets":
    from relational.datasets.molecules_builder import MoleculeSets

    return MoleculeSets(
        data_source=data_source,
        data_dir=folder,
        config=name,
        file_format="array_record",
    )
