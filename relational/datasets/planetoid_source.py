"""Cora and Citeseer from their files: found, unpickled safely, verified.

Planetoid's files are pickles of Python 2, which could run any code. Here a pickle may
make arrays, sparse matrices and dictionaries of lists, and nothing else; what comes out
must have the content whose checksum is known. The same content may come from one `.npz`.

Source: https://github.com/kimiyoung/planetoid, licence MIT.

Shapes: N papers, K pairs, M rows.
"""

import collections
import copyreg
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from relational.datasets import source_files

HOMEPAGE = "https://github.com/kimiyoung/planetoid"
ADDRESS = (
    "https://raw.githubusercontent.com/kimiyoung/planetoid/"
    "af6abf468a772cc055bec88c52e4d6f51b7c37e3/data/"
)
"""Where the files `ind.<name>.<part>` lie."""

VARIABLE = "RELATIONAL_PLANETOID_SOURCE"

_PICKLES = ("allx", "tx", "y", "ally", "ty", "graph")
_PARTS = (*_PICKLES, "test.index")
_NUM_VALIDATION = 500
_UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, EOFError)
_SHA256 = {  # Of the content, as `_digest` takes it.
    "cora": "82ddb82c6f054fa088145c441cfb12f3d460ac733259b7475e39f7fe79891351",
    "citeseer": "836bbcc44cc9e64765366824848080df5afa6d721a74dbc4d02e06afe710bf18",
}


class Papers(NamedTuple):
    """What the files say.

    - `edges`: pairs of papers, the smaller number first, sorted, each once, [K, 2].
    - `words`: pairs of a paper and a word it holds, sorted, [K, 2].
    - `labels`: classes, -1 where unknown, [N].
    - `part`: 0 for nothing, 1 to train, 2 to validate, 3 to test, [N].
    """

    edges: Int32[np.ndarray, "K 2"]
    words: Int32[np.ndarray, "K 2"]
    labels: Int32[np.ndarray, " N"]
    part: Int32[np.ndarray, " N"]


def read(name: str, data_source: str | os.PathLike[str] | None = None) -> Papers:
    """The papers of `"cora"` or `"citeseer"`.

    Args:
        name: of the set.
        data_source: the folder of the files `ind.<name>.*` or of `<name>.npz`. If
            absent, the environment variable `RELATIONAL_PLANETOID_SOURCE`, then
            `ADDRESS`.

    Raises:
        ValueError: if a file is not found, cannot be downloaded or read, holds what it
            should not, or the content is not the one whose checksum is known.

    >>> read("cora", "/nonexistent")
    Traceback (most recent call last):
    ...
    ValueError: `data_source` must be cora.npz or ind.cora.graph, or the folder it lies \
in; got '/nonexistent', which does not exist. Download all ind.cora.* from \
https://github.com/kimiyoung/planetoid, folder data.
    """
    advice = f"Download all ind.{name}.* from {HOMEPAGE}, folder data."
    path = source_files.find(
        [f"{name}.npz", f"ind.{name}.graph"],
        data_source,
        variable=VARIABLE,
        advice=advice,
    )
    papers = (
        _from_npz(name, path, advice)
        if path is not None and path.name.endswith((".npz", ".npz.gz"))
        else _from_parts(name, path, advice)
    )
    _verify(name, papers, _origin(path), advice)
    return papers


def _from_npz(name: str, path: Path, advice: str) -> Papers:
    content = source_files.read(path, advice=advice)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            num_words = np.diff(arrays["x_indptr"])
            rows = np.repeat(np.arange(len(num_words)), num_words)
            part = np.zeros(len(arrays["labels"]), np.int32)
            for number, key in enumerate(("train_idx", "val_idx", "test_idx"), 1):
                part[arrays[key]] = number
            words = np.stack([rows, arrays["x_indices"]], axis=1)
            return _papers(arrays["edges"], words, arrays["labels"], part)
    except (*_UNREADABLE, zipfile.BadZipFile) as error:
        raise _misread(name, os.fspath(path), error, advice) from error


def _from_parts(name: str, path: Path | None, advice: str) -> Papers:
    content = {part: _part(name, part, path, advice) for part in _PARTS}
    objects = {part: unpickled(content[part]) for part in _PICKLES}
    try:
        return _assembled(objects, content["test.index"])
    except _UNREADABLE as error:
        raise _misread(name, _origin(path), error, advice) from error


