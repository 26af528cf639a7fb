"""Neighbour sampling: a small graph around some nodes of a large one.

To compute L layers for a few seeds, only nodes within L edges matter, and they are
still too many; so each node hears a few of its neighbours, drawn anew each step. Work
and memory follow the seeds and the fan-outs, not the graph.

Shapes: B seeds, N and E nodes and edges of the large graph, n and e those of a sample.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jraph
import numpy as np

from relational._checks import check_array, check_count, is_whole, shown
from relational.graph_tuples.adjacency import Adjacency
from relational.graph_tuples.drawing import counted, subsets
from relational.graph_tuples.epochs import Epochs
from relational.graph_tuples.known_nodes import KnownNodes
from relational.graph_tuples.padding import pad
from relational.graph_tuples.sharing import portable, rebuilt

if TYPE_CHECKING:
    import grain

_Array = np.ndarray[Any, Any]
_MOST = 2**64  # Of seeds and steps: they are the key of the random numbers.
_NUM_DUMMY_NODES = 2  # See `pad`.


class Sample(NamedTuple):
    """A sampled graph, padded, and where its rows come from.

    >>> Sample._fields
    ('graph', 'seed_rows', 'node_ids', 'edge_ids')
    """

    graph: jraph.GraphsTuple
    """The sample as the first of two graphs; the other is padding."""

    seed_rows: _Array
    """[B]: which of the nodes are the seeds, in their order."""

    node_ids: _Array
    """[n]: the number of each node in the large graph, -1 for padding."""

    edge_ids: _Array
    """[e]: the number of each edge in the large graph, -1 for padding."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NeighbourSampler:
    """Samples the neighbourhoods of seeds: in hop l, at most `fan_outs[l]` of a node.

    In the first hop each seed draws from its in-edges, without replacement, all subsets
    being equally likely; in the next each node that was reached for the first time draws
    from its own, and so on. A node that has no more in-edges than the fan-out keeps them
    all. So with L fan-outs of at least the largest degree, L layers of message passing give
    the seeds what they give them in the large graph, exactly.

    Every sample has the same shape: that of the largest possible one, with two nodes more
    for padding.

    Args:
      adjacency: the large graph.
      fan_outs: in-edges kept of a node, hop by hop.
      batch_size: B, seeds in a batch.
      seed: of all drawing, and of the orders of `dataset`; 0 to 2^64 - 1.
      nodes: None, or a pytree of [N, ...], whose rows become `graph.nodes`; arrays on
        disk (`numpy.memmap`) are read where they are needed.
      edges: likewise [E, ...], in the order of the edges before they were sorted.

    Raises:
      ValueError: if a number is out of range, or features do not fit the graph.

    >>> import numpy as np
    >>> ring = np.arange(6)  # Node i hears the one before it, and so on round a ring.
    >>> adjacency = Adjacency.of(senders=ring, receivers=(ring + 1) % 6, num_nodes=6)
    >>> sampler = NeighbourSampler(adjacency=adjacency, fan_outs=(1, 1), batch_size=2)
    >>> sample = sampler.sample([5, 2], step=0)
    >>> sample.node_ids
    array([ 5,  2,  1,  4,  0,  3, -1, -1])
    >>> sample.graph.senders, sample.graph.receivers
    (array([3, 2, 4, 5], dtype=int32), array([0, 1, 2, 3], dtype=int32))

    Reference: Hamilton, Ying and Leskovec, Inductive Representation Learning on Large
    Graphs, 2017, section 3.1 and algorithm 2.

    We differ from the paper in that a node with fewer neighbours than the fan-out keeps
    each once, where the paper draws with replacement; and in that a node draws in one hop
    only, the first in which it is met, where the paper draws for all nodes in every hop.
    """

    adjacency: Adjacency
    fan_outs: tuple[int, ...]
    batch_size: int
    seed: int = 0
    nodes: Any = None
    edges: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.adjacency, Adjacency):
            raise TypeError(
                f"`adjacency` must be an `Adjacency`; got {shown(self.adjacency)}. Make "
                "it once, with `Adjacency.of`."
            )
        fan_outs = self.fan_outs if isinstance(self.fan_outs, Sequence) else ()
        if not fan_outs:
            raise ValueError(
                "`fan_outs` must list a number a hop; got "
                f"{shown(self.fan_outs)}. `(10, 10)` samples for two layers."
            )
        for hop, fan_out in enumerate(fan_outs):
            check_count(
                f"fan_outs[{hop}]", fan_out, least=1, advice="It counts in-edges kept."
            )
        object.__setattr__(self, "fan_outs", tuple(map(int, fan_outs)))
        check_count("batch_size", self.batch_size, least=1, advice="It counts seeds.")
        _check_key("seed", self.seed, _MOST)
        _check_rows("nodes", self.nodes, self.adjacency.num_nodes)
        _check_rows("edges", self.edges, self.adjacency.num_edges)

    @property
    def num_nodes(self) -> int:
        """n: nodes of every sample, with padding."""
        return self._most()[0] + _NUM_DUMMY_NODES

    @property
    def num_edges(self) -> int:
        """e: edges of every sample, with padding."""
        return self._most()[1]

    def sample(self, seeds: Any, step: int) -> Sample:
        """Samples around seeds. The same seeds, seed and step give the same sample.

        Args:
          seeds: [B] nodes of the large graph; a node may come twice, and then has one row.
          step: the number of the batch, 0 to 2^64 - 1.

        Raises:
          ValueError: if a seed is no node, or there are not `batch_size` of them.
        """
        seeds = self._checked(seeds)
        _check_key("step", step, _MOST)
        bits = counted(self.seed, step)
        known = KnownNodes(seeds)
        senders, receivers, edges = [], [], []
        frontier = known.rows  # Rows that have not drawn yet.
        for fan_out in self.fan_outs:
            heard, hearers, positions = self._drawn(
                bits, known.ids(frontier), frontier, fan_out
            )
            num_known = known.count
            senders.append(known.rows_of(heard))
            receivers.append(hearers)
            edges.append(self.adjacency.edges[positions])
            frontier = np.arange(num_known, known.count)
        return self._padded(
            known,
            seeds,
            np.concatenate(senders).astype(np.int32),
            np.concatenate(receivers).astype(np.int32),
            np.concatenate(edges).astype(np.int64),
        )

    def dataset(self, seeds: Any) -> "grain.MapDataset[Sample]":
        """An endless grain dataset of samples around batches of these seeds.

        Every epoch goes through the seeds once, in a new order; an epoch's last batch is
        filled up from the next. Batch i is a function of i, so that workers share the
        work, and a run can be resumed anywhere. Worker processes share the memory as
        well, of an adjacency that was saved (`Adjacency.save`) and of features that are
        memory-mapped files.

        Args:
          seeds: [M] nodes, such as those with training labels.

        Raises:
          ValueError: if a seed is no node, or there is none.

        >>> ring = np.arange(6)
        >>> adjacency = Adjacency.of(senders=ring, receivers=(ring + 1) % 6, num_nodes=6)
        >>> sampler = NeighbourSampler(adjacency=adjacency, fan_outs=(1,), batch_size=2)
        >>> sampler.dataset([1, 3, 5])[0].graph.n_node.tolist()
        [4, 2]
        """
        import grain

        nodes = self._nodes_of(seeds)
        if not nodes.size:
            raise ValueError("`seeds` must hold at least one node; got none.")
        epochs = Epochs(seeds=nodes, batch_size=self.batch_size, seed=self.seed)
        batches = grain.MapDataset.source(epochs)
        return batches.map_with_index(lambda step, batch: self.sample(batch, int(step)))

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return rebuilt, (NeighbourSampler, portable(fields))

    def _most(self) -> tuple[int, int]:
        """Returns the most nodes and edges that a sample can have."""
        num_nodes = reached = min(self.batch_size, self.adjacency.num_nodes)
        num_edges = 0
        for fan_out in self.fan_outs:
            drawn = reached * fan_out
            num_edges += drawn
            reached = min(drawn, self.adjacency.num_nodes - num_nodes)
            num_nodes += reached
        return num_nodes, min(num_edges, self.adjacency.num_edges)

    def _drawn(
        self, bits: np.random.Philox, nodes: _Array, rows: _Array, fan_out: int
    ) -> tuple[_Array, _Array, _Array]:
        """Returns, of each edge drawn: its sender, the row that hears it, its place."""
        starts = self.adjacency.starts[nodes]
        degrees = self.adjacency.starts[nodes + 1] - starts
        taken, is_real = subsets(bits, degrees, fan_out)
        positions = (starts[:, None] + taken)[is_real]
        hearers = np.repeat(rows, is_real.sum(axis=1))
        return self.adjacency.senders[positions], hearers, positions

    def _padded(
        self,
        known: "KnownNodes",
        seeds: _Array,
        senders: _Array,
        receivers: _Array,
        edges: _Array,
    ) -> Sample:
        nodes = known.ids()
        graph = jraph.GraphsTuple(
            nodes=_rows(self.nodes, nodes),
            edges=_rows(self.edges, edges),
            globals=None,
            senders=senders,
            receivers=receivers,
            n_node=np.array([len(nodes)], np.int32),
            n_edge=np.array([len(edges)], np.int32),
        )
        return Sample(
            graph=pad(graph, num_nodes=self.num_nodes, num_edges=self.num_edges),
            seed_rows=known.rows_of(seeds).astype(np.int32),
            node_ids=_filled(nodes, self.num_nodes),
            edge_ids=_filled(edges, self.num_edges),
        )

    def _checked(self, seeds: Any) -> _Array:
        nodes = self._nodes_of(seeds)
        if len(nodes) != self.batch_size:
            raise ValueError(
                f"`seeds` must be `batch_size`, {self.batch_size}, nodes; got "
                f"{len(nodes)}. Samples have one shape: repeat a seed to fill up."
            )
        return nodes

    def _nodes_of(self, seeds: Any) -> _Array:
        nodes = np.asarray(seeds)
        nodes = nodes if nodes.size else nodes.astype(np.int64)
        if nodes.ndim != 1 or not np.issubdtype(nodes.dtype, np.integer):
            raise ValueError(
                f"`seeds` must be integers [B]; got {shown(seeds)}. They are numbers of "
                "nodes, from 0."
            )
        wrong = np.flatnonzero((nodes < 0) | (nodes >= self.adjacency.num_nodes))
        if wrong.size:
            raise ValueError(
                f"`seeds[{wrong[0]}]` must be from 0 to {self.adjacency.num_nodes - 1}; "
                f"got {nodes[wrong[0]]}. It is a node of the large graph."
            )
        return nodes.astype(np.int64)


def _rows(tree: Any, rows: _Array) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[rows]), tree)


def _filled(ids: _Array, size: int) -> _Array:
    filled = np.full(size, -1, np.int64)
    filled[: len(ids)] = ids
    return filled


def _check_key(name: str, value: object, bound: int) -> None:
    if not is_whole(value) or not 0 <= value < bound:
        power = bound.bit_length() - 1
        raise ValueError(
            f"`{name}` must be a whole number from 0 to 2^{power} - 1; got {shown(value)}."
        )


def _check_rows(name: str, tree: Any, count: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        at = f"{name}{jax.tree_util.keystr(path)}"
        check_array(at, leaf, "Text stays outside.")
        if np.shape(leaf)[:1] != (count,):
            raise ValueError(
                f"`{at}` must have a row for each of the graph's {count} {name}; got shape "
                f"{np.shape(leaf)}."
            )
