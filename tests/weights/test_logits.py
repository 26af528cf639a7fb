"""Imported models say what the originals say, in one pass and token by token."""

import importlib.util
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import specs, weights
from tests.weights.hugging_face import (
    GOLDEN,
    NAMES,
    imported,
    inputs_of,
    model_of,
    recorded,
)

TOLERANCE = 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_hugging_face(name):
    model, params, known = model_of(name), imported(name).params, recorded(name)
    inputs = inputs_of(name)
    found = jax.jit(lambda: model.apply(params, None, inputs, is_training=False))()
    is_there = np.ones(found.shape[:2], bool)
    if "token" in inputs and "attention_mask" in known:  # What is read out is padded.
        is_there = known["attention_mask"] > 0
    np.testing.assert_allclose(
        found[is_there], known["logits"][is_there], atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_that_the_spec_asks_for(name):
    key = jax.random.key(0)
    asked = jax.eval_shape(lambda: model_of(name).init(key, inputs_of(name)))
    given = jax.eval_shape(lambda: imported(name).params)
    assert jax.tree.structure(asked) == jax.tree.structure(given)
    assert jax.tree.leaves(asked) == jax.tree.leaves(given)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_loaded_while_tracing_are_constants(name):
    kept = []

    @jax.jit
    def traced():
        kept.append(weights.load(GOLDEN / name).params)
        return jax.tree.leaves(kept[0])[0].sum()

    traced()
    want = imported(name).params
    assert jax.tree.structure(kept[0]) == jax.tree.structure(want)
    for found, wanted in zip(*map(jax.tree.leaves, (kept[0], want)), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["gpt2", "t5", "marian"])
def test_stepping_gives_the_logits_of_hugging_face(name):
    """A prime of four tokens, then one token at a time."""
    model, params, inputs = model_of(name), imported(name).params, inputs_of(name)
    logits, written = recorded(name)["logits"], model.spec.read_out.node
    tokens = inputs[written]["token"]
    batch, length = tokens.shape
    prime = {**inputs, written: {"token": tokens[:, :4]}}

    @jax.jit
    def begin():
        caches = model.start(params, prime, length)
        return model.prefill(params, caches, prime, jnp.full(batch, 4, jnp.int32))

    first, caches = begin()
    np.testing.assert_allclose(first, logits[:, :4], atol=TOLERANCE, rtol=0)
    step = jax.jit(model.step)
    for place in range(4, length):
        node = {written: {"token": tokens[:, place : place + 1]}}
        at = jnp.full(batch, place, jnp.int32)
        found, caches = step(params, caches, node, at)
        wanted = logits[:, place : place + 1]
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_of_an_imported_model_can_be_written_and_read(name):
    spec = specs.Spec(
        name="imported",
        model=imported(name).spec,
        data=specs.NoDataSpec(),
        training=specs.TrainingSpec(steps=1, batch_size=1),
    )
    assert specs.loads(specs.dumps(spec)) == spec


def test_all_recorded_models_are_compared():
    folders = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
    assert folders == sorted(NAMES)
    versions = json.loads((GOLDEN / "versions.json").read_text("utf-8"))
    assert versions["transformers"] == "5.24.0"


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: pip install -e '.[parity]'",
)
def test_what_was_recorded_is_what_the_peer_says_now(tmp_path):
    script = str(GOLDEN.parent / "make_hugging_face.py")
    subprocess.run([sys.executable, script, str(tmp_path)], check=True)
    for name in NAMES:
        now, before = recorded(name, tmp_path), recorded(name)
        assert now.keys() == before.keys()
        for key, value in now.items():
            np.testing.assert_allclose(value, before[key], atol=1e-5, err_msg=key)
