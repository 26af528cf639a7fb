"""One table of layers in specs, a row for each name; every layer obeys every law."""

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks, graph_tuples, models, specs
from relational.models.layers import LayerError
from relational.specs.layers import LAYERS

WIDTH, EDGE_WIDTH = 8, 4

ROWS = {
    "independent": "{update: {widths: [5], norm: layer}}",
    "graph_network": "{update: {widths: [5, 6]}, edges_to_nodes: mean}",
    "interaction_network": "{edges: {widths: [5]}, nodes: {widths: [6]}}",
    "relation_network": "{edges: {widths: [5]}, globals: {widths: [6]}}",
    "deep_sets": "{nodes: {widths: [5]}, globals: {widths: [6]}, aggregator: max}",
    "message_passing": "{width: 3, hidden: [5]}",
    "comm_net": "{edges: {widths: [5]}, encode: {widths: [4]}, nodes: {widths: [6]}}",
    "gated_graph_network": "{reads_edges: true}",
    "graph_convolution": "{width: 5}",
    "graph_sage": "{width: 5, aggregator: max, pool_width: 4}",
    "graph_isomorphism": "{nodes: {widths: [5]}, learns_epsilon: true}",
    "principal_aggregation": "{width: 5, average_log_degree: 1.1, reads_edges: true}",
    "relational_convolution": "{width: 5, types: 4, bases: 2}",
    "graph_attention": "{heads: 2, width: 3, kind: gatv2, dropout: 0.5}",
    "edge_attention": "{heads: 2, width: 3, dropout: 0.5}",
    "graph_transformer": "{heads: 2, feed_forward: 5, reads_edges: true, dropout: 0.5}",
    "non_local": "{kind: dot}",
    "vain": "{attend: {widths: [2]}, say: {widths: [5]}, nodes: {widths: [6]}}",
    "laplacian_positions": "{width: 3}",
    "random_walk_positions": "{width: 3}",
    "degrees": "{limit: 3}",
    "dropout": "0.5",
    "activation": "elu",
    "layer_norm": "{}",
    "linear": "{nodes: 5, edges: 3, globals: 2}",
    "pool": "{aggregator: mean}",
    "residual": "[{linear: {nodes: 8}}, {activation: tanh}]",
    "repeat": "{steps: 2, layers: [{graph_network: {nodes: {widths: [8]}}}]}",
    "over": "{topology: complete, relations: {distance: {hops: 3}, kind: {edge_types: 4}}, "
    "layers: [{graph_transformer: "
    "{heads: 2, feed_forward: 5, biases: [distance, kind]}}]}",
    "virtual_node": "[{over: {topology: complete, relations: {distance: {hops: 3}}, layers: "
    "[{edge_attention: {heads: 2, width: 4, reads_edges: false, biases: [distance]}}]}}]",
    "graph_nodes": "[{per_edge_set: {edge: [{graph_sage: {width: 8}}], "
    "node_to_graph: [{graph_attention: {heads: 1, width: 5, self_edges: false}}]}}]",
    "per_edge_set": "{edge: [{graph_sage: {width: 5}}], update_node: {widths: [6]}}",
}
MORE = {  # Several layers, or settings that exclude those of the rows.
    "weighed edges": (
        "independent: {edges: {widths: [1], activation: sigmoid}}",
        "graph_convolution: {width: 5, reads_weights: true}",
    ),
    "attention to edges": ("graph_attention: {heads: 2, width: 3, reads_edges: true}",),
    "one matrix": (
        "graph_attention: {heads: 2, width: 3, kind: gatv2, shares_weights: true}",
    ),
    "towers": (
        (
            "principal_aggregation: {width: 6, average_log_degree: 1.1, towers: 2, "
            "splits_nodes: true}"
        ),
    ),
    "scored edges": (
        (
            "graph_network: {update: {widths: [6]}, edges_to_nodes: softmax, "
            "score: {widths: [4, 2], activates_last: false}}"
        ),
    ),
}
NOISY = {
    "graph_attention",
    "edge_attention",
    "graph_transformer",
    "dropout",
    "laplacian_positions",
}


def spec_of(*layers):
    text = "".join(f"    - {layer}\n" for layer in layers)
    spec = specs.loads(
        f"name: one\nmodel:\n  layers:\n{text}data: sorting\n"
        "training: {steps: 10, batch_size: 2}\n"
    )
    return spec.model


