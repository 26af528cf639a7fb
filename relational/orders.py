"""Orders of nodes: permutations after which nodes that hear each other lie together.

A tile is a range of receivers x a range of senders, so which tiles are empty depends on
how nodes are numbered. `topology.ordered(order)` renumbers the nodes of a topology,
`relation.ordered(order)` keeps the labels that its edges had before, `order.apply`
reorders what the nodes carry, and `order.undo` brings results back:

    order = rl.orders.blocks((64, 64), (4, 4))
    heard = rl.propagate(window.ordered(order), senders=order.apply(pixels), ...)
    heard = order.undo(heard)

Shapes: N nodes.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from relational._checks import check_count, shown
from relational.topologies.base import Topology
from relational.topologies.grids import coordinates, set_axes, set_grid


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False)
class Order:
    """A permutation of nodes: at place i stands the node `nodes[i]`.

    It is part of the compiled program, as the topologies are that it orders: equal
    orders share a compile.

    Args:
      nodes: [N] integers, each from 0 to N - 1 once; NumPy or a list.

    >>> order = Order([2, 0, 1])
    >>> order.apply(np.array(["a", "b", "c"])).tolist()
    ['c', 'a', 'b']
    >>> order.undo(order.apply(np.arange(3))).tolist()
    [0, 1, 2]
    >>> order.inverse.nodes.tolist()  # The place of each node.
    [1, 2, 0]
    """

    nodes: Int[np.ndarray, " N"]

    def __post_init__(self) -> None:
        if isinstance(self.nodes, jax.core.Tracer):
            raise TypeError(
                "`Order.nodes` must be a NumPy array, since an order is part of the "
                "compiled program; got a traced array. Make it outside `jit`."
            )
        try:
            nodes = np.array(self.nodes)  # A copy: nobody changes it later.
        except ValueError:  # Lists of several lengths.
            nodes = np.zeros(())
        nodes = nodes.astype(np.int32) if not nodes.size else nodes
        is_listed = nodes.ndim == 1 and np.issubdtype(nodes.dtype, np.integer)
        if not is_listed or (np.sort(nodes) != np.arange(nodes.size)).any():
            raise ValueError(
                "`Order.nodes` must hold each node from 0 to N - 1 once; got "
                f"{shown(self.nodes)}. `np.argsort` of a number a node makes an order."
            )
        nodes = nodes.astype(np.int32)
        nodes.flags.writeable = False
        object.__setattr__(self, "nodes", nodes)

    @functools.cached_property
    def _key(self) -> bytes:
        return self.nodes.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __len__(self) -> int:
        return int(self.nodes.size)

    @functools.cached_property
    def inverse(self) -> "Order":
        """The order that leads back: its `nodes` are the places of this one's nodes."""
        return Order(np.argsort(self.nodes))

    def apply(self, tree: Any, axis: int = 0) -> Any:
        """Returns an array, or every leaf of a pytree, in this order.

        Args:
          tree: arrays whose axis `axis` has N entries.
          axis: of the nodes; after leading axes it is `batch_axes`.
        """

        def one(leaf: Any) -> Any:
            shape = np.shape(leaf)
            if not -len(shape) <= axis < len(shape) or shape[axis] != len(self):
                raise ValueError(
                    f"axis {axis} must be that of the {len(self)} nodes of this order; "
                    f"got an array of shape {list(shape)}. After leading axes `axis` is "
                    "their number."
                )
            if not isinstance(leaf, jax.Array):
                return np.take(leaf, self.nodes, axis=axis)
            index = (slice(None),) * (axis % leaf.ndim) + (self.nodes,)
            return leaf.at[index].get(unique_indices=True, mode="promise_in_bounds")

        return jax.tree.map(one, tree)

    def undo(self, tree: Any, axis: int = 0) -> Any:
        """Returns what `apply` has reordered as it was before."""
        return self.inverse.apply(tree, axis)

    def at(self, place: Any) -> Any:
        """Returns the node at each place, elementwise; beyond the ends, that of the end.

        >>> Order([2, 0, 1]).at(np.array([[0], [2]]))
        array([[2],
               [1]], dtype=int32)
        """
        if not len(self):
            return place
        xp = jnp if isinstance(place, jax.Array) else np
        return xp.asarray(self.nodes)[xp.clip(place, 0, len(self) - 1)]

    def __repr__(self) -> str:
        first = ", ".join(map(str, self.nodes[:4]))
        return f"Order([{first}{', ...' if len(self) > 4 else ''}])"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Blocks:
    """The arguments of `blocks`, checked as those of a topology."""

    grid: Any
    block: Any

    def __post_init__(self) -> None:
        set_grid(self, "orders.blocks")
        set_axes(self, "block", "orders.blocks")


