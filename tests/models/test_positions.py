"""What comes with nodes: positions, distances, nodes that the data do not have."""

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import networkx
import numpy as np
import pytest

import relational as rl
from relational import blocks, graph_tuples, models, specs
from relational.blocks import parts
from relational.models import positions
from relational.models.layers import mlp_of
from relational.models.position_layers import pair_relation


def one_graph(seed, num_nodes, num_edges):
    rng = np.random.default_rng(seed)
    return jraph.GraphsTuple(
        nodes=rng.normal(size=(num_nodes, 8)).astype(np.float32),
        edges=np.eye(4, dtype=np.float32)[rng.integers(0, 4, num_edges)],
        globals=rng.normal(size=(1, 2)).astype(np.float32),
        senders=rng.integers(0, num_nodes, num_edges).astype(np.int32),
        receivers=np.sort(rng.integers(0, num_nodes, num_edges)).astype(np.int32),
        n_node=np.array([num_nodes], np.int32),
        n_edge=np.array([num_edges], np.int32),
    )


GRAPHS = [one_graph(0, 6, 7), one_graph(1, 4, 3), one_graph(2, 1, 0)]


def stack(*layers):
    text = "".join(f"    - {layer}\n" for layer in layers)
    return specs.loads(
        f"name: one\nmodel:\n  layers:\n{text}data: sorting\n"
        "training: {steps: 10, batch_size: 2}\n"
    ).model


def applied(model, graph, key=None):
    network = models.build(model)
    params = network.init(jax.random.key(0), graph)
    (found,) = network.apply(params, key, graph, is_training=key is not None)
    return params, found


def padded(graphs):
    together = graph_tuples.batch(graphs)
    return graph_tuples.pad(together, num_nodes=16, num_edges=16, num_graphs=5)


DISTANCE = (
    "over: {topology: complete, relations: {distance: {hops: 2}}, layers: "
    "[{edge_attention: {heads: 1, width: 3, reads_edges: false, biases: [distance]}}]}"
)


def test_distances_in_a_batch_are_those_of_each_graph():
    model = stack(DISTANCE)
    batch = padded([models.prepare(model, graph, most_nodes=7) for graph in GRAPHS])
    whole, _ = parts.as_graph(batch)
    relation = jax.jit(lambda graph: pair_relation(specs.HopsSpec(hops=2), graph))(
        whole
    )
    assert relation.num_labels == 5
    first = 0
    for graph in GRAPHS:
        count = len(graph.nodes)
        known = networkx.Graph()
        known.add_nodes_from(range(count))
        known.add_edges_from(zip(graph.senders, graph.receivers, strict=True))
        hops = dict(networkx.all_pairs_shortest_path_length(known))
        for r in range(count):
            for s in range(count):
                wanted = 1 + min(hops[r][s], 2) if s in hops[r] else 4
                assert relation.labels[first + r, first + s] == wanted
        first += count


def test_types_of_edges_are_those_of_the_pair():
    whole, _ = parts.as_graph(GRAPHS[0])
    relation = pair_relation(specs.EdgeTypesSpec(edge_types=4), whole)
    graph = GRAPHS[0]
    ends = list(zip(graph.receivers.tolist(), graph.senders.tolist(), strict=True))
    for r in range(6):
        for s in range(6):
            types = [
                int(graph.edges[k].argmax()) for k, e in enumerate(ends) if e == (r, s)
            ]
            assert int(relation.labels[r, s]) in ([1 + t for t in types] or [0])


def test_a_bias_of_distance_is_that_of_the_block():
    model = stack(DISTANCE)
    graph = models.prepare(model, GRAPHS[0])
    params, _ = applied(model, graph)
    (name,) = [name for name in params if "bias_distance" in params[name]]
    bias = jnp.linspace(-1, 1, 5)[None]
    params[name]["bias_distance"] = bias
    (found,) = models.build(model).apply(params, None, graph, is_training=False)
    known = blocks.shortest_path_distances(
        GRAPHS[0].senders, GRAPHS[0].receivers, 6, limit=2
    )
    edges = rl.EdgeSet(
        senders="node",
        receivers="node",
        topology=rl.Complete(),
        relations={"distance": known},
    )

    def block(graph):
        return blocks.EdgeAttention(
            num_heads=1, head_width=3, biases=["distance"], name="edge_attention_0"
        )(graph)

    prefix = name.removesuffix("edge_attention_0")
    own = {key.removeprefix(prefix): value for key, value in params.items()}
    own["edge_attention_0"] = {**own["edge_attention_0"], "bias_distance": bias[:, 1:]}
    wanted = hk.transform(block).apply(
        own, None, rl.Graph(nodes={"node": GRAPHS[0].nodes}, edges={"edge": edges})
    )
    np.testing.assert_allclose(found.nodes, wanted.features("node"), atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        ("laplacian_positions: {width: 3}", blocks.laplacian_positions),
        ("random_walk_positions: {width: 3}", blocks.random_walk_positions),
    ],
)
def test_positions_stand_beside_the_features(layer, function):
    model = stack(layer)
    batch = padded([models.prepare(model, graph) for graph in GRAPHS])
    _, found = applied(model, batch)
    for graph, each in zip(
        GRAPHS, graph_tuples.unbatch(graph_tuples.unpad(found)), strict=True
    ):
        wanted = function(graph.senders, graph.receivers, len(graph.nodes), width=3)
        np.testing.assert_array_equal(each.nodes[:, :8], graph.nodes)
        np.testing.assert_allclose(each.nodes[:, 8:], wanted, atol=1e-6)


