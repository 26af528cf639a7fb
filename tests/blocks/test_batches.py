"""Graphs of a batch, each with data of its own, are heard as one by one."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import blocks

MAKERS = {
    "gat": lambda: blocks.GraphAttention(num_heads=2, head_width=3),
    "gatv2": lambda: blocks.GraphAttention(num_heads=2, head_width=3, kind="gatv2"),
    "edge_attention": lambda: blocks.EdgeAttention(
        num_heads=2, head_width=3, biases=["distance", "interval"]
    ),
    "graph_transformer": lambda: blocks.GraphTransformer(
        num_heads=2, feed_forward_width=5, biases=["distance"]
    ),
    "graph_convolution": lambda: blocks.GraphConvolution(width=3),
    "principal_aggregation": lambda: blocks.PrincipalAggregation(
        width=3, average_log_degree=1.0
    ),
    "graph_network": lambda: blocks.GraphNetwork(
        update_edge=hk.Linear(3),
        edge_inputs=("receiver", "sender", "globals"),
        update_node=hk.Linear(3),
        node_inputs=("received", "node", "globals"),
        update_global=hk.Linear(3),
        global_inputs=("edges", "nodes"),
        nodes_to_globals=rl.Max(),
        keeps_edges=False,
    ),
}


def three_graphs():
    """Three graphs of five nodes, in two to three segments; labels a pair of nodes."""
    rng = np.random.default_rng(0)
    return {
        "nodes": jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32),
        "globals": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32),
        "ids": np.array([[0, 0, 1, 1, 1], [0, 1, 1, 2, 2], [0, 0, 0, 0, 1]]),
        "pitch": rng.integers(0, 9, (3, 5)),
        "labels": rng.integers(0, 4, (3, 5, 5)),
    }


def graph_of(given, batch_axes):
    edge_set = rl.EdgeSet(
        senders="node",
        receivers="node",
        topology=rl.Complete() & rl.SameSegment(given["ids"]),
        relations={
            "distance": rl.Labels(given["labels"], 4),
            "interval": rl.Difference("pitch", clip=4),
        },
    )
    return rl.Graph(
        nodes={"node": {"features": given["nodes"], "pitch": given["pitch"]}},
        edges={"edge": edge_set},
        globals_=given["globals"],
        batch_axes=batch_axes,
    )


@pytest.mark.parametrize("name", list(MAKERS))
def test_topologies_and_labels_of_a_batch_belong_to_their_graphs(name):
    # Were there as many graphs as heads, axes that are mixed up would not be noticed.
    given = three_graphs()
    block = hk.without_apply_rng(hk.transform(lambda graph: MAKERS[name]()(graph)))
    whole = graph_of(given, 1)
    shapes = jax.eval_shape(block.init, jax.random.key(0), whole)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes
    )
    found = jax.jit(block.apply)(params, whole)
    alone = jax.jit(block.apply)
    for at in range(3):
        one = alone(params, graph_of(jax.tree.map(lambda x, at=at: x[at], given), 0))
        np.testing.assert_allclose(
            found.features("node")[at], one.features("node"), atol=3e-5
        )
        np.testing.assert_allclose(found.globals_[at], one.globals_, atol=3e-5)


@pytest.mark.parametrize("name", ["gat", "edge_attention"])
def test_the_same_weights_are_dropped_in_every_lowering(name):
    given = three_graphs()
    whole = graph_of(given, 1)

    def run(lowering):
        block = hk.transform(
            lambda graph: MAKERS[name]()(graph, dropout_rate=0.5, lowering=lowering)
        )
        params = block.init(jax.random.key(0), whole)
        return block.apply(params, jax.random.key(1), whole).features("node")

    dense = run(rl.lowerings.Dense())
    np.testing.assert_allclose(run(rl.lowerings.Edges()), dense, atol=1e-5)
    calm = hk.transform(lambda graph: MAKERS[name]()(graph))
    params = calm.init(jax.random.key(0), whole)
    assert not np.allclose(calm.apply(params, None, whole).features("node"), dense)
