"""One sequence to another: a spec of two node sets and three edge sets."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import models, specs
from relational.models.surprise import smoothed_entropy, surprise
from relational.models.translation import Translation
from relational.training.steps import initial_state, update
from tests.models import pairs

SPECS = {"absolute": pairs.absolute(), "relative": pairs.relative()}
BATCH = pairs.reversals(4)


@functools.cache
def made(name):
    task = Translation(SPECS[name])
    params = task.init(jax.random.key(0), BATCH)
    return task, params, jax.jit(task.model.apply, static_argnames="is_training")


@pytest.fixture(params=SPECS)
def case(request):
    return made(request.param)


def is_counted(batch):
    return np.arange(batch["target"].shape[1]) < batch["target_length"][:, None]


def test_padding_is_invisible(case):
    task, params, apply = case
    logits = apply(params, None, task.inputs(BATCH), is_training=False)
    noise = np.random.default_rng(1).integers(2, 14, BATCH["source"].shape)
    other = dict(BATCH)
    for side in ("source", "target"):
        beyond = np.arange(8) >= BATCH[f"{side}_length"][:, None]
        other[side] = np.where(beyond, noise, BATCH[side]).astype(np.int32)
    found = apply(params, None, task.inputs(other), is_training=False)
    mask = is_counted(BATCH)
    np.testing.assert_allclose(found[mask], logits[mask], atol=1e-5)
    assert jnp.isfinite(found).all()


def test_a_pair_is_the_same_alone_and_in_a_batch(case):
    task, params, apply = case
    logits = apply(params, None, task.inputs(BATCH), is_training=False)
    row = 1
    s, t = (BATCH[f"{side}_length"][row] for side in ("source", "target"))
    whole = task.inputs(BATCH)
    alone = {
        "source": {"token": whole["source"]["token"][row : row + 1, :s]},
        "target": {"token": whole["target"]["token"][row : row + 1, :t]},
    }  # Without lengths all nodes count.
    found = apply(params, None, alone, is_training=False)
    np.testing.assert_allclose(found[0], logits[row, :t], atol=1e-5)


def test_packed_pairs_do_not_hear_each_other(case):
    task, params, apply = case
    logits = apply(params, None, task.inputs(BATCH), is_training=False)
    inputs, rows = task.inputs(BATCH), (0, 1, 2)
    packed = {}
    for side in ("source", "target"):
        lengths = [int(BATCH[f"{side}_length"][row]) for row in rows]
        spans = [
            inputs[side]["token"][row, :n] for row, n in zip(rows, lengths, strict=True)
        ]
        packed[side] = {
            "token": jnp.concatenate(spans)[None],
            "segment": jnp.asarray(np.repeat(rows, lengths))[None],
        }
    found = apply(params, None, packed, is_training=False)[0]
    np.testing.assert_allclose(found, logits[is_counted(BATCH)], atol=1e-5)


def test_stepping_equals_the_parallel_pass(case):
    task, params, apply = case
    inputs = task.inputs(BATCH)
    whole = apply(params, None, inputs, is_training=False)
    target = inputs["target"]["token"]
    one = {**inputs, "target": {"token": target[:, :1]}}
    caches = jax.jit(task.model.start, static_argnums=2)(params, one, 8)
    assert [cache.is_fixed for cache in caches] == [False, True]
    assert caches[1].slots == 8
    prime = {"target": {"token": target[:, :3]}}
    lengths = jnp.array([3, 1, 2, 0])
    logits, caches = task.model.prefill(params, caches, prime, lengths)
    step = jax.jit(task.model.step)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(logits[row, :length], whole[row, :length], atol=1e-4)
    for ahead in range(5):
        at = lengths + ahead
        node = {"target": {"token": jnp.take_along_axis(target, at[:, None], axis=1)}}
        logits, caches = step(params, caches, node, at)
        wanted = jnp.take_along_axis(whole, at[:, None, None], axis=1)
        there = np.asarray(at < BATCH["target_length"])
        np.testing.assert_allclose(logits[there], wanted[there], atol=1e-4)


def test_a_source_that_hears_the_target_has_no_step():
    spec = SPECS["absolute"]
    back = specs.EdgeSetSpec(
        sender_set="target", receiver_set="source", topology=specs.CompleteSpec()
    )
    over = specs.BlockSpec(attention=specs.AttentionSpec(over="back", heads=2))
    spec = dataclasses.replace(
        spec, edges={**spec.edges, "back": back}, blocks=(*spec.blocks, over)
    )
    task = Translation(spec)
    with pytest.raises(ValueError, match="by the edge set `back`, `source` hears"):
        jax.eval_shape(
            lambda: task.model.start(
                task.init(jax.random.key(0), BATCH), task.inputs(BATCH), 8
            )
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i: i.pop("source"), "`inputs` must hold .* `source` has none"),
        (
            lambda i: i["source"].update(segment=jnp.zeros([4, 8], int)),
            "`segment` must be given for both ends of the edge set `cross`",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change, words):
    task = Translation(SPECS["absolute"])
    inputs = {name: dict(leaves) for name, leaves in task.inputs(BATCH).items()}
    change(inputs)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(task.model.init, jax.random.key(0), inputs)


def test_a_shared_table_is_one_table_and_the_read_out_is_tied():
    _, params, _ = made("absolute")
    tables = [name for name in params if "table" in params[name]]
    assert tables == ["model/embed_source"]
    assert not any("read_out" in name for name in params)


@pytest.mark.parametrize(
    ("name", "millions"),  # With 37 000 subwords; the paper prints 65 and 213.
    [("transformer_base", 63.0), ("transformer_big", 214.2)],
)
def test_the_models_of_the_paper_have_its_sizes(name, millions):
    task = Translation(specs.load(name).model)
    params = jax.eval_shape(lambda: task.init(jax.random.key(0), BATCH))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert round(count / 1e6, 1) == millions


def _norm(x, p):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["offset"]


def _attention(p, name, x, senders, mask):
    q, k, v = (
        (y @ p[f"model/{name}/{part}"]["w"]).reshape(len(y), 2, -1).swapaxes(0, 1)
        for part, y in (("query", x), ("key", senders), ("value", senders))
    )
    score = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    weights = np.exp(np.where(mask, score, -np.inf))
    weights = weights / weights.sum(-1, keepdims=True)
    heard = (weights @ v).swapaxes(0, 1).reshape(len(x), -1)
    return heard @ p[f"model/{name}/output"]["w"]


def _feed_forward(p, name, x):
    hidden, out = (p[f"model/{name}/{part}"] for part in ("hidden", "output"))
    return np.maximum(x @ hidden["w"] + hidden["b"], 0) @ out["w"] + out["b"]


def _waves(length, width):
    p, i = np.arange(length)[:, None], np.arange(width // 2)
    angle = p / 10_000 ** (2 * i / width)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, width)


@pytest.mark.parametrize("order", ["pre", "post"])
def test_it_is_the_transformer_of_the_paper(order):
    """Vaswani et al. 2017, section 3, written out in NumPy for one pair."""
    task = Translation(dataclasses.replace(SPECS["absolute"], normalization=order))
    params = jax.tree.map(np.asarray, task.init(jax.random.key(3), BATCH))
    rng = np.random.default_rng(0)
    source, before = rng.integers(2, 14, 6), np.append(0, rng.integers(2, 14, 3))
    table = params["model/embed_source"]["table"]

    def part(x, f, name):
        p = params[f"model/{name}_norm"]
        return x + f(_norm(x, p)) if order == "pre" else _norm(x + f(x), p)

    def attend(x, name, mask, senders=None):
        def f(y):
            heard = y if senders is None else senders
            return _attention(params, name, y, heard, mask)

        return part(x, f, name)

    def alone(x, name):
        return part(x, lambda y: _feed_forward(params, name, y), name)

    x = table[source] * 4 + _waves(6, 16)
    x = alone(attend(x, "layer_0_attention", True), "layer_0_feed_forward")
    y = table[before] * 4 + _waves(4, 16)
    name = "layer_1_attention"
    if order == "pre":
        x = _norm(x, params["model/final_norm_source"])
    y = attend(y, f"{name}_target_self", np.tril(np.ones([4, 4], bool)))
    y = alone(attend(y, f"{name}_cross", True, x), "layer_1_feed_forward")
    if order == "pre":
        y = _norm(y, params["model/final_norm"])
    inputs = {"source": {"token": source[None]}, "target": {"token": before[None]}}
    found = task.model.apply(params, None, inputs, is_training=False)
    np.testing.assert_allclose(found[0], y @ table.T, atol=1e-4)


def test_the_loss_counts_the_tokens_of_the_targets_and_nothing_else(case):
    task, params, apply = case
    logits = apply(params, None, task.inputs(BATCH), is_training=False)
    probability = np.asarray(jax.nn.softmax(logits))
    found = task.outcome(params, jax.random.key(0), BATCH, is_training=False)
    right = found.measures["accuracy"]
    for row, length in enumerate(BATCH["target_length"]):
        tokens = BATCH["target"][row, :length]
        at = probability[row, np.arange(length)]
        nats = -np.log(at[np.arange(length), tokens]).sum()
        np.testing.assert_allclose(found.loss[row], nats, rtol=1e-4)
        assert float(right.total[row]) == (at.argmax(-1) == tokens).sum()
    np.testing.assert_array_equal(found.weight, BATCH["target_length"])
    np.testing.assert_array_equal(right.size, BATCH["target_length"])


@pytest.mark.parametrize(("size", "entropy"), [(32_768, 1.364801), (37_000, 1.376948)])
def test_smoothed_labels_have_the_published_entropy(size, entropy):
    assert smoothed_entropy(size, 0.1) == pytest.approx(entropy, abs=1e-6)


def test_the_smoothed_loss_is_the_divergence_from_the_smoothed_label():
    rng = np.random.default_rng(0)
    logits, token = rng.normal(size=[5, 7]), rng.integers(0, 7, 5)
    label = np.full([5, 7], 0.1 / 6)
    label[np.arange(5), token] = 0.9
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = (label * (np.log(label) - log_p)).sum(-1)
    found = surprise(jnp.asarray(logits, jnp.float32), jnp.asarray(token), 0.1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    least = surprise(jnp.log(jnp.asarray(label, jnp.float32)), jnp.asarray(token), 0.1)
    np.testing.assert_allclose(least, 0, atol=1e-6)


def test_labels_are_smoothed_in_training_only():
    plain, smoothed = (Translation(SPECS["absolute"], e) for e in (0.0, 0.2))
    _, params, _ = made("absolute")
    nats = {
        (task, is_training): task.outcome(
            params, jax.random.key(0), BATCH, is_training=is_training
        ).loss.sum()
        for task in (plain, smoothed)
        for is_training in (False, True)
    }
    assert nats[smoothed, False] == nats[plain, False] == nats[plain, True]
    assert nats[smoothed, True] != nats[plain, True]


def test_reversing_is_learned():
    task = Translation(pairs.absolute(width=32), 0.0)
    training = specs.TrainingSpec(
        steps=1, batch_size=64, schedule=specs.ConstantSpec(rate=5e-3)
    )
    state = initial_state(task, training, pairs.reversals(64))
    for seed in range(250):
        batch = pairs.reversals(64, seed=seed)
        batch = {name: leaf[None] for name, leaf in batch.items()}
        state, _ = update(state, batch, task=task, training=training)
    held_out = pairs.reversals(64, seed=10_000)
    found = task.outcome(state.params, jax.random.key(0), held_out, is_training=False)
    assert found.loss.sum() / found.weight.sum() < 0.3  # Of log 14 = 2.6 by chance.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"target": {"vocabulary": 15}},
            "model.nodes.target.vocabulary: must be that of `source`, .* 14; got 15",
        ),
        (
            {"target": {"width": 32}},
            "model.nodes.target.width: must leave 16 channels .* `source`",
        ),
        (
            {"target": {"embedding": "sauce"}},
            "model.nodes.target.embedding: `sauce` is no other node set .* `source`",
        ),
        (
            {"source": {"embedding": "target"}},
            "model.nodes.source.embedding: `target` is no other node set with a table",
        ),
    ],
)
def test_tables_that_cannot_be_shared_are_refused(change, words):
    nodes = {
        name: dataclasses.replace(node, **change.get(name, {}))
        for name, node in SPECS["absolute"].nodes.items()
    }
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SPECS["absolute"], nodes=nodes)


def test_attentions_of_a_block_end_in_one_node_set():
    blocks = (
        *SPECS["absolute"].blocks,
        specs.BlockSpec(
            attention=[
                specs.AttentionSpec(over=name, heads=2)
                for name in ("cross", "source_self")
            ]
        ),
    )
    words = r"model.blocks\[2\].attention\[1\].over: must be an edge set that ends in"
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SPECS["absolute"], blocks=blocks)


def test_one_attention_in_a_list_is_that_attention():
    one = specs.AttentionSpec(over="self", heads=2)
    assert specs.BlockSpec(attention=[one]) == specs.BlockSpec(attention=one)
    assert specs.BlockSpec(attention=[one, one]).attentions == (one, one)


def test_a_model_is_built_once():
    assert Translation(pairs.absolute()).model is Translation(pairs.absolute()).model
    assert isinstance(made("absolute")[0].model, models.Model)
