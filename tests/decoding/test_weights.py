"""The weights of an attention, against what it made of them."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.blocks import Attention

HEADS, WIDTH, NODES = 2, 8, 11


def _graph() -> rl.Graph:
    draw = np.random.default_rng(0)
    relations = {"offset": rl.Offset(clip=3), "pitch": rl.Difference("pitch", limit=4)}
    return rl.Graph(
        nodes={
            "note": {
                "features": draw.normal(size=(3, NODES, WIDTH)).astype(np.float32),
                "pitch": draw.integers(0, 9, (3, NODES)),
            }
        },
        edges={
            "self": rl.EdgeSet(
                senders="note",
                receivers="note",
                topology=rl.Causal() & rl.Band(before=4),
                relations=relations,
            )
        },
        batch_axes=1,
    )


def _block(method: str):
    def run(graph):
        score = ["content", "offset", "pitch"]
        block = Attention(over="self", num_heads=HEADS, score=score)
        return getattr(block, method)(graph)

    init, apply = hk.without_apply_rng(hk.transform(run))
    return hk.Transformed(jax.jit(init), jax.jit(apply))


def test_weights_times_values_are_what_is_heard() -> None:
    graph = _graph()
    params = _block("__call__").init(jax.random.key(0), graph)
    weights = _block("weights").apply(params, graph)  # [B, H, N, N]
    matrix = {name.rpartition("/")[2]: leaf.get("w") for name, leaf in params.items()}
    own = matrix["value"].reshape(WIDTH, HEADS, WIDTH // HEADS)
    value = jnp.einsum("bsd,dhk->bhsk", graph.features("note"), own)
    heard = jnp.einsum("bhrs,bhsk->brhk", weights, value).reshape(3, NODES, WIDTH)
    expected = _block("__call__").apply(params, graph).features("note")
    np.testing.assert_allclose(heard @ matrix["output"], expected, atol=1e-5)


def test_weights_follow_the_topology_and_add_up_to_one() -> None:
    graph = _graph()
    params = _block("__call__").init(jax.random.key(0), graph)
    weights = np.asarray(_block("weights").apply(params, graph))
    mask = graph.edges["self"].topology.mask(NODES)
    assert ((weights > 0) == mask).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_a_node_that_hears_nobody_weighs_nothing() -> None:
    graph = rl.Graph(
        nodes={"note": jnp.ones([3, WIDTH])},
        edges={
            "self": rl.EdgeSet(
                senders="note",
                receivers="note",
                topology=rl.Edges(np.array([0, 1, 1]), np.array([2, 2, 2])),
            )
        },
    )
    block = hk.transform(
        lambda graph: Attention(over="self", num_heads=2).weights(graph)
    )
    params = block.init(jax.random.key(0), graph)
    weights = block.apply(params, None, graph)[0]
    # Equal nodes, two edges from node 1: a third and two thirds.
    np.testing.assert_allclose(
        weights, [[0] * 3, [0] * 3, [1 / 3, 2 / 3, 0]], rtol=1e-6
    )


def test_a_model_gives_the_weights_of_each_attention(causal) -> None:
    task, params = causal
    names = ("token", "voice", "beat", "onset", "pitch")
    inputs = {"token": {name: np.zeros([2, 5], np.int32) for name in names}}
    weights = jax.jit(task.model.weights)(params, inputs)
    assert [each.shape for each in weights] == [(2, 2, 5, 5)] * 2
    np.testing.assert_allclose(weights[1].sum(axis=-1), np.ones([2, 2, 5]), rtol=1e-5)
