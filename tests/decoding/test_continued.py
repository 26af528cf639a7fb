"""A file of results is continued after a kill: no line is lost, none doubled."""

import json

import hypothesis
import pytest
from hypothesis import strategies

from relational.decoding.continued import continued

MADE_OF = {"model": "a", "beam": 4}
GROUPS = [[f"eins {number}", f"zwei ö {number}"] for number in range(7)]
WHOLE = "".join(f"{line}\n" for group in GROUPS for line in group).encode()


def write_rest(path, upto=None):
    with continued(path, MADE_OF, lines_in_group=2) as file:
        for group in GROUPS[file.num_groups : upto]:
            file.add(group)
        return file.read()


@hypothesis.given(cuts=strategies.lists(strategies.integers(0, len(WHOLE)), max_size=4))
def test_wherever_it_was_killed_the_file_becomes_whole(tmp_path_factory, cuts):
    path = tmp_path_factory.mktemp("killed") / "x.de"
    for cut in cuts:
        write_rest(path)
        path.write_bytes(WHOLE[:cut])
    lines = write_rest(path)
    assert path.read_bytes() == WHOLE
    assert lines == WHOLE.decode().split("\n")[:-1]
    assert json.loads((path.parent / "x.de.json").read_text("utf-8")) == MADE_OF


def test_what_is_flushed_is_there_while_the_file_is_open(tmp_path):
    path = tmp_path / "new" / "x.de"
    with continued(path, MADE_OF) as file:
        file.add(["eins"])
        file.flush()
        assert path.read_bytes() == b"eins\n"


def test_a_file_that_is_made_of_something_else_is_refused_and_kept(tmp_path):
    path = tmp_path / "x.de"
    write_rest(path, upto=2)
    before = path.read_bytes()
    other = {"model": "b" * 99, "beam": 4}
    with (
        pytest.raises(
            ValueError, match=r'something else:\n  model: "a" there, "bbb.*\.\.\.'
        ),
        continued(path, other),
    ):
        pass
    (tmp_path / "x.de.json").unlink()
    with (
        pytest.raises(ValueError, match=r"no `x.de.json` that can be read"),
        continued(path, MADE_OF),
    ):
        pass
    assert path.read_bytes() == before


def test_two_processes_cannot_write_one_file(tmp_path):
    path = tmp_path / "x.de"
    with continued(path, MADE_OF) as file:
        file.add(["eins"])
        with (
            pytest.raises(ValueError, match="is being written by another process"),
            continued(path, MADE_OF),
        ):
            pass
    assert path.read_bytes() == b"eins\n"


@pytest.mark.parametrize("lines", [["eins"], ["eins", "zwei\ndrei"]])
def test_a_group_has_its_number_of_lines(tmp_path, lines):
    with (
        continued(tmp_path / "x.de", MADE_OF, lines_in_group=2) as file,
        pytest.raises(ValueError, match="`lines` must"),
    ):
        file.add(lines)
