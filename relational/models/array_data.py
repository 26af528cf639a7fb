"""Arrays of one's own as the training loop reads them, and whether a model can.

Models import no data set; this file imports them inside its functions.

Shapes: M examples, T tokens of one.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relational import specs
from relational.models.edge_sets import PREFIX
from relational.models.graph_sets import check_split
from relational.models.translation import ends_of
from relational.specs.topology import reads_prefix
from relational.training.tasks import Batch, Batches

_OF_ONE_SET = ("length", "previous", "weight", "segment", "position", PREFIX)
"""Arrays that a model of two node sets is not given."""


@dataclasses.dataclass(frozen=True)
class TokenArrays:
    """The files of a spec.

    Attributes:
      spec: which files.
      batch_size: examples in a batch.
      data_source: the folder of the files.
    """

    spec: specs.TokenArraysSpec
    batch_size: int
    data_source: str | None = None

    def arrays(self, split: str) -> Mapping[str, np.ndarray]:
        """Returns the arrays of `train`, `validation` or `test`, each [M, ...]."""
        check_split(split, tuple(dict.fromkeys(("train", "validation", *self.splits))))
        files = getattr(self.spec, split)
        paths = tuple(Path(self.data_source or "") / file for file in files)
        return _arrays(paths, tuple(map(_written, paths)))

    @property
    def fingerprint(self) -> str:
        """A digest of the arrays that are trained on, and of those that judge it."""
        from relational.datasets import token_arrays

        parts = [self.arrays(split) for split in ("train", "validation")]
        return "-".join(map(token_arrays.digest_of, parts))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by which a trained model is judged."""
        return ("validation",) if self.spec.test is None else ("test",)

    def training(self, seed: int) -> Batches:
        """Returns an endless walk over shuffled examples."""
        from relational.datasets import token_arrays

        walk: Batches = token_arrays.training(
            self.arrays("train"), batch_size=self.batch_size, seed=seed
        )
        return walk

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every example of a split once."""
        from relational.datasets import token_arrays

        arrays = self.arrays(split)
        return token_arrays.evaluation(arrays, batch_size=self.batch_size)


def _written(path: Path) -> tuple[int, int] | None:
    """Returns what changes when a file is written anew."""
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=8)
def _arrays(paths: tuple[Path, ...], written: Any) -> Mapping[str, np.ndarray]:
    del written  # It only tells files apart that have one name.
    from relational.datasets import token_arrays

    return token_arrays.read_token_arrays(paths)


def check_read(model: specs.ModelSpec, data: TokenArrays) -> None:
    """Refuses arrays that do not hold what a model reads.

    Raises:
      ValueError: all reasons, each with its path in the spec.
    """
    problems = []
    for split in ("train", "validation", *data.splits):
        for problem in _problems(model, data.arrays(split)):
            path = f"data.token_arrays.{split}: {problem}"
            problems += [] if path in problems else [path]
    if problems:
        raise ValueError("\n".join(problems))


def _problems(model: specs.ModelSpec, arrays: Mapping[str, Any]) -> Iterator[str]:
    read = _tokens_read(model)
    missing = [name for name in read.values() if name not in arrays]
    if missing:
        yield (
            f"must have `{missing[0]}`, since the model has {len(model.nodes)} node "
            f"set{'s' * (len(model.nodes) > 1)}; there are {', '.join(arrays)}."
        )
        return
    tokens = [(name, model.nodes[node_set]) for node_set, name in read.items()]
    if len(tokens) == 1:
        tokens.append(("previous", tokens[0][1]))
    for name, node in tokens:
        yield from _range_problems(name, arrays[name], node.vocabulary)
    counts = {node_set: arrays[name].shape[1] for node_set, name in read.items()}
    asked = list(_asked(model, counts))
    if len(read) == 2:
        unread = set(_OF_ONE_SET) - {name for name, *_ in asked}
        for name in sorted(unread.intersection(arrays)):
            yield (
                f"must not have `{name}`, which a model of two node sets does not read; "
                "of its own it has `source_length` and `target_length`."
            )
    for name, shape, values in asked:
        if name not in arrays:
            yield f"must have `{name}`, which the model reads; there are {', '.join(arrays)}."
        elif shape is not None and arrays[name].shape[1:] != shape:
            yield (
                f"`{name}` must be [M, {', '.join(map(str, shape))}], for the nodes of an "
                f"example; got {list(arrays[name].shape)}."
            )
        elif values is not None:
            yield from _range_problems(name, arrays[name], values)


def _tokens_read(model: specs.ModelSpec) -> dict[str, str]:
    """Returns, by node set, the array in which its tokens come."""
    if len(model.nodes) == 1:
        return {model.read_out.node: "token"}
    ends = ends_of(model)  # There are two, or it says what is wrong.
    return {ends.source: "source", ends.target: "target"}


def _asked(
    model: specs.ModelSpec, counts: Mapping[str, int]
) -> Iterator[tuple[str, tuple[int, ...] | None, int | None]]:
    """Yields what a model reads beside tokens: its name, its shape, and how many values."""
    for node_set, node in model.nodes.items():
        for attribute, values in node.embed.items():
            yield attribute, (counts[node_set],), values
    for edge_set in model.edges.values():
        shape = counts[edge_set.receiver_set], counts[edge_set.sender_set]
        for name, relation in edge_set.relations.items():
            if isinstance(relation, specs.DifferenceSpec):
                yield relation.difference, shape[:1], None
            elif isinstance(relation, specs.LabelsSpec):
                yield name, shape, None
        if reads_prefix(edge_set.topology):
            yield PREFIX, None, None


def _range_problems(name: str, array: np.ndarray, count: int) -> Iterator[str]:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= count:
        yield (
            f"`{name}` must be from 0 to {count - 1}, as the model has it; got {low} to "
            f"{high}."
        )
