import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.specs import (
    AdamSpec,
    AdamWSpec,
    ConstantSpec,
    MuonSpec,
    TrainingSpec,
    WarmupCosineSpec,
    WarmupRsqrtSpec,
)
from relational.training import optimiser, rate


def _spec(**fields):
    return TrainingSpec(**{"steps": 5000, "batch_size": 1, **fields})


@pytest.mark.parametrize(
    ("step", "expected"),
    # Vaswani et al. (2017), equation 3, for the base model, by hand.
    [(1, 1.747e-7), (1000, 1.747e-4), (4000, 6.988e-4), (100_000, 1.398e-4)],
)
def test_warmup_rsqrt_has_the_rates_of_the_paper(step, expected):
    spec = _spec(schedule=WarmupRsqrtSpec(width=512, warmup=4000))
    assert float(rate(spec, step)) == pytest.approx(expected, rel=4e-4)


def test_factor_multiplies_the_rate():
    one = _spec(schedule=WarmupRsqrtSpec(width=64, warmup=10))
    two = _spec(schedule=WarmupRsqrtSpec(width=64, warmup=10, factor=2.0))
    assert float(rate(two, 7)) == pytest.approx(2 * float(rate(one, 7)))


def test_warmup_cosine_rises_on_a_line_and_ends_at_the_floor():
    spec = _spec(schedule=WarmupCosineSpec(peak=1.0, warmup=20, floor=0.1))
    rates = [float(rate(spec, step)) for step in (1, 10, 20, 2510, 5000)]
    np.testing.assert_allclose(rates, [0.05, 0.5, 1.0, 0.55, 0.1], rtol=1e-5)


def test_warmup_cosine_without_warmup_begins_near_the_peak():
    spec = _spec(schedule=WarmupCosineSpec(peak=1.0, warmup=0))
    assert float(rate(spec, 1)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("optimizer", [AdamSpec(), AdamWSpec(weight_decay=0.0)])
def test_first_update_is_made_with_the_rate_of_step_one(optimizer):
    schedule = WarmupCosineSpec(peak=1.0, warmup=10)
    transformation = optimiser(_spec(optimizer=optimizer, schedule=schedule))
    weight = jnp.array(3.0)
    change, _ = transformation.update(
        jnp.array(0.5), transformation.init(weight), weight
    )
    assert float(change) == pytest.approx(
        -0.1, rel=1e-5
    )  # Adam's first is rate * sign.


def test_weight_decay_shrinks_a_weight_without_gradient():
    spec = _spec(optimizer=AdamWSpec(weight_decay=0.5), schedule=ConstantSpec(rate=0.1))
    transformation = optimiser(spec)
    weight = jnp.array(2.0)
    change, _ = transformation.update(
        jnp.array(0.0), transformation.init(weight), weight
    )
    assert float(change) == pytest.approx(-0.1)


def test_muon_turns_the_gradient_of_a_dense_layer_and_scales_it_as_adam():
    spec = _spec(optimizer=MuonSpec(weight_decay=0), schedule=ConstantSpec(rate=0.1))
    gradient = np.random.default_rng(0).normal(size=(48, 16)).astype(np.float32)
    params = {"linear": {"w": jnp.zeros((48, 16)), "b": jnp.zeros(16)}}
    given = {"linear": {"w": jnp.asarray(gradient), "b": jnp.full(16, 0.5)}}
    transformation = optimiser(spec)
    change, _ = transformation.update(given, transformation.init(params), params)
    change = change["linear"]
    np.testing.assert_allclose(change["b"], -0.1, rtol=1e-5)  # Adam's sign.
    # Singular vectors stay, singular values become equal: U S V to about U V.
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    singular = np.diag(left.T @ change["w"] @ right.T) / -0.1
    # Five steps of Newton-Schulz bring them near one; times 0.2 sqrt(48).
    assert np.abs(singular / (0.2 * 48**0.5) - 1).max() < 0.4
    assert np.sqrt(np.square(change["w"]).mean()) == pytest.approx(0.02, rel=0.25)


def test_muon_leaves_tables_to_adam():
    spec = _spec(optimizer=MuonSpec(), schedule=ConstantSpec(rate=0.1))
    params = {"embed": {"table": jnp.ones((9, 4))}, "attention": {"w": jnp.ones(3)}}
    transformation = optimiser(spec)
    change, _ = transformation.update(params, transformation.init(params), params)
    for leaf in jax.tree.leaves(change):
        np.testing.assert_allclose(leaf, -0.1, rtol=1e-5)


def test_unknown_schedule_is_refused_in_words():
    class Strange:
        steps = 1
        schedule = "linear"

    with pytest.raises(TypeError, match="`schedule` must be one of"):
        rate(Strange(), 1)  # type: ignore[arg-type]
