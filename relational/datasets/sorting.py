"""Sorting: which number is the smallest, and which follows which.

One of the three tasks of Battaglia et al. (2018). Every node hears every node; the
answer is the sorted list as a chain of edges, with its first element marked.

Shapes: N nodes, E = N^2 edges.
"""

import dataclasses
from typing import SupportsIndex

import numpy as np

from relational.datasets.graph_pairs import (
    GraphPair,
    check_range,
    check_task,
    generator,
    graph,
    one_hot,
    pair,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sorting:
    """Lists of uniform random numbers, and their order.

    Inputs: nodes [N, 1] are the numbers; every ordered pair of nodes is an edge, a node
    and itself included, with features [E, 1] of zero; globals [1, 1] are zero. Targets:
    of each node whether it is the smallest, of each edge whether its receiver follows its
    sender in the sorted list, as two classes (column 1 is true). Equal numbers, which
    float32 has in one list of 32 in some 30 000, keep the order of their nodes.

    Attributes:
        seed: of the set, 0 to 2^32 - 1. Sets that must not share examples are given
            different seeds.
        num_graphs: how many examples there are.
        num_nodes: the fewest and the most numbers, both included.

    Raises:
        ValueError: if an attribute is out of range.

    >>> inputs, targets = Sorting(seed=0, num_nodes=(3, 3))[1]
    >>> print(inputs.nodes[:, 0].round(2), targets.nodes[:, 1])
    [0.98 0.81 0.3 ] [0. 0. 1.]
    >>> follows = targets.edges[:, 1] == 1
    >>> print(inputs.senders[follows], inputs.receivers[follows])
    [1 2] [0 1]

    References: P. Battaglia et al., Relational inductive biases, deep learning, and graph
    networks, arXiv 1806.01261, 2018, and its demonstration in Graph Nets.
    """

    seed: int
    num_graphs: int = 1_000_000
    num_nodes: tuple[int, int] = (8, 16)

    def __post_init__(self) -> None:
        check_task("Sorting", self.seed, self.num_graphs)
        check_range(
            "Sorting.num_nodes", self.num_nodes, least=1, advice="It counts numbers."
        )

    def __len__(self) -> int:
        return self.num_graphs

    def __getitem__(self, index: SupportsIndex) -> GraphPair:
        rng = generator(self.seed, index, self.num_graphs)
        size = int(rng.integers(*self.num_nodes, endpoint=True))
        numbers = rng.random(size, np.float32)
        ranks = np.argsort(np.argsort(numbers, kind="stable"))
        receivers, senders = np.divmod(np.arange(size**2), size)
        inputs = graph(
            nodes=numbers[:, np.newaxis],
            edges=np.zeros([size**2, 1]),
            globals_=np.zeros([1, 1]),
            senders=senders,
            receivers=receivers,
            num_nodes=size,
        )
        return pair(
            inputs,
            nodes=one_hot(ranks == 0),
            edges=one_hot(ranks[receivers] == ranks[senders] + 1),
        )


TRAINING = Sorting(seed=0)
"""What the demonstration trains on: 8 to 16 numbers."""

GENERALISATION = Sorting(seed=1, num_graphs=1000, num_nodes=(16, 32))
"""What it tests on beside that: twice as many numbers."""
