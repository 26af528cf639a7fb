"""Graph networks in the loop: resumed runs, losses of parts, weight decay."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import specs
from relational.models import tasks
from relational.training import (
    Evaluation,
    Interrupted,
    Measure,
    Outcome,
    Words,
    evaluate,
    judged,
    optimiser,
    train,
)

SPEC = specs.override(
    specs.load("sorting"),
    [
        "data={sorting: {nodes: [2, 4], larger: [5, 5], held_out: 6}}",
        "model.process.steps=1",
        "training.steps=9",
        "training.batch_size=3",
        "training.log_every=2",
        "training.evaluate_every=4",
        "training.checkpoint_every=4",
    ],
)


def test_a_run_on_graphs_that_was_stopped_is_bit_equal(tmp_path, console):
    task, data = tasks.from_spec(SPEC)

    class Stopping:
        """Data that send SIGTERM when the sixth batch is asked for."""

        fingerprint, evaluation = data.fingerprint, staticmethod(data.evaluation)

        def training(self, seed):
            walk, taken = data.training(seed), iter(range(100))

            class Walk:
                get_state, set_state = walk.get_state, walk.set_state

                def __next__(self):
                    if next(taken) == 6:
                        os.kill(os.getpid(), signal.SIGTERM)
                    return next(walk)

            return Walk()

    whole = train(task, data, SPEC, tmp_path / "whole", console=console)
    with pytest.raises(Interrupted, match="SIGTERM after step 6 of 9"):
        train(task, Stopping(), SPEC, tmp_path / "parts", console=console)
    parts = train(task, data, SPEC, tmp_path / "parts", console=console)
    assert parts.run.metrics.read_text() == whole.run.metrics.read_text()
    assert parts.validation == whole.validation
    for one, other in zip(
        jax.tree.leaves(parts.params), jax.tree.leaves(whole.params), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    printed = console.file.getvalue()
    assert "nats/graph" in printed
    assert "graphs/s" in printed
    assert "token" not in printed
    assert "shapes, for each of which a step was compiled" in printed


class _Parts:
    """A task whose examples have three parts, of which the last does not count."""

    words = Words(loss="errors/part", counted="parts")

    def outcome(self, params, key, batch, *, is_training):
        weight = jnp.array([[1.0, 1.0, 0.0]]) + 0 * batch["x"]
        right = Measure(total=jnp.where(batch["x"] > 1, weight, 0), size=weight)
        return Outcome(
            loss=batch["x"] * weight, weight=weight, measures={"large": right}
        )


class _Two:
    def evaluation(self, split):
        for first in (1.0, 2.0):
            yield {"x": np.array([[first, first + 2, 9.0]], np.float32)}


def test_parts_of_examples_are_counted_each_by_itself():
    found = evaluate(_Parts(), {}, _Two(), "test")
    assert found.loss == pytest.approx((1 + 3 + 2 + 4) / 4)
    assert (found.tokens, found.pieces) == (4, 4)
    spread = np.std([1, 3, 2, 4], ddof=1) / 2
    assert found.standard_error == pytest.approx(spread)
    assert found.measures == {"large": 3 / 4}
    assert list(judged(_Parts(), found)) == [
        "errors/part",
        "standard error",
        "parts",
        "pieces",
    ]


def test_a_task_that_says_nothing_is_judged_by_its_loss():
    found = Evaluation(split="x", loss=1.5, standard_error=0.1, tokens=1200, pieces=3)
    assert judged(object(), found) == {
        "nats/token": "1.5000",
        "standard error": "0.1000",
        "tokens": "1 200",
        "pieces": "3",
    }


PARAMS = {
    "layers/graph_convolution_1/linear": {"w": jnp.array([[2.0]])},
    "layers/graph_convolution_1": {"b": jnp.array([3.0])},
    "layers/graph_convolution_4/linear": {"w": jnp.array([[5.0]])},
}


@pytest.mark.parametrize(
    ("within", "decayed"), [("graph_convolution_1", {2.0}), (None, {2.0, 5.0})]
)
def test_weight_decay_is_that_of_the_matrices_of_a_layer(within, decayed):
    adam = specs.AdamSpec(l2=0.5, l2_within=within)
    training = specs.TrainingSpec(steps=1, batch_size=1, optimizer=adam, clip_norm=None)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    change, state = optimiser(training).update(
        zeros, optimiser(training).init(PARAMS), PARAMS
    )
    for one, value in zip(
        jax.tree.leaves(change), jax.tree.leaves(PARAMS), strict=True
    ):
        assert (float(one.ravel()[0]) < 0) == (float(value.ravel()[0]) in decayed)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 2]
    assert float(moments[0][0, 0]) == pytest.approx(0.1 * 0.5 * 2)  # (1 - b1) l2 w.


def test_weight_decay_of_a_layer_without_matrices_is_refused():
    adam = specs.AdamSpec(l2=0.5, l2_within="activation_2")
    training = specs.TrainingSpec(steps=1, batch_size=1, optimizer=adam)
    with pytest.raises(ValueError, match=r"`activation_2` has none\. The modules are"):
        optimiser(training).init(PARAMS)
