import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from relational.datasets import (
    ShortestPath,
    answers,
    constant_velocity,
    position_error,
    roll_out,
    springs,
)


def padded(graphs, num_nodes, num_edges, num_graphs):
    batch = jraph.batch_np(graphs)
    return jraph.pad_with_graphs(batch, num_nodes, num_edges, num_graphs)


def test_counts_are_those_of_a_loop_over_graphs():
    rng = np.random.default_rng(0)
    compare = jax.jit(answers)
    task = ShortestPath(seed=0, num_nodes=(2, 6))
    total = None
    right, solved = {"nodes": [], "edges": []}, []
    for first in (0, 6):
        targets = [task[index].targets for index in range(first, first + 6)]
        logits = []
        for number, target in enumerate(targets):
            chance = (0.0, 0.1)[number % 2]  # Every second graph is wholly right.
            noise = {
                name: np.where(
                    rng.random((len(getattr(target, name)), 1)) < chance,
                    getattr(target, name)[:, ::-1],
                    getattr(target, name),
                )
                for name in ("nodes", "edges")
            }
            logits.append(target._replace(**noise))
            for name in noise:
                right[name] += (noise[name] == getattr(target, name))[:, 0].tolist()
            solved.append(
                all(np.array_equal(noise[n], getattr(target, n)) for n in noise)
            )
        sizes = (50, 200, 9)
        goal = padded(targets, *sizes)
        # Padding, whose targets are zero, is called wrong by these logits.
        said = padded(logits, *sizes)
        said = said._replace(nodes=said.nodes + jnp.array([[0.0, 0.5]]))
        counts = compare(said, goal, jraph.get_graph_padding_mask(goal))
        total = counts if total is None else jax.tree.map(jnp.add, total, counts)
    assert total.node_share == pytest.approx(np.mean(right["nodes"]))
    assert total.edge_share == pytest.approx(np.mean(right["edges"]))
    assert total.correct == pytest.approx(np.mean(right["nodes"] + right["edges"]))
    assert total.solved == pytest.approx(np.mean(solved))
    assert 0 < np.mean(solved) < 1
    assert total.num_nodes == len(right["nodes"])


def test_what_has_no_target_is_not_asked_for():
    _, targets = ShortestPath(seed=0)[0]
    only_nodes = targets._replace(edges=None)
    wrong = targets._replace(edges=targets.edges[:, ::-1])
    found = answers(wrong, only_nodes, np.array([True]))
    assert found.num_edges == found.edges_right == 0
    assert found.solved == found.correct == 1
    assert answers(wrong, targets, np.array([True])).solved == 0


def test_the_true_model_rolls_out_to_the_simulation():
    graph = springs.chain(4, 0.5)
    graph.nodes[1, :2] += 0.03
    start = graph.nodes[:, :4].copy()

    def truth(graph):
        apart = graph.nodes[graph.receivers, :2] - graph.nodes[graph.senders, :2]
        lengths = jnp.linalg.norm(apart, axis=1, keepdims=True)
        pulls = -graph.edges[:, :1] * (lengths - graph.edges[:, 1:]) / lengths * apart
        pulls = jax.ops.segment_sum(pulls, graph.receivers, 4)
        return graph.nodes[:, 2:4] + 0.1 * (pulls + graph.globals)

    true = springs.simulate(graph, 50)[..., :2]
    found = jax.jit(lambda graph: roll_out(truth, graph, 50))(graph)
    np.testing.assert_allclose(found, true, atol=2e-3)
    assert np.array_equal(graph.nodes[:, :4], start)
    free = 1 - graph.nodes[:, 4]
    baseline = roll_out(constant_velocity, graph, 50)
    errors = position_error(baseline, true, free)
    by_hand = np.linalg.norm(true[:, 1:3] - true[0, 1:3], axis=-1).mean(axis=1)
    np.testing.assert_allclose(errors, by_hand, rtol=1e-4, atol=1e-6)
    assert position_error(found, true, free).max() < 0.01 * errors.max()


def test_constant_velocity_moves_on_in_a_straight_line():
    graph = springs.chain(3, 0.5)
    graph.nodes[1, 2:4] = [1.0, -2.0]
    found = roll_out(constant_velocity, graph, 3, step_size=0.5)
    np.testing.assert_allclose(found[:, 1], [[0, 0], [0.5, -1], [1, -2], [1.5, -3]])
    np.testing.assert_allclose(found[:, 0], [[-0.5, 0]] * 4)