def test_signs_of_eigenvectors_turn_together_within_a_graph_in_training():
    model = stack("laplacian_positions: {width: 4}")
    batch = padded([models.prepare(model, graph) for graph in GRAPHS[:2]])
    vectors = batch.nodes["laplacian_positions_4"]
    signs = []
    for seed in range(20):
        _, found = applied(model, batch, jax.random.key(seed))
        got = np.asarray(found.nodes[:, 8:])
        for rows in (slice(0, 6), slice(6, 10)):
            ratio = np.sign((got[rows] * vectors[rows]).sum(0))
            np.testing.assert_allclose(got[rows], vectors[rows] * ratio, atol=1e-6)
            signs.append(ratio[0])
    assert 5 < sum(sign == 1 for sign in signs) < 35
    still = stack("laplacian_positions: {width: 4, flips_signs: false}")
    _, found = applied(still, batch, jax.random.key(0))
    np.testing.assert_array_equal(found.nodes[:, 8:], vectors)


def test_degrees_choose_the_row_that_is_added():
    model = stack("degrees: {limit: 2}")
    graph = models.prepare(model, GRAPHS[0])
    params, found = applied(model, graph)
    ((table,),) = [list(each.values()) for each in params.values()]
    degree = np.minimum(np.bincount(GRAPHS[0].receivers, minlength=6), 2)
    np.testing.assert_allclose(found.nodes, GRAPHS[0].nodes + table[degree], atol=1e-6)
    sent = models.prepare(stack("degrees: {limit: 9, edges: sent}"), GRAPHS[0])
    np.testing.assert_array_equal(
        sent.nodes["sent_degrees_9"], np.bincount(GRAPHS[0].senders, minlength=6)
    )


def test_a_batch_is_prepared_as_its_graphs_are():
    model = stack("degrees: {limit: 2}", DISTANCE)
    apart = [models.prepare(model, graph, most_nodes=6) for graph in GRAPHS]
    together = models.prepare(model, graph_tuples.batch(GRAPHS))
    jax.tree.map(np.testing.assert_array_equal, together, graph_tuples.batch(apart))
    assert models.prepare(stack("layer_norm"), GRAPHS[0]) is GRAPHS[0]
    with pytest.raises(ValueError, match="`most_nodes` must be 6 or more; got 5"):
        models.prepare(model, GRAPHS[0], most_nodes=5)


def test_what_takes_no_memory_has_the_shapes_of_what_comes():
    model = stack(
        "laplacian_positions: {width: 3}",
        "random_walk_positions: {width: 2}",
        "degrees: {limit: 2}",
        DISTANCE,
    )
    graph = models.prepare(model, GRAPHS[0], most_nodes=9)
    asked = positions.asked_of(model)
    assert len(asked) == 4
    for each in asked:
        found = graph.nodes[positions.attribute(each)]
        empty = positions.empty(each, 6, 9)
        assert (found.shape, found.dtype) == (empty.shape, empty.dtype)


VIRTUAL = (
    "virtual_node: [{over: {topology: complete, layers: [{edge_attention: {heads: 1, "
    "width: 8, reads_edges: false}}]}}]"
)