def model_of(*layers):
    return models.build(spec_of(*layers))


def one_graph(seed, num_nodes, num_edges):
    rng = np.random.default_rng(seed)
    return jraph.GraphsTuple(
        nodes=rng.normal(size=(num_nodes, WIDTH)).astype(np.float32),
        edges=np.eye(EDGE_WIDTH, dtype=np.float32)[rng.integers(0, 4, num_edges)],
        globals=rng.normal(size=(1, 2)).astype(np.float32),
        senders=rng.integers(0, num_nodes, num_edges).astype(np.int32),
        receivers=np.sort(rng.integers(0, num_nodes, num_edges)).astype(np.int32),
        n_node=np.array([num_nodes], np.int32),
        n_edge=np.array([num_edges], np.int32),
    )


def padded(graphs):
    together = graph_tuples.batch(graphs)
    return graph_tuples.pad(together, num_nodes=12, num_edges=16, num_graphs=3)


GRAPHS = [one_graph(0, 5, 9), one_graph(1, 3, 4)]


def layers_of(name):
    return MORE[name] if name in MORE else (f"{name}: {ROWS[name]}",)


@pytest.fixture(scope="module", params=[*ROWS, *MORE])
def case(request):
    spec = spec_of(*layers_of(request.param))
    network = models.build(spec)
    graphs = [models.prepare(spec, graph, most_nodes=6) for graph in GRAPHS]
    batch = padded(graphs)
    params = jax.jit(network.init)(jax.random.key(0), batch)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # No zeros, which hide much.
    apply = jax.jit(network.apply, static_argnames="is_training")
    (found,) = apply(params, None, batch, is_training=False)
    return request.param, network, params, apply, batch, found, graphs


def test_the_tables_have_every_layer_and_setting():
    assert set(ROWS) == set(LAYERS)
    assert set(SAME_BLOCKS) == set(MORE) - {"weighed edges"}


def assert_same(found, wanted, atol=1e-5):
    for part in ("nodes", "edges", "globals"):
        one, other = getattr(found, part), getattr(wanted, part)
        np.testing.assert_allclose(one, other, atol=atol, err_msg=part)


def test_a_padded_batch_is_each_graph_by_itself(case):
    _, _, params, apply, _, found, graphs = case
    together = graph_tuples.unbatch(graph_tuples.unpad(found))
    for each, graph in zip(together, graphs, strict=True):
        (alone,) = apply(params, None, padded([graph]), is_training=False)
        assert_same(each, graph_tuples.unpad(alone))


def test_something_is_updated_and_edges_stay_where_they_are(case):
    _, _, _, _, batch, found, _ = case
    np.testing.assert_array_equal(found.senders, batch.senders)
    nodes = batch.nodes["features"] if isinstance(batch.nodes, dict) else batch.nodes
    parts = [(found.nodes, nodes), (found.globals, batch.globals)]
    name = case[0]
    changed = [
        one.shape != other.shape or not np.allclose(one, other) for one, other in parts
    ]
    assert any(changed) == (name != "dropout")


def test_noise_is_in_training_only(case):
    name, _, params, apply, batch, found, _ = case
    keys = jax.random.split(jax.random.key(1))
    assert_same(apply(params, None, batch, is_training=False)[0], found, atol=0)
    if name in NOISY:  # The key is asked for: without one this would be an error.
        noisy = [apply(params, key, batch, is_training=True)[0] for key in keys]
        assert not np.allclose(noisy[0].nodes, noisy[1].nodes)
        assert not np.allclose(noisy[0].nodes, found.nodes)


def test_gradients_are_finite(case):
    _, network, params, _, batch, _, _ = case

    def total(params):
        (graph,) = network.apply(params, None, batch, is_training=False)
        kept = graph_tuples.zero_padding(graph)
        return sum(jnp.sum(leaf**2) for leaf in (kept.nodes, kept.edges, kept.globals))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)):
        assert np.isfinite(leaf).all()


def dense(*widths, activates_last=True):
    return lambda rows: hk.nets.MLP(widths, activate_final=activates_last)(rows)


