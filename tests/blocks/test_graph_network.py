"""The graph network block is that of Graph Nets and of jraph, input by input."""

import itertools

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks
from relational.blocks import graph_network, parts


def small_graphs(seed=0, edges=3, nodes=2, globals_=4):
    """Three graphs; one has no edges, and one is empty."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return jraph.GraphsTuple(
        nodes=draw(7, nodes),
        edges=draw(8, edges),
        globals=draw(4, globals_),
        senders=jnp.array([0, 0, 1, 2, 3, 3, 1, 2]),
        receivers=jnp.array([1, 2, 3, 0, 3, 1, 1, 0]),
        n_node=jnp.array([4, 0, 1, 2]),
        n_edge=jnp.array([8, 0, 0, 0]),
    )


def block(**settings):
    return hk.transform(lambda graph: blocks.GraphNetwork(**settings)(graph))


def apply(graph, **settings):
    return block(**settings).apply({}, None, graph)


def compiled(graph, **settings):
    """As `apply`, in one program, to which the edges are known."""
    return jax.jit(lambda: apply(graph, **settings))()


def same(x):
    return x


def by_hand(graph):
    """Returns every input of every update, in NumPy, by loops over edges."""
    graph = jax.tree.map(np.asarray, graph)
    of_node = np.repeat(np.arange(len(graph.n_node)), graph.n_node)
    of_edge = np.repeat(np.arange(len(graph.n_edge)), graph.n_edge)

    def total(rows, ids, count):
        sums = np.zeros((count, rows.shape[1]), np.float32)
        for row, at in zip(rows, ids, strict=True):
            sums[at] += row
        return sums

    num_nodes, num_graphs = len(graph.nodes), len(graph.n_node)
    return {
        "edge": {
            "edge": graph.edges,
            "receiver": graph.nodes[graph.receivers],
            "sender": graph.nodes[graph.senders],
            "globals": graph.globals[of_edge],
        },
        "node": {
            "received": total(graph.edges, graph.receivers, num_nodes),
            "sent": total(graph.edges, graph.senders, num_nodes),
            "node": graph.nodes,
            "globals": graph.globals[of_node],
        },
        "global": {
            "edges": total(graph.edges, of_edge, num_graphs),
            "nodes": total(graph.nodes, of_node, num_graphs),
            "globals": graph.globals,
        },
    }


def every_choice():
    names = {
        "edge": graph_network.EDGE_INPUTS,
        "node": graph_network.NODE_INPUTS,
        "global": graph_network.GLOBAL_INPUTS,
    }
    for update, known in names.items():
        for count in range(1, len(known) + 1):
            for chosen in itertools.combinations(known, count):
                yield update, chosen


@pytest.mark.parametrize(("update", "chosen"), list(every_choice()))
def test_an_update_reads_its_inputs_side_by_side(update, chosen):
    # As Graph Nets' blocks_test.py: a block that returns its input, for every mask.
    graph = small_graphs()
    settings = {f"update_{update}": same, f"{update}_inputs": chosen}
    found = apply(graph, **settings)
    field = {"edge": "edges", "node": "nodes", "global": "globals"}[update]
    wanted = np.concatenate([by_hand(graph)[update][name] for name in chosen], -1)
    np.testing.assert_allclose(getattr(found, field), wanted, atol=1e-6)
    for other in {"edges", "nodes", "globals"} - {field}:
        assert getattr(found, other) is getattr(graph, other)


def test_small_graph_1_of_graph_nets_adds_up():
    # Graph Nets, blocks_test.py, SMALL_GRAPH_1: sums of its edges and its nodes.
    graph = jraph.GraphsTuple(
        nodes=jnp.array([[10.1, 10.2], [20.1, 20.2], [30.1, 30.2]]),
        edges=jnp.array([[101.0, 102, 103, 104], [201.0, 202, 203, 204]]),
        globals=jnp.array([[1.1, 1.2, 1.3, 1.4]]),
        senders=jnp.array([0, 1]),
        receivers=jnp.array([1, 2]),
        n_node=jnp.array([3]),
        n_edge=jnp.array([2]),
    )
    found = compiled(graph, update_global=same, global_inputs=("edges", "nodes"))
    wanted = [[302, 304, 306, 308, 60.3, 60.6]]
    np.testing.assert_allclose(found.globals, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("aggregator", "wanted"),
    [
        (rl.Max(), [0, 0.1, 0.3, 0.6, 1.0, 0.9, 0]),
        (rl.Min(), [0, 0.1, 0.2, 0.4, 0.7, 0.9, 0]),
    ],
)
def test_extremes_of_graph_nets_or_zero(aggregator, wanted):
    # Graph Nets, blocks_test.py: unsorted_segment_max_or_zero and min_or_zero.
    values = jnp.linspace(0.1, 1.0, 10)[:, None]
    graph = jraph.GraphsTuple(
        nodes=jnp.zeros([7, 1]),
        edges=jnp.concatenate([values, -values], -1),
        globals=None,
        senders=jnp.zeros(10, int),
        receivers=jnp.array([1, 2, 2, 3, 3, 3, 4, 4, 5, 4]),
        n_node=jnp.array([7]),
        n_edge=jnp.array([10]),
    )
    settings = {"update_node": same, "node_inputs": ("received",)}
    found = compiled(graph, edges_to_nodes=aggregator, **settings).nodes
    np.testing.assert_allclose(found[:, 0], wanted, atol=1e-6)
    other = rl.Min() if aggregator == rl.Max() else rl.Max()
    mirrored = compiled(graph, edges_to_nodes=other, **settings).nodes
    np.testing.assert_allclose(mirrored[:, 1], -np.array(wanted), atol=1e-6)


def test_sums_of_jraph():
    # jraph, utils_test.py, segment_sum: [16, 14, 2, 0, 4, 0].
    graph = jraph.GraphsTuple(
        nodes=jnp.zeros([6, 1]),
        edges=jnp.arange(9.0)[:, None],
        globals=None,
        senders=jnp.zeros(9, int),
        receivers=jnp.array([0, 1, 2, 0, 4, 0, 1, 1, 0]),
        n_node=jnp.array([6]),
        n_edge=jnp.array([9]),
    )
    found = compiled(graph, update_node=same, node_inputs=("received",))
    assert found.nodes[:, 0].tolist() == [16, 14, 2, 0, 4, 0]


def test_several_aggregators_stand_side_by_side():
    graph = small_graphs()
    both = (rl.Sum(), rl.Max())
    settings = {"update_node": same, "node_inputs": ("received",)}
    found = compiled(graph, edges_to_nodes=both, **settings).nodes
    each = [compiled(graph, edges_to_nodes=one, **settings).nodes for one in both]
    np.testing.assert_array_equal(found, np.concatenate(each, -1))


def updates(seed=3):
    """Three networks, of parts side by side, with weights from outside."""
    rng = np.random.default_rng(seed)

    def layer(inputs, outputs):
        weight = jnp.asarray(rng.normal(size=(inputs, outputs)), jnp.float32)
        return lambda x: jnp.tanh(x @ weight)

    return {
        "update_edge": layer(3 + 2 + 2 + 4, 5),
        "update_node": layer(5 + 2 + 4, 6),
        "update_global": layer(5 + 6 + 4, 7),
    }


def test_the_block_is_that_of_jraph():
    graph, ours = small_graphs(), updates()

    def side_by_side(name, order):
        def call(*given):
            return ours[name](jnp.concatenate([given[at] for at in order], -1))

        return call

    theirs = jraph.GraphNetwork(
        # jraph: edges, senders, receivers, globals.
        update_edge_fn=side_by_side("update_edge", (0, 2, 1, 3)),
        # Nodes, sent, received, globals.
        update_node_fn=side_by_side("update_node", (2, 0, 3)),
        # Nodes, edges, globals.
        update_global_fn=side_by_side("update_global", (1, 0, 2)),
    )(graph)
    found = jax.jit(block(**ours).apply)({}, None, graph)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), found, theirs
    )


def attending(**settings):
    """A block whose nodes attend to their edges, with two scores an edge."""
    ours = updates()
    rng = np.random.default_rng(4)
    say = jnp.asarray(rng.normal(size=(11, 6)), jnp.float32)
    weigh = jnp.asarray(rng.normal(size=(14, 2)), jnp.float32)
    return {
        "update_edge": lambda x: jnp.tanh(x @ say),
        "score_edge": lambda x: x @ weigh,
        "update_node": same,
        "node_inputs": ("received",),
        "edges_to_nodes": rl.Softmax(),
        "update_global": ours["update_global"],
        "global_inputs": ("edges", "globals"),
        **settings,
    }, (say, weigh)


@pytest.mark.parametrize("keeps_edges", [True, False])
def test_attention_within_the_block_is_that_of_jraph(keeps_edges):
    graph = small_graphs()
    settings, (say, weigh) = attending(update_global=None, keeps_edges=keeps_edges)

    def beside(edge, sender, receiver, globals_):
        return jnp.concatenate([edge, receiver, sender, globals_], -1)

    theirs = jraph.GraphNetwork(
        update_edge_fn=lambda *read: jnp.tanh(beside(*read) @ say),
        update_node_fn=lambda nodes, sent, received, globals_: received,
        attention_logit_fn=lambda *read: beside(*read) @ weigh,
        attention_reduce_fn=lambda edges, weights: (
            edges.reshape(-1, 2, 3) * weights[..., None]
        ).reshape(-1, 6),
    )(graph)
    found = jax.jit(block(**settings).apply)({}, None, graph)
    np.testing.assert_allclose(found.nodes, theirs.nodes, atol=1e-5)
    np.testing.assert_array_equal(found.nodes[4:], 0)  # They hear nobody.
    if keeps_edges:  # Those of jraph are weighted.
        ends = graph.senders, graph.receivers
        sender, receiver = (graph.nodes[side] for side in ends)
        globals_ = jnp.broadcast_to(graph.globals[:1], (8, 4))
        said = jnp.tanh(beside(graph.edges, sender, receiver, globals_) @ say)
        np.testing.assert_allclose(found.edges, said, atol=1e-5)
    else:
        assert found.edges is graph.edges or (found.edges == graph.edges).all()


def test_attention_stands_beside_other_aggregators():
    graph = small_graphs()
    both, _ = attending(edges_to_nodes=(rl.Softmax(), rl.Max()), update_global=None)
    alone, _ = attending(update_global=None)
    plain = {**both, "score_edge": None, "edges_to_nodes": rl.Max()}
    found = compiled(graph, **both).nodes
    np.testing.assert_allclose(found[:, :6], compiled(graph, **alone).nodes, atol=1e-6)
    np.testing.assert_allclose(found[:, 6:], compiled(graph, **plain).nodes, atol=1e-6)


def test_scores_that_nobody_hears_or_that_do_not_divide_are_named():
    settings, _ = attending(edges_to_nodes=rl.Mean())
    with pytest.raises(
        ValueError, match="`edges_to_nodes` must hear the scores of `sc"
    ):
        apply(small_graphs(), **settings)
    settings, _ = attending(score_edge=lambda x: x[:, :4])
    with pytest.raises(ValueError, match=r"divide the width of what it says, 6; got 4"):
        apply(small_graphs(), **settings)


@pytest.mark.parametrize(
    "topology", [rl.Complete(), rl.Band(before=1, after=1)], ids=str
)
def test_rules_hear_what_their_listed_edges_would(topology):
    given = small_graphs()
    graph = blocks.over_topology(given, topology)
    ours = {
        "update_edge": lambda x: jnp.tanh(x[:, :5]) + x[:, 3:],
        "update_node": lambda x: x,
        "update_global": lambda x: x,
        "edge_inputs": ("receiver", "sender", "globals"),
    }
    listed = parts.listed(graph, "edge")
    of_node = np.repeat(np.arange(4), [4, 0, 1, 2])
    np.testing.assert_array_equal(of_node[listed.senders], of_node[listed.receivers])
    wanted = compiled(
        given._replace(
            senders=jnp.asarray(listed.senders),
            receivers=jnp.asarray(listed.receivers),
            n_edge=jnp.asarray(np.bincount(of_node[listed.receivers], minlength=4)),
            edges=None,
        ),
        **ours,
    )
    kept = compiled(graph, **ours)
    np.testing.assert_allclose(kept.edges["edge"].features, wanted.edges, atol=1e-6)
    for lowering in (None, rl.lowerings.Dense(), rl.lowerings.Tiles(block=4)):
        module = hk.transform(
            lambda graph, lowering=lowering: blocks.GraphNetwork(
                keeps_edges=False, **ours
            )(graph, lowering=lowering)
        )
        found = jax.jit(lambda module=module: module.apply({}, None, graph))()
        assert found.edges["edge"].features is None
        np.testing.assert_allclose(found.nodes["node"], wanted.nodes, atol=1e-5)
        np.testing.assert_allclose(found.globals_, wanted.globals, atol=1e-5)


def test_edges_need_not_be_stored(optimised):
    # 4 096 nodes hear each other: 17 million edges of 8 numbers would be 537 MB.
    graph = rl.Graph(
        nodes={"node": jnp.ones([4096, 4])},
        edges={
            "edge": rl.EdgeSet(senders="node", receivers="node", topology=rl.Complete())
        },
    )

    def run(graph):
        network = blocks.relation_network(
            update_edge=hk.Linear(8), update_global=hk.Linear(2)
        )
        return network(graph).globals_

    module = hk.transform(run)
    params = jax.jit(module.init)(jax.random.key(0), graph)
    compiled = jax.jit(module.apply).lower(params, None, graph).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 60e6
    pair = jnp.ones(8) @ params["linear"]["w"] + params["linear"]["b"]
    wanted = 4096 * 4096 * pair @ params["linear_1"]["w"] + params["linear_1"]["b"]
    np.testing.assert_allclose(compiled(params, None, graph), wanted, rtol=1e-4)


@pytest.mark.parametrize("keeps_edges", [True, False])
def test_parameters_are_the_same_whether_edges_are_kept_or_not(keeps_edges):
    def inside(x):
        return hk.LayerNorm(-1, True, True)(hk.nets.MLP([8, 8])(x))

    module = block(update_edge=inside, update_node=inside, keeps_edges=keeps_edges)
    graph = small_graphs()
    params = jax.jit(module.init)(jax.random.key(0), graph)
    assert sorted(params) == [
        f"graph_network/update_{part}/{layer}"
        for part in ("edge", "node")
        for layer in ("layer_norm", "mlp/~/linear_0", "mlp/~/linear_1")
    ]
    other = block(update_edge=inside, update_node=inside, keeps_edges=not keeps_edges)
    np.testing.assert_allclose(
        jax.jit(module.apply)(params, None, graph).nodes,
        jax.jit(other.apply)(params, None, graph).nodes,
        atol=1e-5,
    )


@pytest.mark.parametrize("keeps_edges", [True, False])
def test_a_split_network_is_one_of_its_parts_side_by_side(keeps_edges):
    sizes, norm = [8, 5], hk.LayerNorm

    def split():
        return {
            "update_edge": blocks.SplitMLP(
                sizes, activate_final=True, then=norm(-1, True, True), name="one"
            ),
            "update_node": blocks.SplitMLP(sizes, name="two"),
        }

    def whole():
        return {
            "update_edge": hk.Sequential(
                [
                    hk.nets.MLP(sizes, activate_final=True, name="one"),
                    norm(-1, True, True),
                ]
            ),
            "update_node": hk.nets.MLP(sizes, name="two"),
        }

    def make(updates):
        return hk.transform(
            lambda graph: blocks.GraphNetwork(keeps_edges=keeps_edges, **updates())(
                graph
            )
        )

    graph = small_graphs()
    params = jax.jit(make(split).init)(jax.random.key(0), graph)
    inputs = {
        "one": ["edge", "receiver", "sender", "globals"],
        "two": ["received", "node", "globals"],
    }
    same = {"layer_norm": params["layer_norm"]}
    for name, read in inputs.items():
        first = [params[name][f"w_{part}"] for part in read]
        same[f"{name}/~/linear_0"] = {
            "w": jnp.concatenate(first),
            "b": params[name]["b"],
        }
        same[f"{name}/~/linear_1"] = params[f"{name}/~/linear_1"]
    shapes = jax.eval_shape(make(whole).init, jax.random.key(0), graph)
    assert jax.tree.map(jnp.shape, same) == jax.tree.map(jnp.shape, shapes)
    found = jax.jit(make(split).apply)(params, None, graph)
    wanted = jax.jit(make(whole).apply)(same, None, graph)
    np.testing.assert_allclose(found.nodes, wanted.nodes, atol=2e-5)
    np.testing.assert_allclose(found.edges, wanted.edges, atol=2e-5)


def test_a_batch_of_graphs_with_one_topology():
    rng = np.random.default_rng(0)
    nodes, globals_ = rng.normal(size=(2, 5, 2)), rng.normal(size=(2, 4))
    edges = rng.normal(size=(2, 6, 3))
    topology = rl.Edges([0, 1, 2, 3, 4, 4], [1, 2, 3, 4, 0, 1], 5)

    def graph(nodes, edges, globals_, batch_axes):
        nodes, edges, globals_ = (
            jnp.asarray(x, jnp.float32) for x in (nodes, edges, globals_)
        )
        return rl.Graph(
            nodes={"node": nodes},
            edges={
                "edge": rl.EdgeSet(
                    senders="node",
                    receivers="node",
                    topology=topology,
                    features=edges,
                )
            },
            globals_=globals_,
            batch_axes=batch_axes,
        )

    ours = updates()
    both = compiled(graph(nodes, edges, globals_, 1), **ours)
    for at in range(2):
        one = compiled(graph(nodes[at], edges[at], globals_[at], 0), **ours)
        for found, wanted in zip(
            jax.tree.leaves((both.nodes, both.edges["edge"].features, both.globals_)),
            jax.tree.leaves((one.nodes, one.edges["edge"].features, one.globals_)),
            strict=True,
        ):
            np.testing.assert_allclose(found[at], wanted, atol=1e-5)


def test_what_is_not_read_may_be_none():
    graph = small_graphs()
    bare = graph._replace(edges=None, globals=None)
    found = apply(
        bare,
        update_edge=same,
        edge_inputs=("sender",),
        update_node=same,
        node_inputs=("received",),
    )
    np.testing.assert_allclose(
        found.nodes[1], graph.nodes[0] + graph.nodes[3] + graph.nodes[1], atol=1e-6
    )
    assert found.globals is None
    only_edges = graph._replace(nodes=None, globals=None)
    found = apply(only_edges, update_edge=same, edge_inputs=("edge",))
    assert found.nodes is None
    received = apply(only_edges, update_node=same, node_inputs=("received",))
    assert received.nodes.shape == (7, 3)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("nodes", r"`nodes\['node'\]` must have features, which `update_edge` reads"),
        ("edges", r"`edges\['edge'\].features` must have features"),
        ("globals", "`globals` must have features, which `update_edge` reads"),
    ],
)
def test_features_that_are_needed_are_named(missing, words):
    graph = small_graphs()._replace(**{missing: None})
    with pytest.raises(ValueError, match=words):
        apply(graph, update_edge=same)


def test_wrong_settings_are_named():
    graph = small_graphs()
    with pytest.raises(ValueError, match="`edge_inputs` must be a tuple of some of"):
        apply(graph, edge_inputs=("edges",))
    with pytest.raises(ValueError, match="`node_inputs` must name each input once"):
        apply(graph, node_inputs=("node", "node"))
    with pytest.raises(ValueError, match="`edges_to_nodes` must hear no scores"):
        apply(graph, edges_to_nodes=rl.Softmax())
    with pytest.raises(TypeError, match="`update_edge` must be None, or a function"):
        apply(graph, update_edge=16)
    with pytest.raises(ValueError, match="`update_edge` must return an array of as ma"):
        apply(graph, update_edge=lambda x: x[0])
    with pytest.raises(ValueError, match=r"must be floats \[\*lead, N, D\], of rank 2"):
        apply(graph._replace(nodes=jnp.ones(7)), update_edge=same)
    with pytest.raises(TypeError, match=r"`graph` must be an `rl.Graph` or a"):
        apply(graph.nodes, update_edge=same)
