"""Springs: velocities of the next step, learned; whole trajectories, rolled out.

Shapes: T steps, N masses, G chains.
"""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import jraph

from benchmarks.generalisation.settings import Setting
from benchmarks.generalisation.training import Run, Trainer, batched, kept
from relational import graph_tuples
from relational.datasets import GraphPair, Springs, graph_metrics, spring_roll_outs

_AT_ONCE = 256  # Chains that are simulated together.


class Chains:
    """Trained on single steps of 5 to 8 masses, tested on 50 steps of 4, 6 and 9."""

    tests = spring_roll_outs.MASSES

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
        self._starts = {
            size: spring_roll_outs.starts(size, num_tests) for size in self.tests
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
        start = self._starts[size]
        found = spring_roll_outs.drift(self._roll_out(params, start), start)
        return {
            name: [round(float(value), 5) for value in values]
            for name, values in found._asdict().items()
        }

    def _rolled_out(self, params: Any, start: jraph.GraphsTuple) -> jax.Array:
        def model(graph: jraph.GraphsTuple) -> Any:
            return self._velocities(graph, self.trainer.model.apply(params, graph)[-1])

        return graph_metrics.roll_out(model, start, spring_roll_outs.NUM_STEPS)

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
