"""Decoding, derived from the topology: start, prefill, step.

A topology in which nobody hears a later node can be computed one node at a time. A
cache keeps every sender leaf that a term or a relation reads, with the position that
each slot holds; it is as long as the range of senders that any node hears, not as the
sequence. Senders that do not grow, such as the output of an encoder, are kept once, and
stepping appends nothing. The law: stepping through a sequence equals one parallel pass
over it.

Shapes: *lead leading axes; *batch, the first of them, along which positions differ;
M slots, N nodes, F features.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from relational import _pytrees
from relational.aggregators import Aggregator
from relational.binding import TermLike, bind
from relational.lowerings.dense import Dense
from relational.relations import Relation, Rows
from relational.topologies import Complete, Topology
from relational.topologies.base import first_edge_from_later

_EMPTY = -(2**30)  # The position of an empty slot: no topology hears it.


@_pytrees.register(data=("topology", "senders", "positions"))
@dataclasses.dataclass(frozen=True, eq=False)
class Cache:
    """The senders that nodes to come may hear.

    Attributes:
      topology: who hears whom.
      senders: a pytree of [*lead, M, ...].
      positions: [*batch, M] integers, the node that each slot holds.
      batch_axes: how many leading axes the senders have.
      is_fixed: whether the senders are all there from the beginning.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([[1.0, 5.0, 3.0]])  # A batch of one sequence of three.
    >>> cache = rl.start(rl.Band(before=1), notes, length=3, batch_axes=1)
    >>> cache = rl.prefill(cache, notes)
    >>> cache.slots, cache.positions.tolist(), cache.senders.tolist()
    (2, [[2, 1]], [[3.0, 5.0]])
    """

    topology: Topology
    senders: Any
    positions: jax.Array
    batch_axes: int
    is_fixed: bool = False

    @property
    def slots(self) -> int:
        """How many senders are kept."""
        return int(self.positions.shape[-1])


def start(topology: Topology, senders: Any, *, length: int, batch_axes: int) -> Cache:
    """Returns an empty cache.

    Args:
      topology: who may hear whom; nobody a later node.
      senders: a pytree of arrays, or `jax.ShapeDtypeStruct`s, of one or more nodes
        [*lead, N, ...]; only shapes and types count. The first leading axis is the
        batch of sequences that may stand at different positions.
      length: the longest sequence, which bounds the cache where the topology does not.
      batch_axes: how many leading axes there are, 1 or more.

    Raises:
      ValueError: if a node hears a later one; the message names the edge.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((1, 1, 4), "float32")
    >>> rl.start(rl.Band(before=7), nodes, length=1000, batch_axes=1).slots
    8
    """
    _check_batch_axes(batch_axes)
    if length < 1:
        raise ValueError(
            f"`length` must be 1 or more; got {length}. It counts the nodes of the "
            "longest sequence."
        )
    ahead = first_edge_from_later(topology, length)
    if ahead is not None:
        raise ValueError(
            f"`{topology}` cannot be stepped: node {ahead[1]} hears node {ahead[0]}, "
            "which comes later. Intersect it with `rl.Causal()`."
        )
    reach = topology.reach()
    slots = max(1, length if reach is None else min(reach, length))

    def empty(leaf: Any) -> jax.Array:
        shape = (*leaf.shape[:batch_axes], slots, *leaf.shape[batch_axes + 1 :])
        return jnp.zeros(shape, leaf.dtype)

    batch = jax.tree.leaves(senders)[0].shape[0]
    positions = jnp.full((batch, slots), _EMPTY, jnp.int32)
    return Cache(topology, jax.tree.map(empty, senders), positions, batch_axes)


def start_fixed(
    topology: Topology,
    senders: Any,
    *,
    batch_axes: int,
    lengths: jax.Array | None = None,
) -> Cache:
    """Returns a cache of senders that are all there, such as an encoder's output.

    Nodes to come hear them and add nothing to them: `step` takes no `senders`.

    Args:
      topology: which of the senders a node hears; receivers and senders are other nodes,
        so that a node may hear whichever it likes.
      senders: a pytree of [*lead, M, ...]. The first leading axis is the batch of
        sequences.
      batch_axes: how many leading axes there are, 1 or more.
      lengths: [batch] integers, how many of the M count for each sequence; by default
        all.

    >>> import jax.numpy as jnp, relational as rl
    >>> words = jnp.array([[1.0, 5.0, 3.0], [2.0, 4.0, 0.0]])
    >>> cache = rl.start_fixed(
    ...     rl.Complete(), words, batch_axes=1, lengths=jnp.array([3, 2]))
    >>> heard, cache = rl.step(cache, jnp.array([0, 0]), aggregator=rl.Sum(),
    ...                        message=lambda sender: sender)
    >>> heard.tolist()
    [[9.0], [6.0]]
    """
    _check_batch_axes(batch_axes)
    counts = {jnp.shape(leaf)[batch_axes] for leaf in jax.tree.leaves(senders)}
    if len(counts) != 1:
        raise ValueError(
            "`senders` must be arrays of one number of nodes; got "
            f"{', '.join(map(str, sorted(counts))) or 'no array'}."
        )
    batch = jnp.shape(jax.tree.leaves(senders)[0])[0]
    slots = jnp.arange(counts.pop(), dtype=jnp.int32)[None]
    if lengths is None:
        positions = jnp.broadcast_to(slots, (batch, slots.shape[1]))
    else:
        _check_integers("lengths", lengths, batch)
        positions = jnp.where(slots < lengths[:, None], slots, _EMPTY)
        topology = Complete() & topology  # Which hears no empty slot, whatever it is.
    return Cache(topology, senders, positions, batch_axes, is_fixed=True)


def _check_batch_axes(batch_axes: int) -> None:
    if batch_axes < 1:
        raise ValueError(
            f"`batch_axes` must be 1 or more for stepping; got {batch_axes}. The first "
            "leading axis is the batch of sequences; give a batch of one."
        )


def prefill(cache: Cache, senders: Any, lengths: jax.Array | None = None) -> Cache:
    """Returns the cache after the nodes of a prime, all at once.

    Args:
      cache: an empty cache.
      senders: a pytree of [*lead, N, ...], the nodes from position 0 on.
      lengths: [batch] integers, how many of the N count for each sequence; by
        default all.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([[1.0, 5.0, 3.0]])  # A batch of one sequence of three.
    >>> cache = rl.start(rl.Causal(), notes, length=3, batch_axes=1)
    >>> rl.prefill(cache, notes).senders.tolist()
    [[1.0, 5.0, 3.0]]
    """
    if cache.is_fixed:
        raise ValueError(
            "`cache` must be one that grows, from `rl.start`; got one of "
            "`rl.start_fixed`, whose senders are all there. It needs no `prefill`."
        )
    count = _count_nodes(cache, senders)
    batch = cache.positions.shape[0]
    if lengths is None:
        lengths = jnp.full(batch, count, jnp.int32)
    _check_integers("lengths", lengths, batch)
    slot = jnp.arange(cache.slots)[None]
    # The latest node below the length that falls into each slot; negative if none.
    newest = lengths[:, None] - 1 - (lengths[:, None] - 1 - slot) % cache.slots

    def take(held: jax.Array, leaf: jax.Array) -> jax.Array:
        if not count:
            return held
        index = _at_nodes(jnp.clip(newest, 0, count - 1), leaf.ndim, cache.batch_axes)
        taken = jnp.take_along_axis(leaf, index, axis=cache.batch_axes)
        return taken.astype(held.dtype)

    positions = jnp.where(newest >= 0, newest, _EMPTY)
    filled = jax.tree.map(take, cache.senders, senders)
    return dataclasses.replace(cache, senders=filled, positions=positions)


def _count_nodes(cache: Cache, senders: Any) -> int:
    """Returns how many nodes `senders` holds, if they are like those of the cache."""
    ours, theirs = jax.tree.structure(cache.senders), jax.tree.structure(senders)
    if ours != theirs:  # type: ignore[operator]  # The stub has no `!=`.
        raise ValueError(
            "`senders` must be the pytree that the cache was started with, "
            f"{ours}; got {theirs}."
        )
    axes = cache.batch_axes
    counts = set()
    paths = jax.tree_util.tree_leaves_with_path(senders)
    for (path, leaf), held in zip(paths, jax.tree.leaves(cache.senders), strict=True):
        wanted = (*held.shape[:axes], "nodes", *held.shape[axes + 1 :])
        shape = jnp.shape(leaf)
        rest = (*shape[:axes], "nodes", *shape[axes + 1 :])
        if len(shape) != held.ndim or rest != wanted:
            sizes = ", ".join(map(str, wanted))
            raise ValueError(
                f"`senders{jax.tree_util.keystr(path)}` must be [{sizes}], as the cache "
                f"was started with; got {list(shape)}."
            )
        counts.add(shape[axes])
    if len(counts) != 1:
        raise ValueError(
            f"`senders` must hold as many nodes in every array; got {sorted(counts)}."
        )
    return int(counts.pop())


def _check_integers(name: str, value: Any, batch: int) -> None:
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape != (batch,) or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"`{name}` must be integers [{batch}], one a sequence; got {dtype} "
            f"{list(shape)}."
        )


def _at_nodes(index: jax.Array, rank: int, batch_axes: int) -> jax.Array:
    """Returns [batch, M] with unit axes, so that M stands at the node axis."""
    ones = (1,) * (batch_axes - 1)
    rest = (1,) * (rank - batch_axes - 1)
    return index.reshape(index.shape[0], *ones, index.shape[1], *rest)


def step(
    cache: Cache,
    position: jax.Array,
    *,
    message: TermLike | Sequence[TermLike],
    aggregator: Aggregator | Sequence[Aggregator],
    senders: Any = None,
    receivers: Any = None,
    score: TermLike | Sequence[TermLike] | None = None,
    context: Any = None,
    relations: Mapping[str, Relation | Rows] | None = None,
) -> tuple[Any, Cache]:
    """Lets one node hear those before it, and itself; returns what it hears.

    Args:
      cache: what was said before.
      position: [batch] integers, where each sequence stands.
      senders: what the node itself says: a pytree of [*lead, 1, ...]. A fixed cache
        takes none.
      receivers: likewise, as a listener.
      The others: as for `propagate`.

    Returns:
      [*lead, 1, F] (a tuple for a tuple of aggregators), and the next cache.

    >>> import jax.numpy as jnp, relational as rl
    >>> notes = jnp.array([[1.0, 5.0, 3.0]])  # A batch of one sequence of three.
    >>> cache = rl.start(rl.Causal(), notes, length=3, batch_axes=1)
    >>> for position in range(3):
    ...     heard, cache = rl.step(
    ...         cache, jnp.array([position]), senders=notes[:, position, None],
    ...         message=lambda sender: sender, aggregator=rl.Sum())
    ...     print(heard.tolist())
    [[1.0]]
    [[6.0]]
    [[9.0]]
    """
    _check_integers("position", position, cache.positions.shape[0])
    if not cache.is_fixed:
        _check_one_node(cache, senders)
        cache = _append(cache, position, senders)
    elif senders is not None:
        raise ValueError(
            "`senders` must be left out: the cache is of `rl.start_fixed`, and the node "
            "adds nothing to it."
        )
    ones = (1,) * (cache.batch_axes - 1)
    problem, operands = bind(
        cache.topology,
        message=message,
        aggregator=aggregator,
        score=score,
        receivers=receivers,
        senders=cache.senders,
        edges=None,
        context=context,
        relations=relations,
        batch_axes=cache.batch_axes,
        dropout=None,
        partial_terms=False,
        num_receivers=1,
        positions=(
            position.reshape(-1, *ones, 1).astype(jnp.int32),
            cache.positions.reshape(cache.positions.shape[0], *ones, -1),
        ),
    )
    results = [x.astype(problem.dtype) for x in Dense().propagate(problem, operands)]
    return results[0] if isinstance(aggregator, Aggregator) else tuple(results), cache


def _check_one_node(cache: Cache, senders: Any) -> None:
    count = _count_nodes(cache, senders)
    if count != 1:
        raise ValueError(
            f"`senders` must hold one node; got {count}. Take one step a node, or use "
            "`prefill` for a prime."
        )


def _append(cache: Cache, position: jax.Array, senders: Any) -> Cache:
    slot = position % cache.slots

    def write(held: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        def one(held: jax.Array, new: jax.Array, at: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(held, new, at, axis - 1)

        return jax.vmap(one)(held, new.astype(held.dtype), slot)

    axis = cache.batch_axes
    written = jax.tree.map(
        lambda held, new: write(held, new, axis), cache.senders, senders
    )
    positions = write(cache.positions, position[:, None], 1)
    return dataclasses.replace(cache, senders=written, positions=positions)
