"""How well graphs were answered: what is right, what is wholly solved, what drifts apart.

All functions take NumPy's arrays and JAX's, and run under `jit` with padded batches.

Shapes: T steps, N nodes, E edges, G graphs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float

from relational.datasets.springs import STEP_SIZE

Model = Callable[[jraph.GraphsTuple], Any]


class Answers(NamedTuple):
    """Counts of right answers, which add up over batches: `jax.tree.map(jnp.add, a, b)`.

    >>> answers = Answers(nodes_right=3, num_nodes=4, edges_right=6, num_edges=6,
    ...                   graphs_solved=1, num_graphs=2)
    >>> answers.node_share, answers.edge_share, answers.correct, answers.solved
    (0.75, 1.0, 0.9, 0.5)
    """

    nodes_right: Any
    num_nodes: Any
    edges_right: Any
    num_edges: Any
    graphs_solved: Any
    num_graphs: Any

    @property
    def node_share(self) -> Any:
        """The share of nodes that are right."""
        return self.nodes_right / self.num_nodes

    @property
    def edge_share(self) -> Any:
        """The share of edges that are right."""
        return self.edges_right / self.num_edges

    @property
    def correct(self) -> Any:
        """The share of nodes and edges together that are right, `C` in Graph Nets."""
        right = self.nodes_right + self.edges_right
        return right / (self.num_nodes + self.num_edges)

    @property
    def solved(self) -> Any:
        """The share of graphs of which all is right, `S` in Graph Nets."""
        return self.graphs_solved / self.num_graphs


def answers(
    logits: jraph.GraphsTuple,
    targets: jraph.GraphsTuple,
    graph_mask: Bool[Array, " G"],
) -> Answers:
    """Compares the likeliest class of each node and edge with the true one.

    Args:
        logits: `nodes` [N, C] and `edges` [E, C].
        targets: `nodes` [N, C] and `edges` [E, C], one-hot, with `n_node` and `n_edge`;
            a field that is None is not asked for.
        graph_mask: which graphs count; padding does not.

    Returns:
        Counts, int32.

    >>> from relational.datasets import Sorting
    >>> _, targets = Sorting(seed=0, num_nodes=(3, 3))[0]
    >>> found = answers(targets, targets, jnp.array([True]))
    >>> print(found.nodes_right, found.edges_right, found.graphs_solved)
    3 9 1
    """
    mask = jnp.asarray(graph_mask)
    of_nodes = _wrong(logits.nodes, targets.nodes, targets.n_node)
    of_edges = _wrong(logits.edges, targets.edges, targets.n_edge)
    num_nodes = _total(targets.n_node, mask) if targets.nodes is not None else 0
    num_edges = _total(targets.n_edge, mask) if targets.edges is not None else 0
    return Answers(
        nodes_right=num_nodes - _total(of_nodes, mask),
        num_nodes=num_nodes,
        edges_right=num_edges - _total(of_edges, mask),
        num_edges=num_edges,
        graphs_solved=_total(of_nodes + of_edges == 0, mask),
        num_graphs=_total(jnp.ones_like(mask), mask),
    )


def roll_out(
    model: Model,
    graph: jraph.GraphsTuple,
    num_steps: int,
    *,
    step_size: float = STEP_SIZE,
) -> Float[Array, "T+1 N 2"]:
    """Positions over time if a model says the velocities of every next step.

    The velocities move the positions, and both are the model's next input, as
    `springs.simulate` does it. Fixed masses stay where they are, whatever is said of them.

    Args:
        model: takes graphs in the format of `springs.Springs` and gives velocities [N, 2].
        graph: the first state, one graph or a batch.
        num_steps: how many steps to take.
        step_size: seconds.

    Returns:
        Positions, those of `graph` first.

    >>> from relational.datasets import springs
    >>> falling = lambda graph: graph.nodes[:, 2:4] - jnp.array([[0.0, 1.0]])
    >>> roll_out(falling, springs.chain(3, 0.5), 2)[:, :, 1].round(2).tolist()
    [[0.0, 0.0, 0.0], [0.0, -0.1, 0.0], [0.0, -0.3, 0.0]]
    """
    moves = 1 - jnp.asarray(graph.nodes)[:, 4:]  # [N, 1]

    def step(nodes: Array, _: None) -> tuple[Array, Array]:
        velocities = moves * model(graph._replace(nodes=nodes))
        positions = nodes[:, :2] + step_size * velocities
        after = jnp.concatenate([positions, velocities, nodes[:, 4:]], axis=1)
        return after, positions

    first = jnp.asarray(graph.nodes)
    _, positions = jax.lax.scan(step, first, None, length=num_steps)
    return jnp.concatenate([first[None, :, :2], positions])


def constant_velocity(graph: jraph.GraphsTuple) -> Float[Array, "N 2"]:
    """The baseline of `roll_out`: every mass moves on as it does.

    >>> from relational.datasets import springs
    >>> constant_velocity(springs.chain(3, 0.5)).tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    return jnp.asarray(graph.nodes)[:, 2:4]


def position_error(
    predicted: Float[Array, "T N 2"],
    true: Float[Array, "T N 2"],
    weights: Float[Array, " N"],
) -> Float[Array, " T"]:
    """The mean distance of predicted and true positions at each time, in metres.

    Args:
        predicted: positions, as `roll_out` gives them.
        true: positions, as `springs.simulate` gives them: `states[..., :2]`.
        weights: of the masses in the mean: 0 for padding and for fixed masses, 1 else.

    Returns:
        Errors over time.

    >>> zero, one = jnp.zeros([1, 2, 2]), jnp.ones([1, 2, 2])
    >>> position_error(one, zero, jnp.array([1.0, 0.0])).round(4).tolist()
    [1.4142]
    """
    apart = jnp.asarray(predicted) - jnp.asarray(true, jnp.asarray(predicted).dtype)
    distances = jnp.sqrt(jnp.sum(apart**2, axis=-1))  # [T, N]
    return distances @ weights / jnp.sum(weights)


def _wrong(logits: Any, targets: Any, counts: Any) -> Array:
    """How many rows of each graph are wrong, [G]."""
    num_graphs = len(counts)
    if targets is None:
        return jnp.zeros([num_graphs], jnp.int32)
    is_wrong = jnp.argmax(logits, axis=-1) != jnp.argmax(targets, axis=-1)
    graph_of = jnp.repeat(
        jnp.arange(num_graphs), counts, total_repeat_length=len(targets)
    )
    return jax.ops.segment_sum(is_wrong.astype(jnp.int32), graph_of, num_graphs)


def _total(values: Any, mask: Array) -> Array:
    return jnp.sum(jnp.where(mask, jnp.asarray(values, jnp.int32), 0))
