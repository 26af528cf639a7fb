import gzip
import json
import sys
import urllib.error

import numpy as np
import pytest

from relational.datasets import (
    load_molecules,
    molecules,
    molecules_source,
    random_split,
    scale_of,
    source_files,
)

KNOWN = {  # Molecules, atoms, bonds; mean and deviation of targets: as published.
    "esol": (1128, 14991, 15428, -3.050, 2.096),
    "freesolv": (642, 5600, 5385, -3.803, 3.845),
}
ETHANOL = molecules_source.Molecule(
    atoms=np.array(
        [[6, 4, 0, 3, 0, 0, 0], [6, 4, 0, 2, 0, 0, 0], [8, 2, 0, 1, 0, 0, 0]], np.int32
    ),
    bonds=np.array([[0, 1], [1, 2]], np.int32),
    bond_types=np.array([1, 1], np.int32),
    target=1.1,
)
CARBON_MONOXIDE = molecules_source.Molecule(
    atoms=np.array([[6, 1, -1, 0, 0, 0, 0], [8, 1, 1, 0, 0, 0, 0]], np.int32),
    bonds=np.array([[0, 1]], np.int32),
    bond_types=np.array([3], np.int32),
    target=-1.5,
)
METHANE = molecules_source.Molecule(
    atoms=np.array([[6, 4, 0, 4, 0, 0, 0]], np.int32),
    bonds=np.zeros([0, 2], np.int32),
    bond_types=np.zeros([0], np.int32),
    target=-0.9,
)
THREE = [ETHANOL, CARBON_MONOXIDE, METHANE]


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A file of three molecules that passes for ESOL."""
    known = {**vars(molecules_source.SOURCES["esol"])}
    known["sha256"] = molecules_source._digest(THREE)
    source = molecules_source.Source(**known)
    monkeypatch.setitem(molecules_source.SOURCES, "esol", source)
    np.savez(
        tmp_path / "esol_graphs.npz",
        y=np.array([one.target for one in THREE], np.float32),
        node_feat=np.concatenate([one.atoms for one in THREE]).astype(np.int8),
        node_offsets=np.array([0, 3, 5, 6]),
        edge_index=np.concatenate([one.bonds for one in THREE]).astype(np.int16),
        edge_type=np.concatenate([one.bond_types for one in THREE]).astype(np.int8),
        edge_offsets=np.array([0, 2, 3, 3]),
    )
    return tmp_path


def test_molecules_come_back_as_graphs_in_the_order_of_the_source(three, tmp_path):
    found = load_molecules("esol", data_source=three, cache=tmp_path / "cache")
    assert found.targets.tolist() == pytest.approx([1.1, -1.5, -0.9])
    assert found.unit == "log10(mol/L)"
    ethanol, monoxide, methane = found.graphs
    pairs = [
        list(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
        for graph in found.graphs
    ]
    assert pairs == [[(1, 0), (0, 1), (2, 1), (1, 2)], [(1, 0), (0, 1)], []]
    assert monoxide.edges.tolist() == [[0, 0, 1, 0]] * 2
    assert methane.n_edge.tolist() == [0]
    assert methane.edges.shape == (0, 4)
    # Each column of numbers, read back from its own part of the one-hot features.
    widths = [len(values) for values in molecules.ATOM_FEATURES.values()]
    for graph, molecule in zip((ethanol, monoxide, methane), THREE, strict=True):
        parts = np.split(graph.nodes, np.cumsum(widths)[:-1], axis=1)
        read = [
            np.asarray(values)[part.argmax(axis=1)]
            for part, values in zip(
                parts, molecules.ATOM_FEATURES.values(), strict=True
            )
        ]
        np.testing.assert_array_equal(np.stack(read, axis=1), molecule.atoms)
        assert all((part.sum(axis=1) == 1).all() for part in parts)
    (three / "esol_graphs.npz").unlink()
    again = load_molecules("esol", cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.targets, found.targets)


@pytest.mark.parametrize("name", list(KNOWN))
def test_the_sets_have_their_known_sizes(molecules_folder, cache, name):
    found = load_molecules(name, data_source=molecules_folder, cache=cache)
    num_molecules, num_atoms, num_bonds, mean, std = KNOWN[name]
    assert len(found.graphs) == len(found.targets) == num_molecules
    assert sum(len(graph.nodes) for graph in found.graphs) == num_atoms
    assert sum(len(graph.senders) for graph in found.graphs) == 2 * num_bonds
    sizes = molecules.SIZES[name]
    assert (sizes.num_molecules, sizes.num_atoms) == (num_molecules, num_atoms)
    assert sizes.num_edges == 2 * num_bonds
    assert sizes.most_atoms == max(len(graph.nodes) for graph in found.graphs)
    assert found.targets.mean() == pytest.approx(mean, abs=1e-3)
    assert found.targets.std() == pytest.approx(std, abs=1e-3)
    for graph in found.graphs:
        assert (graph.nodes.sum(axis=1) == len(molecules.ATOM_FEATURES)).all()
        assert (graph.edges.sum(axis=1) == 1).all()
        edges = dict(
            zip(
                zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True),
                map(tuple, graph.edges.tolist()),
                strict=True,
            )
        )
        assert len(edges) == len(graph.senders)
        assert all(edges[other, one] == edges[one, other] for one, other in edges)


@pytest.mark.parametrize("name", list(KNOWN))
def test_rdkit_makes_the_same_molecules_of_the_published_file(molecules_folder, name):
    pytest.importorskip("rdkit", reason="molecules written as SMILES need rdkit")
    folder = molecules_folder / name
    published = folder / f"{molecules_source.SOURCES[name].file}.gz"
    found = molecules_source.read(name, published)
    kept = molecules_source.read(name, folder / f"{name}_graphs.npz")
    for one, other in zip(found, kept, strict=True):
        for a, b in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        assert one.target == pytest.approx(other.target, abs=1e-6)


def test_published_files_are_read_row_by_row():
    table = (
        "Compound ID,measured log solubility in mols per litre,smiles\n"
        'ethanol,1.10,CCO \n"a, b",-1.5,[C-]#[O+]\n'
    )
    rows = molecules_source.SOURCES["esol"].rows(table.encode())
    assert rows == [("CCO", 1.1), ("[C-]#[O+]", -1.5)]
    entries = {"b": {"smiles": "C", "expt": 2}, "a": {"smiles": "CC", "expt": "-1.0"}}
    rows = molecules_source.SOURCES["freesolv"].rows(json.dumps(entries).encode())
    assert rows == [("CC", -1.0), ("C", 2.0)]


def test_without_rdkit_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    path = tmp_path / "database.json.gz"
    path.write_bytes(gzip.compress(b'{"a": {"smiles": "C", "expt": 1}}'))
    with pytest.raises(
        ImportError, match=r"pip install 'relational-nets\[molecules\]'"
    ):
        molecules_source.read("freesolv", path)


def test_wrong_files_are_refused_by_name(three, tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match=r"must be esol_graphs.npz or delaney.*not exist"
    ):
        molecules_source.read("esol", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"freesolv_graphs.npz or database.json, .*holds"
    ):
        molecules_source.read("freesolv", tmp_path / "empty")
    source = molecules_source.Source(
        **{**vars(molecules_source.SOURCES["esol"]), "sha256": "other"}
    )
    monkeypatch.setitem(molecules_source.SOURCES, "esol", source)
    with pytest.raises(
        ValueError, match=r"must hold the molecules of esol with the check"
    ):
        molecules_source.read("esol", three)
    (three / "esol_graphs.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=r"must be that of esol; it could not be read"):
        molecules_source.read("esol", three)
    torn = tmp_path / "database.json.gz"
    torn.write_bytes(gzip.compress(b"{}" * 100)[:-9])
    with pytest.raises(
        ValueError, match=r"database.json.gz' must be one that can be rea"
    ):
        molecules_source.read("freesolv", torn)


def test_without_a_network_the_way_out_is_told(monkeypatch):
    def fail(address, timeout):
        assert address.startswith(
            "https://raw.githubusercontent.com/MobleyLab/FreeSolv/"
        )
        raise urllib.error.URLError("no network")

    monkeypatch.delenv("RELATIONAL_MOLECULES_SOURCE", raising=False)
    monkeypatch.setattr(source_files.urllib.request, "urlopen", fail)
    with pytest.raises(
        ValueError, match=r"could not be downloaded.*data_source=.*_MOLEC"
    ):
        molecules_source.read("freesolv")


@pytest.mark.parametrize(
    ("num_examples", "sizes"), [(1128, (902, 112, 114)), (642, (513, 64, 65))]
)
def test_splits_are_disjoint_complete_and_drawn_by_their_seed(num_examples, sizes):
    splits = [random_split(num_examples, seed) for seed in range(10)]
    for seed, split in enumerate(splits):
        parts = (split.train, split.validation, split.test)
        assert tuple(map(len, parts)) == sizes
        assert sorted(np.concatenate(parts).tolist()) == list(range(num_examples))
        np.testing.assert_array_equal(random_split(num_examples, seed).test, split.test)
    assert len({tuple(split.test.tolist()) for split in splits}) == 10


def test_targets_are_normalised_by_the_training_part():
    rng = np.random.default_rng(0)
    targets = rng.normal(3, 2, 100)
    train = random_split(100, 0).train
    scale = scale_of(targets[train])
    normalised = scale.normalised(targets)
    assert normalised[train].mean() == pytest.approx(0, abs=1e-12)
    assert normalised[train].std() == pytest.approx(1)
    np.testing.assert_allclose(scale.restored(normalised), targets)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: random_split(9, 0),
            "`num_examples` must be 10 or more; got 9. A tenth",
        ),
        (lambda: random_split(100, -1), "`seed` must be 0 to 4294967295; got -1. Each"),
        (lambda: random_split(100, 0.5), "`seed` must be 0 to .*got 0.5"),
        (
            lambda: scale_of([1.0, np.nan]),
            "`targets` must be finite .*got a mean of nan",
        ),
        (
            lambda: molecules.molecule_graph(
                np.array([[14, 4, 0, 4, 0, 0, 0]]), np.zeros([0, 2], int), np.zeros(0)
            ),
            "`atomic_number` must be one of 6, 7, .*53; got 14. Only what occurs in",
        ),
        (
            lambda: molecules.molecule_graph(
                ETHANOL.atoms, ETHANOL.bonds, np.array([1, 5])
            ),
            "`bond_type` must be one of 1, 2, 3, 4; got 5",
        ),
    ],
)
def test_wrong_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
