"""How far a model of springs drifts from the truth in 50 steps of its own.

A model learns single steps; here it is given its own answers, step after step, from
chains at rest of given sizes, and compared with the simulation and with two baselines.

Shapes: T steps, N masses, G chains.
"""

from typing import NamedTuple

import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Float

from relational._checks import check_count
from relational.datasets import graph_metrics, springs
from relational.graph_tuples.batching import batch

NUM_STEPS = 50
"""Steps of a roll-out in the demonstration."""

MASSES = (4, 6, 9)
"""Masses of the chains that are rolled out; training has 5 to 8."""

_SEED = 101  # No run is trained on it: those of `models.graph_sets` are other ones.


class Drift(NamedTuple):
    """How far roll-outs are from the truth at each time, the start first.

    Distances are means over the masses that move, in metres, energies over chains, in
    joules.
    """

    error: Float[Array, " T+1"]
    """Of the model's positions."""
    constant_velocity: Float[Array, " T+1"]
    """Of masses that move on as they do: from rest, of masses that stay."""
    free_fall: Float[Array, " T+1"]
    """Of masses that no spring holds."""
    energy_error: Float[Array, " T+1"]
    """How far the model's energy is from the true one."""
    energy_swing: Float[Array, " T+1"]
    """How far the true energy, which the method of simulation moves, is from its own."""


def starts(num_masses: int, num_chains: int = 100) -> jraph.GraphsTuple:
    """Returns disturbed chains at rest, half a metre from mass to mass, in one tuple.

    >>> starts(4, 2).n_node.tolist()
    [4, 4]
    """
    check_count("num_chains", num_chains, least=1, advice="It counts chains.")
    source = springs.Springs(
        seed=_SEED,
        num_graphs=num_chains,
        num_masses=(num_masses, num_masses),
        spacings=(0.5, 0.5),
        num_steps=1,
    )
    return batch([source[index].inputs for index in range(num_chains)])


def free_fall(graph: jraph.GraphsTuple) -> Float[Array, "N 2"]:
    """A baseline of `roll_out`: velocities of masses that no spring holds.

    >>> free_fall(springs.chain(3, 0.5))[:, 1].tolist()
    [-1.0, -1.0, -1.0]
    """
    gravity = jnp.repeat(
        jnp.asarray(graph.globals),
        jnp.asarray(graph.n_node),
        axis=0,
        total_repeat_length=len(graph.nodes),
    )
    return jnp.asarray(graph.nodes)[:, 2:4] + springs.STEP_SIZE * gravity


def drift(predicted: Float[Array, "T+1 N 2"], start: jraph.GraphsTuple) -> Drift:
    """Says how far a roll-out comes from the truth, and how far baselines do.

    Args:
      predicted: positions, as `roll_out` gives them.
      start: the first state of all chains, such as `starts(6)`.

    >>> from relational.datasets import constant_velocity, roll_out
    >>> start = starts(4, 2)
    >>> found = drift(roll_out(constant_velocity, start, 3), start)
    >>> bool(jnp.all(found.error == found.constant_velocity)), found.error.shape
    (True, (4,))
    """
    num_steps = len(predicted) - 1
    true = springs.simulate(start, num_steps)  # [T + 1, N, 4]
    weights = 1 - start.nodes[:, 4]

    def error(positions: Array) -> Array:
        places = jnp.asarray(true[..., :2], positions.dtype)
        return graph_metrics.position_error(positions, places, jnp.asarray(weights))

    still, falling = (
        graph_metrics.roll_out(model, start, num_steps)
        for model in (graph_metrics.constant_velocity, free_fall)
    )
    energy = springs.energy(start, true)  # [T + 1, G]
    own = springs.energy(start, _states(start, np.asarray(predicted)))
    return Drift(
        error=error(predicted),
        constant_velocity=error(still),
        free_fall=error(falling),
        energy_error=np.abs(own - energy).mean(axis=1),
        energy_swing=np.abs(energy - energy[:1]).mean(axis=1),
    )


def _states(start: jraph.GraphsTuple, positions: np.ndarray) -> np.ndarray:
    """Positions and the velocities that led to them: [T + 1, N, 4]."""
    velocities = np.diff(positions, axis=0) / springs.STEP_SIZE
    velocities = np.concatenate([start.nodes[None, :, 2:4], velocities])
    return np.concatenate([positions, velocities], axis=-1)
