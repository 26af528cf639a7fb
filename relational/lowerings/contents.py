"""Arrays as keys: equal where their bytes are.

What is worked out on the host from a list of edges is kept for the next call with the
same edges, whichever arrays hold them.
"""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """Arrays, or None, that are equal where their bytes are.

    >>> Contents(np.arange(3), None) == Contents(np.array([0, 1, 2]), None)
    True
    """

    arrays: tuple[Any, ...]

    def __init__(self, *arrays: Any) -> None:
        object.__setattr__(self, "arrays", arrays)

    @functools.cached_property
    def _digest(self) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            if array is None:
                digest.update(b"None")
                continue
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contents) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)
