"""A spec's two halves meet: the data must be able to feed the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import specs
from relational.models import tasks


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("vocabulary=20", r"model.nodes.token.vocabulary: must be 48 or more.* got 20"),
        ("embed={voice: 4, beat: 16}", r"model.nodes.token.embed.beat: must be 32"),
    ],
)
def test_tables_smaller_than_the_data_are_refused(setting, words):
    spec = specs.override(specs.load("demo"), [f"model.nodes.token.{setting}"])
    with pytest.raises(ValueError, match=words):
        tasks.from_spec(spec)


def test_a_node_set_that_nothing_fills_is_refused():
    text = specs.dumps(specs.load("transformer"))
    cross = "cross: {from: word, to: token, topology: complete}"
    for old, new in {
        "  nodes:\n": "  nodes:\n    word: {vocabulary: 9, width: 8}\n",
        "edges: {": f"edges: {{{cross}, ",
        "blocks: [": "blocks: [{attention: {over: cross, heads: 8}}, ",
    }.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(ValueError, match=r"model.nodes.word: the chorales have"):
        tasks.from_spec(specs.loads(text))


def batch(size=3, length=8):
    rng = np.random.default_rng(0)
    position = np.arange(length)[None].repeat(size, 0)
    return {
        "token": rng.integers(0, 47, (size, length)).astype(np.int32),
        "previous": rng.integers(0, 48, (size, length)).astype(np.int32),
        "voice": (position % 4).astype(np.int32),
        "beat": (position // 4).astype(np.int32),
        "onset": (position // 4).astype(np.int32),
        "pitch": rng.integers(40, 80, (size, length)).astype(np.int32),
        "weight": (position < 6).astype(np.float32),
    }


def test_the_loss_is_the_surprise_of_the_counted_tokens():
    task, _ = tasks.from_spec(specs.load("demo"))
    example = batch()
    params = task.init(jax.random.key(0), example)
    found = task.outcome(params, jax.random.key(1), example, is_training=False)
    logits = task.model.apply(params, None, task.inputs(example), is_training=False)
    probability = jax.nn.softmax(logits)
    for b in range(3):
        tokens = example["token"][b, :6]
        wanted = -np.log(np.asarray(probability)[b, np.arange(6), tokens]).sum()
        np.testing.assert_allclose(found.loss[b], wanted, rtol=1e-4)
    np.testing.assert_array_equal(found.weight, [6, 6, 6])


def test_padding_changes_no_loss():
    task, _ = tasks.from_spec(specs.load("demo"))
    example = batch()
    params = task.init(jax.random.key(0), example)
    other = {name: leaf.copy() for name, leaf in example.items()}
    other["token"][:, 6:] = 0
    other["previous"][:, 7:] = 0
    losses = [
        task.outcome(params, jax.random.key(1), each, is_training=False).loss
        for each in (example, other)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert jnp.isfinite(losses[0]).all()
