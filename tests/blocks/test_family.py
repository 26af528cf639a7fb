"""The networks of the papers: jraph's models, and their formulas by brute force."""

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks, plans
from tests.blocks.table import BATCH, transformed

NODES, EDGES = np.asarray(BATCH.nodes), np.asarray(BATCH.edges)
SENDERS, RECEIVERS = np.asarray(BATCH.senders), np.asarray(BATCH.receivers)


def run(make, graph=BATCH, params=None):
    """Returns what a block without parameters of its own, or with these, makes."""
    block = hk.without_apply_rng(hk.transform(lambda graph: make()(graph)))
    return block.apply({} if params is None else params, graph)


def weight(inputs, outputs, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(inputs, outputs)), jnp.float32)


def side_by_side(function):
    return lambda *each: function(jnp.concatenate(each, -1))


def assert_same(found, wanted):
    for field in ("nodes", "edges", "globals"):
        one, other = getattr(found, field), getattr(wanted, field)
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=field)


def test_interaction_network_is_that_of_jraph():
    say, act = weight(11, 5), weight(9, 4)
    found = run(
        lambda: blocks.interaction_network(
            update_edge=lambda x: jnp.tanh(x @ say),
            update_node=lambda x: jnp.tanh(x @ act),
        )
    )
    theirs = jraph.InteractionNetwork(
        lambda edge, sender, receiver: jnp.tanh(
            jnp.concatenate([edge, receiver, sender], -1) @ say
        ),
        lambda node, received: jnp.tanh(jnp.concatenate([received, node], -1) @ act),
    )
    assert_same(found, theirs(BATCH))


def test_relation_network_is_that_of_jraph():
    say, answer = weight(8, 5), weight(5, 3)
    found = run(
        lambda: blocks.relation_network(
            update_edge=lambda x: jnp.tanh(x @ say), update_global=lambda x: x @ answer
        )
    )
    theirs = jraph.RelationNetwork(
        lambda sender, receiver: jnp.tanh(
            jnp.concatenate([receiver, sender], -1) @ say
        ),
        lambda edges: edges @ answer,
    )
    # jraph returns the new edges, we return the old ones as Graph Nets does.
    assert_same(found, theirs(BATCH)._replace(edges=BATCH.edges))


def test_deep_sets_are_those_of_jraph():
    say, answer = weight(6, 5), weight(5, 3)
    found = run(
        lambda: blocks.deep_sets(
            update_node=lambda x: jnp.tanh(x @ say), update_global=lambda x: x @ answer
        )
    )
    theirs = jraph.DeepSets(
        side_by_side(lambda x: jnp.tanh(x @ say)), lambda nodes: nodes @ answer
    )
    assert_same(found, theirs(BATCH))


@pytest.mark.parametrize("degrees", ["own", None])
@pytest.mark.parametrize("self_edges", [True, False])
def test_graph_convolution_is_that_of_jraph(degrees, self_edges):
    kept = np.flatnonzero(SENDERS != RECEIVERS)  # jraph would count self-edges twice.
    graph = BATCH._replace(
        senders=BATCH.senders[kept],
        receivers=BATCH.receivers[kept],
        edges=BATCH.edges[kept],
        n_edge=jnp.array([5, 3]),
    )
    matrix = weight(4, 3)
    found = run(
        lambda: blocks.GraphConvolution(
            width=3, degrees=degrees, self_edges=self_edges, with_bias=False
        ),
        graph,
        {"graph_convolution/linear": {"w": matrix}},
    )
    theirs = jraph.GraphConvolution(
        lambda nodes: nodes @ matrix,
        add_self_edges=self_edges,
        symmetric_normalization=degrees is not None,
    )
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        wanted = theirs(graph)
    assert_same(found, wanted)


