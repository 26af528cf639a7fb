"""How far a trained network of springs drifts when it is given its own answers.

Models import no data set; this file imports them inside its function.

Shapes: T steps, N masses.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jraph

from relational.models.graph_tasks import GraphTask
from relational.models.positions import prepare
from relational.training.tasks import Params


def roll_outs(
    task: GraphTask, params: Params, *, num_chains: int = 100
) -> Iterator[tuple[int, Any]]:
    """Yields numbers of masses, and the `datasets.Drift` of 50 steps of such chains.

    Args:
      task: a network whose nodes are the velocities of a step later.
      params: its parameters.
      num_chains: chains of each size, all from rest.
    """
    from relational.datasets import graph_metrics, spring_roll_outs

    def positions(start: jraph.GraphsTuple) -> jax.Array:
        prepared = prepare(task.spec, start).nodes

        def velocities(graph: jraph.GraphsTuple) -> jax.Array:
            nodes = graph.nodes
            if isinstance(prepared, dict):
                nodes = {**prepared, "features": nodes}
            given = graph._replace(nodes=nodes)
            *_, last = task.network.apply(params, None, given, is_training=False)
            return last.nodes

        return graph_metrics.roll_out(velocities, start, spring_roll_outs.NUM_STEPS)

    for size in spring_roll_outs.MASSES:
        start = spring_roll_outs.starts(size, num_chains)
        yield size, spring_roll_outs.drift(positions(start), start)
