"""Formulas of papers, met exactly: brute force in NumPy, one loop an index."""

import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import blocks
from relational.blocks.attention_terms import slopes
from relational.lowerings.diagonals import skew, unskew

LOWERINGS = [rl.lowerings.Edges(), rl.lowerings.Dense(), rl.lowerings.Tiles(block=8)]


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def draw(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda each: each.name)
def test_shaw_et_al_equations_3_and_4(lowering):
    clip, length, width = 2, 11, 4
    query, key, value, key_rows, value_rows = draw(
        *[(length, width)] * 3, *[(2 * clip + 1, width)] * 2
    )
    wanted = np.zeros((length, width), np.float32)
    for i in range(length):
        labels = [int(np.clip(j - i, -clip, clip)) + clip for j in range(length)]
        scores = [query[i] @ (key[j] + key_rows[labels[j]]) for j in range(length)]
        weights = softmax(np.array(scores) / math.sqrt(width))
        for j in range(length):
            wanted[i] += weights[j] * (value[j] + value_rows[labels[j]])
    found = rl.propagate(
        rl.Complete(),
        receivers={"query": query / math.sqrt(width)},
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset(clip=clip).rows(key=key_rows, value=value_rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver.query, sender.key),
            lambda receiver, offset: rl.dot(receiver.query, offset.key),
        ],
        message=[lambda sender: sender.value, lambda offset: offset.value],
        aggregator=rl.Softmax(),
        lowering=lowering,
    )
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.mark.parametrize("limit", [3, 10, 20])
@pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda each: each.name)
def test_music_transformer_skewing_and_zero_beyond_the_range(lowering, limit):
    length, width = 11, 4
    query, key, value = draw(*[(length, width)] * 3)
    (rows,) = draw((limit + 1, width))  # The last row is distance 0.
    relative = np.zeros((length, length), np.float32)
    for i in range(length):
        for j in range(max(0, i - limit), i + 1):
            relative[i, j] = query[i] @ rows[j - i + limit]
    wanted = np.zeros((length, width), np.float32)
    for i in range(length):
        scores = query[i] @ key[: i + 1].T + relative[i, : i + 1]
        wanted[i] = softmax(scores / math.sqrt(width)) @ value[: i + 1]
    found = rl.propagate(
        rl.Causal(),
        receivers={"query": query / math.sqrt(width)},
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset(limit=(-limit, 0)).rows(key=rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver.query, sender.key),
            lambda receiver, offset: rl.dot(receiver.query, offset.key),
        ],
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_shaw_index_matrix():
    positions = np.arange(5)
    labels = rl.Offset(clip=2).label(positions[None] - positions[:, None])
    assert labels.tolist() == [
        [2, 3, 4, 4, 4],
        [1, 2, 3, 4, 4],
        [0, 1, 2, 3, 4],
        [0, 0, 1, 2, 3],
        [0, 0, 0, 1, 2],
    ]


@pytest.mark.parametrize(
    ("receivers", "senders"), [(1, 1), (1, 5), (4, 1), (6, 3), (3, 7)]
)
def test_skew_reads_diagonals_and_unskew_adds_them(receivers, senders):
    width = receivers + senders - 1
    (value, weight) = draw((receivers, width), (receivers, senders))
    wanted = np.zeros((receivers, senders), np.float32)
    added = np.zeros((receivers, width), np.float32)
    for r in range(receivers):
        for s in range(senders):
            wanted[r, s] = value[r, s - r + receivers - 1]
            added[r, s - r + receivers - 1] += weight[r, s]
    np.testing.assert_array_equal(skew(jnp.asarray(value), senders), wanted)
    np.testing.assert_array_equal(
        unskew(jnp.asarray(weight), receivers + senders - 1), added
    )


def test_the_skewing_of_the_paper_is_ours_with_a_column_more():
    # Huang et al. 2018, figure 1: a column of zeros in front, read in rows one longer.
    value = np.arange(16.0).reshape(4, 4)
    padded = np.pad(value, ((0, 0), (1, 0)))
    wanted = padded.reshape(5, 4)[1:]
    assert wanted.tolist() == [
        [3, 0, 4, 5],
        [6, 7, 0, 8],
        [9, 10, 11, 0],
        [*range(12, 16)],
    ]
    ours = skew(jnp.asarray(np.pad(value, ((0, 0), (0, 1)))), 4)
    np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("length", [12, 10, 4, 3])
@pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda each: each.name)
def test_music_transformer_local_attention(lowering, length):
    # Huang et al. 2018, section 3.4.2: a block hears itself, causally, and all of the
    # block before; distances reach over both.
    size, width = 4, 4
    query, key, value = draw(*[(length, width)] * 3)
    (rows,) = draw((2 * size, width))  # The last row is distance 0.
    wanted = np.zeros((length, width), np.float32)
    for start in range(0, length, size):
        memory = range(max(0, start - size), min(start + size, length))
        for i in range(start, memory.stop):
            scores = np.full(len(memory), -np.inf)
            for at, j in enumerate(memory):
                if j <= i:
                    scores[at] = query[i] @ (key[j] + rows[j - i + 2 * size - 1])
            weights = softmax(scores / math.sqrt(width))
            wanted[i] = weights @ value[memory.start : memory.stop]
    found = rl.propagate(
        rl.Blocks(size=size) & rl.Causal(),
        receivers={"query": query / math.sqrt(width)},
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset(limit=(1 - 2 * size, 0)).rows(key=rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver.query, sender.key),
            lambda receiver, offset: rl.dot(receiver.query, offset.key),
        ],
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def attend(topology, query, key, value, **more):
    """Multi-head attention of arrays [B, T, H, D], as JAX takes them."""
    sides = [jnp.moveaxis(x, 1, 2) for x in (query, key, value)]
    score = [lambda receiver, sender: rl.dot(receiver, sender.key)]
    found = rl.propagate(
        topology,
        batch_axes=2,
        receivers=sides[0] / math.sqrt(query.shape[-1]),
        senders={"key": sides[1], "value": sides[2]},
        score=score + more.pop("score", []),
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        **more,
    )
    return jnp.moveaxis(found, 1, 2)


LENGTHS = np.array([7, 4])
MASK = np.random.default_rng(1).random((9, 9)) < 0.6
MASK[:, 0] = True  # JAX gives a row of nothing the mean of all values.
TO_JAX = {
    "causal": (rl.Causal(), {"is_causal": True}),
    "window": (rl.Band(before=3, after=1), {"local_window_size": (3, 1)}),
    "causal window": (
        rl.Causal() & rl.Band(before=2),
        {"is_causal": True, "local_window_size": 2},
    ),
    "lengths": (
        rl.Complete() & rl.Lengths(senders=LENGTHS[:, None]),
        {"key_value_seq_lengths": LENGTHS},
    ),
    "mask": (rl.Edges(*np.nonzero(MASK)[::-1], 9), {"mask": MASK[None, None]}),
}


