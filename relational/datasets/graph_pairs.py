"""What the generated tasks give and share: pairs of graphs, drawn by seed and number.

A task is a random-access source: example i follows from the seed and i alone, whoever
makes it and in whatever order, so that grain may make examples in parallel with
training. `shortest_path`, `sorting` and `springs` are the tasks.

Shapes: N nodes, E edges.
"""

from typing import NamedTuple, SupportsIndex

import jraph
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from relational._checks import check_count, check_seed, is_whole, shown

_SEED_ADVICE = "Sets that must not share examples are given different seeds."


class GraphPair(NamedTuple):
    """What goes into a model, and what should come out, on the same edges.

    A pair is a pytree: pairs are batched by batching either part.

    - `inputs`: one graph with features; edges are sorted by receiver, then by sender.
    - `targets`: the same topology. `nodes` and `edges` hold what is to be predicted, or
      None where nothing is; `globals` is None.

    >>> from relational.datasets import Sorting
    >>> inputs, targets = Sorting(seed=0, num_nodes=(3, 3))[0]
    >>> inputs.nodes.shape, targets.nodes.shape, targets.edges.shape
    ((3, 1), (3, 2), (9, 2))
    """

    inputs: jraph.GraphsTuple
    targets: jraph.GraphsTuple


def generator(seed: int, index: SupportsIndex, num_graphs: int) -> np.random.Generator:
    """The random numbers of one example: Philox, whose key is the seed and the number.

    Args:
        seed: of the set.
        index: of the example, 0 to `num_graphs - 1`.
        num_graphs: how many examples there are.

    Raises:
        IndexError: if there is no such example.

    >>> generator(0, 3, 10).random() == generator(0, 3, 10).random()
    True
    """
    number = index.__index__()
    if not 0 <= number < num_graphs:
        raise IndexError(
            f"`index` must be 0 to {num_graphs - 1}; got {number}. A longer set has a "
            "larger `num_graphs`."
        )
    key = np.array([seed, number], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def check_task(name: str, seed: object, num_graphs: object) -> None:
    """Raises a ValueError unless a task's seed and length can be used.

    >>> check_task("Sorting", -1, 10)
    Traceback (most recent call last):
    ...
    ValueError: `Sorting.seed` must be 0 to 4294967295; got -1. Sets that must not share \
examples are given different seeds.
    """
    check_seed(f"{name}.seed", seed, _SEED_ADVICE)
    check_count(
        f"{name}.num_graphs", num_graphs, least=1, advice="It is the set's length."
    )


def check_range(name: str, value: object, *, least: int, advice: str) -> None:
    """Raises a ValueError unless `value` is a pair of sizes, the smaller one first.

    >>> check_range("Sorting.num_nodes", (9, 8), least=1, advice="It counts nodes.")
    Traceback (most recent call last):
    ...
    ValueError: `Sorting.num_nodes` must be (fewest, most), both included, with fewest \
at most most; got (9, 8). It counts nodes.
    """
    is_pair = isinstance(value, tuple) and len(value) == 2
    if not is_pair or not all(map(is_whole, value)) or value[0] > value[1]:  # type: ignore
        raise ValueError(
            f"`{name}` must be (fewest, most), both included, with fewest at most most; "
            f"got {shown(value)}. {advice}"
        )
    check_count(f"{name}[0]", value[0], least=least, advice=advice)  # type: ignore


def check_positive(name: str, value: object, advice: str) -> None:
    """Raises a ValueError unless `value` is a finite number above 0.

    >>> check_positive("ShortestPath.theta", 0, "It is a threshold.")
    Traceback (most recent call last):
    ...
    ValueError: `ShortestPath.theta` must be a finite number above 0; got 0. It is a \
threshold.
    """
    is_number = isinstance(value, int | float | np.number)
    if isinstance(value, bool) or not is_number or not 0 < value < np.inf:  # type: ignore
        raise ValueError(
            f"`{name}` must be a finite number above 0; got {shown(value)}. {advice}"
        )


def graph(
    *,
    nodes: Shaped[np.ndarray, "N ..."] | None,
    edges: Shaped[np.ndarray, "E ..."] | None,
    senders: Int[np.ndarray, " E"],
    receivers: Int[np.ndarray, " E"],
    num_nodes: int,
    globals_: Float[np.ndarray, "1 D"] | None = None,
) -> jraph.GraphsTuple:
    """One graph of NumPy arrays: features in float32, indices in int32.

    >>> two = np.array([0, 1])
    >>> graph(nodes=None, edges=None, senders=two, receivers=two, num_nodes=2).n_edge
    array([2], dtype=int32)
    """
    return jraph.GraphsTuple(
        nodes=_float32(nodes),
        edges=_float32(edges),
        senders=senders.astype(np.int32),
        receivers=receivers.astype(np.int32),
        globals=_float32(globals_),
        n_node=np.array([num_nodes], np.int32),
        n_edge=np.array([len(senders)], np.int32),
    )


def pair(
    inputs: jraph.GraphsTuple,
    *,
    nodes: Float[np.ndarray, "N C"] | None,
    edges: Float[np.ndarray, "E C"] | None,
) -> GraphPair:
    """A graph beside the targets of its nodes and edges.

    >>> one = np.array([0])
    >>> lonely = graph(nodes=None, edges=None, senders=one, receivers=one, num_nodes=1)
    >>> pair(lonely, nodes=np.eye(1), edges=None).targets.nodes
    array([[1.]], dtype=float32)
    """
    targets = inputs._replace(
        nodes=_float32(nodes), edges=_float32(edges), globals=None
    )
    return GraphPair(inputs=inputs, targets=targets)


def one_hot(is_true: Bool[np.ndarray, " K"]) -> Float[np.ndarray, "K 2"]:
    """Targets of two classes: column 1 is true, column 0 is false.

    >>> one_hot(np.array([True, False]))
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    return np.stack([~is_true, is_true], axis=-1).astype(np.float32)


def _float32(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None else array.astype(np.float32)
