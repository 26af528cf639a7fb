"""ESOL and FreeSolv from their files: found, read by RDKit, verified.

The published files hold SMILES, from which RDKit makes atoms and bonds. What it made (by
release 2026.09.1) may also come from an `.npz`, for which RDKit is not needed. Either
way the content has a checksum.

Sources: `datasets/delaney-processed.csv` of https://github.com/deepchem/deepchem, licence
MIT; `database.json` of https://github.com/MobleyLab/FreeSolv.

Shapes: A atoms, K bonds.
"""

import csv
import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from relational.datasets import source_files

VARIABLE = "RELATIONAL_MOLECULES_SOURCE"


class Molecule(NamedTuple):
    """One molecule, in the numbers of `molecules.ATOM_FEATURES` and `BOND_TYPES`."""

    atoms: Int32[np.ndarray, "A 7"]
    bonds: Int32[np.ndarray, "K 2"]
    bond_types: Int32[np.ndarray, " K"]
    target: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where a set is published, and what its content is known by.

    >>> SOURCES["esol"].file
    'delaney-processed.csv'
    """

    file: str
    address: str
    rows: Callable[[bytes], list[tuple[str, float]]]
    """The SMILES and the target of each molecule, in order."""
    sha256: str
    """Of the molecules, as `_digest` takes it."""


def read(
    name: str, data_source: str | os.PathLike[str] | None = None
) -> list[Molecule]:
    """The molecules of `"esol"` or `"freesolv"`.

    Args:
        name: of the set.
        data_source: the published file, `<name>_graphs.npz`, or the folder of either. If
            absent, the environment variable `RELATIONAL_MOLECULES_SOURCE`, then the
            address of the published file.

    Raises:
        ValueError: if the file is not found, cannot be downloaded or read, or the
            content is not the one whose checksum is known.
        ImportError: if the published file is there, and RDKit is not.

    >>> read("esol", "/nonexistent")
    Traceback (most recent call last):
    ...
    ValueError: `data_source` must be esol_graphs.npz or delaney-processed.csv, or the \
folder it lies in; got '/nonexistent', which does not exist. Download \
delaney-processed.csv from https://raw.githubusercontent.com/deepchem/deepchem/\
fbe3b911a94a6eb8c84c1a9e7ac67a472c49ea80/datasets/delaney-processed.csv.
    """
    source = SOURCES[name]
    advice = f"Download {source.file} from {source.address}."
    path = source_files.find(
        [f"{name}_graphs.npz", source.file],
        data_source,
        variable=VARIABLE,
        advice=advice,
        subfolder=name,
    )
    if path is None:
        elsewhere = (
            "Download it elsewhere and name the file with `data_source=` or the "
            f"environment variable {VARIABLE}."
        )
        origin = source.address
        content = source_files.download(source.address, advice=elsewhere)
    else:
        origin = os.fspath(path)
        content = source_files.read(path, advice=advice)
    is_npz = content.startswith(b"PK")  # As all zip archives.
    try:
        molecules = _from_npz(content) if is_npz else _from_rows(source.rows(content))
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        raise ValueError(
            f"the file from {origin!r} must be that of {name}; it could not be read "
            f"({error!r}). {advice}"
        ) from error
    found = _digest(molecules)
    if found != source.sha256:
        raise ValueError(
            f"the file from {origin!r} must hold the molecules of {name} with the checksum "
            f"{source.sha256}; got {found}. It is another file, was cut short, or was read "
            f"by an RDKit that sees atoms otherwise than release 2026.09.1. {advice}"
        )
    return molecules


def _from_npz(content: bytes) -> list[Molecule]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        of_atoms = arrays["node_offsets"][1:-1]
        of_bonds = arrays["edge_offsets"][1:-1]
        columns = (
            np.split(arrays["node_feat"].astype(np.int32), of_atoms),
            np.split(arrays["edge_index"].astype(np.int32), of_bonds),
            np.split(arrays["edge_type"].astype(np.int32), of_bonds),
            arrays["y"].tolist(),
        )
    return [Molecule(*row) for row in zip(*columns, strict=True)]


def _from_rows(rows: list[tuple[str, float]]) -> list[Molecule]:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise ImportError(
            "molecules written as SMILES need the package rdkit: `pip install "
            "'relational-nets[molecules]'`."
        ) from error
    return [_molecule(Chem.MolFromSmiles(smiles), target) for smiles, target in rows]


def _molecule(molecule: Any, target: float) -> Molecule:
    """The numbers of a molecule of RDKit."""
    atoms = [
        (
            atom.GetAtomicNum(),
            atom.GetTotalDegree(),
            atom.GetFormalCharge(),
            atom.GetTotalNumHs(),
            atom.GetIsAromatic(),
            atom.IsInRing(),
            int(atom.GetChiralTag()),
        )
        for atom in molecule.GetAtoms()
    ]
    bonds = [
        (
            bond.GetBeginAtomIdx(),
            bond.GetEndAtomIdx(),
            _BOND_TYPES[str(bond.GetBondType())],
        )
        for bond in molecule.GetBonds()
    ]
    numbers = np.array(bonds, np.int32).reshape(-1, 3)  # A single atom has no bonds.
    return Molecule(
        atoms=np.array(atoms, np.int32),
        bonds=numbers[:, :2],
        bond_types=numbers[:, 2],
        target=target,
    )


_BOND_TYPES = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "AROMATIC": 4}


def _rows_of_esol(content: bytes) -> list[tuple[str, float]]:
    rows = csv.DictReader(io.StringIO(content.decode()))
    measured = "measured log solubility in mols per litre"
    return [(row["smiles"].strip(), float(row[measured])) for row in rows]


def _rows_of_freesolv(content: bytes) -> list[tuple[str, float]]:
    entries = sorted(json.loads(content).items())
    return [(entry["smiles"], float(entry["expt"])) for _, entry in entries]


def _digest(molecules: list[Molecule]) -> str:
    """Of all numbers; a target in thousandths, finer than any was measured."""
    digest = hashlib.sha256()
    for molecule in molecules:
        for array in (molecule.atoms, molecule.bonds, molecule.bond_types):
            digest.update(str(array.shape).encode() + array.astype("<i4").tobytes())
        digest.update(f"{round(molecule.target * 1000)};".encode())
    return digest.hexdigest()


SOURCES = {
    "esol": Source(
        file="delaney-processed.csv",
        address=(
            "https://raw.githubusercontent.com/deepchem/deepchem/"
            "fbe3b911a94a6eb8c84c1a9e7ac67a472c49ea80/datasets/delaney-processed.csv"
        ),
        rows=_rows_of_esol,
        sha256="d57e451e1bdc82fce45d1f7c119085c4511bd7f3931d4ecf46dc098b897de1e9",
    ),
    "freesolv": Source(
        file="database.json",
        address=(
            "https://raw.githubusercontent.com/MobleyLab/FreeSolv/"
            "ff0961a3177863c8002e8487ff9718c513974138/database.json"
        ),
        rows=_rows_of_freesolv,
        sha256="d4963aef9749cc54f6414f140c245383d780b99eff30a97b5f1ca35616678364",
    ),
}
"""The sets by name."""
