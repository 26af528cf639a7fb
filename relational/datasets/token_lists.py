"""Many lists of tokens of different lengths, one behind the other in one array.

Millions of small arrays would cost more than what they hold.

Shapes: M lists, N tokens of all lists, L length of one.
"""

import array
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np
from jaxtyping import Int32, Int64


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenLists:
    """Lists of tokens.

    Attributes:
        tokens: of all lists, one behind the other.
        starts: where each begins; the last one is where the last list ends.

    >>> lists = TokenLists.of([[5, 6], [], [7]])
    >>> len(lists), lists[0].tolist(), lists.lengths.tolist()
    (3, [5, 6], [2, 0, 1])
    >>> lists.padded([2, 0, 1], length=3).tolist()
    [[7, 0, 0], [5, 6, 0], [0, 0, 0]]
    """

    tokens: Int32[np.ndarray, " N"]
    starts: Int64[np.ndarray, " M+1"]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> Self:
        """Lists, from what may be made one at a time."""
        lengths = array.array("q", [0])

        def flat() -> Iterator[int]:
            for each in lists:
                lengths.append(len(each))
                yield from each

        tokens = np.fromiter(flat(), np.int32)
        return cls(tokens=tokens, starts=np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Int32[np.ndarray, " L"]:
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, " M"]:
        """How long each list is."""
        return np.diff(self.starts)

    def padded(
        self, indices: Sequence[int] | Int64[np.ndarray, " B"], *, length: int
    ) -> Int32[np.ndarray, "B L"]:
        """Some lists as one array, filled up with zeros at their ends."""
        rows = np.zeros([len(indices), length], np.int32)
        for row, index in zip(rows, indices, strict=True):
            tokens = self[index]
            row[: len(tokens)] = tokens
        return rows