@pytest.mark.parametrize("name", TO_JAX)
def test_attention_is_that_of_jax(name):
    topology, asked = TO_JAX[name]
    arrays = [jnp.asarray(x) for x in draw(*[(2, 9, 3, 8)] * 3)]

    def ours(arrays):
        return attend(topology, *arrays)

    def theirs(arrays):
        return jax.nn.dot_product_attention(*arrays, **asked)

    np.testing.assert_allclose(ours(arrays), theirs(arrays), atol=2e-6)
    slopes = [
        jax.grad(lambda arrays: jnp.sin(f(arrays)).sum())(arrays)  # noqa: B023
        for f in (ours, theirs)
    ]
    for found, wanted in zip(*slopes, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_bias_of_each_pair_is_a_feature_of_each_edge():
    query, key, value, bias = (
        jnp.asarray(x) for x in draw(*[(2, 9, 3, 8)] * 3, (2, 3, 9, 9))
    )
    wanted = jax.nn.dot_product_attention(query, key, value, bias=bias)
    found = attend(
        rl.Complete(),
        query,
        key,
        value,
        edges=bias.reshape(2, 3, 81),
        score=[lambda edge: edge],
    )
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_few_key_heads_for_many_queries_are_one_more_axis():
    query, key, value = (
        jnp.asarray(x) for x in draw((2, 9, 6, 8), *[(2, 9, 3, 8)] * 2)
    )
    wanted = jax.nn.dot_product_attention(query, key, value, is_causal=True)
    grouped = jnp.moveaxis(query, 1, 2).reshape(2, 3, 2, 9, 8)
    found = rl.propagate(
        rl.Causal(),
        batch_axes=3,
        receivers=grouped / math.sqrt(8),
        senders={
            "key": jnp.moveaxis(key, 1, 2)[:, :, None],
            "value": jnp.moveaxis(value, 1, 2)[:, :, None],
        },
        score=lambda receiver, sender: rl.dot(receiver, sender.key),
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )
    np.testing.assert_allclose(
        jnp.moveaxis(found.reshape(2, 6, 9, 8), 1, 2), wanted, atol=2e-6
    )


@pytest.mark.parametrize("with_bias", [True, False])
def test_attention_to_another_node_set_is_that_of_haiku(with_bias):
    # Causal attention of a set to itself is compared in tests/blocks/test_blocks.py.
    x, memory = (jnp.asarray(x) for x in draw((2, 5, 16), (2, 9, 16)))
    graph = rl.Graph(
        nodes={"word": x, "memory": memory},
        edges={
            "cross": rl.EdgeSet(
                senders="memory",
                receivers="word",
                topology=rl.Complete() & rl.Lengths(senders=LENGTHS),
            )
        },
        batch_axes=1,
    )
    init = hk.initializers.RandomNormal(0.3)
    mask = (np.arange(9) < LENGTHS[:, None])[:, None, None]
    theirs = hk.transform(
        lambda: hk.MultiHeadAttention(
            4, 3, w_init=init, with_bias=with_bias, b_init=init, model_size=16
        )(x, memory, memory, mask=jnp.broadcast_to(mask, (2, 1, 5, 9)))
    )
    ours = hk.transform(
        lambda: blocks.Attention(
            over="cross", num_heads=4, head_width=3, with_bias=with_bias
        )(graph).nodes["word"]
    )
    params = theirs.init(jax.random.key(1))
    names = {"query": "query", "key": "key", "value": "value", "linear": "output"}
    renamed = {
        f"attention/{new}": params[f"multi_head_attention/{old}"]
        for old, new in names.items()
    }
    np.testing.assert_allclose(
        ours.apply(renamed, None), theirs.apply(params, None), atol=5e-6
    )


_FAR = [-200, -128, -127, -64, -33, -16, -12, -8, -7, 0, 1, 7, 8, 12, 31, 46, 90, 500]


@pytest.mark.parametrize(
    ("buckets", "labels"),
    [
        (
            rl.Buckets(),
            [15, 15, 15, 14, 12, 10, 9, 8, 7, 0, 17, 23, 24, 25, 27, 29, 30, 31],
        ),
        (
            rl.Buckets(later=False),
            [31, 31, 31, 26, 21, 16, 12, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            rl.Buckets(num_buckets=6, furthest=30, later=False),
            [5, 5, 5, 5, 5, 5, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ],
    ids=str,
)
def test_buckets_are_those_of_t5(buckets, labels):
    # Recorded: `T5Attention._relative_position_bucket` of transformers 5.24.0.
    assert buckets.label(np.array(_FAR)).tolist() == labels
    assert jax.jit(buckets.label)(jnp.array(_FAR)).tolist() == labels


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda each: each.name)
def test_the_scores_of_t5_and_their_gradients(lowering, later):
    # Raffel et al. 2020, section 2.1: a number a bucket, added to the score.
    near = rl.Buckets(num_buckets=6, furthest=9, later=later)
    topology = rl.Complete() if later else rl.Causal()
    query, key, value, bias = map(jnp.asarray, draw(*[(19, 4)] * 3, (6,)))

    def ours(bias):
        return rl.propagate(
            topology,
            receivers={"query": query},
            senders={"key": key, "value": value},
            relations={"near": near.rows(bias=bias)},
            score=[
                lambda receiver, sender: rl.dot(receiver.query, sender.key),
                lambda near: near.bias,
            ],
            message=lambda sender: sender.value,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    def formula(bias):
        position = np.arange(19)
        away = position[None] - position[:, None]
        scores = query @ key.T + bias[near.label(away)]
        is_heard = away <= (19 if later else 0)
        return jax.nn.softmax(jnp.where(is_heard, scores, -jnp.inf)) @ value

    for function in (lambda f: f(bias), lambda f: jax.jacobian(f)(bias)):
        found, wanted = jax.jit(lambda f=function: (f(ours), f(formula)))()
        np.testing.assert_allclose(found, wanted, atol=3e-6)
        assert np.abs(wanted).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_buckets": 3}, "`Buckets.num_buckets` must be 4 or more; got 3"),
        ({"num_buckets": 7}, "must be even, for two sides; got 7. Or `later=False`"),
        ({"furthest": 8}, "`Buckets.furthest` must be more than 8, below which each"),
    ],
)
def test_buckets_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        rl.Buckets(**changes)


def test_slopes_are_those_of_alibi():
    # Recorded: `build_alibi_tensor` of BLOOM in transformers 5.24.0.
    assert slopes(4).tolist() == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]
    beyond = [0.7071067690849304, 0.3535533845424652, 0.1767766773700714]
    np.testing.assert_allclose(slopes(12)[8:11], beyond, rtol=1e-6)


def test_a_bias_of_each_bucket_and_a_fall_with_the_distance_are_added_to_the_score():
    near = rl.Buckets(num_buckets=4, furthest=3)
    graph = rl.Graph(
        nodes={"word": jnp.asarray(draw((1, 6, 8))[0])},
        batch_axes=1,
        edges={
            "self": rl.EdgeSet(
                senders="word",
                receivers="word",
                topology=rl.Complete(),
                relations={"near": near},
            )
        },
    )

    def attention():
        return blocks.Attention(
            over="self", num_heads=2, biases=["near"], with_slopes=True
        )

    apply = hk.without_apply_rng(hk.transform(lambda: attention().weights(graph)))
    params = apply.init(jax.random.key(0))
    params["attention"]["bias_near"] = jnp.asarray(draw((2, 4))[0])
    found = apply.apply(params)  # [1, H, R, S]
    x = np.asarray(graph.features("word")[0])
    position = np.arange(6)
    away = position[None] - position[:, None]
    for head in range(2):
        query, key = (
            (x @ np.asarray(params[f"attention/{name}"]["w"]))[:, 4 * head :][:, :4]
            for name in ("query", "key")
        )
        scores = (
            query @ key.T / 2 + params["attention"]["bias_near"][head, near.label(away)]
        )
        scores = scores - slopes(2)[head] * np.abs(away)
        wanted = np.stack([softmax(row) for row in np.asarray(scores)])
        np.testing.assert_allclose(found[0, head], wanted, atol=2e-6)


def test_alibi_in_four_lines():
    # Press et al. 2022: a slope a head times the distance, added to the score.
    query, key, value = (jnp.asarray(x) for x in draw(*[(2, 9, 4)] * 3))
    slopes = jnp.array([0.5, 0.25])
    found = rl.propagate(
        rl.Causal(),
        batch_axes=1,
        receivers=query,
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset()},
        context=slopes,
        score=[
            lambda receiver, sender: rl.dot(receiver, sender.key),
            lambda offset, context: context * offset.astype(jnp.float32),
        ],
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )
    distance = np.arange(9)[None] - np.arange(9)[:, None]
    for head in range(2):
        scores = np.asarray(query[head] @ key[head].T) + float(slopes[head]) * distance
        for i in range(9):
            wanted = softmax(scores[i, : i + 1]) @ np.asarray(value[head, : i + 1])
            np.testing.assert_allclose(found[head, i], wanted, atol=2e-6)


