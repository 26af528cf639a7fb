"""Edges sorted into rows of equal length: which edges each node meets, side by side.

Nodes of like degree share a bucket, a matrix of edges with a row a node; a node of many
edges takes several rows, whose parts are merged. Made once on the host, from a list of
edges that is known.

Shapes: E edges, N nodes, C rows of a bucket, K edges of a row.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from relational.lowerings.contents import Contents

_LONGEST = 64  # Edges of a row.
_ROWS = 8192  # Rows that are taken together.
UNROLLED = 8  # Slots whose gathers are fused into one loop over rows.


class Bucket(NamedTuple):
    """Rows of one length.

    Attributes:
      nodes: [C] integers; rows that fill up a block repeat one.
      edges: [C, K]; places without an edge repeat the row's first.
      valid: [C, K] booleans.
    """

    nodes: Any
    edges: Any
    valid: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Buckets:
    """The edges of a graph, by the nodes at one of their ends.

    Attributes:
      buckets: together they hold every edge once.
      row_of: [N], for a node of one row that row, counted through all buckets; for one
        of several, the number of rows and its place among those; else the last of all.
      split: rows of nodes that have several.
      owner: for each of these, the node's place among those.
      num_split: how many such nodes there are.
      place_of: [E], where an edge lies when all buckets are laid end to end; edges
        that are left out lie beyond the last.
    """

    buckets: tuple[Bucket, ...]
    row_of: Any
    split: Any
    owner: Any
    num_split: int
    place_of: Any

    @classmethod
    def of(cls, ends: Any, num_nodes: int, kept: Any = None) -> "Buckets":
        """Sorts edges by the node at one end.

        Args:
          ends: [E], the node of each edge.
          num_nodes: N.
          kept: which edges to take, [E] booleans; None for all.

        >>> buckets = Buckets.of(np.array([2, 0, 2, 2]), 4)
        >>> [bucket.valid.sum() for bucket in buckets.buckets]
        [np.int64(1), np.int64(3)]
        """
        ends = np.asarray(ends)
        edges = np.arange(ends.size) if kept is None else np.flatnonzero(kept)
        edges = edges[np.argsort(ends[edges], kind="stable")]
        degrees = np.bincount(ends[edges], minlength=num_nodes)
        first = np.concatenate([[0], np.cumsum(degrees)])
        num_rows = -(-degrees // _LONGEST)
        node = np.repeat(np.arange(num_nodes), num_rows)
        nth = np.arange(node.size) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows)
        start = first[node] + nth * _LONGEST
        length = np.minimum(first[node + 1] - start, _LONGEST)
        width = 2 ** np.ceil(np.log2(np.maximum(length, 1))).astype(int)
        places, order, count = np.full(ends.size, -1), [], 0
        found: list[Bucket] = []
        for size in np.unique(width):
            rows = np.flatnonzero(width == size)
            bucket = _bucket(rows, node, start, length, int(size), edges)
            order.append((rows, count))
            base = sum(each.edges.size for each in found)
            laid_here = base + np.flatnonzero(bucket.valid.reshape(-1))
            places[bucket.edges[bucket.valid]] = laid_here
            found.append(bucket)
            count += bucket.nodes.size
        laid = np.zeros(node.size, int)
        for rows, base in order:
            laid[rows] = base + np.arange(rows.size)
        several = np.flatnonzero(num_rows > 1)
        row_of = np.full(num_nodes, count + several.size)
        is_single = num_rows[node] == 1
        row_of[node[is_single]] = laid[is_single]
        row_of[several] = count + np.arange(several.size)
        total = sum(bucket.edges.size for bucket in found)
        return cls(
            tuple(found),
            row_of.astype(np.int32),
            laid[~is_single].astype(np.int32),
            np.searchsorted(several, node[~is_single]).astype(np.int32),
            int(several.size),
            np.where(places < 0, total, places).astype(np.int32),
        )

    def each(self, function: Callable[[Bucket], tuple[Any, Any]]) -> Any:
        """Calls a function on every bucket, some rows at a time.

        Args:
          function: returns leaves [C, ...], and others to add up.

        Returns:
          For each bucket its leaves; and the sums.
        """
        found, totals = [], []
        for bucket in self.buckets:
            arrays = tuple(jnp.asarray(leaf) for leaf in bucket)
            # As constants they would be folded into everything that reads them.
            arrays = jax.lax.optimization_barrier(arrays)
            if bucket.nodes.size <= _ROWS:
                rows, added = function(Bucket(*arrays))
            else:
                # A loop, so that XLA fuses gathers with what is done to the rows here,
                # and not with what is done to them later.
                shape = (-1, _ROWS)
                blocks = [x.reshape(*shape, *x.shape[1:]) for x in arrays]
                rows, added = jax.lax.map(
                    lambda block: function(Bucket(*block)), blocks
                )
                rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
                added = jax.tree.map(lambda x: x.sum(axis=0), added)
            found.append(rows)
            totals.append(added)
        summed = jax.tree.map(
            lambda *leaves: functools.reduce(jnp.add, leaves), *totals
        )
        return found, summed

    def by_edge(self, found: list[Any]) -> Any:
        """Returns leaves [E, ...] from those of each bucket, [rows, K, ...]."""

        def lay(*leaves: Any) -> Any:
            flat = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves]
            zero = jnp.zeros((1, *flat[0].shape[1:]), flat[0].dtype)
            whole = jnp.concatenate([*flat, zero])
            return jnp.take(whole, self.place_of, axis=0, mode="clip")

        return jax.tree.map(lay, *found)


def sorted_by(ends: Any, num_nodes: int, kept: Any) -> Buckets:
    """Returns `Buckets.of(...)`, kept for the next call with the same edges.

    Sorting a million edges takes longer than a step over them, and every function that
    is compiled anew would sort them again.
    """
    return _kept(Contents(ends, kept), num_nodes)


@functools.lru_cache(maxsize=8)
def _kept(contents: Contents, num_nodes: int) -> Buckets:
    ends, kept = contents.arrays
    return Buckets.of(ends, num_nodes, kept)


def over_slots(
    bucket: Bucket, step: Callable[[Any, Any, Any], tuple[Any, Any]], carry: Any
) -> tuple[Any, Any]:
    """Goes through the slots of a bucket, a few at a time.

    A gather of one row an index, fused with what is done to the rows, costs a CPU a
    tenth of a gather of all slots at once. So slots are taken one by one, but several
    in one loop over the rows.

    Args:
      step: from the carry, edges [C, k] and which are valid, [C, k], to the carry and
        leaves [C, k, ...].
      carry: what the first step is given.

    Returns:
      The last carry, and leaves [C, K, ...].
    """
    rows, size = bucket.edges.shape
    if size <= UNROLLED:
        return step(carry, bucket.edges, bucket.valid)

    def cut(leaf: Any) -> Any:
        return jnp.moveaxis(leaf.reshape(rows, -1, UNROLLED), 1, 0)

    def one(carry: Any, slots: Any) -> tuple[Any, Any]:
        return step(carry, *slots)

    carry, found = jax.lax.scan(one, carry, (cut(bucket.edges), cut(bucket.valid)))

    def joined(leaf: Any) -> Any:
        return jnp.moveaxis(leaf, 0, 1).reshape(rows, size, *leaf.shape[3:])

    return carry, jax.tree.map(joined, found)


def _bucket(
    rows: Any, node: Any, start: Any, length: Any, size: int, edges: Any
) -> Bucket:
    """Lays the edges of some rows side by side, whole blocks where there are many."""
    count = rows.size
    if count > _ROWS:
        rows = np.concatenate([rows, np.full(-count % _ROWS, rows[0])])
    slot = np.arange(size)[None]
    is_edge = slot < length[rows][:, None]
    at = start[rows][:, None] + np.where(is_edge, slot, 0)
    valid = is_edge & (np.arange(rows.size) < count)[:, None]
    return Bucket(node[rows].astype(np.int32), edges[at].astype(np.int32), valid)
