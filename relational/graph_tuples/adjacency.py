"""The edges of a large graph, sorted by receiver once, so that in-edges are a slice.

Shapes: N nodes, E edges.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jraph
import numpy as np

from relational._checks import check_count
from relational.graph_tuples.checking import checked
from relational.graph_tuples.sharing import portable, rebuilt
from relational.topologies import Edges

_Array = np.ndarray[Any, Any]
_MOST_INT32 = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Adjacency:
    """A graph in compressed rows: node i hears `senders[starts[i]:starts[i + 1]]`.

    Made by `Adjacency.of`, which takes the time of one sort. It needs 8 bytes an edge and
    4 bytes a node (twice that beyond 2^31 edges), and nothing else does.

    >>> adjacency = Adjacency.of(senders=[2, 0, 2], receivers=[1, 1, 0], num_nodes=3)
    >>> adjacency.starts, adjacency.senders, adjacency.edges
    (array([0, 1, 3, 3], dtype=int32), array([2, 2, 0], dtype=int32), array([2, 0, 1], \
dtype=int32))
    """

    starts: _Array
    """[N + 1]: where the in-edges of each node begin, and E."""

    senders: _Array
    """[E]: senders, by receiver; those of one receiver in the order of the edges."""

    edges: _Array
    """[E]: the number of each edge in the graph as it was given."""

    @classmethod
    def of(cls, *, senders: Any, receivers: Any, num_nodes: int) -> "Adjacency":
        """Sorts edges by receiver.

        Args:
          senders, receivers: [E] integers from 0 to N - 1.
          num_nodes: N.

        Raises:
          ValueError: if the lists differ in length, or an index is out of range.
        """
        check_count("num_nodes", num_nodes, least=0, advice="It counts nodes.")
        listed = Edges(senders, receivers, num_nodes, num_nodes)
        ends = np.asarray(listed.receivers)
        if ends.ndim != 1:
            raise ValueError(
                f"`senders` and `receivers` must be [E]; got shape {ends.shape}. A batch "
                "of graphs is one graph with more nodes: see `batch`."
            )
        degrees = np.bincount(ends, minlength=num_nodes)
        starts = np.concatenate([[0], np.cumsum(degrees)])
        order = np.argsort(ends, kind="stable")
        return cls(
            starts=_small(starts),
            senders=_small(np.asarray(listed.senders)[order], num_nodes),
            edges=_small(order),
        )

    @classmethod
    def of_graph(cls, graph: jraph.GraphsTuple) -> "Adjacency":
        """Sorts the edges of a graph tuple; a batch is one graph with more nodes.

        >>> from relational.graph_tuples import fully_connected
        >>> Adjacency.of_graph(fully_connected([2, 3])).degrees
        array([2, 2, 3, 3, 3], dtype=int32)
        """
        graph = checked(graph)
        none = np.zeros(0, np.int32)
        return cls.of(
            senders=none if graph.senders is None else graph.senders,
            receivers=none if graph.receivers is None else graph.receivers,
            num_nodes=int(np.sum(np.asarray(graph.n_node))),
        )

    def save(self, folder: str | os.PathLike[str]) -> "Adjacency":
        """Writes the three arrays into a folder, and returns them as files in memory.

        Processes share such an adjacency: pickled, it is opened again and not copied.

        >>> import tempfile
        >>> adjacency = Adjacency.of(senders=[2, 0], receivers=[1, 1], num_nodes=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(adjacency.save(folder).degrees)
        [0 2 0]
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        for field in dataclasses.fields(self):
            np.save(Path(folder) / f"{field.name}.npy", getattr(self, field.name))
        return Adjacency.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "Adjacency":
        """Opens the arrays that `save` wrote, without reading them.

        Raises:
          FileNotFoundError: if they are not there.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        paths = {name: Path(folder).absolute() / f"{name}.npy" for name in names}
        return cls(
            **{name: np.load(path, mmap_mode="r") for name, path in paths.items()}
        )

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return rebuilt, (Adjacency, portable(fields))

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.starts) - 1

    @property
    def num_edges(self) -> int:
        """E."""
        return len(self.senders)

    @property
    def degrees(self) -> _Array:
        """[N]: how many nodes each node hears."""
        return np.diff(self.starts)


def _small(numbers: _Array, most: int | None = None) -> _Array:
    """Returns integers as int32 where they fit, to halve what is kept."""
    largest = most if most is not None else int(numbers.max(initial=0))
    return numbers.astype(np.int32 if largest <= _MOST_INT32 else np.int64, copy=False)
