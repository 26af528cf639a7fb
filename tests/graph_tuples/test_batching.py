import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given

from relational import graph_tuples as gt
from tests.graph_tuples.tuples import (
    CORNER_EDGES,
    CORNER_NODES,
    assert_equal,
    corner_set,
    graph_lists,
    random_tuple,
)


def pair(**changes):
    fields = {
        "nodes": np.ones((2, 3), np.float32),
        "edges": None,
        "senders": np.array([0, 1]),
        "receivers": np.array([1, 0]),
        "globals": None,
        "n_node": np.array([2]),
        "n_edge": np.array([2]),
    }
    return jraph.GraphsTuple(**(fields | changes))


def test_the_corner_set_of_jraph_is_batched_as_jraph_batches_it():
    batch = gt.batch(corner_set())
    assert batch.n_node.tolist() == list(CORNER_NODES)
    assert batch.n_edge.tolist() == list(CORNER_EDGES)
    theirs = jraph.batch_np(corner_set())
    jax.tree.map(np.testing.assert_array_equal, batch, theirs)
    assert batch.senders.dtype == np.int32  # Where theirs becomes int64.


def test_the_corner_set_comes_apart_again():
    for one, again in zip(
        corner_set(), gt.unbatch(gt.batch(corner_set())), strict=True
    ):
        assert_equal(one, again)


@given(graph_lists())
def test_unbatching_inverts_batching(graphs):
    batch = gt.batch(graphs)
    for one, again in zip(graphs, gt.unbatch(batch), strict=True):
        assert_equal(one, again)
    jax.tree.map(np.testing.assert_array_equal, batch, jraph.batch_np(graphs))


@given(graph_lists(min_size=3))
def test_batching_is_associative(graphs):
    nested = gt.batch([graphs[0], gt.batch(graphs[1:])])
    assert_equal(nested, gt.batch(graphs))


def test_numpy_stays_numpy_and_one_array_of_jax_makes_all_jax():
    assert all(isinstance(a, np.ndarray) for a in jax.tree.leaves(gt.batch([pair()])))
    mixed = gt.batch([pair(), pair(nodes=jnp.ones((2, 3)))])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(mixed))
    np.testing.assert_array_equal(mixed.senders, [0, 1, 2, 3])


def test_graphs_without_features_or_edges_are_batched_by_their_counts():
    bare = pair(nodes=None)
    assert gt.batch([bare, bare]).receivers.tolist() == [1, 0, 3, 2]
    lonely = pair(senders=None, receivers=None, n_edge=np.array([0]))
    both = gt.batch([lonely, lonely])
    assert both.senders is None
    assert gt.unbatch(both)[1].nodes.shape == (2, 3)


def test_an_empty_list_of_edges_makes_no_float_indices():
    # `jnp.array([])` is of float32, and jraph then makes float32 of all indices.
    empty = pair(senders=jnp.array([]), receivers=jnp.array([]), n_edge=np.array([0]))
    assert gt.batch([pair(), empty]).senders.dtype == np.int32


@pytest.mark.parametrize("nodes", [True, False])  # Their shape, or traced counts.
def test_batching_and_its_gradient_are_the_same_under_jit(nodes):
    graphs = [
        graph._replace(**{} if nodes else {"nodes": None}) for graph in corner_set()
    ]

    def loss(graphs):
        batch = gt.batch(graphs)
        heard = jax.ops.segment_sum(
            batch.edges.sum((1, 2)) * batch.senders.astype(jnp.float32),
            batch.receivers,
            7,
        )
        return jnp.sum(heard**2), batch

    (value, batch), gradient = jax.jit(
        jax.value_and_grad(
            lambda edges, graphs: loss(
                [g._replace(edges=e) for g, e in zip(graphs, edges, strict=True)]
            ),
            has_aux=True,
        )
    )([g.edges for g in graphs], graphs)
    jax.tree.map(np.testing.assert_array_equal, batch, gt.batch(graphs))
    np.testing.assert_allclose(value, loss(graphs)[0], rtol=1e-5)
    assert sum(np.abs(g).sum() for g in gradient) > 0


