"""Formulas of papers, met exactly: brute force in NumPy, one loop an index."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
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


def test_plain_attention_is_that_of_jax():
    query, key, value = (jnp.asarray(x) for x in draw(*[(2, 9, 3, 8)] * 3))  # B T H D.
    wanted = jax.nn.dot_product_attention(query, key, value, is_causal=True)
    sides = [jnp.moveaxis(x, 1, 2) for x in (query / math.sqrt(8), key, value)]
    found = rl.propagate(
        rl.Causal(),
        batch_axes=2,
        receivers=sides[0],
        senders={"key": sides[1], "value": sides[2]},
        score=lambda receiver, sender: rl.dot(receiver, sender.key),
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )
    np.testing.assert_allclose(jnp.moveaxis(found, 1, 2), wanted, atol=2e-6)


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
