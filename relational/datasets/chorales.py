"""Bach's chorales, as pieces of four voices on a grid of sixteenths.

`load` is the door: it prepares a source once, keeps it in a cache, and gives a list of
pieces. The TFDS builder behind it is `chorales_builder.Chorales`.

Shapes: S steps (sixteenths).
"""

import functools
import importlib.util
import os
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from jaxtyping import Int32

from relational.datasets import preparing

if TYPE_CHECKING:
    from relational.datasets.chorales_builder import Chorales

SOURCES = ("music21", "jsb")
SPLITS = ("train", "validation", "test")

VERSION = "1.0.0"  # Of the prepared sets; raise it when their content changes.


class Piece(TypedDict):
    """One chorale.

    - `pitch`: MIDI pitches of soprano, alto, tenor, bass; -1 is a rest, int32 [S, 4].
    - `beat`: the position of each step in its bar, in sixteenths from 0, int32 [S].
    - `index`: which piece of its source this is, counted over all splits.
    """

    pitch: Int32[np.ndarray, "S 4"]
    beat: Int32[np.ndarray, " S"]
    index: int


def load(
    source: str,
    split: str,
    *,
    data_source: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> list[Piece]:
    """The pieces of one split, in the order of the source.

    The first call prepares the source (some 20 s of two cores for `music21`, a second
    for `jsb`) and keeps the result in the cache; later calls read it in milliseconds.
    Preparing happens in a folder of its own that is renamed when it is complete: a kill
    leaves nothing that would be believed, and two processes may prepare at once.

    Args:
        source: `"music21"`, the chorales of music21's own corpus, which needs no
            network; or `"jsb"`, the JSB Chorales of Boulanger-Lewandowski et al.,
            229, 76 and 77 pieces.
        split: `"train"`, `"validation"` or `"test"`.
        data_source: for `"jsb"`, the file `Jsb16thSeparated.json` (or `.json.gz`), or
            the folder it lies in. Without it, the environment variable
            `RELATIONAL_DATA_SOURCE` is looked at, then the file is downloaded. It is
            read only when the source has not been prepared before: its content is
            known by its checksum.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Returns:
        The pieces.

    Raises:
        ValueError: if an argument is unknown, or a file or folder cannot be used.
        ImportError: if music21 is needed and absent.

    A piece is a dictionary, here of two steps:

    >>> piece: Piece = {
    ...     "pitch": np.array([[72, 67, 64, 48]] * 2, np.int32),
    ...     "beat": np.array([12, 13], np.int32),
    ...     "index": 0,
    ... }
    >>> piece["pitch"].shape
    (2, 4)

    References: M. Cuthbert and C. Ariza, music21, ISMIR 2010 (the corpus);
    N. Boulanger-Lewandowski, Y. Bengio and P. Vincent, Modeling temporal dependencies in
    high-dimensional sequences, ICML 2012 (the splits of `jsb`).
    """
    _check_choice("source", source, SOURCES)
    _check_choice("split", split, SPLITS)
    if data_source is not None and source != "jsb":
        raise ValueError(
            f"`data_source` must be absent for source {source!r}, which brings its own "
            f"corpus; got {os.fspath(data_source)!r}. Use source 'jsb' or leave it out."
        )
    if not is_prepared(source, cache=cache):
        _check_music21(source)
    builder = functools.partial(_builder, source, data_source)
    examples = preparing.examples(builder, _prepared_name(source), split, cache)
    pieces = [
        Piece(pitch=one["pitch"], beat=one["beat"], index=int(one["index"]))
        for one in examples
    ]
    return sorted(pieces, key=lambda piece: piece["index"])


def is_prepared(source: str, *, cache: str | os.PathLike[str] | None = None) -> bool:
    """Whether `load` will only read: the source has been prepared in this cache.

    Args:
        source: as for `load`.
        cache: as for `load`.

    Returns:
        True if the prepared set is there.

    >>> is_prepared("music21", cache="/nonexistent")
    False
    """
    _check_choice("source", source, SOURCES)
    return preparing.is_there(_prepared_name(source), cache)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}; got {value!r}.")


def _prepared_name(source: str) -> str:
    return f"chorales/{source}/{VERSION}"  # As TFDS lays it out.


def _check_music21(source: str) -> None:
    if source == "music21" and importlib.util.find_spec("music21") is None:
        raise ImportError(
            "source 'music21' needs the package music21: `pip install "
            "'relational-nets[music]'`, or use source 'jsb'."
        )


def _builder(
    source: str, data_source: str | os.PathLike[str] | None, folder: str
) -> "Chorales":
    from relational.datasets.chorales_builder import Chorales

    return Chorales(
        data_source=data_source,
        data_dir=folder,
        config=source,
        file_format="array_record",
    )
