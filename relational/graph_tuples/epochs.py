"""Batches of seeds by number: epochs in new orders, without going through them.

Shapes: M seeds of an epoch, B of a batch.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from relational.graph_tuples.drawing import counted

_Array = np.ndarray[Any, Any]
_NUM_BATCHES = 2**48  # For ever. Grain wants a length, and adds to it.
_ORDERS = 1  # The stream of random numbers that orders are made of.


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Epochs(Sequence[_Array]):
    """Batch i is places i B to (i + 1) B of all epochs laid end to end.

    The order of an epoch is the sorting of M random numbers, a function of the seed and
    the number of the epoch. It is made when first needed, in each process, and kept for
    the batches that follow.

    >>> epochs = Epochs(seeds=np.array([7, 8, 9]), batch_size=2, seed=0)
    >>> first_epochs = np.concatenate([epochs[0], epochs[1], epochs[2]])
    >>> sorted(first_epochs[:3].tolist()), sorted(first_epochs[3:].tolist())
    ([7, 8, 9], [7, 8, 9])
    """

    seeds: _Array
    batch_size: int
    seed: int

    def __len__(self) -> int:
        return _NUM_BATCHES

    def __getitem__(self, index: Any) -> Any:
        size = len(self.seeds)
        first = int(index) * self.batch_size
        epochs = range(first // size, (first + self.batch_size - 1) // size + 1)
        places = np.concatenate([_order(size, self.seed, epoch) for epoch in epochs])
        begin = first - epochs.start * size
        return self.seeds[places[begin : begin + self.batch_size]]


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> _Array:
    numbers = counted(seed, epoch, stream=_ORDERS).random_raw(size)
    return np.argsort(numbers, kind="stable")