def test_ids_say_which_graph_each_row_is_in():
    batch = gt.batch(corner_set())
    np.testing.assert_array_equal(
        gt.node_graph_ids(batch), np.repeat(np.arange(7), CORNER_NODES)
    )
    np.testing.assert_array_equal(
        gt.edge_graph_ids(batch), np.repeat(np.arange(7), CORNER_EDGES)
    )
    nodes, edges = jax.jit(lambda g: (gt.node_graph_ids(g), gt.edge_graph_ids(g)))(
        batch
    )
    np.testing.assert_array_equal(nodes, gt.node_graph_ids(batch))
    np.testing.assert_array_equal(edges, gt.edge_graph_ids(batch))


@pytest.mark.parametrize(
    ("graphs", "words"),
    [
        ([], r"`graphs` must hold at least one graph tuple; got none"),
        (
            [pair(), pair(nodes=None)],
            (
                r"`graphs\[1\].nodes` must be nested as `graphs\[0\].nodes`, an array; got "
                "None"
            ),
        ),
        (
            [pair(), pair(nodes={"x": np.ones((2, 3), np.float32)})],
            r"`graphs\[1\].nodes` must be nested as .* an array; got arrays \['x'\]",
        ),
        (
            [pair(), pair(globals=np.ones((1, 2)))],
            r"`graphs\[1\].globals` must be nested as .*None; got an array",
        ),
        (
            [pair(), pair(nodes=np.ones((2, 4), np.float32))],
            r"`graphs\[1\].nodes` must have rows of shape \(3,\).* got \(4,\)",
        ),
        (
            [pair(), pair(nodes=np.ones((2, 3)))],
            r"`graphs\[1\].nodes` must be float32, as in `graphs\[0\]`; got float64",
        ),
        (
            [pair(), pair(senders=np.array([0, 2]))],
            (
                r"`graphs\[1\]`: `senders\[1\]` must be from 0 to 1, a node of its graph; got "
                "2. 1 of 2 edges"
            ),
        ),
        (
            [pair(receivers=np.array([-1, 0]))],
            r"`receivers\[0\]` must be from 0 to 1, .* got -1",
        ),
        (
            [pair(senders=np.array([0.0, 1.0]))],
            "`senders` must be integers; got float64",
        ),
        ([pair(senders=None)], "`senders` and `receivers` must both be arrays"),
        (
            [pair(senders=None, receivers=None)],
            r"`senders` must have sum\(n_edge\) = 2 entries; got None",
        ),
        ([pair(n_node=np.array([3]))], r"`nodes` must have sum\(n_node\) = 3 rows"),
        (
            [pair(nodes=None, n_node=np.array([0]))],
            r"`senders\[0\]` must be absent, since its graph has no nodes; got 0",
        ),
    ],
)
def test_what_cannot_be_batched_is_named(graphs, words):
    with pytest.raises(ValueError, match=words):
        gt.batch(graphs)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ("a graph", "`graph` must be a `jraph.GraphsTuple`; got 'a graph'"),
        (
            pair(senders=[0, 1]),
            r"`senders\[0\]` must be an array of NumPy or JAX; got 0",
        ),
    ],
)
def test_what_is_no_graph_tuple_is_named(graph, words):
    with pytest.raises(TypeError, match=words):
        gt.batch([graph])


def test_an_edge_from_one_graph_to_another_is_refused_when_they_come_apart():
    graph = random_tuple(np.random.default_rng(0), [2, 2], [1, 1])
    crossing = graph._replace(receivers=np.array([2, 3], np.int32))
    with pytest.raises(
        ValueError, match=r"`receivers\[0\]` must be from 0 to 1.* got 2"
    ):
        gt.unbatch(crossing)


def test_traced_counts_are_refused_where_shapes_follow_from_them():
    words = "`unbatch` must know the counts of its graph.* Call it outside of `jit`"
    with pytest.raises(TypeError, match=words):
        jax.jit(gt.unbatch)(pair())
    with pytest.raises(TypeError, match=r"`graph.nodes` must be arrays where counts"):
        jax.jit(gt.node_graph_ids)(pair(nodes=None))
