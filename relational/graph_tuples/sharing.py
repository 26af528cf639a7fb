"""Arrays on disk that processes share: pickled as the name of their file.

NumPy pickles a memory-mapped array as its contents, so that each worker process would
hold a copy of the graph. Here it is opened again, and the system keeps one copy for all.
"""

import dataclasses
import mmap
from typing import Any

import jax
import numpy as np


def portable(tree: Any) -> Any:
    """Returns a pytree whose memory-mapped arrays are names of files, for pickling."""
    return jax.tree.map(
        lambda leaf: _Mapped.of(leaf) if is_mapped(leaf) else leaf, tree
    )


def rebuilt(cls: type[Any], fields: dict[str, Any]) -> Any:
    """Returns an object of these fields, whose files are opened again."""
    opened = jax.tree.map(
        lambda leaf: leaf.open() if isinstance(leaf, _Mapped) else leaf,
        fields,
        is_leaf=lambda leaf: isinstance(leaf, _Mapped),
    )
    return cls(**opened)


def is_mapped(leaf: Any) -> bool:
    """Says whether an array is a whole file in memory. A part of one is not.

    A part keeps the offset of the whole, from which it could not be opened again.
    """
    return (
        isinstance(leaf, np.memmap)
        and leaf.filename is not None
        and isinstance(leaf.base, mmap.mmap)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Mapped:
    """How to open a memory-mapped array."""

    filename: str
    dtype: Any
    shape: tuple[int, ...]
    offset: int
    is_fortran: bool

    @classmethod
    def of(cls, array: Any) -> "_Mapped":
        return cls(
            filename=str(array.filename),
            dtype=array.dtype,
            shape=array.shape,
            offset=array.offset,
            is_fortran=bool(array.flags.f_contiguous and not array.flags.c_contiguous),
        )

    def open(self) -> Any:
        return np.memmap(
            self.filename,
            dtype=self.dtype,
            mode="r",
            offset=self.offset,
            shape=self.shape,
            order="F" if self.is_fortran else "C",
        )
