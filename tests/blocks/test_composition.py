"""Blocks that hold blocks, and cells that carry a graph, do what their loops would."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import blocks
from tests.blocks.table import BATCH, NAMES, updates

FIELDS = ("nodes", "edges", "globals")


def model_of_the_demos(outputs):
    """The one network of the three demonstrations of Graph Nets."""

    def group(maker, name):
        def mlp():
            return hk.Sequential(
                [
                    hk.nets.MLP([16, 16], activate_final=True),
                    hk.LayerNorm(-1, True, True),
                ]
            )

        return maker(**{f"update_{part}": mlp() for part in NAMES}, name=name)

    output = blocks.Independent(
        **{f"update_{part}": hk.Linear(width) for part, width in outputs.items()}
    )
    decoder = blocks.Sequential([group(blocks.Independent, "decoder"), output])
    return blocks.EncodeProcessDecode(
        encoder=group(blocks.Independent, "encoder"),
        core=group(blocks.GraphNetwork, "core"),
        decoder=decoder,
        num_steps=3,
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "count"),
    [
        pytest.param((5, 1, 1), {"node": 2, "edge": 2}, 8180, id="shortest path"),
        pytest.param((1, 1, 1), {"node": 2, "edge": 2}, 8116, id="sort"),
        pytest.param((5, 2, 2), {"node": 2}, 8178, id="physics"),
    ],
)
def test_the_demos_have_as_many_parameters_as_those_of_graph_nets(
    inputs, outputs, count
):
    # Graph Nets, demos: encode-process-decode with MLPs [16, 16] and layer norms.
    node, edge, global_ = inputs
    graph = BATCH._replace(
        nodes=jnp.ones([8, node]),
        edges=jnp.ones([9, edge]),
        globals=jnp.ones([2, global_]),
    )
    model = hk.transform(lambda graph: model_of_the_demos(outputs)(graph))
    params = jax.eval_shape(model.init, jax.random.key(0), graph)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    steps = jax.eval_shape(model.apply, params, jax.random.key(0), graph)
    assert [step.nodes.shape for step in steps] == [(8, 2)] * 3


def assert_close(found, wanted, atol=1e-5):
    for field in FIELDS:
        one, other = getattr(found, field), getattr(wanted, field)
        np.testing.assert_allclose(one, other, atol=atol, err_msg=field)


def remembering():
    cells = {"edge": hk.GRU(4), "node": hk.LSTM(4), "global_": hk.GRU(4)}
    return blocks.Recurrent(**cells)


@pytest.mark.parametrize(
    ("memory", "unroll"), [(None, 1), (remembering, 2)], ids=["plain", "remembering"]
)
def test_encode_process_decode_is_its_loop(memory, unroll):
    """Values and gradients, of a loop that is traced once and of one by hand."""

    def parts():
        encoder = blocks.Independent(**updates(names=NAMES), name="encoder")
        core = blocks.GraphNetwork(**updates(), name="core")
        decoder = blocks.Independent(update_node=hk.Linear(3), name="decoder")
        return encoder, core, decoder, memory and memory()

    def ours(graph):
        encoder, core, decoder, cells = parts()
        model = blocks.EncodeProcessDecode(
            encoder=encoder,
            core=core,
            decoder=decoder,
            num_steps=5,
            memory=cells,
            unroll=unroll,
        )
        return model(graph, num_steps=3)

    def by_hand(graph):
        encoder, core, decoder, cells = parts()
        encoded = latent = encoder(graph)
        state = cells and cells.initial_state(encoded)
        outputs = []
        for _ in range(3):
            latent = core(blocks.side_by_side(encoded, latent))
            if cells:
                latent, state = cells(latent, state)
            outputs.append(decoder(latent))
        return outputs

    def gradient(function):
        apply = hk.without_apply_rng(hk.transform(function)).apply

        def loss(params, nodes):
            outputs = apply(params, BATCH._replace(nodes=nodes))
            weighed = [
                (at + 1.0) * jnp.sin(leaf).sum()
                for at, each in enumerate(outputs)
                for leaf in (each.nodes, each.edges, each.globals)
            ]
            return sum(weighed), outputs

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))

    params = jax.jit(hk.transform(ours).init)(jax.random.key(0), BATCH)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        jnp.shape, jax.eval_shape(hk.transform(by_hand).init, jax.random.key(0), BATCH)
    )
    slopes, found = gradient(ours)(params, BATCH.nodes)
    wanted_slopes, wanted = gradient(by_hand)(params, BATCH.nodes)
    assert len(found) == 3
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other)
    for one, other in zip(*map(jax.tree.leaves, (slopes, wanted_slopes)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def same(graph):
    return graph


@pytest.mark.parametrize(
    ("keeps", "unroll"), [(True, 1), (False, 1), (True, 6)], ids=str
)
def test_steps_that_keep_their_shapes_are_traced_once(keeps, unroll):
    traced = []

    def core(graph):
        traced.append(graph.nodes.shape)
        grow = (lambda x: x[:, :4] + x[:, 4:]) if keeps else (lambda x: 2 * x)
        return graph._replace(
            nodes=grow(graph.nodes), edges=graph.edges[:, :3], globals=None
        )

    model = hk.transform(
        lambda graph: blocks.EncodeProcessDecode(
            encoder=same, core=core, decoder=same, num_steps=6, unroll=unroll
        )(graph)
    )
    graph = BATCH._replace(globals=None)
    outputs = model.apply({}, None, graph)
    nodes = BATCH.nodes
    for output in outputs:
        sides = [BATCH.nodes, nodes]
        nodes = sum(sides) if keeps else 2 * jnp.concatenate(sides, -1)
        np.testing.assert_allclose(output.nodes, nodes, rtol=1e-6)
        np.testing.assert_array_equal(output.edges, BATCH.edges)
        assert output.globals is None
        assert output.senders is BATCH.senders
    if unroll == 6:
        assert len(traced) == 6
    elif keeps:
        assert len(traced) < 6
    else:  # Each step hears all that were before.
        assert traced[-6:] == [(8, 4 + 4 * m) for m in range(1, 7)]


def test_the_edges_of_a_loop_over_steps_stay_known_while_tracing():
    ring = rl.EdgeSet(
        senders="node", receivers="node", topology=rl.Edges([0, 1, 2], [1, 2, 0], 3)
    )
    graph = rl.Graph(nodes={"node": jnp.arange(3.0)[:, None]}, edges={"edge": ring})

    def core(graph):
        assert graph.edge_set("edge").topology.senders.tolist() == [0, 1, 2]
        return blocks.GraphNetwork(
            update_edge=lambda sender: sender[:, 1:],
            update_node=lambda received: received,
            edge_inputs=("sender",),
            node_inputs=("received",),
            keeps_edges=False,
        )(graph)

    model = hk.transform(
        lambda graph: blocks.EncodeProcessDecode(
            encoder=same, core=core, decoder=same, num_steps=3
        )(graph)
    )
    found = jax.jit(lambda: model.apply({}, None, graph))()
    assert [each.nodes["node"][:, 0].tolist() for each in found] == [
        [2, 0, 1],
        [1, 2, 0],
        [0, 1, 2],
    ]


def test_dropout_differs_from_step_to_step():
    def core(graph):
        kept = jax.random.bernoulli(hk.next_rng_key(), 0.5, (8, 4))
        return graph._replace(nodes=kept.astype(jnp.float32), edges=None)

    model = hk.transform(
        lambda graph: blocks.EncodeProcessDecode(
            encoder=same, core=core, decoder=same, num_steps=4
        )(graph)
    )
    graph = BATCH._replace(edges=None, globals=None)
    outputs = model.apply({}, jax.random.key(0), graph)
    assert len({np.asarray(each.nodes).tobytes() for each in outputs}) == 4


def keeps_shapes():
    return blocks.GraphNetwork(
        update_edge=hk.Linear(3), update_node=hk.Linear(4), update_global=hk.Linear(2)
    )


def test_separate_steps_have_parameters_of_their_own_and_shared_ones_have_one_set():
    graph = rl.Graph.of(BATCH)
    separate = hk.transform(
        lambda graph: blocks.Repeat(keeps_shapes, 3, "separate")(graph)
    )
    params = jax.jit(separate.init)(jax.random.key(0), graph)
    single = hk.transform(lambda graph: keeps_shapes()(graph))
    once = jax.jit(single.init)(jax.random.key(0), graph)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params)} == {3}
    step_once = jax.jit(single.apply)
    by_hand = graph
    for step in range(3):
        prefix = next(iter(params)).removesuffix("linear")
        own = {
            name.removeprefix(prefix): jax.tree.map(lambda leaf, s=step: leaf[s], layer)
            for name, layer in params.items()
        }
        assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, once)
        by_hand = step_once(own, None, by_hand)
    found = jax.jit(separate.apply)(params, None, graph)
    np.testing.assert_allclose(found.nodes["node"], by_hand.nodes["node"], atol=1e-5)
    np.testing.assert_allclose(found.globals_, by_hand.globals_, atol=1e-5)

    shared = hk.transform(lambda graph: blocks.Repeat(keeps_shapes, 3)(graph))
    assert jax.tree.map(
        jnp.shape, jax.eval_shape(shared.init, jax.random.key(0), graph)
    ) == (jax.tree.map(jnp.shape, once))
    thrice = step_once(once, None, step_once(once, None, step_once(once, None, graph)))
    found = jax.jit(shared.apply)(once, None, graph)
    np.testing.assert_allclose(found.nodes["node"], thrice.nodes["node"], atol=1e-5)


def test_depth_adds_no_equations():
    # A loop over layers is compiled once, however many layers there are.
    sizes = set()
    for depth in (2, 20):
        deep = hk.transform(
            lambda graph, depth=depth: blocks.Repeat(keeps_shapes, depth, "separate")(
                graph
            )
        )
        params = jax.eval_shape(deep.init, jax.random.key(0), BATCH)
        jaxpr = jax.make_jaxpr(deep.apply)(params, None, BATCH)
        sizes.add(str(jaxpr).count("dot_general"))
    assert len(sizes) == 1


def test_separate_steps_that_change_a_shape_are_named():
    def widens():
        return blocks.Independent(update_node=hk.Linear(5))

    deep = hk.transform(lambda graph: blocks.Repeat(widens, 2, "separate")(graph))
    words = r"`nodes\['node'\]` was float32\[8,4\] and became float32\[8,5\]"
    with pytest.raises(ValueError, match=words):
        deep.init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match="`num_steps` must be 1 or more"):
        blocks.Repeat(widens, 0)
    with pytest.raises(ValueError, match="`parameters` must be 'shared' or 'separate'"):
        blocks.Repeat(widens, 2, "own")


def test_graphs_are_joined_and_added_field_by_field():
    both, twice = blocks.side_by_side(BATCH, BATCH), blocks.added(BATCH, BATCH)
    for field in FIELDS:
        one = getattr(BATCH, field)
        np.testing.assert_array_equal(
            getattr(both, field), np.concatenate([one, one], -1)
        )
        np.testing.assert_array_equal(getattr(twice, field), 2 * one)
    with pytest.raises(
        ValueError, match="`side_by_side` needs graphs with the same fea"
    ):
        blocks.side_by_side(BATCH, BATCH._replace(globals=None))
    other = BATCH._replace(edges=jnp.ones([9, 7]))
    assert blocks.side_by_side(BATCH, other).edges.shape == (9, 10)
    with pytest.raises(
        ValueError, match=r"`added` needs graphs of one topology; `edges"
    ):
        blocks.added(BATCH, other)


def test_cells_see_nodes_as_their_batch():
    def ours(graph):
        cell = hk.LSTM(4)
        block = blocks.Recurrent(node=cell)
        state = block.initial_state(graph)
        _, state = block(graph, state)
        two, state = block(graph, state)
        by_hand = cell.initial_state(8)
        for _ in range(2):
            said, by_hand = cell(graph.nodes, by_hand)
        return two, state["nodes"], said, by_hand

    model = hk.transform(ours)
    params = model.init(jax.random.key(0), BATCH)
    two, state, said, by_hand = model.apply(params, None, BATCH)
    np.testing.assert_allclose(two.nodes, said, atol=1e-6)
    np.testing.assert_allclose(state.cell, by_hand.cell, atol=1e-6)
    assert two.edges is BATCH.edges


def test_cells_of_a_batch_of_graphs_keep_its_leading_axes():
    graph = rl.Graph(
        nodes={"node": jnp.ones([2, 5, 3])},
        edges={
            "edge": rl.EdgeSet(senders="node", receivers="node", topology=rl.Complete())
        },
        batch_axes=1,
    )

    def ours(graph):
        block = blocks.Recurrent(node=hk.GRU(4))
        return block(graph, block.initial_state(graph))

    out, state = hk.testing.transform_and_run(ours)(graph)
    assert out.nodes["node"].shape == state["nodes"].shape == (2, 5, 4)


def test_a_gated_update_is_a_gru():
    # Li et al. 2016, equations 3 to 6, with Haiku's names of the gates.
    rng = np.random.default_rng(0)
    heard, node = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2))
    model = hk.transform(
        lambda received, node: blocks.GatedUpdate()(received=received, node=node)
    )
    params = model.init(jax.random.key(0), jnp.asarray(heard), jnp.asarray(node))
    weights = jax.tree.map(np.asarray, params["gated_update/gru"])
    x, h = heard @ weights["w_i"] + weights["b"], node @ weights["w_h"]

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    z, r = sigmoid(x[:, :4] + h[:, :4]), sigmoid(x[:, 4:8] + h[:, 4:8])
    candidate = np.tanh(x[:, 8:] + (r * node) @ weights["w_h"][:, 8:])
    wanted = (1 - z) * node + z * candidate
    found = model.apply(params, None, jnp.asarray(heard), jnp.asarray(node))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