SAME_BLOCKS = {
    "attention to edges": lambda: blocks.GraphAttention(
        num_heads=2, head_width=3, reads_edges=True
    ),
    "one matrix": lambda: blocks.GraphAttention(
        num_heads=2, head_width=3, kind="gatv2", shares_weights=True
    ),
    "towers": lambda: blocks.PrincipalAggregation(
        width=6, average_log_degree=1.1, num_towers=2, splits_nodes=True
    ),
    "scored edges": lambda: blocks.GraphNetwork(
        update_edge=dense(6),
        update_node=dense(6),
        update_global=dense(6),
        score_edge=dense(4, 2, activates_last=False),
        edges_to_nodes=rl.Softmax(),
    ),
}


def as_block(params):
    """The parameters of the only layer, as a block of its kind names them."""
    return {
        path.removeprefix("layers/").replace("_0", "", 1): leaves
        for path, leaves in params.items()
    }


def test_edges_are_weights_where_the_layer_says_so():
    weights = np.random.default_rng(2).uniform(0.5, 2, (len(GRAPHS[0].senders), 1))
    graph = GRAPHS[0]._replace(edges=weights.astype(np.float32))
    network = model_of("graph_convolution: {width: 5, reads_weights: true}")
    params = network.init(jax.random.key(0), graph)
    (found,) = network.apply(params, None, graph, is_training=False)
    block = hk.without_apply_rng(
        hk.transform(
            lambda graph: blocks.GraphConvolution(width=5, reads_weights=True)(graph)
        )
    )
    own = as_block(params)
    assert_same(block.apply(own, graph), found)
    same = graph._replace(edges=np.ones_like(graph.edges))
    (plain,) = network.apply(params, None, same, is_training=False)
    assert not np.allclose(found.nodes, plain.nodes)


@pytest.mark.parametrize("name", SAME_BLOCKS)
def test_a_layer_is_the_block_with_the_same_arguments(name):
    (layer,) = MORE[name]
    network = model_of(layer)
    params = jax.jit(network.init)(jax.random.key(0), GRAPHS[0])
    (found,) = jax.jit(network.apply, static_argnames="is_training")(
        params, None, GRAPHS[0], is_training=False
    )
    block = hk.without_apply_rng(hk.transform(lambda graph: SAME_BLOCKS[name]()(graph)))
    own = as_block(params)
    assert_same(jax.jit(block.apply)(own, GRAPHS[0]), found)


@pytest.mark.parametrize(
    ("name", "count"), [("shortest_path", 8180), ("sorting", 8116), ("springs", 8178)]
)
def test_networks_of_the_demonstrations_have_their_sizes(name, count):
    from relational.models.graph_batches import graph_of
    from relational.models.typical import typical_batch

    spec = specs.load(name)
    network = models.build(spec.model)

    def init(batch):
        return network.init(jax.random.key(0), graph_of(batch))

    params = jax.eval_shape(init, typical_batch(spec))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def sizes(network, graph=GRAPHS[0]):
    params = jax.eval_shape(network.init, jax.random.key(0), graph)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_repeated_layers_share_parameters_or_have_their_own():
    one = "graph_network: {nodes: {widths: [8]}}"
    alone = sizes(model_of(one))
    for parameters, times in (("shared", 1), ("separate", 3)):
        repeat = f"{{steps: 3, parameters: {parameters}, layers: [{{{one}}}]}}"
        assert sizes(model_of(f"repeat: {repeat}")) == times * alone


def test_shared_repetition_is_the_layer_again_and_again():
    layer = "graph_isomorphism: {nodes: {widths: [8]}}"
    network = model_of(
        "repeat: {steps: 2, parameters: shared, layers: [{" + layer + "}]}"
    )
    params = network.init(jax.random.key(0), GRAPHS[0])
    (found,) = network.apply(params, None, GRAPHS[0], is_training=False)
    single = model_of(layer)
    names = {name.replace("repeat_0/", ""): value for name, value in params.items()}
    graph = GRAPHS[0]
    for _ in range(2):
        (graph,) = single.apply(names, None, graph, is_training=False)
    assert_same(found, graph)