def _assembled(objects: dict[str, Any], test_index: bytes) -> Papers:
    """The papers in one order: those of `allx`, then the test's, where its index says."""
    tested = np.array(test_index.split(), int)
    neighbours = objects["graph"]
    edges = [(one, other) for one, others in neighbours.items() for other in others]
    num_known = len(objects["ally"])
    labels = np.full(1 + max(*neighbours, *tested), -1)
    labels[:num_known] = _classes(objects["ally"])
    labels[tested] = _classes(objects["ty"])
    part = np.zeros(len(labels), np.int32)
    num_train = len(objects["y"])
    part[:num_train] = 1
    part[num_train : num_train + _NUM_VALIDATION] = 2
    part[tested] = 3
    known = _nonzero(objects["allx"])
    of_test = _nonzero(objects["tx"])
    of_test[:, 0] = tested[of_test[:, 0]]
    return _papers(np.array(edges), np.concatenate([known, of_test]), labels, part)


def _misread(name: str, origin: str, error: Exception, advice: str) -> ValueError:
    return ValueError(
        f"the files from {origin!r} must be those of {name}; they could not be read "
        f"({error!r}). {advice}"
    )


def _origin(path: Path | None) -> str:
    return ADDRESS if path is None else os.fspath(path.parent)


def _part(name: str, part: str, graph: Path | None, advice: str) -> bytes:
    """One of the files, which all lie where the graph does."""
    file = f"ind.{name}.{part}"
    if graph is None:
        elsewhere = (
            "Download all files elsewhere and name their folder with `data_source=` or "
            f"the environment variable {VARIABLE}."
        )
        return source_files.download(ADDRESS + file, advice=elsewhere)
    path = source_files.find([file], graph.parent, variable=VARIABLE, advice=advice)
    assert path is not None
    return source_files.read(path, advice=advice)


def _classes(one_hot: Any) -> Any:
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)


def _nonzero(matrix: Any) -> Any:
    """The pairs of row and column of a sparse matrix that are not zero, [K, 2]."""
    rows = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    return np.stack([rows, matrix.indices], axis=1)[matrix.data != 0]


def _papers(edges: Any, words: Any, labels: Any, part: Any) -> Papers:
    edges = np.sort(edges, axis=1)
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    words = np.unique(words, axis=0)
    return Papers(*(np.asarray(one, np.int32) for one in (edges, words, labels, part)))


class _SparseMatrix:
    """Stands for SciPy's matrix, whose own state it takes: no code of SciPy runs."""

    indptr: Any
    indices: Any
    data: Any


_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): collections.defaultdict,
    ("__builtin__", "list"): list,  # The names of Python 2.
    ("__builtin__", "object"): object,
    ("copy_reg", "_reconstructor"): copyreg._reconstructor,  # type: ignore
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name == "csr_matrix" and module.startswith("scipy.sparse"):
            return type("_OneMatrix", (_SparseMatrix,), {})  # A pickle may change it.
        if name == "_reconstruct" and module.startswith("numpy."):
            return np.ndarray.__reduce__(np.empty(0))[0]
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def unpickled(content: bytes) -> Any:
    """What a pickle of Planetoid holds, if it asks for nothing but arrays and lists.

    Raises:
        ValueError: if it asks for anything else, or is no pickle.

    >>> unpickled(pickle.dumps({0: [1, 2]}))
    {0: [1, 2]}
    >>> unpickled(pickle.dumps(print))
    Traceback (most recent call last):
    ...
    ValueError: a file of Planetoid must be a pickle of arrays and lists; got another (it \
asks for builtins.print). It was not run: download it again from \
https://github.com/kimiyoung/planetoid.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # A broken pickle may raise almost anything.
        raise ValueError(
            "a file of Planetoid must be a pickle of arrays and lists; got another "
            f"({error}). It was not run: download it again from {HOMEPAGE}."
        ) from error


def _digest(papers: Papers) -> str:
    digest = hashlib.sha256()
    for array in papers:
        digest.update(str(array.shape).encode() + array.astype("<i4").tobytes())
    return digest.hexdigest()


def _verify(name: str, papers: Papers, origin: str, advice: str) -> None:
    found = _digest(papers)
    if found != _SHA256[name]:
        raise ValueError(
            f"the files from {origin!r} must hold {name} with the checksum "
            f"{_SHA256[name]}; got {found}. They are others or were cut short. {advice}"
        )
