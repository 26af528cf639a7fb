"""Features from rows of Python values, with errors that name the row.

Conversions read one value for each node or edge: a number, a list, an array. Here they
become one array of float32, int32 or booleans, or an error says which value is wrong.

Shapes: N rows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from relational._checks import shown

Array = np.ndarray[Any, Any]
Attributes = str | Sequence[str] | None
Rows = Sequence[tuple[str, Mapping[str, Any]]]  # What errors call it, its attributes.


def attributes(rows: Rows, names: Attributes, argument: str) -> Any:
    """Returns features by the names of attributes.

    Args:
      rows: a label and a mapping for each row.
      names: None for no features, one name for an array, several for a dict of arrays.
      argument: what errors call `names`.
    """
    if names is None:
        return None
    if isinstance(names, str):
        return column([_attribute(row, names, argument) for row in rows], rows, names)
    return {
        name: column([_attribute(row, name, argument) for row in rows], rows, name)
        for name in names
    }


def column(values: Sequence[Any], rows: Rows, name: str) -> Array:
    """Returns one value a row as an array, [N, ...].

    Raises:
      ValueError: if a value is no number, has another shape than the first, or is NaN.
    """

    def at(i: int) -> str:
        return f"`{name}` of {rows[i][0]}"

    return stacked(values, at)


def stacked(values: Sequence[Any], at: Callable[[int], str]) -> Array:
    """Returns values of one shape as an array; `at` says what errors call the i-th."""
    if not values:
        return np.zeros(0, np.float32)
    arrays = [_array(value, at, i) for i, value in enumerate(values)]
    for i, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            raise ValueError(
                f"{at(i)} must have shape {arrays[0].shape}, as {at(0)} has; got "
                f"{array.shape}. Features of one name are rows of one array."
            )
    return narrowed(np.stack(arrays), at)


def narrowed(array: Array, at: Callable[[int], str]) -> Array:
    """Returns rows in the types of JAX: float32, int32, booleans.

    Raises:
      ValueError: if a value is NaN, or an integer beyond 32 bits.
    """
    if array.dtype == np.bool_:
        return array
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    if np.issubdtype(array.dtype, np.floating):
        wrong = np.flatnonzero(np.isnan(flat).any(axis=1))
        if wrong.size:
            raise ValueError(
                f"{at(int(wrong[0]))} must be a number; got NaN. {wrong.size} of "
                f"{len(array)} rows have one. Fill them or leave them out."
            )
        return array.astype(np.float32)
    bounds = np.iinfo(np.int32)
    wrong = np.flatnonzero(((flat < bounds.min) | (flat > bounds.max)).any(axis=1))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"{at(row)} must fit an int32; got {flat[row].tolist()}. Give floats, or "
            "smaller numbers."
        )
    return array.astype(np.int32)


def _attribute(row: tuple[str, Mapping[str, Any]], name: str, argument: str) -> Any:
    label, values = row
    if name not in values:
        known = ", ".join(f"`{key}`" for key in values) or "none"
        raise ValueError(
            f"`{argument}` must name attributes that all have; got `{name}`, which "
            f"{label} lacks. It has {known}."
        )
    return values[name]


def _array(value: Any, at: Callable[[int], str], i: int) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:  # A ragged list.
        array = np.asarray(None)
    is_number = np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_
    if not is_number or np.issubdtype(array.dtype, np.complexfloating):
        raise ValueError(
            f"{at(i)} must be a number or an array of numbers; got {shown(value)}. Encode "
            "what is no number first."
        )
    return array
