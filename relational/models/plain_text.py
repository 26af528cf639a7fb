"""One long text as the training loop reads it: windows of the tokens of its lines.

Models import no data set; this file imports them inside its functions.

Shapes: B windows, T tokens of one.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from relational import specs
from relational.models.graph_sets import check_split
from relational.models.text_data import SUBWORDS
from relational.training.tasks import Batch, Batches

if TYPE_CHECKING:
    import numpy as np

    from relational.datasets import Subwords


@dataclasses.dataclass(frozen=True)
class PlainText:
    """The files of a spec, one behind the other; each line ends with a token.

    Attributes:
      spec: which files, and how they are cut.
      batch_size: windows in a batch.
      data_source: the folder of the files.
      vocabulary: the model of the subwords, as a run keeps it; learned from the lines
        that are trained on if None.
    """

    spec: specs.PlainTextSpec
    batch_size: int
    data_source: str | None = None
    vocabulary: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def subwords(self) -> "Subwords":
        """The vocabulary of the lines."""
        return _subwords(self.spec, self.data_source, self.vocabulary)

    @property
    def kept(self) -> Mapping[str, bytes]:
        """What a run keeps, so that its model can be used without the data."""
        return {SUBWORDS: self.subwords.model}

    @property
    def fingerprint(self) -> str:
        """A digest of the tokens that are trained on, and of those that judge it."""
        digest = hashlib.sha256(self.subwords.model)
        for split in ("train", "validation"):
            digest.update(self._tokens(split).tobytes())
        return digest.hexdigest()[:16]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by which a trained model is judged."""
        return ("validation",) if self.spec.test is None else ("test",)

    def training(self, seed: int) -> Batches:
        """Returns an endless walk over random windows."""
        from relational.datasets import text_windows

        walk: Batches = text_windows.training(
            self._tokens("train"),
            window=self.spec.window,
            batch_size=self.batch_size,
            seed=seed,
        )
        return walk

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every token of a split once."""
        from relational.datasets import text_windows

        check_split(split, tuple(dict.fromkeys(("train", "validation", *self.splits))))
        return text_windows.evaluation(
            self._tokens(split), window=self.spec.window, batch_size=self.batch_size
        )

    def _tokens(self, split: str) -> "np.ndarray":
        return _tokens(self.spec, split, self.data_source, self.vocabulary)


@functools.lru_cache(maxsize=8)
def _tokens(
    spec: specs.PlainTextSpec,
    split: str,
    data_source: str | None,
    vocabulary: bytes | None,
) -> "np.ndarray":
    subwords = _subwords(spec, data_source, vocabulary)
    return subwords.encode_all(_lines(spec, split, data_source)).tokens


@functools.lru_cache(maxsize=4)
def _subwords(
    spec: specs.PlainTextSpec, data_source: str | None, vocabulary: bytes | None
) -> "Subwords":
    from relational.datasets import subwords

    if vocabulary is not None:
        return subwords.Subwords(vocabulary)
    lines = [line for line in _lines(spec, "train", data_source) if line]
    return subwords.kept_subwords(lines, vocabulary=spec.vocabulary, kind=spec.subwords)


@functools.lru_cache(maxsize=4)
def _lines(spec: specs.PlainTextSpec, split: str, data_source: str | None) -> list[str]:
    from relational.datasets.parallel_source import lines_of, read_text

    found: list[str] = []
    for name in getattr(spec, split):
        path = Path(data_source or "") / name
        found += lines_of(read_text(path), str(path), may_be_empty=True)
    if not any(found):
        raise ValueError(
            f"data.plain_text.{split}: must be files with some text; they are empty."
        )
    return found
