import jax
import jraph
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from relational.datasets import Springs, springs


def forces(graph, positions):
    """Gravity and Hooke's law, mass by mass and edge by edge."""
    total = np.zeros_like(positions)
    total += np.repeat(graph.globals.astype(float), graph.n_node, axis=0)
    for sender, receiver, (stiffness, rest) in zip(
        graph.senders, graph.receivers, graph.edges.astype(float), strict=True
    ):
        apart = positions[sender] - positions[receiver]
        length = np.hypot(*apart)
        total[receiver] += stiffness * (length - rest) * apart / length
    return total


def chains():
    drawn = Springs(seed=5, num_masses=(3, 9))
    return jraph.batch_np([drawn[index].inputs for index in range(4)])


def test_steps_are_the_semi_implicit_method_on_every_edge_and_graph():
    graph = chains()
    states = springs.simulate(graph, 5)
    positions, velocities = graph.nodes[:, :2].astype(float), graph.nodes[:, 2:4]
    free = 1 - graph.nodes[:, 4:].astype(float)
    for state in states[1:]:
        velocities = free * (velocities + 0.1 * forces(graph, positions))
        positions = positions + 0.1 * velocities
        np.testing.assert_allclose(state[:, :2], positions, atol=1e-10)
        np.testing.assert_allclose(state[:, 2:], velocities, atol=1e-10)


def test_targets_are_the_next_velocities():
    for index in range(20):
        inputs, targets = Springs(seed=2)[index]
        after = springs.simulate(inputs, 1)[1]
        np.testing.assert_allclose(targets.nodes, after[:, 2:], atol=2e-4)
        assert targets.edges is None


def test_several_at_once_are_the_same_as_one_by_one():
    task = Springs(seed=2)
    assert task.several([]) == []
    indices = [*range(100), 7, 999_999]
    for index, pair in zip(indices, task.several(indices), strict=True):
        for one, other in zip(*map(jax.tree.leaves, (pair, task[index])), strict=True):
            np.testing.assert_array_equal(one, other)


def test_fixed_ends_do_not_move_and_hear_nobody():
    graph = chains()
    fixed = graph.nodes[:, 4] == 1
    states = springs.simulate(graph, 100)
    np.testing.assert_array_equal(states[:, fixed, :2], states[[0] * 101][:, fixed, :2])
    assert not states[:, fixed, 2:].any()
    assert not fixed[graph.receivers].any()
    assert np.array_equal(graph.n_edge, 2 * (graph.n_node - 1) - 2)


def test_small_steps_come_to_the_true_motion_in_first_order():
    graph = springs.chain(5, 0.4)
    graph.nodes[1:-1, :2] += [[0.02, 0.03], [-0.01, 0.04], [0.03, -0.02]]
    start = graph.nodes[:, :4].astype(float)
    free = 1 - graph.nodes[:, 4:]

    def motion(_, state):
        positions, velocities = state.reshape(2, 5, 2)
        return np.stack([velocities, free * forces(graph, positions)]).ravel()

    initial = np.stack([start[:, :2], start[:, 2:]]).ravel()
    true = solve_ivp(motion, (0, 1), initial, rtol=1e-10, atol=1e-10).y[:10, -1]
    errors = []
    for num_steps in (500, 1000, 2000):
        state = springs.simulate(graph, num_steps, step_size=1 / num_steps)[-1]
        errors.append(np.abs(state[:, :2].ravel() - true).max())
    assert errors[-1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_energy_swings_with_the_step_size_and_does_not_drift():
    graph = chains()
    swings = []
    for step_size in (2e-3, 1e-3):
        states = springs.simulate(graph, int(20 / step_size), step_size=step_size)
        energies = springs.energy(graph, states)  # [T, G]
        swings.append(np.ptp(energies, axis=0))
        half = len(energies) // 2
        drift = energies[half:].mean(axis=0) - energies[:half].mean(axis=0)
        assert np.abs(drift).max() < 0.1 * swings[-1].max()
    np.testing.assert_allclose(swings[0] / swings[1], 2, rtol=0.2)


def test_energy_counts_each_spring_once():
    graph = springs.chain(4, 0.5)
    state = graph.nodes[:, :4].astype(float)
    state[1] = [-0.25, 0.3, 2.0, 0.0]
    to_left = 0.5 * 50 * (np.hypot(0.5, 0.3) - 0.5) ** 2
    # The springs to the left end and to mass 2 are stretched alike.
    expected = 0.5 * 2.0**2 + 10 * 0.3 + 2 * to_left
    assert springs.energy(graph, state) == pytest.approx([expected])
    apart = springs.energy(
        jraph.batch_np([graph, graph]), np.concatenate([state, state])
    )
    assert apart == pytest.approx([expected] * 2)


def test_noise_is_that_of_the_demonstration():
    drawn = [Springs(seed=1, num_steps=1)[index].inputs for index in range(400)]
    stiffness = np.concatenate([graph.edges[:, 0] for graph in drawn])
    gravity = np.array([graph.globals[0] for graph in drawn])
    height = np.concatenate([graph.nodes[:, 1] for graph in drawn])
    for noisy, middle, noise in (
        (stiffness, 50, 5),
        (gravity[:, 1], -10, 1),
        (height, 0, 0.04),
    ):
        assert noisy.min() == pytest.approx(middle - noise, abs=noise / 50)
        assert noisy.max() == pytest.approx(middle + noise, abs=noise / 50)
        assert noisy.mean() == pytest.approx(middle, abs=noise / 10)
        assert np.abs(noisy - middle).max() <= noise + 1e-5
    assert not gravity[:, 0].any()
    for graph in drawn[:50]:
        apart = graph.nodes[graph.receivers, :2] - graph.nodes[graph.senders, :2]
        np.testing.assert_allclose(
            graph.edges[:, 1], np.linalg.norm(apart, axis=1), atol=1e-6
        )
        both = {}
        for sender, receiver, features in zip(
            graph.senders, graph.receivers, graph.edges, strict=True
        ):
            both.setdefault(frozenset((sender, receiver)), set()).add(tuple(features))
        assert all(len(features) == 1 for features in both.values())
        assert not graph.nodes[:, 2:4].any()  # They start at rest.


def test_states_of_all_times_are_drawn():
    speeds = [
        np.abs(Springs(seed=1)[index].inputs.nodes[:, 2:4]).max()
        for index in range(500)
    ]
    at_rest = np.mean(np.array(speeds) == 0)
    assert 0.005 < at_rest < 0.045  # One in 50.


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: springs.chain(2, 0.5), "`num_masses` must be 3 or more; got 2. Both"),
        (
            lambda: springs.chain(3, 0),
            "`spacing` must be a finite number above 0; got 0",
        ),
        (
            lambda: springs.simulate(springs.chain(3, 0.5), -1),
            "`num_steps` must be 0 or more; got -1",
        ),
        (
            lambda: springs.simulate(springs.chain(3, 0.5), 1, step_size=-0.1),
            "`step_size` must be a finite number above 0; got -0.1. It counts seconds",
        ),
    ],
)
def test_wrong_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