def test_graph_attention_is_that_of_jraph():
    init, apply = transformed("gat")
    params = init(BATCH)
    inner = params["graph_attention"]
    value = params["graph_attention/sender"]["w"]

    def logits(sender, receiver, edges):
        del edges
        one = jnp.einsum("ehk,hk->eh", sender, inner["sender_score"])
        other = jnp.einsum("ehk,hk->eh", receiver, inner["receiver_score"])
        return jax.nn.leaky_relu(one + other, 0.2)[..., None]

    theirs = jraph.GAT(
        lambda nodes: (nodes @ value).reshape(-1, 2, 3),
        logits,
        lambda heard: heard.reshape(-1, 6) + jnp.broadcast_to(inner["b"], (8, 6)),
    )
    kept = np.flatnonzero(SENDERS != RECEIVERS)
    nodes = jnp.arange(8)  # With jraph, callers add self-edges.
    graph = BATCH._replace(
        senders=jnp.concatenate([BATCH.senders[kept], nodes]),
        receivers=jnp.concatenate([BATCH.receivers[kept], nodes]),
        edges=jnp.zeros([16, 1]),
    )
    np.testing.assert_allclose(
        apply(params, BATCH).nodes, theirs(graph).nodes, atol=1e-5
    )


def known_and_traced(apply, params, graph):
    """Returns the nodes where edges are known while tracing, and where they are not."""
    known = jax.jit(lambda params: apply(params, graph).nodes)(params)
    return [known, jax.jit(apply)(params, graph).nodes]


def with_own(edges, own):
    """Returns (sender, receiver, value) of BATCH's edges, but with these self-edges."""
    found = zip(SENDERS, RECEIVERS, edges, strict=True)
    others = [edge for edge in found if edge[0] != edge[1]]
    return others + [(node, node, value) for node, value in enumerate(own)]


@pytest.mark.parametrize("degrees", ["own", "received"])
def test_graph_convolution_of_weighted_edges_is_a_loop(degrees):
    weights = np.random.default_rng(0).uniform(0.1, 2, (9, 1)).astype(np.float32)
    block = hk.without_apply_rng(
        hk.transform(
            lambda graph: blocks.GraphConvolution(
                width=3, degrees=degrees, reads_weights=True
            )(graph)
        )
    )
    graph = BATCH._replace(edges=jnp.asarray(weights))
    params = {
        "graph_convolution/linear": {"w": weight(4, 3)},
        "graph_convolution": {"b": jnp.arange(3.0)},
    }
    edges = with_own(weights[:, 0], np.ones(8))
    ended, begun = np.zeros(8), np.zeros(8)
    for sender, receiver, value in edges:
        ended[receiver] += value
        begun[sender] += value
    if degrees == "received":
        begun = ended
    wanted = np.tile(np.arange(3.0), (8, 1))
    for sender, receiver, value in edges:
        said = NODES[sender] @ np.asarray(weight(4, 3))
        wanted[receiver] += value / np.sqrt(ended[receiver] * begun[sender]) * said
    for found in known_and_traced(block.apply, params, graph):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    with pytest.raises(ValueError, match="must be one number an edge, its weight; got"):
        block.apply(params, BATCH)


