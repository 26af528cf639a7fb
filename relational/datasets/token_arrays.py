"""Tokens of one's own, in NumPy's files: whatever a model reads beside them comes along.

An example is a row of every array: its tokens, and maybe its length, its attributes, its
segments, its prefix and the labels of its pairs of nodes, each under its own name. As in
`token_batches`, a batch follows from its number.

Shapes: M examples, B of a batch, T tokens of one, S and T of a source and a target.
"""

import functools
import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from relational._checks import check_count, check_seed

if TYPE_CHECKING:
    import grain

Arrays = dict[str, Shaped[np.ndarray, "M ..."]]

START = 0
"""What is heard before the first token of a sequence."""

_FOR_EVER = 2**40  # Batches.


def read_token_arrays(paths: Sequence[Path]) -> Arrays:
    """Returns the arrays of `.npz` files, one behind the other, completed.

    Each file has `token`, whole numbers [M, T] or more, what is predicted at each node;
    or `source` [M, S] and `target` [M, T]. All else is as long, and up to the model:
    `length` (`source_length`, `target_length`) [M], `segment` [M, T], `prefix`,
    attributes [M, T], labels [M, T, T]. What is missing of these is added:

    - `previous`, what nodes are given: the token before theirs in their segment;
    - `weight`, 1 where a token counts, which is below the length;
    - `source_length` and `target_length`, all.

    Raises:
      ValueError: a file cannot be read, has other arrays than the first, or one of
        another length or type; the message names the file and the array.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "train.npz")
    ...     np.savez(path, token=[[5, 6, 7]], parse=np.ones([1, 3, 3], int), length=[2])
    ...     arrays = read_token_arrays([path])
    >>> sorted(arrays), arrays["previous"].tolist(), arrays["weight"].tolist()
    (['length', 'parse', 'previous', 'token', 'weight'], [[0, 5, 6]], [[1.0, 1.0, 0.0]])
    """
    files = [_file(Path(path)) for path in paths]
    for path, arrays in zip(paths[1:], files[1:], strict=True):
        for name in sorted(set(files[0]) | set(arrays)):
            one, other = (
                each[name].shape[1:] if name in each else None
                for each in (files[0], arrays)
            )
            if one != other:
                raise ValueError(
                    f"{path}: must have the arrays of {paths[0]}, of the same shapes but "
                    f"for the number of examples; `{name}` is {_words(one)} there and "
                    f"{_words(other)} here."
                )
    whole = {name: np.concatenate([each[name] for each in files]) for name in files[0]}
    return _completed(whole)


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns a short text that changes when any array does."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()[:16]


def training(
    arrays: Mapping[str, np.ndarray], *, batch_size: int, seed: int
) -> "grain.DatasetIterator[Arrays]":
    """An endless, resumable walk over the examples, in one random order after another.

    Args:
        arrays: of one length, the examples.
        batch_size: B.
        seed: of all randomness, 0 to 2^32 - 1.

    Returns:
        An iterator (`next`, `get_state`, `set_state`) over dictionaries of int32 [B, ...]
        (`weight` is float32).

    >>> batch = next(training({"token": np.arange(6).reshape(3, 2)}, batch_size=3, seed=0))
    >>> sorted(batch["token"].tolist())
    [[0, 1], [2, 3], [4, 5]]
    """
    import grain

    check_count("batch_size", batch_size, least=1, advice="It counts examples.")
    check_seed("seed", seed)
    batches = grain.MapDataset.source(_Walk(arrays, batch_size, seed))
    # What lies in memory is best read in the caller's thread, says grain.
    return iter(batches.to_iter_dataset(grain.ReadOptions(0, 0)))


