import gzip
import io
import pickle
import struct
import sys
import types
import urllib.error

import numpy as np
import pytest

from relational.datasets import (
    load_planetoid,
    planetoid,
    planetoid_source,
    source_files,
)

NAMES = ("cora", "citeseer")


@pytest.fixture
def papers():
    """Twelve papers: 2 to train, 5 more known, 4 of the test, one (number 9) unknown."""
    rng = np.random.default_rng(0)
    edges = [[0, 3], [1, 2], [1, 7], [4, 11], [5, 6], [6, 10], [8, 11]]
    words = np.argwhere(rng.random((12, 6)) < 0.4)
    words = words[words[:, 0] != 9]
    labels = np.array([0, 1, 2, 2, 1, 0, 1, 2, 0, -1, 1, 2])
    part = np.array([1, 1, 2, 2, 2, 2, 2, 3, 3, 0, 3, 3])
    found = planetoid_source._papers(np.array(edges), words, labels, part)
    return found._replace(edges=np.array(edges, np.int32))


@pytest.fixture
def raw_folder(papers, tmp_path, monkeypatch):
    """Those papers in the files of Planetoid, as Python 2 pickled them."""
    known_by = {"cora": planetoid_source._digest(papers)}
    monkeypatch.setattr(planetoid_source, "_SHA256", known_by)
    monkeypatch.setattr(planetoid_source, "_NUM_VALIDATION", 5)
    words = np.zeros([12, 6], np.float32)
    words[papers.words[:, 0], papers.words[:, 1]] = 1
    classes = np.eye(3, dtype=np.int32)[papers.labels]
    tested = [10, 7, 11, 8]  # The file has them in no order.
    neighbours = {paper: [] for paper in range(12)}
    for one, other in papers.edges.tolist():
        neighbours[one] += [other, other]  # Some are there twice, some once.
        neighbours[other].append(one)
    neighbours[5].append(5)
    folder = tmp_path / "raw"
    folder.mkdir()
    pickles = {
        "allx": old_sparse(words[:7]),
        "tx": old_sparse(words[tested], protocol=1),
        "y": old_array(classes[:2]),
        "ally": old_array(classes[:7]),
        "ty": old_array(classes[tested]),
        "graph": old_graph(neighbours),
    }
    for part, content in pickles.items():
        (folder / f"ind.cora.{part}").write_bytes(content)
    (folder / "ind.cora.test.index").write_text("".join(f"{one}\n" for one in tested))
    return folder


# Pickles of Python 2, written by hand: strings of bytes, old names of modules.


def old_string(content):
    return b"T" + struct.pack("<i", len(content)) + content


def old_number(number):
    return b"J" + struct.pack("<i", number)


def array_code(array):
    shape = b"(" + b"".join(map(old_number, array.shape)) + b"t"
    kind = old_string(array.dtype.str[1:].encode())
    dtype = b"cnumpy\ndtype\n(" + kind + b"K\x00K\x01tR"
    state = b"(K\x03U\x01<NNN" + old_number(-1) + old_number(-1) + b"K\x00tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    content = old_string(array.tobytes())
    return made + b"(K\x01" + shape + dtype + state + b"I00\n" + content + b"tb"


def old_array(array):
    return b"\x80\x02" + array_code(array) + b"."


def old_sparse(matrix, protocol=2):
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1)).astype(np.int32)
    state = b"}("
    state += (
        old_string(b"_shape") + b"(" + b"".join(map(old_number, matrix.shape)) + b"t"
    )
    state += old_string(b"indices") + array_code(columns.astype(np.int32))
    state += old_string(b"indptr") + array_code(starts)
    state += old_string(b"data") + array_code(matrix[rows, columns])
    state += old_string(b"maxprint") + old_number(50) + b"u"
    made = (
        b"ccopy_reg\n_reconstructor\n(cscipy.sparse.csr\ncsr_matrix\nc__builtin__\nobject\nNtR"
        if protocol < 2
        else b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81"
    )
    return made + state + b"b."