@pytest.mark.parametrize("kind", ["gat", "gatv2"])
def test_graph_attention_of_edges_is_a_loop(kind):
    init, apply = transformed(f"{kind}_of_edges")
    params = init(BATCH)
    inner = {name: np.asarray(leaf) for name, leaf in params["graph_attention"].items()}

    def heads(name, rows):
        layer = params[f"graph_attention/{name}"]
        made = rows @ np.asarray(layer["w"]) + np.asarray(layer.get("b", 0.0))
        return made.reshape(-1, 2, 3)

    own = np.zeros((8, 3))  # The mean of the others that end in a node.
    for node in range(8):
        others = (RECEIVERS == node) & (SENDERS != node)
        if others.any():
            own[node] = EDGES[others].mean(0)
    listed = with_own(EDGES, own)
    value = heads("sender", NODES)
    query = value if kind == "gat" else heads("receiver", NODES)
    features = heads("edge", np.stack([edge for _, _, edge in listed]))

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    wanted = np.zeros((8, 2, 3))
    for node in range(8):
        at = [k for k, (_, receiver, _) in enumerate(listed) if receiver == node]
        said = value[[listed[k][0] for k in at]]
        if kind == "gat":
            each = (
                said * inner["sender_score"]
                + query[node] * inner["receiver_score"]
                + features[at] * inner["edge_score"]
            )
            scores = leaky(each.sum(-1))
        else:
            total = leaky(said + query[node] + features[at])
            scores = (total * inner["score"]).sum(-1)
        share = np.exp(scores) / np.exp(scores).sum(0)
        wanted[node] = np.einsum("kh,khc->hc", share, said)
    wanted = wanted.reshape(8, 6) + inner["b"]
    for found in known_and_traced(apply, params, BATCH):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_weights_of_attention_of_graph_nets():
    # Graph Nets, modules_test.py, SelfAttention: softmax by receiver.
    logits = jnp.log(jnp.array([2.0, 2, 2, 1, 1, 1]))
    edges = rl.Edges(np.arange(6), [1, 5, 6, 6, 6, 5], 7, 6)
    heard = rl.propagate(
        edges,
        senders={"logit": logits, "place": jnp.eye(6)},
        aggregator=rl.Softmax(),
        score=lambda sender: sender.logit,
        message=lambda sender: sender.place,
    )
    found = heard[edges.receivers, edges.senders]
    np.testing.assert_allclose(found, [1, 2 / 3, 1 / 2, 1 / 4, 1 / 4, 1 / 3], atol=1e-6)
    np.testing.assert_array_equal(heard[0], 0)  # Nobody speaks to node 0.


def test_comm_net_hears_the_mean_and_encodes_the_node():
    say, encode, act = weight(4, 3), weight(4, 3, 1), weight(6, 4, 2)
    found = run(
        lambda: blocks.comm_net(
            update_edge=lambda x: jnp.tanh(x @ say),
            encode_node=lambda x: x @ encode,
            update_node=lambda x: x @ act,
        )
    )
    said = np.tanh(NODES @ np.asarray(say))
    heard = np.zeros((8, 3))
    for node in range(8):
        if (RECEIVERS == node).any():
            heard[node] = said[SENDERS[RECEIVERS == node]].mean(0)
    wanted = np.concatenate([heard, NODES @ np.asarray(encode)], -1) @ np.asarray(act)
    np.testing.assert_allclose(found.nodes, wanted, atol=1e-5)


def test_an_edge_network_multiplies_by_a_matrix_an_edge():
    matrix = weight(3, 5 * 4)
    found = run(
        lambda: blocks.message_passing_network(
            message=blocks.edge_network(lambda edge: edge @ matrix, 5),
            update_node=lambda x: x,
            readout=lambda x: x,
        )
    )
    each = (EDGES @ np.asarray(matrix)).reshape(-1, 5, 4)
    heard = np.zeros((8, 5))
    for at in range(9):
        heard[RECEIVERS[at]] += each[at] @ NODES[SENDERS[at]]
    nodes = np.concatenate([heard, NODES], -1)
    np.testing.assert_allclose(found.nodes, nodes, atol=1e-5)
    wanted = [nodes[:5].sum(0), nodes[5:].sum(0)]
    np.testing.assert_allclose(found.globals, wanted, atol=1e-5)
    assert found.edges is BATCH.edges


