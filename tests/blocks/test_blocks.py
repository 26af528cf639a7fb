"""Blocks obey their papers' formulas and the laws of every block."""

import dataclasses
import math

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks


def graph(topology=None, length=7, width=16, batch=2, **relations):
    keys = jax.random.split(jax.random.key(0), 2)
    return rl.Graph(
        nodes={
            "word": {
                "features": jax.random.normal(keys[0], (batch, length, width)),
                "pitch": jax.random.randint(keys[1], (batch, length), 50, 60),
            }
        },
        edges={
            "self": rl.EdgeSet(
                senders="word",
                receivers="word",
                topology=topology or rl.Causal(),
                relations=relations,
            )
        },
        batch_axes=1,
    )


def attention(**settings):
    return hk.transform(lambda graph: blocks.Attention(over="self", **settings)(graph))


def test_attention_is_that_of_haiku():
    # hk.MultiHeadAttention with the same weights, and its causal mask.
    example = graph()
    x = example.features("word")
    ours = attention(num_heads=4, with_bias=True)
    params = ours.init(jax.random.key(1), example)
    params = jax.tree.map(
        lambda leaf: leaf + jnp.linspace(0, 0.1, leaf.size).reshape(leaf.shape),
        params,
    )
    theirs = hk.transform(
        lambda x: hk.MultiHeadAttention(
            4, 4, w_init=hk.initializers.VarianceScaling(), model_size=16
        )(x, x, x, mask=jnp.tril(jnp.ones((1, 1, 7, 7), bool)))
    )
    renamed = {
        "multi_head_attention/" + new: params["attention/" + old]
        for new, old in [
            ("query", "query"),
            ("key", "key"),
            ("value", "value"),
            ("linear", "output"),
        ]
    }
    with jax.numpy_dtype_promotion("standard"):
        wanted = theirs.apply(renamed, None, x)
    found = ours.apply(params, None, example).features("word")
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_tables_are_as_large_as_the_topology_needs():
    settings = {"num_heads": 4, "score": ["content", "offset"]}
    shapes = {}
    for name, topology in {
        "complete": rl.Complete(),
        "causal": rl.Causal(),
        "local": rl.Blocks(size=2) & rl.Causal(),
    }.items():
        example = graph(topology, offset=rl.Offset(limit=5))
        params = attention(**settings).init(jax.random.key(0), example)
        shapes[name] = params["attention"]["score_offset"].shape
    assert shapes == {"complete": (4, 11, 4), "causal": (4, 6, 4), "local": (4, 4, 4)}
    shared = attention(**settings, tables="shared")
    params = shared.init(jax.random.key(0), graph(offset=rl.Offset(clip=2)))
    assert params["attention"]["score_offset"].shape == (1, 3, 4)


def test_attention_reads_relations_on_attributes():
    example = graph(interval=rl.Difference("pitch", clip=4))
    block = attention(num_heads=2, score=["content", "interval"], message=["interval"])
    params = block.init(jax.random.key(0), example)
    before = block.apply(params, None, example).features("word")
    pitch = example.nodes["word"]["pitch"]
    higher = rl.Graph(
        nodes={"word": {**example.nodes["word"], "pitch": pitch + 12}},
        edges=example.edges,
        batch_axes=1,
    )
    np.testing.assert_allclose(
        block.apply(params, None, higher).features("word"), before, atol=1e-6
    )
    other = rl.Graph(
        nodes={"word": {**example.nodes["word"], "pitch": pitch * 2}},
        edges=example.edges,
        batch_axes=1,
    )
    assert not np.allclose(block.apply(params, None, other).features("word"), before)


def test_attention_takes_and_gives_graph_tuples():
    tuple_ = jraph.GraphsTuple(
        nodes=jax.random.normal(jax.random.key(0), (5, 8)),
        edges=None,
        senders=jnp.array([0, 1, 2, 3]),
        receivers=jnp.array([1, 1, 3, 4]),
        globals=None,
        n_node=jnp.array([3, 2]),
        n_edge=jnp.array([2, 2]),
    )
    block = hk.transform(
        lambda graph: blocks.Attention(over="edge", num_heads=2)(graph)
    )
    params = block.init(jax.random.key(0), tuple_)
    found = jax.jit(block.apply)(params, None, tuple_)
    assert isinstance(found, jraph.GraphsTuple)
    np.testing.assert_array_equal(found.nodes[0], 0)  # Nobody speaks to node 0.
    alone = params["attention/value"]["w"] @ params["attention/output"]["w"]
    np.testing.assert_allclose(found.nodes[4], tuple_.nodes[3] @ alone, atol=1e-5)


