"""Springs: masses in a chain under gravity, one step at a time.

One of the three tasks of Battaglia et al. (2018). `Springs` gives single steps to learn
from; `chain`, `simulate` and `energy` are the physics, for whole trajectories. The
metrics of roll-outs are in `graph_metrics`.

Shapes: T steps, N masses, E edges, G graphs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, SupportsIndex, TypeAlias

import jraph
import numpy as np
from jaxtyping import Complex, Float

from relational._checks import check_count
from relational.datasets.graph_pairs import (
    GraphPair,
    check_positive,
    check_range,
    check_task,
    generator,
    graph,
    pair,
)

STEP_SIZE = 0.1
"""Seconds between two states of the demonstration."""

Plane: TypeAlias = Complex[np.ndarray, "*T K"]

_STIFFNESS = 50.0
_GRAVITY = (0.0, -10.0)
_POSITION_NOISE = 0.04
_STIFFNESS_NOISE = 5.0
_GRAVITY_NOISE = 1.0
_MOST_STEPS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Springs:
    """States of swinging chains, and the velocities of a step later.

    A chain of n masses of 1 kg, d metres apart on a horizontal line, both ends fixed,
    swings from rest; d is uniform. Positions are moved by up to 0.04 m, springs are 50 N/m
    stiff give or take 5, gravity is 10 m/s^2 give or take 1, all uniformly; the moved
    chain is relaxed: its distances are the rest lengths. After a random number of steps,
    0 to `num_steps - 1`, its state is the input and its next velocities are the target.

    Inputs: nodes [N, 5] are x, y, their velocities, and whether the mass is fixed; edges
    [E, 2] stiffness and rest length; globals [1, 2] gravity. An edge is a spring in one
    direction; none leads to a fixed mass, so that E = 2 (n - 1) - 2. Targets: nodes
    [N, 2], the velocities a step later (zero where fixed); `edges` is None.

    We differ from the demonstration in drawing the number of steps for each example
    rather than for a whole batch, and a spring pulls both of its masses equally.

    Attributes:
        seed: of the set, 0 to 2^32 - 1. Sets that must not share examples are given
            different seeds.
        num_graphs: how many examples there are.
        num_masses: the fewest and the most masses, both included, fixed ones too.
        spacings: the smallest and the largest distance between neighbours, in metres.
        num_steps: steps of a trajectory from which states are drawn.

    Raises:
        ValueError: if an attribute is out of range.

    >>> inputs, targets = Springs(seed=0, num_masses=(5, 5))[0]
    >>> inputs.nodes.shape, inputs.edges.shape, targets.nodes.shape
    ((5, 5), (6, 2), (5, 2))
    >>> print(inputs.senders, inputs.receivers)
    [0 2 1 3 2 4] [1 1 2 2 3 3]

    References: P. Battaglia et al., Relational inductive biases, deep learning, and graph
    networks, arXiv 1806.01261, 2018, and its demonstration in Graph Nets.
    """

    seed: int
    num_graphs: int = 1_000_000
    num_masses: tuple[int, int] = (5, 8)
    spacings: tuple[float, float] = (0.2, 1.0)
    num_steps: int = _MOST_STEPS

    def __post_init__(self) -> None:
        check_task("Springs", self.seed, self.num_graphs)
        check_range(
            "Springs.num_masses",
            self.num_masses,
            least=3,
            advice="Both ends are fixed: a third mass can move.",
        )
        check_count(
            "Springs.num_steps", self.num_steps, least=1, advice="It counts states."
        )
        is_pair = isinstance(self.spacings, tuple) and len(self.spacings) == 2
        if not is_pair or not 0 < self.spacings[0] <= self.spacings[1] < np.inf:
            raise ValueError(
                "`Springs.spacings` must be (smallest, largest), in metres, above 0; got "
                f"{self.spacings!r}. The demonstration has (0.2, 1.0)."
            )

    def __len__(self) -> int:
        return self.num_graphs

    def __getitem__(self, index: SupportsIndex) -> GraphPair:
        return self.several([index])[0]

    def several(self, indices: Sequence[SupportsIndex]) -> list[GraphPair]:
        """Several examples, the same as one by one, two to three times as fast.

        Their chains swing together, as one graph.

        >>> task = Springs(seed=0)
        >>> pairs = task.several([3, 1])
        >>> np.array_equal(pairs[1].targets.nodes, task[1].targets.nodes)
        True
        """
        drawn = [self._start(index) for index in indices]
        if not drawn:
            return []
        states = simulate(
            jraph.batch_np([start for start, _ in drawn]) if drawn[1:] else drawn[0][0],
            max(num_steps for _, num_steps in drawn),
        )  # [T + 1, sum N, 4]
        pairs, first = [], 0
        for start, num_steps in drawn:
            own = slice(first, first + len(start.nodes))
            pairs.append(
                pair(
                    _with_state(start, states[num_steps - 1, own]),
                    nodes=states[num_steps, own, 2:],
                    edges=None,
                )
            )
            first = own.stop
        return pairs

    def _start(self, index: SupportsIndex) -> tuple[jraph.GraphsTuple, int]:
        """The disturbed chain of an example, and which of its states is the target."""
        rng = generator(self.seed, index, self.num_graphs)
        size = int(rng.integers(*self.num_masses, endpoint=True))
        start = _disturbed(chain(size, rng.uniform(*self.spacings)), rng)
        return start, 1 + int(rng.integers(self.num_steps))


TRAINING = Springs(seed=0)
"""What the demonstration trains on: 5 to 8 masses."""


def chain(num_masses: int, spacing: float) -> jraph.GraphsTuple:
    """A relaxed chain at rest, centred, in the format of `Springs`, undisturbed.

    The demonstration tests on 4 and on 9 masses.

    Args:
        num_masses: masses, the two fixed ends among them.
        spacing: metres between neighbours.

    Returns:
        One graph.

    Raises:
        ValueError: if there is no mass to move, or no distance.

    >>> print(chain(4, 0.5).nodes[:, 0], chain(4, 0.5).nodes[:, 4])
    [-0.75 -0.25  0.25  0.75] [1. 0. 0. 1.]
    """
    check_count(
        "num_masses",
        num_masses,
        least=3,
        advice="Both ends are fixed: a third mass can move.",
    )
    check_positive("spacing", spacing, "It counts metres.")
    nodes = np.zeros([num_masses, 5])
    nodes[:, 0] = spacing * (np.arange(num_masses) - (num_masses - 1) / 2)
    nodes[[0, -1], 4] = 1
    free = np.arange(1, num_masses - 1)
    receivers = np.repeat(free, 2)
    senders = np.stack([free - 1, free + 1], axis=1).ravel()
    return graph(
        nodes=nodes,
        edges=np.tile([_STIFFNESS, spacing], [len(receivers), 1]),
        globals_=np.array([_GRAVITY]),
        senders=senders,
        receivers=receivers,
        num_nodes=num_masses,
    )


def simulate(
    graph: jraph.GraphsTuple, num_steps: int, *, step_size: float = STEP_SIZE
) -> Float[np.ndarray, "T+1 N 4"]:
    """The states of one or several graphs over time, by the semi-implicit Euler method.

    With the forces F at the positions x_t,

        v_{t+1} = v_t + h F(x_t),   x_{t+1} = x_t + h v_{t+1},   h = `step_size`,

    where F is gravity and, of each spring, Hooke's law. Fixed masses stay where they are.

    Args:
        graph: graphs in the format of `Springs`, one or a batch.
        num_steps: how many steps to take.
        step_size: seconds.

    Returns:
        Positions and velocities, float64, the given state first.

    Raises:
        ValueError: if there are fewer than 0 steps, or they take no time.

    >>> states = simulate(chain(3, 0.5), 2)
    >>> print(states[:, 1, 1].round(3), states[:, 1, 3].round(3))
    [ 0.    -0.1   -0.298] [ 0.    -1.    -1.981]
    """
    check_count("num_steps", num_steps, least=0, advice="It counts steps.")
    check_positive("step_size", step_size, "It counts seconds.")
    force = _Force(graph)
    moves = 1 - graph.nodes[:, 4].astype(float)
    positions = np.empty([num_steps + 1, len(graph.nodes)], complex)
    velocities = np.empty_like(positions)
    positions[0], velocities[0] = (
        _plane(graph.nodes[:, :2]),
        _plane(graph.nodes[:, 2:4]),
    )
    for now in range(num_steps):
        pushed = velocities[now] + step_size * force(positions[now])
        velocities[now + 1] = moves * pushed
        positions[now + 1] = positions[now] + step_size * velocities[now + 1]
    parts = (positions.real, positions.imag, velocities.real, velocities.imag)
    return np.stack(parts, axis=-1)


def energy(
    graph: jraph.GraphsTuple, states: Float[np.ndarray, "*T N 4"]
) -> Float[np.ndarray, "*T G"]:
    """The energy of each graph in each state: of motion, of springs, of height; in joules.

    A spring between two free masses is two edges and counts once.

    Args:
        graph: graphs in the format of `Springs`, one or a batch.
        states: positions and velocities of all masses, as `simulate` gives them.

    Returns:
        Energies. The semi-implicit method keeps them up to a swing of order `step_size`.

    >>> hanging = chain(3, 0.5)
    >>> falling = simulate(hanging, 1000, step_size=1e-4)
    >>> print(falling[-1, 1, 1].round(2), np.abs(energy(hanging, falling)).max() < 1e-2)
    -0.05 True
    """
    force = _Force(graph)
    positions, velocities = _plane(states[..., :2]), _plane(states[..., 2:])
    is_free = 1 - graph.nodes[:, 4]
    of_motion = 0.5 * np.abs(velocities) ** 2
    of_height = -(np.conj(force.gravity) * positions).real
    lengths = np.abs(force.apart(positions))
    stretched = 0.5 * force.stiffness * (lengths - force.rest_lengths) ** 2
    share = np.where(is_free[graph.senders] > 0, 0.5, 1.0)
    of_nodes = is_free * (of_motion + of_height)  # [*T, N]
    return _sums(of_nodes, graph.n_node) + _sums(share * stretched, graph.n_edge)


class _Force:
    """The forces on the masses of some graphs, as a function of their positions.

    The plane is that of complex numbers, which makes a step of few masses twice as fast.
    """

    def __init__(self, graph: jraph.GraphsTuple) -> None:
        self._senders = graph.senders
        self._receivers = graph.receivers
        self.stiffness, self.rest_lengths = graph.edges.astype(float).T
        self.gravity = np.repeat(_plane(graph.globals), graph.n_node)

    def apart(self, positions: Plane) -> Plane:
        """What leads from the sender of each edge to its receiver."""
        return positions[..., self._receivers] - positions[..., self._senders]

    def __call__(self, positions: Plane) -> Plane:
        apart = self.apart(positions)
        pulls = self.stiffness * (self.rest_lengths / np.abs(apart) - 1)
        total = self.gravity.copy()
        np.add.at(total, self._receivers, pulls * apart)
        return total


def _plane(pairs: Float[np.ndarray, "*T K 2"]) -> Plane:
    return pairs[..., 0] + 1j * pairs[..., 1].astype(float)


def _disturbed(graph: jraph.GraphsTuple, rng: np.random.Generator) -> jraph.GraphsTuple:
    size = len(graph.nodes)
    nodes, globals_ = graph.nodes.copy(), graph.globals.copy()
    nodes[:, :2] += rng.uniform(-_POSITION_NOISE, _POSITION_NOISE, (size, 2))
    globals_[:, 1] += rng.uniform(-_GRAVITY_NOISE, _GRAVITY_NOISE)
    noise = rng.uniform(-_STIFFNESS_NOISE, _STIFFNESS_NOISE, size - 1)
    spring = np.minimum(graph.senders, graph.receivers)  # Its left mass names it.
    apart = nodes[graph.receivers, :2] - nodes[graph.senders, :2]
    edges = np.stack(
        [_STIFFNESS + noise[spring], np.hypot(apart[:, 0], apart[:, 1])], axis=-1
    )
    return graph._replace(nodes=nodes, edges=edges.astype(np.float32), globals=globals_)


def _with_state(
    graph: jraph.GraphsTuple, state: Float[np.ndarray, "N 4"]
) -> jraph.GraphsTuple:
    nodes = np.concatenate([state, graph.nodes[:, 4:]], axis=1)
    return graph._replace(nodes=nodes.astype(np.float32))


def _sums(values: Any, counts: Any) -> Any:
    """Sums of runs of the last axis, which may be empty: [*T, N] to [*T, G]."""
    totals = np.cumsum(values, axis=-1)
    totals = np.concatenate([np.zeros_like(totals[..., :1]), totals], axis=-1)
    ends = np.cumsum(counts)
    return totals[..., ends] - totals[..., ends - counts]
