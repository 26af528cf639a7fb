"""Batches of sentence pairs: for training an endless walk, for evaluation each pair once.

The walk is a rule from its number to a batch, so that its place is one whole number and a
training that was killed goes on with the very same batches.

Shapes: B pairs of a batch, S and T tokens of a source and a target, K buckets.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Int32

from relational._checks import check_count, check_seed
from relational.datasets.length_buckets import LengthBuckets
from relational.datasets.token_lists import TokenLists

if TYPE_CHECKING:
    import grain

TextBatch = dict[str, Int32[np.ndarray, "..."]]

_FOR_EVER = 2**40  # Batches.
_ORDER, _PERMUTATION = 0, 1  # What is drawn, told apart in the seeds.


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenPairs:
    """Sentences as tokens, and their translations; each ends with its last token.

    >>> pairs = TokenPairs(source=TokenLists.of([[5, 1]]), target=TokenLists.of([[1]]))
    >>> len(pairs), pairs.lengths.tolist()
    (1, [2])
    """

    source: TokenLists
    target: TokenLists

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target):
            raise ValueError(
                "`source` and `target` must be equally many lists; got "
                f"{len(self.source)} and {len(self.target)}."
            )

    def __len__(self) -> int:
        return len(self.source)

    @functools.cached_property
    def lengths(self) -> Int[np.ndarray, " M"]:
        """The length of the longer side of each pair."""
        return np.maximum(self.source.lengths, self.target.lengths)


def training(
    pairs: TokenPairs, *, buckets: LengthBuckets, seed: int, at_once: int = 1
) -> "grain.DatasetIterator[TextBatch]":
    """An endless, resumable walk over shuffled batches of like length.

    In each bucket the pairs come in one random order after another, and are cut into
    batches as they come, so that none is left out at the end of an order. An epoch has,
    of each bucket, the batches that keep pace with the others, in a random order: after
    it, every pair has been seen equally often, but for less than a batch a bucket. All
    randomness follows from `seed` and the number of the batch.

    Args:
        pairs: to train on. Those longer than the last bound are left out.
        buckets: the shapes of the batches.
        seed: of all randomness, 0 to 2^32 - 1.
        at_once: how many batches, one behind the other, are of one bucket: those of a
            step that accumulates gradients.

    Returns:
        An iterator (`next`, `get_state`, `set_state`) over dictionaries of `source`
        int32 [B, S] and `target` int32 [B, T], filled up with 0, and `source_length` and
        `target_length` int32 [B]. B, S and T are those of a bucket, S = T.

    Raises:
        ValueError: if no pair fits, or an argument is out of range.

    >>> lists = TokenLists.of([[7, 1], [8, 9, 1]])
    >>> walk = training(TokenPairs(source=lists, target=lists), seed=0,
    ...                 buckets=LengthBuckets(bounds=(2, 3), sizes=(2, 1)))
    >>> sorted(next(walk)["source"].shape for _ in range(3))
    [(1, 3), (1, 3), (2, 2)]
    """
    import grain

    check_seed("seed", seed)
    check_count("at_once", at_once, least=1, advice="It counts batches.")
    walk = Walk(pairs, buckets, seed, at_once)
    batches = grain.MapDataset.source(walk)
    # What lies in memory is best read in the caller's thread, says grain.
    return iter(batches.to_iter_dataset(grain.ReadOptions(0, 0)))


def evaluation(pairs: TokenPairs, *, buckets: LengthBuckets) -> Iterator[TextBatch]:
    """Every pair once, the shortest first, in batches of the shapes of `buckets`.

    What is left over of a bucket goes into the first batch of the next.

    Args:
        pairs: all of them; none may be longer than the last bound.
        buckets: the shapes; `LengthBuckets.reaching` adds what is missing.

    Yields:
        What `training` gives, and `piece` int32 [B], the number of each pair. The last
        batch is filled up with rows whose lengths are 0 and whose `piece` is -1.

    >>> lists = TokenLists.of([[7, 1], [8, 9, 1], [1]])
    >>> pairs = TokenPairs(source=lists, target=lists)
    >>> for batch in evaluation(pairs, buckets=LengthBuckets(bounds=(3,), sizes=(2,))):
    ...     print(batch["piece"], batch["source_length"])
    [2 0] [1 2]
    [ 1 -1] [3 0]
    """
    members = _members(pairs, buckets)
    missing = len(pairs) - sum(map(len, members))
    if missing:
        raise ValueError(
            f"`buckets` must reach {int(pairs.lengths.max())}, the length of the longest "
            f"pair; got {buckets.bounds[-1]}. Extend them with `reaching`."
        )
    left = np.zeros(0, int)
    for bucket, indices in enumerate(members):
        order = np.argsort(pairs.lengths[indices], kind="stable")
        left = np.concatenate([left, indices[order]])
        bound, size = buckets.bounds[bucket], buckets.sizes[bucket]
        is_last = not any(map(len, members[bucket + 1 :]))
        while len(left) >= size or (is_last and len(left)):
            chosen, left = left[:size], left[size:]
            batch = _batch(pairs, chosen, bound)
            batch["piece"] = chosen.astype(np.int32)
            yield _filled(batch, size)


class Walk:
    """The batches of a training by number, as `training` describes them."""

    def __init__(
        self, pairs: TokenPairs, buckets: LengthBuckets, seed: int, at_once: int
    ) -> None:
        self._pairs, self._buckets = pairs, buckets
        self._seed, self._at_once = seed, at_once
        self._members = _members(pairs, buckets)
        if not any(map(len, self._members)):
            raise ValueError(
                f"`pairs` must have some of at most {buckets.bounds[-1]} tokens a side; "
                f"got {len(pairs)} pairs, none of which is so short."
            )
        counts = np.array([len(indices) for indices in self._members])
        sizes = np.array(buckets.sizes) * at_once
        self._counts, self._sizes = counts, sizes  # [K]; sizes are those of a unit.
        self._epoch = -1

    def __len__(self) -> int:
        return _FOR_EVER

    def __getitem__(self, index: int) -> TextBatch:
        unit, part = divmod(index, self._at_once)
        self._go_to(self._epoch_of(unit))
        bucket = int(self._order[unit - self._first])
        number = self._done[bucket] + self._rank[unit - self._first]
        size = self._buckets.sizes[bucket]
        begin = (int(number) * self._at_once + part) * size
        chosen = self._stream(bucket, begin, begin + size)
        return _batch(self._pairs, chosen, self._buckets.bounds[bucket])

    def _units(self, epoch: int) -> Int[np.ndarray, " K"]:
        """How many units of each bucket lie before an epoch."""
        return epoch * self._counts // self._sizes

    def _epoch_of(self, unit: int) -> int:
        """The epoch in which a unit lies: found by doubling, then by halving."""
        low, high = 0, 1
        while self._units(high).sum() <= unit:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if self._units(middle).sum() <= unit:
                low = middle
            else:
                high = middle
        return low

    def _go_to(self, epoch: int) -> None:
        """Draws the order of the buckets in an epoch, unless that is at hand."""
        if epoch == self._epoch:
            return
        self._done = self._units(epoch)
        here = np.repeat(
            np.arange(len(self._counts)), self._units(epoch + 1) - self._done
        )
        self._order = _generator(self._seed, _ORDER, 0, epoch).permutation(here)
        # The how-maniest of its bucket each unit is, within the epoch.
        self._rank = np.zeros(len(here), int)
        for bucket in range(len(self._counts)):
            places = np.flatnonzero(self._order == bucket)
            self._rank[places] = np.arange(len(places))
        self._first, self._epoch = int(self._done.sum()), epoch

    def _stream(self, bucket: int, begin: int, end: int) -> Int[np.ndarray, " B"]:
        """Places `begin` to `end` of the random orders of a bucket, one after another."""
        count = len(self._members[bucket])
        rounds = range(begin // count, (end - 1) // count + 1)
        orders = [_permutation(self._seed, bucket, each, count) for each in rounds]
        skipped = rounds[0] * count
        chosen = np.concatenate(orders)[begin - skipped : end - skipped]
        return self._members[bucket][chosen]


@functools.lru_cache(
    maxsize=64
)  # Of each bucket the order that is in use, and the next.
def _permutation(seed: int, bucket: int, number: int, count: int) -> np.ndarray:
    return _generator(seed, _PERMUTATION, bucket, number).permutation(count)


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(numbers)))


def _members(pairs: TokenPairs, buckets: LengthBuckets) -> list[np.ndarray]:
    """The pairs of each bucket."""
    found = buckets.of(pairs.lengths)
    return [np.flatnonzero(found == k) for k in range(len(buckets.bounds))]


def _batch(pairs: TokenPairs, chosen: Int[np.ndarray, " B"], length: int) -> TextBatch:
    batch = {}
    for name, lists in (("source", pairs.source), ("target", pairs.target)):
        batch[name] = lists.padded(chosen, length=length)
        batch[f"{name}_length"] = lists.lengths[chosen].astype(np.int32)
    return batch


def _filled(batch: TextBatch, size: int) -> TextBatch:
    def fill(name: str, leaf: np.ndarray) -> np.ndarray:
        more = (size - len(leaf), *leaf.shape[1:])
        return np.concatenate(
            [leaf, np.full(more, -1 if name == "piece" else 0, leaf.dtype)]
        )

    return {name: fill(name, leaf) for name, leaf in batch.items()}