def evaluation(
    arrays: Mapping[str, np.ndarray], *, batch_size: int
) -> Iterator[Arrays]:
    """Every example once, in order.

    Yields:
        What `training` gives, and `piece` int32 [B], the number of each example. The last
        batch is filled up with zeros, whose `piece` is -1.

    >>> [batch] = evaluation({"token": np.array([[7, 8]])}, batch_size=2)
    >>> batch["token"].tolist(), batch["piece"].tolist()
    ([[7, 8], [0, 0]], [0, -1])
    """
    check_count("batch_size", batch_size, least=1, advice="It counts examples.")
    num = len(next(iter(arrays.values())))
    for first in range(0, num, batch_size):
        chosen = np.arange(first, min(first + batch_size, num))
        missing = batch_size - len(chosen)

        def filled(leaf: np.ndarray, missing: int = missing) -> np.ndarray:
            return np.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))

        batch = {name: filled(leaf) for name, leaf in _batch(arrays, chosen).items()}
        pieces = np.full(batch_size, -1, np.int32)
        pieces[: len(chosen)] = chosen
        yield {**batch, "piece": pieces}


class _Walk:
    """The batches of a training by number."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], batch_size: int, seed: int
    ) -> None:
        self._arrays, self._size, self._seed = arrays, batch_size, seed
        self._num = len(next(iter(arrays.values())))

    def __len__(self) -> int:
        return _FOR_EVER

    def __getitem__(self, index: int) -> Arrays:
        places = range(index * self._size, (index + 1) * self._size)
        chosen = [
            _order(self._seed, place // self._num, self._num)[place % self._num]
            for place in places
        ]
        return _batch(self._arrays, np.array(chosen))


@functools.lru_cache(maxsize=8)
def _order(seed: int, epoch: int, num: int) -> np.ndarray:
    sequence = np.random.SeedSequence((seed, epoch))
    return np.random.Generator(np.random.Philox(sequence)).permutation(num)


def _is_weight(name: str, array: np.ndarray) -> bool:
    return name == "weight" and array.ndim == 2  # Labels of pairs may be called so.


def _batch(arrays: Mapping[str, np.ndarray], chosen: np.ndarray) -> Arrays:
    return {
        name: array[chosen].astype(np.float32 if _is_weight(name, array) else np.int32)
        for name, array in arrays.items()
    }


def _file(path: Path) -> Arrays:
    """Returns the arrays of one file, checked."""
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise ValueError(
            f"{path}: there is no such file. Paths are those from here, or from `--data`."
        ) from None
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"{path}: must be a `.npz` file of arrays, as `np.savez` writes it. "
            "This one cannot be read."
        ) from error
    names = ("source", "target") if "source" in arrays else ("token",)
    for name in names:
        if name not in arrays or arrays[name].ndim != 2 or not arrays[name].size:
            raise ValueError(
                f"{path}: must have `token`, or `source` and `target`, whole numbers "
                f"[M, T] with one example or more; `{name}` is "
                f"{_words(arrays[name].shape if name in arrays else None)}."
            )
    num = len(arrays[names[0]])
    for name, array in arrays.items():
        is_number = np.issubdtype(array.dtype, np.integer) or (
            name == "weight" and np.issubdtype(array.dtype, np.floating)
        )
        if not is_number or array.ndim < 1 or len(array) != num:
            raise ValueError(
                f"{path}: `{name}` must be whole numbers [{num}, ...], one a row of "
                f"`{names[0]}`; got {array.dtype} {list(array.shape)}."
            )
    return arrays


def _completed(arrays: Arrays) -> Arrays:
    """Returns arrays with what is missing of the inputs and of what counts."""
    if "source" in arrays:
        whole = {
            f"{side}_length": np.full(
                len(arrays[side]), arrays[side].shape[1], np.int32
            )
            for side in ("source", "target")
        }
        return {**whole, **arrays}
    token = arrays["token"]
    before = np.pad(token, ((0, 0), (1, 0)), constant_values=START)[:, :-1]
    if "segment" in arrays:
        segment = arrays["segment"]
        begins = np.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)))
        before = np.where(begins, START, before)
    weight = np.ones(token.shape, np.float32)
    if "length" in arrays:
        is_there = np.arange(token.shape[1]) < arrays["length"][:, None]
        weight = is_there.astype(np.float32)
    return {"previous": before, "weight": weight, **arrays}


def _words(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
