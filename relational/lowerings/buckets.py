"""Edges sorted into rows of equal length: which edges each node meets, side by side.

Nodes of like degree share a bucket, a matrix of edges with a row a node; a node of many
edges takes several rows, whose parts are merged. Made once on the host, from a list of
edges that is known.

Shapes: E edges, N nodes, C rows of a block, K edges of a row.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LONGEST = 64  # Edges of a row.
_BLOCK = 2048  # Edges of a block: some 64 numbers each fit a cache.


class Bucket(NamedTuple):
    """Rows of one length, in blocks that are computed one after another.

    Attributes:
      nodes: [blocks, C] integers; rows that fill up a block repeat one.
      edges: [blocks, C, K]; places without an edge repeat the row's first.
      valid: [blocks, C, K] booleans.
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
            flat = bucket.edges.reshape(-1, size)[: rows.size]
            is_edge = bucket.valid.reshape(-1, size)[: rows.size]
            base = sum(each.edges.size for each in found)
            places[flat[is_edge]] = base + np.flatnonzero(is_edge.reshape(-1))
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

    def each(
        self, function: Callable[[Bucket, Any], tuple[Any, Any]], carry: Any = None
    ) -> tuple[Any, list[Any]]:
        """Calls a function on every block.

        Args:
          function: from a block ([C], [C, K], [C, K]) and the carry to the carry and a
            pytree of arrays that begin with [C].
          carry: what the first call is given.

        Returns:
          The last carry, and for each bucket the arrays, [blocks x C, ...].
        """

        def step(carry: Any, block: Any) -> Any:
            return function(Bucket(*block), carry)

        found = []
        for bucket in self.buckets:
            arrays = tuple(jnp.asarray(leaf) for leaf in bucket)
            # As constants they would be folded into everything that reads them.
            arrays = jax.lax.optimization_barrier(arrays)
            carry, rows = jax.lax.scan(step, carry, arrays)
            found.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows))
        return carry, found

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
    return _kept(_Content(ends, kept), num_nodes)


@dataclasses.dataclass(frozen=True, eq=False)
class _Content:
    """Arrays that are equal where their bytes are."""

    ends: Any
    kept: Any

    @functools.cached_property
    def _digest(self) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.ends, self.kept):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


@functools.lru_cache(maxsize=8)
def _kept(content: _Content, num_nodes: int) -> Buckets:
    return Buckets.of(content.ends, num_nodes, content.kept)


def _bucket(
    rows: Any, node: Any, start: Any, length: Any, size: int, edges: Any
) -> Bucket:
    """Lays the edges of some rows into blocks, whose last is filled up."""
    height = max(1, min(_BLOCK // size, rows.size))
    count = -(-rows.size // height) * height
    filled = np.concatenate([rows, np.full(count - rows.size, rows[0])])
    slot = np.arange(size)[None]
    valid = slot < length[filled][:, None]
    valid[rows.size :] = False
    at = start[filled][:, None] + np.where(slot < length[filled][:, None], slot, 0)
    shape = (count // height, height)
    return Bucket(
        node[filled].reshape(shape).astype(np.int32),
        edges[at].reshape(*shape, size).astype(np.int32),
        valid.reshape(*shape, size),
    )
