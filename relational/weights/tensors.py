"""The tensors of a folder, each taken by its name and shape; what is wrong is told at once.

Tensors are read one at a time, from one file or from several with an index, and become
float32.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
_MOST_TOLD = 6  # Problems in a message; a wrong folder has hundreds.


class Tensors:
    """The tensors of a folder, and which of them have been taken.

    Args:
      folder: theirs, for errors.
      places: the file of each tensor, by its name.
      prefix: taken off names that begin with it.
    """

    def __init__(self, folder: Path, places: dict[str, Path], prefix: str = "") -> None:
        self._folder = folder
        self._places = places
        self._own = {name.removeprefix(prefix): name for name in places}
        self._taken: set[str] = set()
        self._problems: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._own

    def take(self, name: str, *shape: int) -> np.ndarray:
        """Returns a tensor in float32; zeros if it is not there or is of another shape."""
        self._taken.add(name)
        if name not in self:
            self._problems.append(f"`{name}` {list(shape)} is missing")
            return np.zeros(shape, np.float32)
        value = self._read(name)
        if value.shape != shape:
            found = list(value.shape)
            self._problems.append(f"`{name}` must be {list(shape)}; it is {found}")
            return np.zeros(shape, np.float32)
        return value

    def take_same(self, name: str, as_this: np.ndarray, meaning: str) -> None:
        """Takes a tensor, if it is there, that must say what another one has said.

        Args:
          name: of the tensor.
          as_this: what it must be, but for rounding.
          meaning: what that is, for the message.
        """
        if name not in self:
            return
        self._taken.add(name)
        value = self._read(name)
        if value.shape != as_this.shape or not np.allclose(value, as_this, atol=1e-4):
            self._problems.append(f"`{name}` must be {meaning}; it is something else")

    def check_all_taken(self, ignored: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of what was not taken and means nothing here.

        Args:
          ignored: patterns of names that may be left over.

        Raises:
          ValueError: something was missing, had another shape, or is left over.
        """
        left = [name for name in self._own if name not in self._taken]
        free = [n for n in left if any(re.fullmatch(p, n) for p in ignored)]
        self._problems += [
            f"`{name}` has no place in the model" for name in left if name not in free
        ]
        if self._problems:
            told = "; ".join(self._problems[:_MOST_TOLD])
            more = len(self._problems) - _MOST_TOLD
            raise ValueError(
                f"`{self._folder}`: the tensors must be those of the model that "
                f"`config.json` describes; {told}"
                + (f"; and {more} more." if more > 0 else ".")
            )
        return tuple(free)

    def _read(self, name: str) -> np.ndarray:
        whole = self._own[name]
        with _opened(self._places[whole]) as file:
            value: np.ndarray = file.get_tensor(whole)
        # bfloat16 of ml_dtypes is no subtype of NumPy's floating.
        if not (np.issubdtype(value.dtype, np.floating) or "float" in str(value.dtype)):
            self._problems.append(f"`{name}` must be floats; it is {value.dtype}")
        return value.astype(np.float32)


def open_tensors(folder: Path, prefix: str) -> Tensors:
    """Returns the tensors of a folder, from one file or from several with an index.

    Raises:
      ValueError: there is no such file, or one that cannot be read.
      ImportError: safetensors is absent.
    """
    if (folder / INDEX).is_file():
        return Tensors(folder, _indexed(folder), prefix)
    path = folder / FILE
    if not path.is_file():
        others = sorted(each.name for each in folder.glob("*.bin"))
        have = (
            f"it has `{others[0]}`, which is no such file" if others else "it has none"
        )
        raise ValueError(
            f"`{folder}` must hold `{FILE}`, or `{INDEX}` and its files; {have}. "
            "`save_pretrained` of a current transformers writes it."
        )
    return Tensors(folder, dict.fromkeys(_names(path), path), prefix)


def _indexed(folder: Path) -> dict[str, Path]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text("utf-8"))["weight_map"]
        places = {str(name): folder / str(file) for name, file in index.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`{path}` must be an index with a `weight_map` from tensors to files; it "
            f"cannot be read as one ({error!r})."
        ) from error
    held = {file: set(_names(file)) for file in sorted(set(places.values()))}
    absent = [name for name, file in places.items() if name not in held[file]]
    if absent or not places:
        came = f"`{absent[0]}` is not in its file" if absent else "it names none"
        raise ValueError(f"`{path}` must say where every tensor lies; {came}.")
    return places


def _names(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


def _opened(path: Path) -> Any:
    open_file, unreadable = _safetensors()
    try:
        return open_file(path, framework="np")
    except FileNotFoundError as error:
        raise ValueError(f"`{path}` is named by the index, and is missing.") from error
    except unreadable as error:
        raise ValueError(
            f"`{path}` must be a file of safetensors; it cannot be read ({error})."
        ) from error


def _safetensors() -> tuple[Callable[..., Any], type[Exception]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(
            "weights need the package safetensors: `pip install "
            "'relational-nets[text]'`."
        ) from error
    return safe_open, SafetensorError
