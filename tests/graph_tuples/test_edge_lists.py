import csv
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relational import graph_tuples as gt

COLUMNS = {"sender": "from", "receiver": "to"}


def write(folder, text):
    path = folder / "edges.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_names_become_numbers_in_the_order_in_which_they_come(tmp_path):
    path = write(tmp_path, "km,to,from,h\n10,b,a,1\n\n20,a,c,2.5\n30,b,a,-1e1\n")
    named = gt.read_edge_list(path, **COLUMNS, features=["h", "km"])
    assert named.names == ("a", "b", "c")
    assert named.graph.senders.tolist() == [0, 2, 0]
    assert named.graph.receivers.tolist() == [1, 0, 1]
    assert named.graph.edges.tolist() == [[1, 10], [2.5, 20], [-10, 30]]
    assert named.graph.edges.dtype == np.float32


def test_given_names_fix_the_numbers_and_add_nodes_without_edges(tmp_path):
    path = write(tmp_path, "from\tto\nb\ta\n")
    named = gt.read_edge_list(path, **COLUMNS, names=["z", "a", "b"], delimiter="\t")
    assert named.graph.senders.tolist() == [2]
    assert named.graph.n_node.tolist() == [3]
    assert named.graph.edges is None


def test_a_header_alone_is_a_graph_without_nodes(tmp_path):
    path = write(
        tmp_path, "\ufefffrom,to,w\n"
    )  # With the mark that spreadsheets write.
    graph = gt.read_edge_list(path, **COLUMNS, features=["w"]).graph
    assert graph.n_node.tolist() == [0]
    assert graph.edges.shape == (0, 1)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(
    str.strip
)


@given(
    st.lists(
        st.tuples(NAMES.filter(bool), NAMES.filter(bool), st.floats(-9, 9, width=32))
    )
)
def test_what_csv_writes_is_read_again(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("from", "to", "w"), *rows])
    named = gt.read_edge_list(path, **COLUMNS, features=["w"])
    senders = [named.names[i] for i in named.graph.senders]
    receivers = [named.names[i] for i in named.graph.receivers]
    assert list(zip(senders, receivers, strict=True)) == [row[:2] for row in rows]
    np.testing.assert_allclose(named.graph.edges[:, 0], [row[2] for row in rows], 1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1: a header must name the columns; got an empty file."),
        (
            "from,too\na,b\n",
            "1: the header must have the column `to`; it has from, too.",
        ),
        ("from,to\na,b\n", "1: the header must have the column `w`; it has from, to."),
        ("from,to,to\n", "1: columns must have names of their own; got `to` twice."),
        ("from,to,w\na,b,1\na,b\n", "3: a line must have a cell a column, 3; got 2."),
        ("from,to,w\na,b,1,2\n", "2: a line must have a cell a column, 3; got 4."),
        ("from,to,w\na,,1\n", "2: `to` must name a node; got an empty cell."),
        ("from,to,w\na,b,1\n\nb,c,x\n", "4: `w` must be a finite number; got 'x'."),
        ("from,to,w\na,b,nan\n", "2: `w` must be a finite number; got 'nan'."),
        ("from,to,w\na,b,\n", "2: `w` must be a finite number; got ''."),
        (
            'from,to,w\na,"b\nc",1\nb,c,inf\n',
            "4: `w` must be a finite number; got 'inf'.",
        ),
        (b"from,to,w\na,b,1\na,\xff,1\n", "3: this must be CSV in UTF-8; got"),
        ('from,to,w\na,"b"x,1\n', "2: this must be CSV in UTF-8; got"),
    ],
)
def test_errors_begin_with_the_file_and_the_line(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        gt.read_edge_list(path, **COLUMNS, features=["w"])
    assert str(caught.value).startswith(f"{path}:")


def test_unknown_and_repeated_names_are_refused(tmp_path):
    path = write(tmp_path, "from,to\na,b\nb,zebra\n")
    with pytest.raises(
        ValueError, match=r"csv:3: `to` must be one of the 2 `names`; got 'z"
    ):
        gt.read_edge_list(path, **COLUMNS, names=["a", "b"])
    with pytest.raises(
        ValueError, match=r"`names` must differ.*got 'a' twice, at 0 and 2"
    ):
        gt.read_edge_list(path, **COLUMNS, names=["a", "b", "a"])
    with pytest.raises(TypeError, match=r"`features` must list columns; got 'w'"):
        gt.read_edge_list(path, **COLUMNS, features="w")
