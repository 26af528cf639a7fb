"""Windows of one long text: for training an endless walk, for evaluation each token once.

The text is one list of tokens. As in `token_batches`, a batch follows from its number.

Shapes: N tokens of the text, B windows of a batch, T tokens of a window.
"""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Int32, Shaped

from relational._checks import check_count, check_seed

if TYPE_CHECKING:
    import grain

Windows = dict[str, Shaped[np.ndarray, "B ..."]]

START = 0
"""What is heard before the first token of a text."""

_FOR_EVER = 2**40  # Batches.


def training(
    tokens: Int[np.ndarray, " N"], *, window: int, batch_size: int, seed: int
) -> "grain.DatasetIterator[Windows]":
    """An endless, resumable walk over shuffled windows.

    Each epoch cuts the text anew, beginning at a random token, and visits all windows in
    a random order. All randomness follows from `seed` and the number of the batch.

    Args:
        tokens: the text.
        window: tokens of a window; a shorter text is filled up.
        batch_size: windows of a batch.
        seed: of all randomness, 0 to 2^32 - 1.

    Returns:
        An iterator (`next`, `get_state`, `set_state`) over dictionaries of `token` and
        `previous`, the token before each, int32 [B, T], and `weight`, float32 [B, T],
        which is 0 where a window is filled up.

    Raises:
        ValueError: if the text is empty, or an argument is out of range.

    >>> batch = next(training(np.arange(2, 9), window=3, batch_size=2, seed=0))
    >>> (batch["token"] - batch["token"][:, :1]).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    import grain

    _check(tokens, window, batch_size)
    check_seed("seed", seed)
    walk = _Walk(np.asarray(tokens, np.int32), window, batch_size, seed)
    batches = grain.MapDataset.source(walk)
    # What lies in memory is best read in the caller's thread, says grain.
    return iter(batches.to_iter_dataset(grain.ReadOptions(0, 0)))


def evaluation(
    tokens: Int[np.ndarray, " N"], *, window: int, batch_size: int
) -> Iterator[Windows]:
    """Windows in which every token of a text weighs 1 once.

    Args:
        tokens: the text.
        window: tokens of a window. Each begins afresh, but for the token before it.
        batch_size: windows of a batch; the last one is filled up with windows of weight 0.

    Yields:
        What `training` gives, and `piece` int32 [B], the number of each window, -1 for
        none.

    Raises:
        ValueError: if the text is empty, or an argument is out of range.

    >>> [batch] = evaluation(np.array([5, 6, 1]), window=2, batch_size=2)
    >>> batch["previous"].tolist(), batch["token"].tolist(), batch["weight"].tolist()
    ([[0, 5], [6, 0]], [[5, 6], [1, 0]], [[1.0, 1.0], [1.0, 0.0]])
    """
    _check(tokens, window, batch_size)
    text = np.asarray(tokens, np.int32)
    starts = np.arange(0, len(text), window)
    for first in range(0, len(starts), batch_size):
        here = starts[first : first + batch_size]
        pieces = np.full(batch_size, -1, np.int32)
        pieces[: len(here)] = np.arange(first, first + len(here))
        beyond = np.full(batch_size - len(here), len(text))
        yield {**_windows(text, np.append(here, beyond), window), "piece": pieces}


class _Walk:
    """The batches of a training by number."""

    def __init__(
        self, tokens: Int32[np.ndarray, " N"], window: int, batch_size: int, seed: int
    ) -> None:
        self._tokens, self._window, self._seed = tokens, window, seed
        self._size, self._num = batch_size, max(1, len(tokens) // window)

    def __len__(self) -> int:
        return _FOR_EVER

    def __getitem__(self, index: int) -> Windows:
        places = range(index * self._size, (index + 1) * self._size)
        starts = [self._start(*divmod(place, self._num)) for place in places]
        return _windows(self._tokens, np.array(starts), self._window)

    def _start(self, epoch: int, place: int) -> int:
        spare = max(0, len(self._tokens) - self._num * self._window)
        first, order = _cut(self._seed, epoch, self._num, spare)
        return first + int(order[place]) * self._window


@functools.lru_cache(maxsize=8)
def _cut(seed: int, epoch: int, num: int, spare: int) -> tuple[int, np.ndarray]:
    """Where the windows of an epoch begin, and their order."""
    sequence = np.random.SeedSequence((seed, epoch))
    generator = np.random.Generator(np.random.Philox(sequence))
    return int(generator.integers(spare + 1)), generator.permutation(num)


def _windows(
    tokens: Int32[np.ndarray, " N"], starts: Int[np.ndarray, " B"], window: int
) -> Windows:
    places = starts[:, np.newaxis] + np.arange(window)
    is_there = places < len(tokens)
    token = np.where(is_there, tokens[np.minimum(places, len(tokens) - 1)], 0)
    before = np.where(
        places > 0, tokens[np.clip(places - 1, 0, len(tokens) - 1)], START
    )
    return {
        "token": token.astype(np.int32),
        "previous": np.where(is_there, before, 0).astype(np.int32),
        "weight": is_there.astype(np.float32),
    }


def _check(tokens: Int[np.ndarray, " N"], window: int, batch_size: int) -> None:
    if not len(tokens):
        raise ValueError("`tokens` must be at least one; got none.")
    check_count("window", window, least=1, advice="It counts tokens.")
    check_count("batch_size", batch_size, least=1, advice="It counts windows.")