@pytest.mark.parametrize("kind", ["gaussian", "embedded", "dot", "concatenation"])
def test_non_local_blocks_are_their_formulas(kind):
    init, apply = transformed(f"non_local_{kind}")
    params = init(BATCH)
    w = {name.split("/")[-1]: np.asarray(layer["w"]) for name, layer in params.items()}
    query, key = NODES, NODES
    if kind != "gaussian":
        query, key = NODES @ w["theta"], NODES @ w["phi"]
    if kind == "concatenation":
        query, key = query @ w["receiver_score"], key @ w["sender_score"]
    value = NODES @ w["g"]
    wanted = NODES.copy()
    for node in range(8):
        heard = SENDERS[RECEIVERS == node]
        if not heard.size:
            continue
        if kind == "concatenation":
            f = np.maximum(query[node] + key[heard], 0)[:, 0]
        else:
            f = key[heard] @ query[node]
        if kind in ("gaussian", "embedded"):
            f = np.exp(f)
            total = f.sum()
        else:
            total = len(heard)
        wanted[node] += f @ value[heard] / total @ w["z"]
    np.testing.assert_allclose(apply(params, BATCH).nodes, wanted, atol=2e-5)


def test_vain_listens_to_those_that_are_near():
    same, half = (lambda x: x), (lambda x: x[:, :2])
    found = run(lambda: blocks.VAIN(attend=half, say=same, update_node=same))
    heard = np.zeros((8, 4))
    for node in range(8):
        others = SENDERS[(RECEIVERS == node) & (SENDERS != node)]
        if others.size:
            gap = NODES[others, :2] - NODES[node, :2]
            near = np.exp(-(gap**2).sum(-1))
            heard[node] = near @ NODES[others] / near.sum()
    np.testing.assert_allclose(
        found.nodes, np.concatenate([heard, NODES], -1), atol=1e-5
    )


def test_principal_aggregation_is_its_formula():
    init, apply = transformed("principal_aggregation")
    params = init(BATCH)
    w = {
        name.split("/")[-1]: jax.tree.map(np.asarray, layer)
        for name, layer in params.items()
    }
    rows = []
    for node in range(8):
        at = np.flatnonzero(RECEIVERS == node)
        said = (
            NODES[node] @ w["receiver"]["w"]
            + w["receiver"]["b"]
            + NODES[SENDERS[at]] @ w["sender"]["w"]
            + EDGES[at] @ w["edge"]["w"]
        )
        heard = np.zeros(16)
        if at.size:
            each = [said.mean(0), said.min(0), said.max(0), said.std(0)]
            heard = np.concatenate(each)
        log = np.log(max(len(at), 1) + 1)
        rows.append(
            np.concatenate([NODES[node], heard, heard * log / 1.1, heard * 1.1 / log])
        )
    wanted = np.stack(rows) @ w["output"]["w"] + w["output"]["b"]
    np.testing.assert_allclose(apply(params, BATCH).nodes, wanted, atol=3e-5)


def test_biases_of_distances_are_added_to_scores():
    # Ying et al. 2021, equation 6, on a path of four nodes.
    distance = blocks.shortest_path_distances([0, 1, 2], [1, 2, 3], 4, limit=2)
    nodes = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    graph = rl.Graph(
        nodes={"node": nodes},
        edges={
            "edge": rl.EdgeSet(
                senders="node",
                receivers="node",
                topology=rl.Complete(),
                relations={"distance": distance},
            )
        },
    )

    def make():
        return blocks.EdgeAttention(
            num_heads=2, head_width=3, biases=["distance"], with_skip=False
        )

    block = hk.without_apply_rng(hk.transform(lambda graph: make()(graph)))
    params = block.init(jax.random.key(0), graph)
    table = np.array([[0.5, -1, 2, 0], [1, 0.25, -0.5, 0]], np.float32)
    params["edge_attention"]["bias_distance"] = jnp.asarray(table)
    query, key, value = (
        np.asarray(nodes @ params[f"edge_attention/{name}"]["w"]).reshape(4, 2, 3)
        for name in ("query", "key", "value")
    )
    scores = np.einsum("rhk,shk->hrs", query, key) / np.sqrt(3)
    scores = scores + table[:, distance.labels]
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wanted = np.einsum("hrs,shk->rhk", weights, value).reshape(4, 6)
    np.testing.assert_allclose(
        block.apply(params, graph).nodes["node"], wanted, atol=1e-5
    )
    with pytest.raises(
        ValueError, match="`biases` name relations of the edge set `edg"
    ):
        run(
            lambda: blocks.EdgeAttention(num_heads=2, head_width=3, biases=["hops"]),
            graph,
            params,
        )


