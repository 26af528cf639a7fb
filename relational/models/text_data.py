"""Pairs of sentences as the training loop reads them: batches of tokens of like length.

Models import no data set; this file imports them inside its functions.

Shapes: B pairs, S tokens of a source, T tokens of a target.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from relational import specs
from relational.models.graph_sets import check_split
from relational.training.tasks import Batch, Batches

if TYPE_CHECKING:
    from relational.datasets import PairedSubwords, Pairs, Subwords
    from relational.datasets.length_buckets import LengthBuckets
    from relational.datasets.token_batches import TokenPairs

SUBWORDS = "subwords.model"
"""What the vocabulary is called in the folder of a run."""


@dataclasses.dataclass(frozen=True)
class ParallelData:
    """The sentences of a spec in two languages, with a vocabulary learned from both.

    A batch has `source` int32 [B, S] and `target` int32 [B, T], each sentence with an end
    and filled up with 0, and `source_length` and `target_length` int32 [B], which count
    the end. Rows that only fill a batch up have lengths of 0.

    Attributes:
      spec: which sentences, and how they are cut.
      batch_size: pairs in a batch at most.
      accumulate: batches of a step, which are of one shape.
      data_source: the folder of the files.
      vocabulary: the model of the subwords, as a run keeps it (`kept_vocabulary`);
        learned from the training sentences if None.
    """

    spec: specs.TextSpec
    batch_size: int
    accumulate: int = 1
    data_source: str | None = None
    vocabulary: bytes | None = dataclasses.field(default=None, repr=False)

    @property
    def subwords(self) -> "Subwords | PairedSubwords":
        """The vocabulary, of the training sentences of both languages."""
        return _subwords(self._source)

    @property
    def _source(self) -> "_Source":
        return _Source(self.spec, self.data_source, self.vocabulary)

    @property
    def kept(self) -> Mapping[str, bytes]:
        """What a run keeps, so that its model can be used without the data."""
        return {SUBWORDS: self.subwords.model}

    @property
    def fingerprint(self) -> str:
        """A digest of the tokens that are trained on, and of those that judge it."""
        digest = hashlib.sha256(self.subwords.model)
        for split in ("train", "validation"):
            pairs = _tokens(self._source, split)
            for lists in (pairs.source, pairs.target):
                digest.update(lists.tokens.tobytes())
                digest.update(lists.starts.tobytes())
        return digest.hexdigest()[:16]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits by which a trained model is judged."""
        return _tests(self.spec) or ("validation",)

    def text(self, split: str) -> "Pairs":
        """Returns the sentences of a split as they were written.

        Raises:
          ValueError: there is no such split, or its files cannot be used.
        """
        check_split(split, ("train", "validation", *_tests(self.spec)))
        return _text(self.spec, split, self.data_source)

    def training(self, seed: int) -> Batches:
        """Returns an endless walk over shuffled pairs."""
        from relational.datasets import token_batches

        walk: Batches = token_batches.training(
            _tokens(self._source, "train"),
            buckets=self._buckets,
            seed=seed,
            at_once=self.accumulate,
        )
        return walk

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every pair of a split once, however long."""
        from relational.datasets import token_batches

        check_split(split, ("train", "validation", *_tests(self.spec)))
        pairs = _tokens(self._source, split)
        buckets = self._buckets.reaching(
            int(pairs.lengths.max()), tokens=self.spec.tokens, most=self.batch_size
        )
        return token_batches.evaluation(pairs, buckets=buckets)

    @property
    def _buckets(self) -> "LengthBuckets":
        return _buckets(self._source, self.batch_size)


def kept_vocabulary(run: Path) -> bytes | None:
    """Returns the model of the subwords that a run keeps, None if it keeps none."""
    path = run / SUBWORDS
    return path.read_bytes() if path.is_file() else None


class _Source(NamedTuple):
    """What tokens are made from."""

    spec: specs.TextSpec
    data_source: str | None
    vocabulary: bytes | None


@functools.lru_cache(maxsize=4)
def _buckets(source: _Source, batch_size: int) -> "LengthBuckets":
    from relational.datasets import length_buckets

    spec, lengths = source.spec, _tokens(source, "train").lengths
    short = lengths[lengths <= spec.longest]
    if not len(short):
        raise ValueError(
            f"data.longest: must be {int(lengths.min())} or more, the tokens of the "
            f"shortest pair of the training; got {spec.longest}."
        )
    return length_buckets.fit(
        short, num_buckets=spec.shapes, tokens=spec.tokens, most=batch_size
    )


@functools.lru_cache(maxsize=16)
def _tokens(source: _Source, split: str) -> "TokenPairs":
    from relational.datasets.token_batches import TokenPairs

    pairs, subwords = _text(source.spec, split, source.data_source), _subwords(source)
    return TokenPairs(
        source=subwords.encode_all(pairs.source),
        target=subwords.target.encode_all(pairs.target),
    )


@functools.lru_cache(maxsize=4)
def _subwords(source: _Source) -> "Subwords | PairedSubwords":
    from relational.datasets import subwords, vocabulary_of

    if source.vocabulary is not None:
        return vocabulary_of(source.vocabulary)
    spec, pairs = source.spec, _text(source.spec, "train", source.data_source)
    return subwords.kept_subwords(
        [*pairs.source, *pairs.target], vocabulary=spec.vocabulary, kind=spec.subwords
    )


@functools.lru_cache(maxsize=16)
def _text(spec: specs.TextSpec, split: str, data_source: str | None) -> "Pairs":
    from relational import datasets

    if isinstance(spec, specs.Multi30kSpec):
        return datasets.load_multi30k(
            spec.source, spec.target, split, data_source=data_source
        )
    if isinstance(spec, specs.TFDSTextSpec):
        return datasets.load_tfds_pairs(
            spec.name,
            spec.source,
            spec.target,
            getattr(spec, split),
            data_dir=data_source,
        )
    files = getattr(spec, split)
    return datasets.read_pairs([Path(data_source or "") / file for file in files])


def _tests(spec: specs.TextSpec) -> tuple[str, ...]:
    if isinstance(spec, specs.Multi30kSpec):
        return ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    return () if spec.test is None else ("test",)