def old_graph(neighbours):
    made = b"\x80\x02ccollections\ndefaultdict\n(c__builtin__\nlist\ntR("
    for paper, others in neighbours.items():
        made += old_number(paper) + b"](" + b"".join(map(old_number, others)) + b"e"
    return made + b"u."


def test_pickles_of_python_2_are_read(raw_folder, papers):
    found = planetoid_source.read("cora", raw_folder)
    for name, one, other in zip(papers._fields, found, papers, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_files_may_be_packed(raw_folder, papers):
    for path in list(raw_folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found = planetoid_source.read("cora", raw_folder)
    np.testing.assert_array_equal(found.labels, papers.labels)


def test_files_are_downloaded_where_no_folder_is_named(raw_folder, papers, monkeypatch):
    asked = []

    def answer(address, timeout):
        asked.append(address)
        return io.BytesIO((raw_folder / address.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.delenv("RELATIONAL_PLANETOID_SOURCE", raising=False)
    monkeypatch.setattr(source_files.urllib.request, "urlopen", answer)
    found = planetoid_source.read("cora")
    np.testing.assert_array_equal(found.words, papers.words)
    assert len(asked) == 7
    assert all(
        address.startswith("https://raw.githubusercontent.com/kimiyoung/planetoid/")
        for address in asked
    )


class Danger:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def test_a_pickle_runs_nothing(raw_folder, tmp_path):
    touched = tmp_path / "touched"
    for danger, name in (
        (Danger(open, str(touched), "w"), "open"),
        (Danger(eval, f"open({str(touched)!r}, 'w')"), "builtins.eval"),
        (Danger(getattr, [], "append"), "builtins.getattr"),
        (Danger(types.SimpleNamespace), "SimpleNamespace"),
        (Danger(sys.intern, "a"), "sys.intern"),
        (Danger(np.fromfile, str(touched)), "numpy.*fromfile"),
    ):
        (raw_folder / "ind.cora.graph").write_bytes(pickle.dumps(danger))
        with pytest.raises(ValueError, match=f"arrays and lists.*{name}.*was not run"):
            planetoid_source.read("cora", raw_folder)
        assert not touched.exists()


def test_a_prepared_set_is_loaded_as_a_graph(raw_folder, papers, tmp_path, monkeypatch):
    sizes = planetoid.CitationSizes(
        num_nodes=12, num_edges=7, num_words=6, num_classes=3
    )
    monkeypatch.setitem(planetoid.SIZES, "cora", sizes)
    found = load_planetoid("cora", data_source=raw_folder, cache=tmp_path / "cache")
    graph = found.graph
    assert list(zip(graph.receivers, graph.senders, strict=True)) == sorted(
        pair
        for one, other in papers.edges.tolist()
        for pair in ((one, other), (other, one))
    )
    assert found.labels.tolist() == papers.labels.tolist()
    for mask, number in ((found.train, 1), (found.validation, 2), (found.test, 3)):
        np.testing.assert_array_equal(mask, papers.part == number)
    assert not graph.nodes[9].any()
    has_words = np.isin(np.arange(12), papers.words[:, 0])
    np.testing.assert_allclose(graph.nodes.sum(axis=1), has_words, rtol=1e-6)
    for path in raw_folder.iterdir():
        path.unlink()
    again = load_planetoid("cora", normalise_rows=False, cache=tmp_path / "cache")
    np.testing.assert_array_equal(np.argwhere(again.graph.nodes), papers.words)
    assert set(np.unique(again.graph.nodes)) == {0, 1}


def test_wrong_files_are_refused_by_name(raw_folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for place, words in (
        (
            tmp_path / "none",
            r"`data_source` must be cora.npz or .*none', which does not",
        ),
        (
            tmp_path / "empty",
            r"which holds no such file. Download all ind.cora.\* from",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            planetoid_source.read("cora", place)
    (raw_folder / "ind.cora.tx").unlink()
    with pytest.raises(ValueError, match=r"must be ind.cora.tx, .*Download all"):
        planetoid_source.read("cora", raw_folder)
    monkeypatch.setenv("RELATIONAL_PLANETOID_SOURCE", str(tmp_path / "none"))
    with pytest.raises(
        ValueError, match=r"variable RELATIONAL_PLANETOID_SOURCE must be"
    ):
        planetoid_source.read("cora")
    (tmp_path / "empty" / "cora.npz").write_bytes(b"PK no archive")
    with pytest.raises(
        ValueError, match=r"cora.npz' must be those of cora; they could n"
    ):
        planetoid_source.read("cora", tmp_path / "empty")


def test_parts_that_do_not_fit_together_are_refused(raw_folder):
    (raw_folder / "ind.cora.ty").write_bytes(old_graph({0: [1]}))
    with pytest.raises(
        ValueError, match=r"raw' must be those of cora; they could not be"
    ):
        planetoid_source.read("cora", raw_folder)
    (raw_folder / "ind.cora.ty").write_bytes(b"\x80\x02](")
    with pytest.raises(
        ValueError, match=r"must be a pickle of arrays and lists; got anot"
    ):
        planetoid_source.read("cora", raw_folder)


def test_other_content_is_refused_by_its_checksum(raw_folder):
    (raw_folder / "ind.cora.test.index").write_text("10\n8\n11\n7\n")
    with pytest.raises(
        ValueError, match=r"must hold cora with the checksum .*got .*other"
    ):
        planetoid_source.read("cora", raw_folder)


def test_without_a_network_the_way_out_is_told(monkeypatch):
    def fail(address, timeout):
        raise urllib.error.URLError("no network")

    monkeypatch.delenv("RELATIONAL_PLANETOID_SOURCE", raising=False)
    monkeypatch.setattr(source_files.urllib.request, "urlopen", fail)
    with pytest.raises(
        ValueError, match=r"could not be downloaded.*data_source=.*_PLANE"
    ):
        planetoid_source.read("citeseer")


@pytest.mark.parametrize("name", NAMES)
def test_the_sets_have_their_known_sizes(planetoid_folder, cache, name):
    found = load_planetoid(name, data_source=planetoid_folder, cache=cache)
    sizes = planetoid.SIZES[name]
    graph = found.graph
    assert graph.nodes.shape == (sizes.num_nodes, sizes.num_words)
    assert len(graph.senders) == 2 * sizes.num_edges
    assert graph.n_node.tolist() == [sizes.num_nodes]
    edges = set(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    assert len(edges) == 2 * sizes.num_edges
    assert all((other, one) in edges and one != other for one, other in edges)
    assert found.labels.max() + 1 == found.num_classes == sizes.num_classes
    of_train = np.bincount(found.labels[found.train])
    assert of_train.tolist() == [20] * sizes.num_classes
    assert (found.validation.sum(), found.test.sum()) == (500, 1000)
    assert (0 + found.train + found.validation + found.test).max() == 1
    assert (found.labels[found.train | found.validation | found.test] >= 0).all()


def test_the_oddities_of_citeseer_are_kept(planetoid_folder, cache):
    found = load_planetoid("citeseer", data_source=planetoid_folder, cache=cache)
    isolated = np.bincount(found.graph.receivers, minlength=3327) == 0
    unknown = found.labels == -1
    assert (isolated.sum(), unknown.sum()) == (48, 15)
    assert not isolated[unknown].any()
    assert not found.graph.nodes[unknown].any()
    assert not (found.train | found.validation | found.test)[unknown].any()
    rows = found.graph.nodes.sum(axis=1)
    np.testing.assert_allclose(rows, ~unknown, rtol=1e-5)
