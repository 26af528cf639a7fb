import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relational import graph_tuples as gt


def test_edges_come_in_the_order_of_jraph():
    whole = gt.fully_connected([3])
    assert whole.senders.tolist() == [0, 1, 2] * 3
    assert whole.receivers.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    without = gt.fully_connected([3], self_edges=False)
    assert without.senders.tolist() == [1, 2, 2, 0, 0, 1]
    assert without.receivers.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("self_edges", [True, False])
def test_graphs_of_one_size_equal_those_of_jraph(self_edges):
    theirs = jraph.get_fully_connected_graph(4, 3, add_self_edges=self_edges)
    ours = gt.fully_connected([4, 4, 4], self_edges=self_edges)
    for field in ("senders", "receivers", "n_node", "n_edge"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


@given(st.lists(st.integers(0, 5), max_size=5), st.booleans())
def test_graphs_of_several_sizes_are_complete_each(counts, self_edges):
    graph = gt.fully_connected(counts, self_edges=self_edges)
    expected, first = [], 0
    for count in counts:
        nodes = range(first, first + count)
        expected += [(s, r) for r in nodes for s in nodes if self_edges or s != r]
        first += count
    found = list(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    assert sorted(found) == sorted(expected)
    assert graph.n_edge.tolist() == [n * (n if self_edges else n - 1) for n in counts]
    assert graph.senders.dtype == graph.receivers.dtype == np.int64


def test_features_go_along_under_jit():
    def make(nodes):
        graph = gt.fully_connected([2, 0, 3], nodes=nodes, globals_=jnp.ones((3, 1)))
        return jax.ops.segment_sum(graph.nodes[graph.senders], graph.receivers, 5)

    heard = jax.jit(make)(jnp.arange(5.0))
    np.testing.assert_array_equal(heard, [1, 1, 9, 9, 9])
    gradient = jax.grad(lambda nodes: jnp.sum(make(nodes)))(jnp.ones(5))
    np.testing.assert_array_equal(gradient, [2, 2, 3, 3, 3])


@pytest.mark.parametrize(
    ("counts", "features", "words"),
    [
        (3, {}, "`num_nodes_per_graph` must be whole numbers .*; got 3"),
        ([1.5], {}, r"`num_nodes_per_graph` must be whole numbers \[G\]"),
        ([2, -1], {}, r"`num_nodes_per_graph\[1\]` must be 0 or more; got -1"),
        ([2], {"nodes": np.ones(3)}, r"`nodes` must have sum\(n_node\) = 2 rows"),
        ([2], {"globals_": np.ones(2)}, "`globals` must have a row a graph, 1"),
    ],
)
def test_wrong_counts_are_named(counts, features, words):
    with pytest.raises(ValueError, match=words):
        gt.fully_connected(counts, **features)


def test_traced_counts_are_refused():
    with pytest.raises(TypeError, match="`num_nodes_per_graph` must be known"):
        jax.jit(gt.fully_connected)(jnp.array([2, 3]))
