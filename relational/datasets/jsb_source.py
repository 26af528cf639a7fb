"""The JSB Chorales from their JSON file: found, verified, read.

The file holds, for each split, a list of chorales; a chorale is a list of sixteenths; a
sixteenth is four MIDI pitches from the soprano down, -1 where a voice is silent. Bars
are not marked, so that the position in the bar is the step modulo 16.

Source: the separated sixteenths of https://github.com/czhuang/JSB-Chorales-dataset,
after N. Boulanger-Lewandowski et al. 2012 and M. Allan and C. Williams 2005.
"""

import gzip
import hashlib
import io
import json
import os
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from relational.datasets.chorales import Piece
from relational.datasets.serialisation import BEATS_PER_BAR

ADDRESS = (
    "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/"
    "Jsb16thSeparated.json"
)

_FILE_NAME = "Jsb16thSeparated.json"
_VARIABLE = "RELATIONAL_DATA_SOURCE"
_SHA256 = "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7"
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_TIMEOUT_SECONDS = 30
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_BYTES = 64 * 2**20  # The file has 3 MiB: nothing larger need be unpacked.


def read(data_source: str | os.PathLike[str] | None = None) -> dict[str, list[Piece]]:
    """The pieces of each split.

    Args:
        data_source: the file, gzipped or not, or the folder it lies in. If absent, the
            environment variable `RELATIONAL_DATA_SOURCE`, then `ADDRESS`.

    Returns:
        `{"train": [...], "validation": [...], "test": [...]}`.

    Raises:
        ValueError: if the file is not found, cannot be downloaded or unpacked, or is
            not the one whose checksum is known.

    >>> read("/nonexistent")
    Traceback (most recent call last):
    ...
    ValueError: `data_source` must be the file Jsb16thSeparated.json (or .json.gz) or \
the folder it lies in; got '/nonexistent', which does not exist.
    """
    content, origin = _content(data_source)
    _verify(content, origin)
    splits = {name: json.loads(content)[key] for name, key in _SPLITS.items()}
    index = 0
    pieces: dict[str, list[Piece]] = {}
    for name, chorales in splits.items():
        pieces[name] = [
            _piece(chorale, index + offset) for offset, chorale in enumerate(chorales)
        ]
        index += len(chorales)
    return pieces


def _piece(chorale: list[list[int]], index: int) -> Piece:
    pitch = np.array(chorale, np.int32)  # [S, 4]
    beat = np.arange(len(pitch), dtype=np.int32) % BEATS_PER_BAR
    return Piece(pitch=pitch, beat=beat, index=index)


def _content(data_source: str | os.PathLike[str] | None) -> tuple[bytes, str]:
    """The unpacked file and the words that say where it came from."""
    if data_source is not None:
        return _from_disk(data_source, "`data_source`")
    if named := os.environ.get(_VARIABLE):
        return _from_disk(named, f"the environment variable {_VARIABLE}")
    return _from_network(), ADDRESS


def _from_disk(named: str | os.PathLike[str], argument: str) -> tuple[bytes, str]:
    path = _file_in(Path(named).expanduser(), argument)
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = _unpacked(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{argument} must name a file that can be read; got {os.fspath(path)!r} "
            f"({error}). Copy or download it again from {ADDRESS}."
        ) from error
    return content, os.fspath(path)


def _file_in(path: Path, argument: str) -> Path:
    must = (
        f"{argument} must be the file {_FILE_NAME} (or .json.gz) or the folder it "
        f"lies in; got {os.fspath(path)!r}, which"
    )
    if path.is_file():
        return path
    if not path.exists():
        raise ValueError(f"{must} does not exist.")
    for candidate in (path / _FILE_NAME, path / f"{_FILE_NAME}.gz"):
        if candidate.is_file():
            return candidate
    raise ValueError(f"{must} holds no such file. Download it from {ADDRESS}.")


def _unpacked(content: bytes) -> bytes:
    """Unpacks no more than the true file could hold, whatever `content` claims."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(_MOST_BYTES)


def _from_network() -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT_SECONDS) as answer:
            return bytes(answer.read(_MOST_BYTES))
    except OSError as error:
        raise ValueError(
            f"source 'jsb' could not be downloaded from {ADDRESS} ({error}). Download "
            "it elsewhere and name the file with `data_source=` or the environment "
            f"variable {_VARIABLE}, or use source 'music21', which needs no network."
        ) from error


def _verify(content: bytes, origin: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise ValueError(
            f"the file from {origin!r} must be {_FILE_NAME} of the JSB Chorales with "
            f"SHA-256 {_SHA256} (unpacked); got {found}. It is another file or was cut "
            f"short: download it again from {ADDRESS}."
        )
