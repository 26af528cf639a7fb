"""Graph tuples that several tests use: jraph's corner set, and random ones."""

import jax
import jraph
import numpy as np
from hypothesis import strategies as st

# The sizes of the corner set of jraph's own tests (jraph/_src/utils_test.py).
CORNER_NODES = (1, 3, 1, 0, 2, 0, 0)
CORNER_EDGES = (2, 5, 0, 0, 1, 0, 0)


def random_tuple(rng, n_node, n_edge, *, float_dtype=np.float32):
    """A batch with nested features; each edge stays within its graph."""
    n_node, n_edge = np.array(n_node, np.int32), np.array(n_edge, np.int32)
    first = np.cumsum(n_node) - n_node
    ends = [
        np.concatenate(
            [
                start + rng.integers(nodes, size=edges)
                for start, nodes, edges in zip(first, n_node, n_edge, strict=True)
                if edges
            ]
            or [np.zeros(0)]
        ).astype(np.int32)
        for _ in range(2)
    ]
    num_nodes, num_edges = int(n_node.sum()), int(n_edge.sum())
    return jraph.GraphsTuple(
        nodes={
            "x": rng.normal(size=(num_nodes, 4)).astype(float_dtype),
            "kind": (rng.integers(9, size=num_nodes).astype(np.int32),),
        },
        edges=rng.normal(size=(num_edges, 2, 3)).astype(float_dtype),
        senders=ends[0],
        receivers=ends[1],
        globals=rng.normal(size=(len(n_node), 2)).astype(float_dtype),
        n_node=n_node,
        n_edge=n_edge,
    )


def corner_set():
    """Seven graphs of jraph's corner sizes: without edges, without nodes, both."""
    rng = np.random.default_rng(0)
    return [
        random_tuple(rng, [nodes], [edges])
        for nodes, edges in zip(CORNER_NODES, CORNER_EDGES, strict=True)
    ]


@st.composite
def graph_lists(draw, min_size=1, max_size=6):
    """Lists of single graphs, many of them empty."""
    sizes = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 8)),
            min_size=min_size,
            max_size=max_size,
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [
        random_tuple(rng, [nodes], [edges if nodes else 0]) for nodes, edges in sizes
    ]


def assert_equal(one, other):
    """Same structure, same values, same types."""
    assert jraph.GraphsTuple is type(one) is type(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
