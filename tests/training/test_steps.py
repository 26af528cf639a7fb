import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.training.session import next_step
from relational.training.steps import initial_state, update


def _step(toy, task, spec, batches):
    first = {name: leaf[0] for name, leaf in batches.items()}
    state = initial_state(task, spec, first)
    return update(state, batches, task=task, training=spec)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_accumulated_batches_are_the_joined_batch(toy, auxiliary):
    task = toy.Bigrams(dropout=0.0, auxiliary=auxiliary)
    walk = toy.Made().training(seed=3)
    parts = next_step(walk, 4)  # [4, 4, ...], of unequal weights.
    parts["length"] = np.array([[5, 4, 5, 5], [1, 1, 1, 1], [2, 3, 1, 2], [5, 1, 1, 1]])
    joined = {
        name: leaf.reshape(1, 16, *leaf.shape[2:]) for name, leaf in parts.items()
    }
    one, report_one = _step(toy, task, toy.spec(), joined)
    many, report_many = _step(toy, task, toy.spec(accumulate=4), parts)
    for name, value in report_one.numbers().items():
        assert report_many.numbers()[name] == pytest.approx(value, rel=1e-5), name
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_objective_is_nats_per_token_plus_auxiliary_terms(toy):
    task = toy.Bigrams(dropout=0.0, auxiliary=True)
    spec = toy.spec(clip_norm=None)
    batches = next_step(toy.Made().training(seed=0), 1)
    batch = {name: leaf[0] for name, leaf in batches.items()}
    state = initial_state(task, spec, batch)

    def objective(params):
        outcome = task.outcome(params, None, batch, is_training=True)
        mean = jnp.sum(outcome.loss) / jnp.sum(outcome.weight)
        return mean + outcome.auxiliary["size"]

    gradients = jax.jit(jax.grad(objective))(state.params)
    squares = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradients))
    _, report = update(state, batches, task=task, training=spec)
    assert report.numbers()["gradient_norm"] == pytest.approx(squares**0.5, rel=1e-5)


def test_gradient_is_clipped_but_reported_as_it_was(toy):
    task = toy.Bigrams(dropout=0.0)
    batches = next_step(toy.Made().training(seed=0), 1)
    free, of_free = _step(toy, task, toy.spec(clip_norm=None), batches)
    clipped, of_clipped = _step(toy, task, toy.spec(clip_norm=1e-3), batches)
    norm = of_free.numbers()["gradient_norm"]
    assert of_clipped.numbers()["gradient_norm"] == pytest.approx(norm)
    sizes = [_norm_of_first_moment(state) for state in (free, clipped)]
    assert norm > 1e-3
    assert sizes[1] == pytest.approx(0.1 * 1e-3, rel=1e-4)  # 1 - b1 of the gradient.
    assert sizes[0] == pytest.approx(0.1 * norm, rel=1e-4)


def _norm_of_first_moment(state):
    found = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
        if ".mu" in jax.tree_util.keystr(path)
    ]
    return sum(float(jnp.sum(leaf**2)) for leaf in found) ** 0.5


def test_bfloat16_computes_in_it_and_keeps_float32_masters(toy):
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Watching(toy.Bigrams):
        def outcome(self, params, key, batch, *, is_training):
            seen.extend(leaf.dtype for leaf in jax.tree.leaves(params))
            return super().outcome(params, key, batch, is_training=is_training)

    batches = next_step(toy.Made().training(seed=0), 1)
    state, report = _step(toy, Watching(), toy.spec(precision="bfloat16"), batches)
    assert set(seen) == {jnp.dtype("bfloat16")}
    kept = jax.tree.leaves((state.params, state.optimizer))
    floating = {leaf.dtype for leaf in kept if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floating == {jnp.dtype("float32")}
    assert report.values.dtype == jnp.float32


def test_every_step_has_its_own_key_and_the_same_one_again(toy):
    task, spec = toy.Bigrams(dropout=0.5), toy.spec()
    batches = next_step(toy.Made().training(seed=0), 1)
    first = {name: leaf[0] for name, leaf in batches.items()}

    def loss_at(step):
        state = initial_state(task, spec, first)
        state = dataclasses.replace(state, step=state.step + step)
        _, report = update(state, batches, task=task, training=spec)
        return report.numbers()["loss"]

    assert loss_at(1) == loss_at(1)
    assert loss_at(1) != loss_at(2)