def test_a_residual_adds_what_its_layers_make():
    network, inner = (
        model_of("residual: [{linear: {nodes: 8}}]"),
        model_of("linear: {nodes: 8}"),
    )
    params = network.init(jax.random.key(0), GRAPHS[0])
    (found,) = network.apply(params, None, GRAPHS[0], is_training=False)
    names = {name.replace("residual_0/", ""): value for name, value in params.items()}
    (made,) = inner.apply(names, None, GRAPHS[0], is_training=False)
    np.testing.assert_allclose(found.nodes, GRAPHS[0].nodes + made.nodes, atol=1e-6)
    np.testing.assert_array_equal(found.edges, GRAPHS[0].edges)


def test_over_a_rule_is_over_all_its_edges():
    layer = "graph_convolution: {width: 3}"
    network = model_of("over: {topology: complete, layers: [{" + layer + "}]}")
    params = network.init(jax.random.key(0), GRAPHS[0])
    (found,) = network.apply(params, None, GRAPHS[0], is_training=False)
    names = {name.replace("over_0/", ""): value for name, value in params.items()}
    count = len(GRAPHS[0].nodes)
    full = GRAPHS[0]._replace(
        edges=np.zeros([count**2, 1], np.float32),
        senders=np.tile(np.arange(count), count),
        receivers=np.repeat(np.arange(count), count),
        n_edge=np.array([count**2]),
    )
    (wanted,) = model_of(layer).apply(names, None, full, is_training=False)
    np.testing.assert_allclose(found.nodes, wanted.nodes, atol=1e-6)


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_memory_carries_a_hidden_graph(memory):
    def network(memory, steps=2):
        settings = [
            f"model.process.steps={steps}",
            f"model.process.memory={memory}",
            "model.encode[0].independent.update.widths=[4]",
            "model.process.core[0].graph_network.update.widths=[4]",
        ]
        return models.build(specs.override(specs.load("sorting"), settings).model)

    from relational import datasets

    graph, _ = datasets.Sorting(seed=0, num_nodes=(3, 3))[0]
    params = jax.jit(network(memory).init)(jax.random.key(0), graph)

    def outputs(which, start):
        apply = jax.jit(which.apply, static_argnames="is_training")
        return apply(params, None, start, is_training=False)

    plain, carried = outputs(network("null"), graph), outputs(network(memory), graph)
    first = outputs(network(memory, steps=1), graph)
    assert_same(carried[0], first[0])
    assert not np.allclose(carried[1].nodes, carried[0].nodes)
    assert not np.allclose(plain[0].nodes, carried[0].nodes)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            ["activation: relu", "graph_transformer: {heads: 3, feed_forward: 4}"],
            r"^model\.layers\[1\]\.graph_transformer: `num_heads` must divide",
        ),
        (
            ["residual: [{linear: {nodes: 5}}]"],
            r"^model\.layers\[0\]\.residual: the layers .* width of nodes.* was 8 and",
        ),
        (
            [
                "repeat: {steps: 2, layers: [{relational_convolution: {width: 8, types: 3}}]}"
            ],
            r"^model\.layers\[0\]\.repeat\.layers\[0\]\.relational_convolution: `types`",
        ),
        (
            [
                "over: {topology: complete, layers: [{edge_attention: {heads: 1, width: 4}}]}"
            ],
            r"^model\.layers\[0\]\.over\.layers\[0\]\.edge_attention: `edges\['edge'\]",
        ),
        (
            ["degrees: {limit: 4}"],
            r"^model\.layers\[0\]\.degrees: .* must bring `received_degrees_4`.*prepare",
        ),
        (
            ["graph_nodes: [{over: {topology: complete, layers: [non_local]}}]"],
            r"over: `over` must stand outside `graph_nodes`",
        ),
        (
            ["graph_nodes: [pool]"],
            r"^model\.layers\[0\]\.graph_nodes: the layers .* must not make globals",
        ),
        (
            ["virtual_node: [pool]"],
            r"^model\.layers\[0\]\.virtual_node: the layers .* must not make globals",
        ),
        (
            ["per_edge_set: {node_to_graph: [{graph_sage: {width: 8}}]}"],
            r"per_edge_set: `node_to_graph` must be an edge set of the graph, .* edge\.",
        ),
    ],
)
def test_what_a_layer_cannot_do_is_told_with_its_place(layers, words):
    network = model_of(*layers)
    with pytest.raises(LayerError, match=words):
        network.init(jax.random.key(0), GRAPHS[0])
