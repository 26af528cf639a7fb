"""The files that data sets are made from: named, found or downloaded, unpacked."""

import gzip
import io
import os
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

_TIMEOUT_SECONDS = 30
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_BYTES = 64 * 2**20  # The largest file has 4 MiB: nothing larger need be unpacked.


def find(
    names: Sequence[str],
    data_source: str | os.PathLike[str] | None,
    *,
    variable: str,
    advice: str,
    subfolder: str = "",
) -> Path | None:
    """Where one of some files lies, the first that does.

    Args:
        names: of the files; each may be packed, with `.gz` behind its name.
        data_source: one of the files, or the folder it lies in; else
        variable: the environment variable that names either.
        advice: what to do where there is none.
        subfolder: where else to look below a named folder.

    Returns:
        The file, or None if no place is named.

    Raises:
        ValueError: if a place is named and holds none of the files.

    >>> find(["a.csv"], "/nonexistent", variable="A", advice="Download it.")
    Traceback (most recent call last):
    ...
    ValueError: `data_source` must be a.csv, or the folder it lies in; got \
'/nonexistent', which does not exist. Download it.
    """
    named, argument = data_source, "`data_source`"
    if named is None:
        named, argument = (
            os.environ.get(variable),
            f"the environment variable {variable}",
        )
    if not named:
        return None
    place = Path(named).expanduser()
    packed = [name + suffix for name in names for suffix in ("", ".gz")]
    candidates = [
        folder / name for folder in (place, place / subfolder) for name in packed
    ]
    if place.is_file() and place.name in packed:
        return place
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    why = "holds no such file" if place.exists() else "does not exist"
    raise ValueError(
        f"{argument} must be {' or '.join(names)}, or the folder it lies in; got "
        f"{os.fspath(place)!r}, which {why}. {advice}"
    )


def read(path: Path, *, advice: str) -> bytes:
    """The content of a file, unpacked, though no more than a true file could hold.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        return unpacked(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"the file {os.fspath(path)!r} must be one that can be read; got an error "
            f"({error}). {advice}"
        ) from error


def unpacked(content: bytes) -> bytes:
    """What gzip has packed, as it was; anything else as it is.

    Raises:
        OSError, EOFError, zlib.error: if it is packed and damaged.

    >>> unpacked(gzip.compress(b"text")), unpacked(b"text")
    (b'text', b'text')
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(_MOST_BYTES)


def download(address: str, *, advice: str) -> bytes:
    """The content of a file on the network, unpacked.

    Raises:
        ValueError: if it cannot be had.
    """
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
            return unpacked(answer.read(_MOST_BYTES))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"the data set could not be downloaded from {address} ({error}). {advice}"
        ) from error
