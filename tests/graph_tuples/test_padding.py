import math

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relational import graph_tuples as gt
from tests.graph_tuples.tuples import (
    CORNER_EDGES,
    CORNER_NODES,
    assert_equal,
    corner_set,
    graph_lists,
)

SIZES = {"num_nodes": 10, "num_edges": 12, "num_graphs": 9}


def corner_batch():
    return gt.batch(corner_set())


def padded_corner():
    return gt.pad(corner_batch(), **SIZES)


def theirs(graph, num_nodes, num_edges, num_graphs):
    return jraph.pad_with_graphs(graph, num_nodes, num_edges, num_graphs)


def test_the_example_of_jraph_gets_one_dummy_graph_and_then_empty_ones():
    padded = gt.pad(corner_batch(), **SIZES, padding_edges="one node")
    assert padded.n_node.tolist() == [*CORNER_NODES, 3, 0]
    assert padded.n_edge.tolist() == [*CORNER_EDGES, 4, 0]
    assert padded.senders[-4:].tolist() == [7, 7, 7, 7]
    assert padded.receivers[-4:].tolist() == [7, 7, 7, 7]
    jax.tree.map(np.testing.assert_array_equal, padded, theirs(corner_batch(), **SIZES))


def test_padding_edges_alone_differ_from_jraph():
    ours, other = padded_corner(), theirs(corner_batch(), **SIZES)
    assert ours.senders[-4:].tolist() == [7, 7, 7, 7]
    assert ours.receivers[-4:].tolist() == [8, 8, 9, 9]
    sides = {"senders": other.senders, "receivers": other.receivers}
    jax.tree.map(np.testing.assert_array_equal, ours._replace(**sides), other)


@given(graph_lists(), st.integers(1, 7), st.integers(0, 7), st.integers(1, 4))
def test_padding_equals_jraph_and_unpadding_inverts_it(graphs, nodes, edges, more):
    graph = gt.batch(graphs)
    sizes = {
        "num_nodes": int(graph.n_node.sum()) + nodes,
        "num_edges": int(graph.n_edge.sum()) + edges,
        "num_graphs": len(graphs) + more,
    }
    as_jraph = gt.pad(graph, **sizes, padding_edges="one node")
    jax.tree.map(np.testing.assert_array_equal, as_jraph, theirs(graph, **sizes))
    padded = gt.pad(graph, **sizes)
    assert_equal(gt.unpad(padded), graph)
    assert_equal(gt.unpad(as_jraph), graph)
    np.testing.assert_array_equal(
        gt.node_mask(padded), jraph.get_node_padding_mask(padded)
    )
    np.testing.assert_array_equal(
        gt.edge_mask(padded), jraph.get_edge_padding_mask(padded)
    )
    np.testing.assert_array_equal(
        gt.graph_mask(padded), jraph.get_graph_padding_mask(padded)
    )


