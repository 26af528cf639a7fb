"""Springs: velocities of the next step, learned; whole trajectories, rolled out.

Shapes: T steps, N masses, G chains.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import numpy as np

from benchmarks.generalisation.settings import Setting
from benchmarks.generalisation.training import Run, Trainer, batched, kept
from relational import graph_tuples
from relational.datasets import GraphPair, Springs, graph_metrics, springs

_NUM_STEPS = 50
_AT_ONCE = 256  # Chains that are simulated together.


class Chains:
    """Trained on single steps of 5 to 8 masses, tested on 50 steps of 4, 6 and 9."""

    tests = (4, 6, 9)

    def __init__(
        self,
        task: str,
        setting: Setting,
        folder: pathlib.Path,
        *,
        num_batches: int = 1000,
        num_tests: int = 100,
    ) -> None:
        count = num_batches * setting.batch_size
        batches = kept(
            folder / f"{task}-training-{count}.pickle",
            functools.partial(_made, count, setting.batch_size),
        )
        self._setting = setting
        self.trainer = Trainer(setting, {"node": 2}, self._loss, batches)
        self._starts = {size: _starts(size, num_tests) for size in self.tests}
        self._true = {
            size: springs.simulate(start, _NUM_STEPS)
            for size, start in self._starts.items()
        }
        self._roll_out = jax.jit(self._rolled_out)

    def measure(self, run: Run, steps: int | None = None) -> dict[str, Any]:
        """Returns errors and energies over time, a list for each number of masses."""
        assert steps is None  # One step of the core, as in training.
        return {f"{size} masses": self._errors(run.params, size) for size in self.tests}

    def brief(self, run: Run) -> dict[str, float]:
        """Returns the error at the end of the roll-outs."""
        return {name: one["error"][-1] for name, one in self.measure(run).items()}

    def _errors(self, params: Any, size: int) -> dict[str, list[float]]:
        start, true = self._starts[size], self._true[size]
        predicted = np.asarray(self._roll_out(params, start))
        still = graph_metrics.roll_out(
            graph_metrics.constant_velocity, start, _NUM_STEPS
        )
        gravity_only = graph_metrics.roll_out(_falls, start, _NUM_STEPS)
        weights = 1 - start.nodes[:, 4]
        error = functools.partial(
            graph_metrics.position_error, true=true[..., :2], weights=weights
        )
        energy = springs.energy(start, true)  # [T + 1, G]
        apart = springs.energy(start, _states(start, predicted)) - energy
        return {
            "error": _rounded(error(predicted)),
            "constant_velocity": _rounded(error(still)),
            "gravity_only": _rounded(error(gravity_only)),
            "energy_error": _rounded(np.abs(apart).mean(axis=1)),
            "energy_swing": _rounded(np.abs(energy - energy[:1]).mean(axis=1)),
        }

    def _rolled_out(self, params: Any, start: jraph.GraphsTuple) -> jax.Array:
        def model(graph: jraph.GraphsTuple) -> Any:
            return self._velocities(graph, self.trainer.model.apply(params, graph)[-1])

        return graph_metrics.roll_out(model, start, _NUM_STEPS)

    def _loss(self, outputs: list[jraph.GraphsTuple], pair: GraphPair) -> jax.Array:
        """The mean over masses of the squared error of their velocities."""
        apart = self._velocities(pair.inputs, outputs[-1]) - pair.targets.nodes
        real = graph_tuples.node_mask(pair.inputs)
        return jnp.mean(jnp.sum(apart**2, axis=-1), where=real)

    def _velocities(
        self, graph: jraph.GraphsTuple, output: jraph.GraphsTuple
    ) -> jax.Array:
        if not self._setting.predicts_change:
            return output.nodes
        return graph.nodes[:, 2:4] + output.nodes


def _made(count: int, batch_size: int) -> list[GraphPair]:
    source = Springs(seed=100, num_graphs=count)
    pairs = []
    for first in range(0, count, _AT_ONCE):
        pairs += source.several(range(first, min(first + _AT_ONCE, count)))
    return batched(pairs, batch_size, num_buckets=1)


def _starts(size: int, count: int) -> jraph.GraphsTuple:
    """Disturbed chains at rest, their masses half a metre apart."""
    source = Springs(
        seed=101,
        num_graphs=count,
        num_masses=(size, size),
        spacings=(0.5, 0.5),
        num_steps=1,
    )
    return graph_tuples.batch([source[i].inputs for i in range(count)])


def _falls(graph: jraph.GraphsTuple) -> jax.Array:
    """Velocities of masses that no spring holds."""
    gravity = jnp.repeat(
        graph.globals, graph.n_node, axis=0, total_repeat_length=len(graph.nodes)
    )
    return graph.nodes[:, 2:4] + springs.STEP_SIZE * gravity


def _states(start: jraph.GraphsTuple, positions: np.ndarray) -> np.ndarray:
    """Positions and the velocities that led to them: [T + 1, N, 4]."""
    velocities = np.diff(positions, axis=0) / springs.STEP_SIZE
    velocities = np.concatenate([start.nodes[None, :, 2:4], velocities])
    return np.concatenate([positions, velocities], axis=-1)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]