@pytest.mark.parametrize("topology", [rl.Complete(), rl.Causal()], ids=str)
@pytest.mark.parametrize(
    "lowering",
    [
        rl.lowerings.Edges(),
        rl.lowerings.Dense(),
        rl.lowerings.Tiles(block=4),
        rl.lowerings.Tiles(block=4, senders=5, graphs=2),
    ],
    ids=str,
)
def test_deberta_content_to_position_and_position_to_content(lowering, topology):
    # He et al. 2021, equation 4: the key is asked by its own offset to the receiver,
    # delta(j, i), where content to position looks up delta(i, j).
    length, span = 9, 3
    query, key, value = draw(*[(2, length, 4)] * 3)
    from_position, to_position = draw((2, 2 * span + 1, 4), (2, 2 * span + 1, 4))

    def attend(query, key, value, from_position, to_position):
        return rl.propagate(
            topology,
            batch_axes=1,
            receivers={"query": query},
            senders={"key": key, "value": value},
            relations={
                "offset": rl.Offset(clip=span).rows(
                    key=to_position, query=from_position
                )
            },
            score=[
                lambda receiver, sender: rl.dot(receiver.query, sender.key),
                lambda receiver, offset: rl.dot(receiver.query, offset.key),
                lambda sender, offset: rl.dot(sender.key, offset.query),
            ],
            message=lambda sender: sender.value,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    def by_hand(query, key, value, from_position, to_position):
        place = np.arange(length)
        label = np.clip(place[None] - place[:, None], -span, span) + span
        scores = jnp.einsum("hik,hjk->hij", query, key)
        scores += jnp.einsum("hik,hijk->hij", query, to_position[:, label])
        scores += jnp.einsum("hjk,hijk->hij", key, from_position[:, label])
        mask = topology.mask(length, length)
        weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))
        return jnp.einsum("hij,hjk->hik", weights, value)

    arrays = [jnp.asarray(x) for x in (query, key, value, from_position, to_position)]
    wanted, pull = jax.vjp(by_hand, *arrays)
    found, pull_found = jax.vjp(attend, *arrays)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    for one, other in zip(pull_found(value), pull(value), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
