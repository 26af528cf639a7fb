"""How far models of springs drift: the truth does not, baselines do as one can compute."""

import jax.numpy as jnp
import numpy as np
import pytest

from relational.datasets import (
    constant_velocity,
    drift,
    free_fall,
    roll_out,
    spring_roll_outs,
    springs,
    starts,
)


@pytest.fixture(scope="module")
def start():
    return starts(4, 3)


def test_chains_start_from_rest_half_a_metre_apart(start):
    assert start.n_node.tolist() == [4, 4, 4]
    np.testing.assert_array_equal(start.nodes[:, 2:4], 0)
    np.testing.assert_allclose(np.diff(start.nodes[:4, 0]), 0.5, atol=0.08 + 1e-6)
    again = starts(4, 3)
    np.testing.assert_array_equal(again.nodes, start.nodes)
    assert not np.array_equal(start.nodes[:4], start.nodes[4:8])


def test_the_truth_does_not_drift(start):
    true = springs.simulate(start, 50)
    found = drift(jnp.asarray(true[..., :2], jnp.float32), start)
    assert float(found.error.max()) < 1e-5
    assert found.energy_error.max() < 1e-2
    assert found.energy_swing[0] == 0
    assert found.energy_swing.max() > 0.1


def test_baselines_drift_as_far_as_their_formulas_say(start):
    found = drift(roll_out(free_fall, start, 5), start)
    true = springs.simulate(start, 5)[..., :2]
    moves = start.nodes[:, 4] == 0
    gravity = np.repeat(start.globals, 4, axis=0)
    for step in range(6):
        apart = (start.nodes[:, :2] - true[step])[moves]
        still = np.hypot(*apart.T).mean()
        assert float(found.constant_velocity[step]) == pytest.approx(still, abs=1e-5)
        # The semi-implicit method: 1 + 2 + ... + T steps of h^2 g.
        fallen = step * (step + 1) / 2 * springs.STEP_SIZE**2 * gravity[moves]
        falling = np.hypot(*(apart + fallen).T).mean()
        assert float(found.free_fall[step]) == pytest.approx(falling, abs=1e-4)
    np.testing.assert_allclose(found.error, found.free_fall, atol=1e-6)


def test_what_moves_on_as_it_does_is_its_own_baseline(start):
    found = drift(roll_out(constant_velocity, start, 3), start)
    np.testing.assert_array_equal(found.error, found.constant_velocity)


def test_sizes_and_steps_are_those_of_the_demonstration():
    assert spring_roll_outs.MASSES == (4, 6, 9)
    assert spring_roll_outs.NUM_STEPS == 50
