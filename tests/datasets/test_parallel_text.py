"""Pairs of sentences from files: what is read, and what is wrong in which line."""

import gzip
import hashlib

import pytest

from relational.datasets import Pairs, load_multi30k, multi30k_source, read_pairs
from tests.datasets.texts import sentences
from tests.sources import folder

ENGLISH, GERMAN = sentences()


@pytest.fixture
def files(tmp_path):
    """Writes files, and returns their paths."""

    def write(**contents):
        paths = []
        for name, content in contents.items():
            path = tmp_path / name.replace("_", ".")
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
            paths.append(path)
        return paths

    return write


def text_of(lines):
    return "".join(f"{line}\n" for line in lines)


def test_two_files_are_paired_line_by_line(files):
    paths = files(a_en=text_of(ENGLISH), a_de=gzip.compress(text_of(GERMAN).encode()))
    assert read_pairs(paths) == Pairs(ENGLISH, GERMAN)


def test_one_file_has_both_sides_of_a_tabulator(files):
    rows = [f"{one}\t{two}" for one, two in zip(ENGLISH, GERMAN, strict=True)]
    assert read_pairs(files(a_tsv=text_of(rows))) == Pairs(ENGLISH, GERMAN)


def test_only_newlines_end_lines_and_white_space_at_ends_is_dropped(files):
    first = "\ufeffone \r\ntwo\u2028still two\x0b.\n three"
    found = read_pairs(files(a_en=first, a_de="eins\nzwei\ndrei\n"))
    assert found.source == ["one", "two\u2028still two\x0b.", "three"]


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (
            {"a": "x\n\ny\n \n", "b": "1\n2\n3\n4\n"},
            r"a', line 2: .* it is empty.*1 more",
        ),
        (
            {"a": "x\ny\nz\n", "b": "1\n2\n"},
            r"got 3 and 2. Line 3 of '.*a' is the first",
        ),
        ({"a": "x\n", "b": "1\n2\n"}, r"got 1 and 2. Line 2 of '.*b' is the first"),
        (
            {"a": "x\n", "b": "ja\nschön".encode("latin1")},
            r"b', line 2: must be UTF-8.*f6.*-f latin1",
        ),
        (
            {"a": "x\n".encode("utf-16"), "b": "1\n"},
            r"a', line 1: must be UTF-8.* 0xff.*-f utf-16",
        ),
        ({"a": "", "b": "1\n"}, r"a' must hold at least one line"),
        ({"a": "x\ty\nz\n"}, r"a', line 2: must hold a sentence, a tabulator"),
        ({"a": "x\ty\nz\tz\tz\n"}, r"a', line 2: must hold a sentence, a tabulator"),
        (
            {"a": "x\ty\n\tz\n"},
            r"a', line 2: .* both sides of the tabulator; one is empty",
        ),
        ({"a": ""}, r"a' must hold at least one line"),
        (
            {"a": gzip.compress(b"x\n" * 99)[:-9], "b": "1\n"},
            r"a' must be one that can be",
        ),
        ({"a": "x\n", "b": "y\n", "c": "z\n"}, r"two files of lines, or one .* got 3"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(files, contents, words):
    with pytest.raises(ValueError, match=words):
        read_pairs(files(**contents))


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder of files that pass for Multi30k."""
    for number, file in enumerate(multi30k_source.SHA256):
        language = file.split(".")[1]
        content = f"{language} {number // 3} Zeile eins\n{language} zwei\n".encode()
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setitem(multi30k_source.SHA256, file, digest)
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def test_multi30k_is_prepared_once_and_read_either_way(few, tmp_path):
    cache = tmp_path / "cache"
    found = load_multi30k("en", "de", "train", data_source=few, cache=cache)
    assert found == Pairs(
        source=["en 0 Zeile eins", "en zwei"], target=["de 0 Zeile eins", "de zwei"]
    )
    (few / "train.en.gz").unlink()  # It is not looked at again.
    turned = load_multi30k("de", "en", "train", cache=cache)
    assert turned == Pairs(source=found.target, target=found.source)
    test = load_multi30k("en", "de", "test_2017_mscoco", cache=cache)
    assert test.source[0] == "en 4 Zeile eins"


def test_a_changed_file_is_not_taken_for_multi30k(few, tmp_path):
    (few / "val.de.gz").write_bytes(gzip.compress(b"de 1 Zeile eins\nde drei\n"))
    with pytest.raises(
        ValueError, match=r"must be val.de of Multi30k with the checksum"
    ):
        load_multi30k("de", "fr", "train", data_source=few, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("multi30k/*"))


def test_multi30k_has_its_known_sizes(cache):
    source = folder("RELATIONAL_MULTI30K_SOURCE", "multi30k")
    for split, size in {"validation": 1014, "test_2017_mscoco": 461}.items():
        for languages in (("en", "de"), ("en", "fr")):
            found = load_multi30k(*languages, split, data_source=source, cache=cache)
            assert len(found.source) == len(found.target) == size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("en", "cs", "train"), "two of 'de', 'en', 'fr'; got 'en' and 'cs'"),
        (
            ("en", "de", "val"),
            "`split` must be one of 'train', 'validation', .*; got 'val'",
        ),
    ],
)
def test_what_multi30k_does_not_have_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        load_multi30k(*arguments)