def blocks(grid: tuple[int, ...], block: tuple[int, ...] | int) -> Order:
    """Returns the nodes of a grid block by block, in raster order within and without.

    Of whole blocks of two axes this is the order of `RasterBlocks2D`. Blocks at the far
    ends of a grid that they do not divide are smaller.

    Args:
      grid: places along each axis; nodes stand in raster order before.
      block: places of a block along each axis, or one number for all.

    >>> blocks((2, 4), (2, 2)).nodes.reshape(2, 4)
    array([[0, 1, 4, 5],
           [2, 3, 6, 7]], dtype=int32)
    """
    checked = _Blocks(grid=grid, block=block)
    places = coordinates(np.arange(math.prod(checked.grid)), checked.grid)
    pairs = list(zip(places, checked.block, strict=True))
    outer = [place // size for place, size in pairs]
    inner = [place % size for place, size in pairs]
    return Order(np.lexsort((outer + inner)[::-1]))


def morton(grid: tuple[int, ...]) -> Order:
    """Returns the nodes of a grid along the Z curve (Morton 1966): blocks of all sizes.

    The bits of a node's places along the axes, in turn, are its rank, so that any
    2^k nodes from a multiple of 2^k on are a box, where the grid's sides are powers of
    two. Another grid is the part of such a one that it covers.

    >>> morton((4, 4)).inverse.nodes.reshape(4, 4)
    array([[ 0,  1,  4,  5],
           [ 2,  3,  6,  7],
           [ 8,  9, 12, 13],
           [10, 11, 14, 15]], dtype=int32)
    """
    checked = _Blocks(grid=grid, block=1)
    places = coordinates(np.arange(math.prod(checked.grid)), checked.grid)
    bits = max(checked.grid).bit_length()
    if bits * len(places) > 62:
        raise ValueError(
            "`grid` must have places of 62 bits altogether, the longest axis times the "
            f"number of axes; got {shown(grid)}."
        )
    rank = np.zeros(math.prod(checked.grid), np.int64)
    for bit in reversed(range(bits)):
        for place in places:
            rank = rank << 1 | (place >> bit & 1)
    return Order(np.argsort(rank, kind="stable"))


def reverse_cuthill_mckee(topology: Topology, num_nodes: int | None = None) -> Order:
    """Returns nodes so that neighbours lie near each other: few edges leave a band.

    Breadth first from a node of few neighbours, those of fewer neighbours first, turned
    round at the end (Cuthill and McKee 1969; George 1971), by SciPy. Whether an edge
    leads one way or the other makes no difference.

    Args:
      topology: a graph of one node set, such as `rl.Edges(senders, receivers)`, whose
        edges are known while tracing.
      num_nodes: N, where the topology does not say it.

    >>> import relational as rl
    >>> path = rl.Edges([0, 3, 1], [3, 1, 2], num_receivers=4)  # 0 - 3 - 1 - 2
    >>> senders, receivers = path.ordered(reverse_cuthill_mckee(path)).edges()
    >>> np.abs(senders - receivers).tolist()
    [1, 1, 1]
    """
    from scipy.sparse import coo_matrix, csgraph

    if not isinstance(topology, Topology):
        raise TypeError(
            "`topology` must be a topology such as `rl.Edges(senders, receivers)`; got "
            f"{shown(topology)}."
        )
    if num_nodes is not None:
        check_count("num_nodes", num_nodes, least=0, advice="It counts nodes.")
    receivers, senders = topology.sizes(num_nodes, num_nodes)
    if receivers != senders:
        raise ValueError(
            "`topology` must be of one node set, which hears and speaks; got "
            f"{receivers} receivers and {senders} senders."
        )
    ends = topology.edges(receivers, senders)
    both = np.concatenate(ends), np.concatenate(ends[::-1])
    ones = np.ones(both[0].size, np.int8)
    matrix = coo_matrix((ones, both), shape=(receivers, receivers)).tocsr()
    if not receivers:
        return Order(np.zeros(0, np.int32))
    return Order(csgraph.reverse_cuthill_mckee(matrix, symmetric_mode=True))


def both_sides(nodes: Any, receivers: Any, senders: Any) -> "tuple[Any, Any]":
    """Returns the orders of receivers and senders that a method `ordered` was given."""
    given = {"nodes": nodes, "receivers": receivers, "senders": senders}
    for name, order in given.items():
        if order is not None and not isinstance(order, Order):
            raise TypeError(
                f"`{name}` must be an order such as `rl.orders.morton((8, 8))`; got "
                f"{shown(order)}."
            )
    is_both = nodes is not None
    if is_both == (receivers is not None or senders is not None):
        raise ValueError(
            "`ordered` takes one order of all nodes, or `receivers=` and `senders=` "
            f"apart; got {', '.join(k for k, v in given.items() if v is not None) or 'none'}."
        )
    return (nodes, nodes) if is_both else (receivers, senders)
