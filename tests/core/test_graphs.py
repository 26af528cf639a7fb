"""Graphs convert to and from jraph's tuples, and refuse what contradicts itself."""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl


def graphs_tuple(**changes):
    fields = {
        "nodes": jnp.arange(10.0).reshape(5, 2),
        "edges": jnp.arange(4.0)[:, None],
        "senders": jnp.array([0, 1, 3, 4]),
        "receivers": jnp.array([1, 2, 4, 4]),
        "globals": jnp.ones((2, 1)),
        "n_node": jnp.array([3, 2]),
        "n_edge": jnp.array([2, 2]),
    }
    return jraph.GraphsTuple(**(fields | changes))


def test_a_graphs_tuple_survives_the_round_trip():
    graph = graphs_tuple()
    again = rl.Graph.of(graph).to_graphs_tuple()
    jax.tree.map(np.testing.assert_array_equal, again, graph)


def graph_attention(graph, weight, receiver_weight, sender_weight):
    value = jnp.einsum("nd,hdf->hnf", graph.nodes, weight)
    heard = rl.propagate(
        rl.Edges.of(graph),
        batch_axes=1,
        aggregator=rl.Softmax(),
        receivers={"logit": jnp.einsum("hnf,hf->hn", value, receiver_weight)},
        senders={
            "logit": jnp.einsum("hnf,hf->hn", value, sender_weight),
            "value": value,
        },
        score=lambda receiver, sender: jax.nn.leaky_relu(
            receiver.logit + sender.logit, 0.2
        ),
        message=lambda sender: sender.value,
    )
    return graph._replace(nodes=jax.nn.elu(jnp.concatenate(heard, axis=-1)))


def test_graph_attention_agrees_with_jraph():
    keys = jax.random.split(jax.random.key(0), 4)
    nodes = jax.random.normal(keys[0], (6, 4))
    senders, receivers = jnp.array([0, 1, 1, 3, 5, 5]), jnp.array([1, 0, 3, 3, 2, 0])
    graph = jraph.GraphsTuple(
        nodes=nodes,
        edges=None,
        senders=senders,
        receivers=receivers,
        globals=None,
        n_node=jnp.array([6]),
        n_edge=jnp.array([6]),
    )
    weight = jax.random.normal(keys[1], (2, 4, 3))
    to_receiver, to_sender = jax.random.normal(keys[2], (2, 2, 3))
    theirs = jraph.GAT(
        attention_query_fn=lambda nodes: jnp.einsum("nd,hdf->nhf", nodes, weight),
        attention_logit_fn=lambda sender, receiver, _: jax.nn.leaky_relu(
            jnp.einsum("ehf,hf->eh", sender, to_sender)
            + jnp.einsum("ehf,hf->eh", receiver, to_receiver),
            0.2,
        )[..., None],
        node_update_fn=lambda nodes: jax.nn.elu(nodes.reshape(nodes.shape[0], -1)),
    )(graph)
    ours = jax.jit(graph_attention)(graph, weight, to_receiver, to_sender)
    np.testing.assert_allclose(ours.nodes, theirs.nodes, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": jnp.zeros((4, 2))}, r"`nodes` must have sum\(n_node\) = 5 rows"),
        ({"edges": jnp.zeros((3, 1))}, r"`edges` must have sum\(n_edge\) = 4 rows"),
        ({"senders": jnp.array([0, 1, 3])}, r"`senders` must have sum\(n_edge\) = 4"),
        (
            {"senders": jnp.array([0, 9, 3, 4])},
            r"`Edges.senders\[1\]` must be from 0 to 4",
        ),
        ({"receivers": jnp.array([0, 1, 3, -1])}, r"`Edges.receivers\[3\]`.*got -1"),
        ({"senders": jnp.zeros(4)}, r"`Edges.senders` must be integers; got float32"),
        ({"globals": jnp.ones((3, 1))}, r"`globals` must have a row a graph, 2"),
        ({"senders": None, "receivers": None}, r"must be arrays; got None"),
    ],
)
def test_wrong_graph_tuples_name_the_field(changes, words):
    with pytest.raises(ValueError, match=words):
        rl.Graph.of(graphs_tuple(**changes))


def self_edges(**changes):
    fields = {"senders": "word", "receivers": "word", "topology": rl.Causal()}
    return rl.EdgeSet(**(fields | changes))


@pytest.mark.parametrize(
    ("nodes", "edges", "words"),
    [
        (
            {"word": jnp.zeros((5, 2))},
            self_edges(senders="token"),
            r"`edges\['self'\].senders` must name a node set, word; got `token`",
        ),
        (
            {"word": {"features": jnp.zeros((5, 2)), "pitch": jnp.zeros(4, int)}},
            self_edges(),
            r"`nodes\['word'\]` must have arrays of one number of nodes",
        ),
        (
            {"word": jnp.zeros((5, 2))},
            self_edges(topology=rl.Edges([0], [7])),
            r"`edges\['self'\].topology`: `Edges.receivers\[0\]` must be from 0 to 4",
        ),
        (
            {"word": jnp.zeros((5, 2))},
            self_edges(topology=rl.Edges([0], [1], 6)),
            r"must have as many receivers as the node set `word` has nodes, 5; got 6",
        ),
        (
            {"word": jnp.zeros((5, 2))},
            self_edges(topology=rl.Edges([0], [1]), features=jnp.zeros((2, 1))),
            r"`edges\['self'\].features` must have a row an edge, 1; got shape \(2, 1\)",
        ),
    ],
)
def test_wrong_graphs_name_the_field(nodes, edges, words):
    with pytest.raises(ValueError, match=words):
        rl.Graph(nodes=nodes, edges={"self": edges})


def test_a_graph_of_several_sets_is_no_graphs_tuple():
    graph = rl.Graph(nodes={"a": jnp.zeros((2, 1)), "b": jnp.zeros((3, 1))})
    with pytest.raises(ValueError, match="one node set, one edge set"):
        graph.to_graphs_tuple()
