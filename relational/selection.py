"""`select`: who is heard depends on the data.

Vector quantisation, attention to the best few, nearest-neighbour graphs and mixtures of
experts are propagation over the topology that `select` returns, or over its transpose.
Scores are computed a tile at a time, so that choosing one of many senders for many
receivers never holds all scores at once.

Shapes: *lead leading axes, R receivers, S senders, B receivers of a block, K chosen.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import check_count, shown
from relational.aggregators import Softmax, is_key
from relational.binding import TermLike, bind, with_seed
from relational.lowerings import edges as listed
from relational.lowerings.dense import Dense
from relational.lowerings.problem import (
    Operands,
    Problem,
    Side,
    each_graph,
    with_positions,
)
from relational.lowerings.tile import Tile
from relational.noise import gumbel
from relational.relations import Relation, Rows
from relational.topologies import Neighbours, Topology

_TILE = 2**19  # Scores at a time: 2 MiB of float32.
_MOST_SENDERS = 8192  # Of a tile.
_NOBODY = -jnp.inf


def select(
    topology: Topology,
    *,
    score: TermLike | Sequence[TermLike],
    k: int,
    receivers: Any = None,
    senders: Any = None,
    edges: Any = None,
    context: Any = None,
    relations: Mapping[str, Relation | Rows] | None = None,
    batch_axes: int = 0,
    num_receivers: int | None = None,
    noise: Any = None,
) -> Neighbours:
    """Chooses for every receiver the k senders with the largest scores.

    The choice has no gradient. Where scores tie, the sender of the lowest index is
    taken; a score that is not a number, or minus infinity, is never chosen.

    Args:
      topology: who may be chosen. Of listed edges one that occurs twice may be chosen
        twice.
      score: terms that add up to one number an edge.
      k: how many senders; a receiver that may hear fewer gets all of them.
      edges: as for `propagate`, of a topology that lists its edges.
      noise: a JAX key, to draw senders instead of taking the best: Gumbel noise is added
        to the scores, so that the first sender is drawn with the probabilities of their
        softmax, and the others likewise from those that are left (Kool et al. 2019,
        section 2.3). The noise is a hash of (key, leading index, receiver, sender).
      The others: as for `propagate`.

    Returns:
      A topology, the best sender first; `propagate` and `.T` take it.

    Raises:
      ValueError: as `propagate`; and if k is more than there are senders.

    Example, vector quantisation (van den Oord et al. 2017, equation 1): the code that is
    nearest to each latent, whose squared distance is r.r - 2 r.s + s.s.

    >>> import jax.numpy as jnp, relational as rl
    >>> latents = jnp.array([[1.0, 0.25], [0.25, 0.75], [0.75, 0.25]])
    >>> codes = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> nearest = rl.select(
    ...     rl.Complete(), receivers=latents, senders=codes, k=1,
    ...     score=[lambda receiver, sender: 2 * rl.dot(receiver, sender),
    ...            lambda sender: -rl.dot(sender, sender)])
    >>> nearest.senders[:, 0].tolist()
    [0, 1, 0]
    >>> rl.propagate(nearest, senders=codes, aggregator=rl.Sum(),
    ...              message=lambda sender: sender).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    >>> means = rl.propagate(nearest.T, senders=latents, aggregator=rl.Mean(),
    ...                      message=lambda sender: sender)
    >>> means.tolist()  # Where the codes should go.
    [[0.875, 0.25], [0.25, 0.75]]
    """
    check_count("k", k, least=1, advice="It counts senders.")
    problem, operands = bind(
        topology,
        message=_nothing,
        aggregator=Softmax(),
        score=score,
        receivers=receivers,
        senders=senders,
        edges=edges,
        context=context,
        relations=relations,
        batch_axes=batch_axes,
        dropout=None,
        partial_terms=False,
        num_receivers=num_receivers,
    )
    if noise is not None and not is_key(noise):
        raise ValueError(
            "`noise` must be None or one JAX key, such as `jax.random.key(0)`; got "
            f"{shown(noise)}."
        )
    reasons = [] if problem.is_listed else Dense().refuse(problem)
    if reasons:
        raise ValueError(
            f"`select` cannot serve this call: {'; '.join(reasons)}. Those of listed "
            "edges it can: `rl.Edges(*topology.edges(...))`."
        )
    if k > problem.num_senders:
        raise ValueError(
            f"`k` must be at most the number of senders, {problem.num_senders}; got {k}."
        )
    if noise is not None:
        operands = with_seed(operands, noise, problem.lead)
    operands = jax.lax.stop_gradient(with_positions(problem, operands))
    of_graph = _of_list if problem.is_listed else _of_graph
    chosen = functools.partial(of_graph, problem, k)
    best, index = each_graph(chosen, operands, problem)
    is_always_full = k == 1 and _hears_everybody(problem)
    valid = None if is_always_full else best > _NOBODY
    return Neighbours(senders=index, num_senders=problem.num_senders, valid=valid)


def _nothing() -> Any:
    return jnp.float32(0)


def _hears_everybody(problem: Problem) -> bool:
    if problem.is_listed:
        return False
    spans = range(problem.num_receivers), range(problem.num_senders)
    return problem.topology.classify(*spans) == 2


def _of_graph(problem: Problem, k: int, operands: Operands) -> tuple[Any, Any]:
    """Returns the best scores and their senders, [R, K] each, of one graph."""
    width = min(problem.num_senders, _MOST_SENDERS)
    block = int(max(1, min(problem.num_receivers, _TILE // max(1, width))))
    whole = problem.num_receivers // block
    if not problem.num_receivers:
        return jnp.zeros((0, k), problem.accumulator), jnp.zeros((0, k), jnp.int32)

    def at(start: Any, size: int) -> tuple[Any, Any]:
        cut = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size),
            operands.receiver,
        )
        pair = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), operands.pair
        )
        return _of_rows(problem, k, operands._replace(receiver=cut, pair=pair), width)

    starts = jnp.arange(whole, dtype=jnp.int32) * block
    found = jax.lax.map(lambda start: at(start, block), starts)
    found = jax.tree.map(lambda leaf: leaf.reshape(whole * block, k), found)
    rest = problem.num_receivers - whole * block
    if not rest:
        return found[0], found[1]
    last = at(whole * block, rest)
    best, index = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), found, last)
    return best, index


def _of_list(problem: Problem, k: int, operands: Operands) -> tuple[Any, Any]:
    """Returns the same among listed edges, which are sorted by receiver and score."""
    edge = operands.edge
    score = listed.evaluate(problem, operands, "score")
    score = score + _noise(operands, *listed.ends(operands))
    heard = listed.valid_edges(problem, operands) & ~jnp.isnan(score)
    heard = heard & (score > _NOBODY)
    receiver = jnp.where(heard, edge.receivers, problem.num_receivers)
    order = jnp.lexsort((edge.senders, -score, receiver))
    receiver = receiver[order]
    place = jnp.arange(receiver.size, dtype=jnp.int32)
    is_first = jnp.diff(receiver, prepend=-1) != 0
    rank = place - jax.lax.cummax(jnp.where(is_first, place, 0))
    shape = (problem.num_receivers, k)
    best = jnp.full(shape, _NOBODY, score.dtype)
    index = jnp.zeros(shape, jnp.int32)
    # Ranks from k on lie outside, and so do edges that do not count.
    best = best.at[receiver, rank].set(score[order], mode="drop")
    return best, index.at[receiver, rank].set(edge.senders[order], mode="drop")


def _noise(operands: Operands, receiver: Side, sender: Side) -> Any:
    """Returns the noise of edges between ends that broadcast; 0 without a key."""
    seed = operands.shared.seed
    if seed is None:
        return 0
    index = operands.context.index
    return gumbel(seed, index, receiver.position, sender.position)


def _of_rows(
    problem: Problem, k: int, operands: Operands, width: int
) -> tuple[Any, Any]:
    """Returns the best of some receivers, whose senders come in parts of `width`."""
    found = None
    for start in range(0, problem.num_senders, width):
        stop = min(start + width, problem.num_senders)
        span = slice(start, stop)
        part = operands._replace(
            sender=jax.tree.map(lambda leaf, at=span: leaf[at], operands.sender),
            pair=jax.tree.map(lambda leaf, at=span: leaf[:, at], operands.pair),
        )
        tile = Tile(problem, part, is_masked=True, is_contiguous=False)
        score, mask = tile.score(), tile.mask()
        score = score + _noise(part, *tile.ends())
        heard = mask & ~jnp.isnan(score)
        score = jnp.where(heard, score, jnp.asarray(_NOBODY, score.dtype))
        best, index = _best(score, min(k, stop - start))
        index = index + np.int32(start)
        if found is not None:
            best = jnp.concatenate([found[0], best], axis=1)
            index = jnp.concatenate([found[1], index], axis=1)
            best, at = _best(best, min(k, best.shape[1]))
            index = jnp.take_along_axis(index, at, axis=1)
        found = best, index
    assert found is not None
    return found


def _best(score: Any, k: int) -> tuple[Any, Any]:
    """Returns the k largest of every row, and where they are: the first where they tie."""
    if k > 1:
        best, index = jax.lax.top_k(score, k)
        return best, index.astype(jnp.int32)
    # Two plain passes: XLA's `argmax` carries pairs, which a CPU does not vectorise.
    best = score.max(axis=1, keepdims=True)
    place = jnp.arange(score.shape[1], dtype=jnp.int32)
    index = jnp.where(score == best, place, score.shape[1]).min(axis=1, keepdims=True)
    return best, jnp.minimum(index, score.shape[1] - 1)
