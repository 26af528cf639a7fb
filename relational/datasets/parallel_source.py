"""Sentences and their translations from files: read, paired, checked line by line.

A line is a sentence. Lines end with a newline and with nothing else, so that no other
separator of Unicode shifts one file against the other; white space at the ends of a
line is no part of its sentence. Files may be packed with gzip.
"""

import gzip
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Pairs(NamedTuple):
    """Sentences, and the translation of each, in the order of their files.

    >>> Pairs(["a dog"], ["ein Hund"]).target
    ['ein Hund']
    """

    source: list[str]
    target: list[str]


def read_pairs(files: Sequence[str | os.PathLike[str]]) -> Pairs:
    """Reads a pair of files, or one whose lines hold both sides.

    Args:
        files: two files, of which line n of the second is the translation of line n of
            the first; or one, whose lines hold a sentence, a tabulator and its
            translation.

    Raises:
        ValueError: if a file cannot be read or is no UTF-8, if a line is empty or has
            no partner; with the file and the number of the line.

    >>> read_pairs(["/nonexistent/train.en", "/nonexistent/train.de"])
    Traceback (most recent call last):
    ...
    ValueError: the file '/nonexistent/train.en' must be one that can be read; got an \
error (No such file or directory). Files are named as seen from here, or from `--data`.
    """
    if len(files) == 1:
        return _columns(os.fspath(files[0]), read_text(files[0]))
    if len(files) != 2:
        raise ValueError(
            "`files` must be two files of lines, or one with a tabulator in each line; "
            f"got {len(files)} files."
        )
    first, second = (os.fspath(file) for file in files)
    return paired(
        (first, lines_of(read_text(first), first)),
        (second, lines_of(read_text(second), second)),
    )


def paired(first: tuple[str, list[str]], second: tuple[str, list[str]]) -> Pairs:
    """Pairs the lines of two files, each given with its name.

    Raises:
        ValueError: if one has more lines than the other.

    >>> paired(("a.en", ["one", "two"]), ("a.de", ["eins"]))
    Traceback (most recent call last):
    ...
    ValueError: 'a.en' and 'a.de' must have equally many lines; got 2 and 1. Line 2 of \
'a.en' is the first without a partner.
    """
    counts = len(first[1]), len(second[1])
    if counts[0] != counts[1]:
        longer = (first if counts[0] > counts[1] else second)[0]
        raise ValueError(
            f"{first[0]!r} and {second[0]!r} must have equally many lines; got "
            f"{counts[0]} and {counts[1]}. Line {min(counts) + 1} of {longer!r} is the "
            "first without a partner."
        )
    return Pairs(source=first[1], target=second[1])


def read_text(file: str | os.PathLike[str]) -> bytes:
    """The content of a file, unpacked if it is packed.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        content = Path(file).expanduser().read_bytes()
        return gzip.decompress(content) if content[:2] == _GZIP_MAGIC else content
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"the file {os.fspath(file)!r} must be one that can be read; got an error "
            f"({why}). Files are named as seen from here, or from `--data`."
        ) from error


def lines_of(
    content: bytes, name: str, *, may_be_empty: bool = False, before: int = 0
) -> list[str]:
    """The lines of a text, without white space at their ends.

    Args:
        content: of the file.
        name: of the file, for messages.
        may_be_empty: whether a line may hold nothing.
        before: lines of the file that came before these.

    Raises:
        ValueError: if the text is no UTF-8 or has an empty line; with its number.

    >>> lines_of("ein Hund \\r\\neine Katze".encode(), "a.de")
    ['ein Hund', 'eine Katze']
    >>> lines_of(b"a dog\\n\\na cat\\n", "a.en")
    Traceback (most recent call last):
    ...
    ValueError: 'a.en', line 2: must hold a sentence; it is empty. Remove it, and its \
partner in the other file.
    """
    lines = [line.strip() for line in _decoded(content, name, before).split("\n")]
    if lines[-1] == "":  # What follows the last newline is no line.
        lines.pop()
    if not may_be_empty:
        _check_each(
            name,
            lines,
            lambda line: not line,
            "must hold a sentence; it is empty",
            "Remove it, and its partner in the other file.",
        )
    if not lines and not may_be_empty:
        raise ValueError(f"{name!r} must hold at least one line; it is empty.")
    return lines


def _columns(name: str, content: bytes) -> Pairs:
    rows = [row.strip("\r") for row in _decoded(content, name).split("\n")]
    if not rows[-1]:
        rows.pop()
    if not rows:
        raise ValueError(f"{name!r} must hold at least one line; it is empty.")
    cells = [[cell.strip() for cell in row.split("\t")] for row in rows]
    _check_each(
        name,
        cells,
        lambda row: len(row) != 2,
        "must hold a sentence, a tabulator and its translation; it has another number "
        "of tabulators",
        "Write other tabulators as spaces.",
    )
    _check_each(
        name,
        cells,
        lambda row: not all(row),
        "must hold a sentence on both sides of the tabulator; one is empty",
        "Remove the line.",
    )
    return Pairs(source=[row[0] for row in cells], target=[row[1] for row in cells])


def _decoded(content: bytes, name: str, before: int = 0) -> str:
    try:
        return content.decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1 + before
        likely = "utf-16" if content.startswith(_UTF_16_MARKS) else "latin1"
        raise ValueError(
            f"{name!r}, line {line}: must be UTF-8; got the byte "
            f"0x{content[error.start]:02x} where no letter begins or goes on. Convert the "
            f"file, for example with `iconv -f {likely} -t utf-8`."
        ) from error


def _check_each(
    name: str,
    rows: Sequence[str] | Sequence[list[str]],
    is_wrong: Callable[..., bool],
    words: str,
    advice: str,
) -> None:
    """Raises a ValueError that names the first wrong line, and says how many are."""
    wrong = [number for number, row in enumerate(rows, start=1) if is_wrong(row)]
    if wrong:
        more = f" So are {len(wrong) - 1} more lines." if len(wrong) > 1 else ""
        raise ValueError(f"{name!r}, line {wrong[0]}: {words}. {advice}{more}")