@pytest.mark.parametrize("num_nodes", [8, 9, 10, 40])
def test_padding_edges_are_dealt_out_evenly_between_two_halves(num_nodes):
    padded = gt.pad(corner_batch(), num_nodes=num_nodes, num_edges=108, num_graphs=9)
    senders, receivers = padded.senders[8:] - 7, padded.receivers[8:] - 7
    spare = num_nodes - 7
    assert (np.diff(receivers) >= 0).all()
    assert receivers.max() < spare
    if spare == 1:
        assert not senders.any()
        assert not receivers.any()
        return
    assert senders.max() < receivers.min()
    for side, first, end in (
        (senders, 0, spare // 2),
        (receivers, spare // 2, spare),
    ):
        counts = np.bincount(side, minlength=spare)[first:end]
        assert counts.max() - counts.min() <= 1


def deep(padding_edges):
    """Fifty sums over neighbours; returns the nodes, and a gradient through the mask."""
    graph = gt.batch(corner_set())
    graph = gt.pad(
        graph, num_nodes=10, num_edges=100, num_graphs=9, padding_edges=padding_edges
    )
    real = gt.node_mask(graph)

    def run(scale):
        nodes = jnp.ones(10) * scale
        for _ in range(50):
            heard = jax.ops.segment_sum(nodes[graph.senders], graph.receivers, 10)
            nodes = jnp.where(real, 0.5 * nodes, nodes + heard)
        return jnp.sum(nodes**2 * real.astype(nodes.dtype)), nodes

    return jax.jit(jax.grad(run, has_aux=True))(jnp.float32(1.0))


def test_padding_does_not_explode_over_many_layers_of_sums():
    gradient, nodes = deep("apart")
    assert np.isfinite(gradient)
    assert (
        nodes.max() < 1e4
    )  # 1 + 50 layers x 92 edges from a node that stays 1, halved.
    gradient, nodes = deep("one node")  # What jraph does.
    assert np.isinf(nodes[7])
    assert np.isnan(gradient)


def test_masks_are_the_same_under_jit_and_vmap():
    graphs = [padded_corner() for _ in range(3)]
    graphs[1] = gt.pad(gt.batch(corner_set()[:5]), **SIZES)
    graphs[2] = gt.pad(gt.batch(corner_set()[3:]), **SIZES)
    for mask in (gt.node_mask, gt.edge_mask, gt.graph_mask):
        eager = np.stack([mask(graph) for graph in graphs])
        assert len(np.unique(eager.sum(axis=1))) > 1
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *graphs)
        np.testing.assert_array_equal(jax.jit(jax.vmap(mask))(stacked), eager)


def test_masks_count_what_is_real():
    padded = padded_corner()
    assert gt.node_mask(padded).tolist() == [True] * 7 + [False] * 3
    assert gt.edge_mask(padded).tolist() == [True] * 8 + [False] * 4
    assert gt.graph_mask(padded).tolist() == [True] * 7 + [False] * 2
    bare = padded._replace(nodes=None)
    assert gt.node_mask(bare).sum() == 7


def test_zeroing_leaves_what_is_real_and_has_no_gradient_in_padding():
    filled = jax.tree.map(lambda leaf: np.full_like(leaf, 3), padded_corner()._asdict())
    padded = padded_corner()._replace(
        **{name: filled[name] for name in ("nodes", "edges", "globals")}
    )
    zeroed = gt.zero_padding(padded)
    assert isinstance(zeroed.edges, np.ndarray)
    for leaf, num_real in (
        (zeroed.nodes["x"], 7),
        (zeroed.nodes["kind"][0], 7),
        (zeroed.edges, 8),
        (zeroed.globals, 7),
    ):
        assert (leaf[:num_real] == 3).all()
        assert not leaf[num_real:].any()
    assert zeroed.nodes["kind"][0].dtype == np.int32

    def total(edges):
        return jnp.sum(gt.zero_padding(padded._replace(edges=edges)).edges)

    gradient = jax.jit(jax.grad(total))(padded.edges)
    np.testing.assert_array_equal(
        gradient, np.ones_like(padded.edges) * (zeroed.edges > 0)
    )


def test_a_network_can_be_made_to_zero_its_padding():
    network = gt.with_zero_padding(
        lambda graph, by: graph._replace(edges=graph.edges + by)
    )
    assert not network(padded_corner(), by=2.0).edges[8:].any()


def test_padding_keeps_types_and_numpy():
    padded = padded_corner()
    for leaf, like in zip(
        jax.tree.leaves(padded), jax.tree.leaves(corner_batch()), strict=True
    ):
        assert isinstance(leaf, np.ndarray)
        assert leaf.dtype == like.dtype
    on_device = gt.pad(jax.tree.map(jnp.asarray, corner_batch()), **SIZES)
    assert isinstance(on_device.senders, jax.Array)


def test_a_network_of_jraph_says_the_same_of_a_padded_batch_as_of_each_graph():
    def update(*inputs):
        leaves = [
            leaf.reshape(len(leaf), math.prod(leaf.shape[1:]))
            for leaf in jax.tree.leaves(inputs)
        ]
        return jnp.tanh(jnp.concatenate(leaves, axis=1).sum(axis=1, keepdims=True))

    network = jraph.GraphNetwork(update, update, update)
    graphs = [graph._replace(nodes=graph.nodes["x"]) for graph in corner_set()]
    padded = jax.jit(network)(gt.pad(gt.batch(graphs), **SIZES))
    for one, found in zip(graphs, gt.unbatch(gt.unpad(padded)), strict=True):
        expected = network(jax.tree.map(jnp.asarray, one))
        jax.tree.map(
            lambda left, right: np.testing.assert_allclose(left, right, atol=1e-6),
            found,
            expected,
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.int8, np.bool_])
def test_features_of_any_type_are_batched_and_padded(dtype):
    nodes = np.ones((3, 2), dtype)
    graph = gt.fully_connected([3], nodes=nodes)
    padded = gt.pad(gt.batch([graph, graph]), num_nodes=9, num_edges=20, num_graphs=4)
    assert padded.nodes.dtype == dtype
    assert gt.zero_padding(padded).nodes.dtype == dtype
    assert_equal(gt.unbatch(gt.unpad(padded))[1], graph)


def test_padding_may_fill_exactly():
    graph = corner_batch()
    padded = gt.pad(graph, num_nodes=8, num_edges=8, num_graphs=8)
    assert_equal(gt.unpad(padded), graph)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"num_nodes": 7},
            "`num_nodes` must be at least 8 for a graph tuple with 7; got 7",
        ),
        ({"num_edges": 7}, "`num_edges` must be at least 8 .*; got 7"),
        ({"num_graphs": 7}, "`num_graphs` must be at least 8 .*; got 7"),
        (
            {"num_nodes": 1, "num_edges": 2},
            "`num_nodes` must be .* `num_edges` must be .*one graph and at least one node",
        ),
        ({"num_nodes": 9.5}, "`num_nodes` must be a whole number; got 9.5"),
        (
            {"padding_edges": "none"},
            "`padding_edges` must be 'apart' or 'one node'; got",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        gt.pad(corner_batch(), **(SIZES | changes))


def test_padding_edges_need_lists_of_edges():
    graph = corner_set()[0]._replace(
        senders=None, receivers=None, edges=None, n_edge=np.array([0])
    )
    assert gt.pad(graph, num_nodes=3, num_edges=0).senders is None
    with pytest.raises(ValueError, match="`num_edges` must be 0 for a graph without"):
        gt.pad(graph, num_nodes=3, num_edges=2)


@pytest.mark.parametrize(
    "function", [gt.unpad, gt.graph_mask, gt.node_mask, gt.edge_mask, gt.zero_padding]
)
def test_a_graph_that_was_not_padded_is_refused(function):
    # jraph answers that nothing of it is real: google-deepmind/jraph#55.
    with pytest.raises(
        ValueError, match=r"`graph` must have been padded: .* got 1 graph"
    ):
        function(corner_set()[1])
    empty = gt.batch([corner_set()[3], corner_set()[5]])
    with pytest.raises(ValueError, match="got 2 graphs without nodes"):
        function(empty)


def test_shapes_that_follow_from_traced_counts_are_refused():
    with pytest.raises(TypeError, match="`pad` must know the counts of its graph"):
        jax.jit(lambda graph: gt.pad(graph, **SIZES))(corner_batch())
    with pytest.raises(TypeError, match="`unpad` must know the counts of its graph"):
        jax.jit(gt.unpad)(padded_corner())