def test_a_virtual_node_is_a_node_more_and_its_result_are_the_globals():
    model = stack(VIRTUAL)
    params, found = applied(model, padded(GRAPHS))
    (row,) = [each["row"] for each in params.values() if "row" in each]
    inner = stack(VIRTUAL.removeprefix("virtual_node: [{").removesuffix("}]"))
    names = {
        name.replace("virtual_node_0_layers/", ""): each
        for name, each in params.items()
        if "row" not in each
    }
    for graph, each in zip(
        GRAPHS, graph_tuples.unbatch(graph_tuples.unpad(found)), strict=True
    ):
        longer = graph._replace(
            nodes=np.concatenate([graph.nodes, row[None]]), n_node=graph.n_node + 1
        )
        network = models.build(inner)
        wanted = jax.eval_shape(network.init, jax.random.key(0), longer)
        assert set(wanted) == set(names)
        (wanted,) = network.apply(names, None, longer, is_training=False)
        np.testing.assert_allclose(each.nodes, wanted.nodes[:-1], atol=1e-5)
        np.testing.assert_allclose(each.globals[0], wanted.nodes[-1], atol=1e-5)
        np.testing.assert_array_equal(each.senders, graph.senders)


def test_over_a_virtual_node_edges_lead_where_they_led():
    layer = "graph_convolution: {width: 8}"
    batch = padded(GRAPHS)
    params, found = applied(stack("virtual_node: [{" + layer + "}]"), batch)
    names = {
        name.replace("virtual_node_0_layers/", ""): e for name, e in params.items()
    }
    (wanted,) = models.build(stack(layer)).apply(names, None, batch, is_training=False)
    np.testing.assert_allclose(found.nodes, wanted.nodes, atol=1e-6)


def test_the_virtual_node_has_a_label_of_its_own():
    model = stack("virtual_node: [{" + DISTANCE + "}]")
    graph = models.prepare(model, GRAPHS[0])
    params, before = applied(model, graph)
    (name,) = [name for name in params if "bias_distance" in params[name]]
    own = params[name]["bias_distance"].at[:, 0].set(-1e9)
    params[name]["bias_distance"] = own

    def globals_of(row):
        params["layers/virtual_node_0"] = {"row": row}
        (found,) = models.build(model).apply(params, None, graph, is_training=False)
        return found.nodes

    # Of atoms, none hears it then; so it does not matter what it is.
    rows = jnp.ones(8), jnp.full(8, 7.0)
    np.testing.assert_allclose(globals_of(rows[0]), globals_of(rows[1]), atol=1e-6)
    assert not np.allclose(before.nodes, globals_of(rows[0]))


def test_layers_for_each_edge_set_are_blocks_for_each_edge_set():
    layers = (
        "per_edge_set: {edge: [{graph_sage: {width: 8}}], node_to_graph: "
        "[{graph_sage: {width: 5}}], graph_to_node: [{graph_sage: {width: 8}}], "
        "update_graph: {widths: [3]}}"
    )
    model = stack("graph_nodes: [{" + layers + "}]")
    batch = padded(GRAPHS)
    params, found = applied(model, batch)
    assert found.globals.shape == (5, 3)

    def block(graph):
        graph = blocks.with_graph_nodes(graph)
        each = {
            over: blocks.GraphSAGE(width=width, over=over, name=name)
            for over, width, name in (
                ("edge", 8, "one"),
                ("node to graph", 5, "two"),
                ("graph to node", 8, "three"),
            )
        }
        updates = {"graph": mlp_of(specs.MLPSpec(widths=(3,)))}
        return blocks.PerEdgeSet(each, updates=updates, name="all")(graph)

    pure = hk.transform(block)
    wanted = pure.init(jax.random.key(0), batch)
    fields = {"edge": "one", "node_to_graph": "two", "graph_to_node": "three"}

    def renamed(name):
        for field, other in fields.items():
            head = f"layers/graph_nodes_0/per_edge_set_0_{field}/graph_sage_0"
            if name.startswith(head):
                return other + name.removeprefix(head)
        return name.replace("layers/graph_nodes_0/per_edge_set_0", "all")

    names = {renamed(name): each for name, each in params.items()}
    assert set(names) == set(wanted), (sorted(names), sorted(wanted))
    result = pure.apply(names, None, batch)
    np.testing.assert_allclose(found.nodes, result.features("node"), atol=1e-5)
    np.testing.assert_allclose(found.globals, result.features("graph"), atol=1e-5)


def test_a_residual_adds_all_node_sets():
    inner = "per_edge_set: {node_to_graph: [{linear: {nodes: 2}}]}"
    plain = stack("graph_nodes: [{" + inner + "}]")
    added = stack("graph_nodes: [{residual: [{" + inner + "}]}]")
    params, found = applied(plain, GRAPHS[0])
    names = {
        name.replace("graph_nodes_0/", "graph_nodes_0/residual_0/"): each
        for name, each in params.items()
    }
    (total,) = models.build(added).apply(names, None, GRAPHS[0], is_training=False)
    np.testing.assert_allclose(total.globals, GRAPHS[0].globals + found.globals)
    np.testing.assert_array_equal(total.nodes, GRAPHS[0].nodes)
