"""Names of nodes, kept beside a graph tuple.

Shapes: N nodes.
"""

import dataclasses
from collections.abc import Hashable, Iterable
from typing import TypeVar

import jraph
import numpy as np

from relational._checks import shown
from relational.graph_tuples.checking import checked

Name = TypeVar("Name", bound=Hashable)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Named:
    """A graph tuple, with the names of its nodes beside it.

    Names are no features, since they may be text. Node i is called `names[i]`.

    Raises:
      ValueError: if there is not one name a node, or two nodes share one.

    >>> graph = jraph.GraphsTuple(
    ...     nodes=None, edges=None, globals=None, senders=np.array([0]),
    ...     receivers=np.array([1]), n_node=np.array([2]), n_edge=np.array([1]))
    >>> named = Named(graph=graph, names=("a", "b"))
    >>> named.names[int(named.graph.receivers[0])], named.index("b")
    ('b', 1)
    """

    graph: jraph.GraphsTuple
    """The graph."""

    names: tuple[Hashable, ...]
    """The names of its nodes, in their order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        numbers = numbers_of(self.names)
        num_nodes = int(np.sum(np.asarray(checked(self.graph).n_node)))
        if len(self.names) != num_nodes:
            raise ValueError(
                f"`names` must have an entry a node, {num_nodes}; got {len(self.names)}."
            )
        object.__setattr__(self, "_numbers", numbers)

    def index(self, name: Hashable) -> int:
        """Returns the number of a node.

        Raises:
          ValueError: if there is none of this name.
        """
        numbers: dict[Hashable, int] = self.__dict__["_numbers"]
        if name not in numbers:
            raise ValueError(
                f"`name` must be one of the {len(numbers):,} names of nodes; got "
                f"{shown(name)}."
            )
        return numbers[name]


def numbers_of(names: Iterable[Name]) -> dict[Name, int]:
    """Returns the place of each name.

    Raises:
      ValueError: if a name comes twice.
    """
    numbers: dict[Name, int] = {}
    for number, name in enumerate(names):
        if name in numbers:
            raise ValueError(
                f"`names` must differ from each other; got {shown(name)} twice, at "
                f"{numbers[name]} and {number}."
            )
        numbers[name] = number
    return numbers
