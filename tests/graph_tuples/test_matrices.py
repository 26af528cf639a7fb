import jraph
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from relational import graph_tuples as gt
from tests.graph_tuples.tuples import random_tuple

MATRICES = st.integers(0, 6).flatmap(
    lambda size: hnp.arrays(
        np.float32, (size, size), elements=st.sampled_from([0, 1, 2.5])
    )
)
FORMATS = ["coo", "csr", "csc", "lil", "dok", "bsr"]


@given(MATRICES)
def test_dense_matrices_survive_the_round_trip(matrix):
    np.testing.assert_array_equal(gt.to_dense(gt.from_dense(matrix)), matrix)


@given(MATRICES, st.sampled_from(FORMATS))
def test_sparse_matrices_survive_the_round_trip(matrix, form):
    sparse = scipy.sparse.coo_array(matrix).asformat(form)
    graph = gt.from_scipy(sparse)
    assert graph.edges.shape == (np.count_nonzero(matrix), 1)
    np.testing.assert_array_equal(gt.to_scipy(graph).toarray(), matrix)


def test_an_entry_leads_from_its_row_to_its_column():
    matrix = np.array([[0, 0, 2.5], [0, 0, 0], [0, -1, 0]])
    for graph in (
        gt.from_dense(matrix),
        gt.from_scipy(scipy.sparse.csr_matrix(matrix)),
    ):
        assert graph.senders.tolist() == [0, 2]
        assert graph.receivers.tolist() == [2, 1]
        assert graph.edges.tolist() == [[2.5], [-1]]
        assert graph.n_node.tolist() == [3]


def test_stored_zeros_and_repeated_entries_are_edges():
    matrix = scipy.sparse.coo_array(
        ([0.0, 1.0, 2.0], ([0, 1, 1], [1, 0, 0])), shape=(2, 2)
    )
    graph = gt.from_scipy(matrix)
    assert graph.edges[:, 0].tolist() == [0, 1, 2]
    assert gt.to_scipy(graph).nnz == 3
    assert gt.to_dense(graph).tolist() == [[0, 0], [3, 0]]


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [(np.float64, np.float32), (np.int64, np.int32), (np.bool_, np.bool_)],
)
def test_weights_take_the_types_of_jax(given_type, kept):
    matrix = np.eye(3, dtype=given_type)
    assert gt.from_dense(matrix).edges.dtype == kept
    assert gt.from_scipy(scipy.sparse.csr_array(matrix)).edges.dtype == kept


def test_a_batch_is_block_diagonal():
    one, two = np.array([[0, 2], [1, 0]]), np.array([[3]])
    batch = gt.batch([gt.from_dense(one), gt.from_dense(two)])
    blocks = [scipy.sparse.coo_array(each) for each in (one, two)]
    wanted = scipy.sparse.block_diag(blocks).toarray()
    np.testing.assert_array_equal(gt.to_dense(batch), wanted)


def test_weights_are_ones_unless_edges_are_numbers():
    graph = random_tuple(np.random.default_rng(0), [4], [6])
    counts = np.zeros((4, 4))
    np.add.at(counts, (graph.senders, graph.receivers), 1)
    np.testing.assert_array_equal(gt.to_dense(graph), counts)
    weights = np.arange(6.0)
    total = gt.to_dense(graph, weights=weights).sum()
    assert total == weights.sum()
    none = jraph.GraphsTuple(None, None, None, None, None, np.array([2]), np.array([0]))
    assert gt.to_dense(none).tolist() == [[0, 0], [0, 0]]


def test_nodes_go_along():
    graph = gt.from_dense(np.eye(2), nodes={"x": np.ones((2, 3))})
    assert graph.nodes["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: gt.from_dense(np.ones((2, 3))),
            r"`matrix` must be \[N, N\].*\(2, 3\)",
        ),
        (
            lambda: gt.from_dense(np.ones(3)),
            r"`matrix` must be \[N, N\].*got shape \(3,\)",
        ),
        (
            lambda: gt.from_dense(np.array([[0, 1], [np.nan, 0]])),
            r"`matrix\[1, 0\]` must be a number; got NaN. 1 of 2 rows",
        ),
        (
            lambda: gt.from_dense([["a"]]),
            r"`matrix` must hold numbers; got \[\['a'\]\]",
        ),
        (
            lambda: gt.from_dense(np.array([[1j]])),
            "`matrix` must hold real numbers; got c",
        ),
        (
            lambda: gt.from_dense(np.eye(2), nodes=np.ones(3)),
            r"`nodes` must have sum\(n_node\) = 2 rows",
        ),
        (
            lambda: gt.from_scipy(scipy.sparse.csr_array(np.ones((2, 3)))),
            r"`matrix` must be \[N, N\]",
        ),
        (
            lambda: gt.from_scipy(scipy.sparse.csr_array([[0, np.nan], [1, 0]])),
            r"`matrix\[0, 1\]` must be a number; got NaN",
        ),
        (
            lambda: gt.to_dense(gt.from_dense(np.eye(2)), weights=np.ones(3)),
            r"`weights` must be \[2\] or \[2, 1\]",
        ),
    ],
)
def test_wrong_matrices_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_dense_matrix_is_no_sparse_one():
    with pytest.raises(
        TypeError, match=r"`matrix` must be a sparse matrix.*`from_dense`"
    ):
        gt.from_scipy(np.eye(2))