@pytest.mark.parametrize("name", ["graph_convolution", "gat", "graph_sage"])
def test_known_edges_are_sorted_or_multiplied_as_a_sparse_matrix(name):
    rng = np.random.default_rng(0)
    senders, receivers = rng.integers(0, 30_000, (2, 300_000))
    graph = rl.Graph(
        nodes={"node": jax.ShapeDtypeStruct((30_000, 64), "float32")},
        edges={
            "edge": rl.EdgeSet(
                senders="node",
                receivers="node",
                topology=rl.Edges(senders, receivers, 30_000),
            )
        },
    )
    made = {
        "graph_convolution": lambda: blocks.GraphConvolution(width=64),
        "gat": lambda: blocks.GraphAttention(num_heads=2, head_width=32),
        "graph_sage": lambda: blocks.GraphSAGE(width=64),
    }[name]
    found = []

    def apply(features):
        with plans.recording(found):
            return made()(graph.with_features("node", features)).nodes["node"]

    block = hk.transform(apply)
    jax.eval_shape(block.init, jax.random.key(0), graph.nodes["node"])
    assert found
    assert {plan.lowering.name for plan in found} <= {"sparse", "slots"}


def test_weights_of_a_convolution_begin_as_in_the_paper():
    graph = BATCH._replace(nodes=jnp.ones([len(NODES), 200]))
    block = hk.transform(lambda graph: blocks.GraphConvolution(width=40)(graph))
    weights = block.init(jax.random.key(0), graph)["graph_convolution/linear"]["w"]
    bound = np.sqrt(6 / (200 + 40))  # Glorot and Bengio 2010, equation 16: uniform.
    assert 0.99 * bound < np.abs(weights).max() <= bound
    np.testing.assert_allclose(np.std(weights), bound / np.sqrt(3), rtol=0.02)


def principal(**settings):
    return blocks.PrincipalAggregation(average_log_degree=1.1, **settings)


def test_choices_are_named():
    with pytest.raises(
        ValueError, match="`kind` must be one of 'gat', 'gatv2'; got 'ga"
    ):
        run(lambda: blocks.GraphAttention(num_heads=1, head_width=2, kind="gat3"))
    with pytest.raises(ValueError, match="`degrees` must be 'own', 'received' or None"):
        run(lambda: blocks.GraphConvolution(width=2, degrees="both"))
    with pytest.raises(ValueError, match="`epsilon` must be a number or 'learned'"):
        run(lambda: blocks.GraphIsomorphism(update=lambda x: x, epsilon="free"))
    with pytest.raises(ValueError, match="`average_log_degree` must be above 0"):
        run(lambda: blocks.PrincipalAggregation(width=2, average_log_degree=0.0))
    with pytest.raises(ValueError, match="`num_towers` must divide `width`, 4; got 3"):
        run(lambda: principal(width=4, num_towers=3))
    with pytest.raises(ValueError, match="divide the width of the nodes, 4, with `spl"):
        run(lambda: principal(width=3, num_towers=3, splits_nodes=True))
    with pytest.raises(
        ValueError, match=r"`num_heads` must divide the width of the no"
    ):
        run(lambda: blocks.GraphTransformer(num_heads=3, feed_forward_width=2))
    with pytest.raises(ValueError, match=r"the types of edges must be integers \[E\]"):
        run(lambda: blocks.RelationalConvolution(width=2, num_types=3))
    graph = BATCH._replace(edges=jnp.array([0, 1, 5, 0, 0, 0, 0, 0, 0]))
    with pytest.raises(
        ValueError, match="the types of edges must be from 0 to 1; got 5"
    ):
        run(lambda: blocks.RelationalConvolution(width=2, num_types=2), graph)