@pytest.mark.parametrize(
    "lowering", [rl.lowerings.Edges(), rl.lowerings.Tiles(block=4)]
)
def test_dropout_is_the_same_in_every_lowering(lowering):
    def run(lowering):
        block = hk.transform(
            lambda graph: blocks.Attention(over="self", num_heads=2)(
                graph, dropout_rate=0.5, lowering=lowering
            )
        )
        params = block.init(jax.random.key(0), graph())
        return block.apply(params, jax.random.key(1), graph()).features("word")

    dense = run(rl.lowerings.Dense())
    np.testing.assert_allclose(run(lowering), dense, atol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(
        ValueError, match="`num_heads` must divide the width of the nodes, 16"
    ):
        attention(num_heads=5).init(jax.random.key(0), graph())


def test_feed_forward_is_two_dense_layers():
    block = hk.transform(lambda graph: blocks.FeedForward(width=8)(graph, "word"))
    params = jax.tree.map(np.asarray, block.init(jax.random.key(0), graph()))
    x = np.asarray(graph().features("word"))
    first, second = params["feed_forward/hidden"], params["feed_forward/output"]
    wanted = np.maximum(x @ first["w"] + first["b"], 0) @ second["w"] + second["b"]
    found = block.apply(params, None, graph()).features("word")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_gate_is_a_third_dense_layer_that_multiplies():
    layer = {"width": 8, "activation": "silu", "is_gated": True}
    block = hk.transform(lambda graph: blocks.FeedForward(**layer)(graph, "word"))
    params = jax.tree.map(np.asarray, block.init(jax.random.key(0), graph()))
    x = np.asarray(graph().features("word"))
    hidden, gate, output = (
        params[f"feed_forward/{part}"] for part in ("hidden", "gate", "output")
    )
    inner = x @ hidden["w"] + hidden["b"]
    swish = inner / (1 + np.exp(-inner)) * (x @ gate["w"] + gate["b"])
    found = block.apply(params, None, graph()).features("word")
    np.testing.assert_allclose(found, swish @ output["w"] + output["b"], atol=1e-5)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_residual_orders(order):
    def double(graph):
        return graph.with_features("word", 2 * graph.features("word")), None

    block = hk.transform(
        lambda graph: blocks.Residual(order, "word")(graph, double, "norm")[0]
    )
    example = graph()
    params = block.init(jax.random.key(0), example)
    x = np.asarray(example.features("word"))

    def norm(x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6)

    wanted = x + 2 * norm(x) if order == "pre" else norm(3 * x)
    found = block.apply(params, None, example).features("word")
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_sinusoids_of_the_paper_and_of_tensor2tensor():
    # Position 1 of width 8, computed from both definitions.
    paper = [0.841471, 0.540302, 0.099833, 0.995004, 0.01, 0.99995, 0.001, 1]
    halves = [0.841471, 0.046399, 0.002154, 0.0001, 0.540302, 0.998923, 0.999998, 1]
    one = jnp.array([1])
    np.testing.assert_allclose(
        blocks.sinusoids(one, 8, "interleaved")[0], paper, atol=1e-6
    )
    np.testing.assert_allclose(blocks.sinusoids(one, 8, "halves")[0], halves, atol=1e-6)
    with pytest.raises(ValueError, match="`width` must be even"):
        blocks.sinusoids(one, 7, "halves")


def test_embedding_scales_rows_and_reads_out_with_the_same_table():
    def both(tokens):
        table = blocks.Embedding(vocabulary=10, width=4)
        return table(tokens), table.read_out(table(tokens))

    model = hk.transform(both)
    tokens = jnp.array([[3, 1]])
    params = model.init(jax.random.key(0), tokens)
    rows, logits = model.apply(params, None, tokens)
    table = params["embedding"]["table"]
    np.testing.assert_allclose(rows[0], math.sqrt(4) * table[tokens[0]], atol=1e-6)
    np.testing.assert_allclose(logits[0], rows[0] @ table.T, atol=1e-6)


@pytest.mark.parametrize(
    "own",
    [
        lambda ids: {"topology": rl.Causal() & rl.SameSegment(ids // 3)},
        lambda ids: {"topology": rl.Complete() & rl.Lengths(senders=ids[..., 1])},
        lambda ids: {
            "topology": rl.Edges(ids, (ids + 1) % 7, num_receivers=7, num_senders=7)
        },
        lambda ids: {
            "label": rl.Labels((ids[..., None] + ids[..., None, :]) % 5, count=5)
        },
    ],
    ids=["segments", "lengths", "edges", "labels"],
)
def test_what_each_example_has_of_its_own_is_not_taken_for_heads(own):
    ids = np.random.default_rng(0).permuted(np.tile(np.arange(7), (2, 1)), axis=1)
    has_label = "label" in own(ids)
    block = attention(num_heads=2, score=["content", *["label"] * has_label])
    whole = graph(**own(ids))
    params = block.init(jax.random.key(1), whole)
    found = block.apply(params, None, whole).features("word")
    for at in range(2):  # As many examples as heads.
        alone = graph(**own(ids[at]))
        nodes = jax.tree.map(lambda leaf, at=at: leaf[at : at + 1], whole.nodes)
        alone = dataclasses.replace(alone, nodes=nodes)
        wanted = block.apply(params, None, alone).features("word")
        np.testing.assert_allclose(found[at], wanted[0], atol=1e-5)
