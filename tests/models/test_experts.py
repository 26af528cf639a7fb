"""Specs with mixtures of experts: trained, stepped, explained."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import models, specs
from relational.command_line import explain
from relational.models.tasks import NextToken
from relational.models.translation import Translation
from relational.training.steps import initial_state, update
from tests.models import pairs

EXPERTS = specs.ExpertsSpec(
    count=4, chosen=2, width=8, capacity=0.75, noise=True, router_z=0.001
)
BATCH = pairs.reversals(4)


def spec(**changes):
    """One block with experts in the source, one behind a feed-forward in the target."""
    bare = pairs.absolute()
    experts = dataclasses.replace(EXPERTS, **changes)
    blocks = (
        dataclasses.replace(bare.blocks[0], feed_forward=None, experts=experts),
        dataclasses.replace(bare.blocks[1], experts=experts),
    )
    return dataclasses.replace(bare, blocks=blocks)


@functools.cache
def made():
    task = Translation(spec())
    params = task.init(jax.random.key(0), BATCH)
    return (
        task,
        params,
        jax.jit(task.model.with_auxiliary, static_argnames="is_training"),
    )


def test_stepping_equals_the_pass_that_drops_nothing():
    task, params, run = made()
    inputs = task.inputs(BATCH)
    whole, _ = run(params, None, inputs, is_training=False)
    target = inputs["target"]["token"]
    one = {**inputs, "target": {"token": target[:, :1]}}
    caches = jax.jit(task.model.start, static_argnums=2)(params, one, 8)
    step = jax.jit(task.model.step)
    for at in range(3):
        node = {"target": {"token": target[:, at : at + 1]}}
        logits, caches = step(params, caches, node, jnp.full(4, at))
        there = np.asarray(at < BATCH["target_length"])
        np.testing.assert_allclose(logits[there, 0], whole[there, at], atol=1e-4)


def test_padding_changes_no_result_and_no_loss_of_a_training():
    task, params, run = made()
    noise = np.random.default_rng(1).integers(2, 14, BATCH["source"].shape)
    other = dict(BATCH)
    for side in ("source", "target"):
        beyond = np.arange(8) >= BATCH[f"{side}_length"][:, None]
        other[side] = np.where(beyond, noise, BATCH[side]).astype(np.int32)
    key = jax.random.key(0)
    found, aside = run(params, key, task.inputs(BATCH), is_training=True)
    again, its = run(params, key, task.inputs(other), is_training=True)
    mask = np.arange(8) < BATCH["target_length"][:, None]
    np.testing.assert_allclose(again[mask], found[mask], atol=1e-5)
    assert set(aside.losses) == {"balance", "router_z"}
    assert set(aside.noted) == {"busiest_expert", "dropped_choices"}
    for mine, other_ in zip(*map(jax.tree.leaves, (aside, its)), strict=True):
        np.testing.assert_allclose(mine, other_, rtol=1e-5)
    assert 0 < float(aside.noted["dropped_choices"]) < 1
    assert 0.25 <= float(aside.noted["busiest_expert"]) <= 1
    _, calm = run(params, None, task.inputs(BATCH), is_training=False)
    assert float(calm.noted["dropped_choices"]) == 0


def test_a_training_adds_the_losses_and_reports_them():
    task = Translation(spec(noise=False))
    training = specs.TrainingSpec(
        steps=1, batch_size=4, schedule=specs.ConstantSpec(rate=1e-3)
    )
    state = initial_state(task, training, BATCH)
    router = state.params["model/layer_0_experts"]["router"]
    batch = {name: leaf[None] for name, leaf in BATCH.items()}
    before = np.asarray(router)  # Its buffer will be gone.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
    judge = jax.jit(task.outcome, static_argnames="is_training")
    outcome = judge(state.params, key, BATCH, is_training=True)
    wanted = {name: float(leaf) for name, leaf in outcome.auxiliary.items()}
    state, report = update(state, batch, task=task, training=training)
    numbers = report.numbers()
    for name, value in wanted.items():
        np.testing.assert_allclose(numbers[name], value, rtol=1e-4)
    assert 0.02 <= numbers["balance"] < 0.04  # Two layers, 0.01 each if all were alike.
    assert "busiest_expert" in numbers
    assert not np.array_equal(before, state.params["model/layer_0_experts"]["router"])


def test_a_model_of_one_sequence_hands_its_losses_on_as_well():
    one = "{count: 3, chosen: 1, width: 4}"
    shipped = specs.override(
        specs.load("transformer"),
        [
            "model.nodes.token.width=8",
            f"model.blocks=[{{attention: {{over: self, heads: 2}}, experts: {one}}}]",
        ],
    )
    task = NextToken(shipped.model)
    batch = {
        name: jax.ShapeDtypeStruct((2, 6), "int32")
        for name in ("token", "previous", "voice", "beat")
    } | {"weight": jax.ShapeDtypeStruct((2, 6), "float32")}

    def outcome(key, batch):
        inputs = task.inputs(batch)
        params = task.model.init(key, inputs)
        return task.outcome(params, key, batch, is_training=True)

    key = jax.eval_shape(lambda: jax.random.key(0))
    found = jax.eval_shape(outcome, key, batch)
    assert {name: leaf.shape for name, leaf in found.auxiliary.items()} == {
        "balance": ()
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": 5}, "must have `chosen` of at most `count`, 4; got 5"),
        (
            {"chosen": 1, "softmax": "chosen"},
            "must have `softmax: all` where one expert",
        ),
        ({"capacity": 0.0}, "capacity"),
    ],
)
def test_specs_that_make_no_mixture_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(EXPERTS, **change)


def test_the_shipped_spec_is_explained_with_its_experts(capsys):
    explain.explain(
        "multi30k_experts",
        ["model.nodes.source.width=16", "model.nodes.target.width=16"],
        2,
        8,
    )
    said = capsys.readouterr().out
    ends = "edges from the 8 experts of `model.blocks[1]` to `source`"
    assert f"{ends}: Neighbours(2 of 8), which a router chooses" in said
    assert "Neighbours(2 of 8): 16 receivers x 8 senders, 32 edges" in said
    assert "by_sender" in said
    model = models.build(specs.load("multi30k_experts").model)
    assert model.spec.blocks[1].experts.count == 8
