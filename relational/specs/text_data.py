"""Text as data: pairs of sentences, or one long text, cut into subwords.

The two languages of pairs share a vocabulary, and a batch holds pairs of like length. `training.batch_size` is the most pairs that it has;
`tokens` bounds what they come to, so that batches of short sentences have more of them.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Name

_Vocabulary: TypeAlias = Annotated[int, Field(strict=True, ge=261, le=2**20)]
_Subwords: TypeAlias = Literal["bpe", "unigram"]
_Shapes: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=64)]
_Longest: TypeAlias = Annotated[int, Field(strict=True, ge=2, le=2**16)]
_Path: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
_Files: TypeAlias = Annotated[tuple[_Path, ...], Field(min_length=1, max_length=2)]
_Language: TypeAlias = Literal["de", "en", "fr"]
_Feature: TypeAlias = Annotated[
    str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64, examples=["name"])
]
_Split: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class Multi30kSpec:
    """Multi30k: descriptions of images, put into another language by people.

    The splits are `train`, `validation`, `test_2016_flickr`, `test_2017_flickr` and
    `test_2017_mscoco`.
    """

    source: _Language
    """The language that is read."""
    target: _Language
    """The language that it is put into."""
    vocabulary: _Vocabulary = 8000
    """Number of subwords, of both languages together, as the model's node sets have it."""
    subwords: _Subwords = "bpe"
    """How they are found: by joining frequent pairs, or as the likeliest pieces."""
    tokens: Count | None = None
    """Tokens in a batch at most, of both sides and with padding; nothing means any."""
    longest: _Longest = 256
    """Pairs with a longer side, in tokens, are not trained on."""
    shapes: _Shapes = 8
    """The number of shapes that batches have, each of which is compiled once."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ParallelTextSpec:
    """Text of one's own: a pair of files, or one with a tabulator in each line.

    Line n of the second file is the translation of line n of the first. Files may be
    packed with gzip; paths are seen from the working folder, or from that of `--data`.
    """

    train: _Files
    """The files to train on: `[corpus.en, corpus.de]`, or `[corpus.tsv]`."""
    validation: _Files
    """The files that tell how training gets on."""
    test: _Files | None = None
    """The files that the trained model is judged by."""
    source: Name = "source"
    """The language that is read, such as `en`."""
    target: Name = "target"
    """The language that it is put into, by which sacreBLEU may cut words."""
    vocabulary: _Vocabulary = 8000
    """Number of subwords, of both languages together, as the model's node sets have it."""
    subwords: _Subwords = "bpe"
    """How they are found: by joining frequent pairs, or as the likeliest pieces."""
    tokens: Count | None = None
    """Tokens in a batch at most, of both sides and with padding; nothing means any."""
    longest: _Longest = 256
    """Pairs with a longer side, in tokens, are not trained on."""
    shapes: _Shapes = 8
    """The number of shapes that batches have, each of which is compiled once."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TFDSTextSpec:
    """A set of TensorFlow Datasets with a sentence in two languages in each example.

    Preparing one needs TensorFlow; one that is there as `array_record`, in TFDS's folder
    or in that of `--data`, is read without.
    """

    name: Annotated[
        str, Field(pattern=r"^[a-z][A-Za-z0-9_./:*-]*$", max_length=256, examples=["a"])
    ]
    """What TFDS calls it, such as `wmt14_translate/de-en`."""
    source: _Feature
    """The language that is read, by the name of its feature, such as `en`."""
    target: _Feature
    """The language that it is put into, such as `de`."""
    train: _Split = "train"
    """The split to train on, such as `train`, or a part of it, `train[:10%]`."""
    validation: _Split = "validation"
    """The split that tells how training gets on."""
    test: _Split = "test"
    """The split that the trained model is judged by."""
    vocabulary: _Vocabulary = 8000
    """Number of subwords, of both languages together, as the model's node sets have it."""
    subwords: _Subwords = "bpe"
    """How they are found: by joining frequent pairs, or as the likeliest pieces."""
    tokens: Count | None = None
    """Tokens in a batch at most, of both sides and with padding; nothing means any."""
    longest: _Longest = 256
    """Pairs with a longer side, in tokens, are not trained on."""
    shapes: _Shapes = 8
    """The number of shapes that batches have, each of which is compiled once."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PlainTextSpec:
    """Text of one language, for a model that goes on with it: files of lines.

    A line is what ends with a newline, which is a token; a line may be empty. Files may
    be packed with gzip; paths are seen from the working folder, or from that of `--data`.
    """

    train: Annotated[tuple[_Path, ...], Field(min_length=1)]
    """The files to train on, one behind the other."""
    validation: Annotated[tuple[_Path, ...], Field(min_length=1)]
    """The files that tell how training gets on."""
    test: Annotated[tuple[_Path, ...], Field(min_length=1)] | None = None
    """The files that the trained model is judged by."""
    window: Count
    """Tokens in an example."""
    vocabulary: _Vocabulary = 8000
    """Number of subwords, as the model's node set has it."""
    subwords: _Subwords = "bpe"
    """How they are found: by joining frequent pairs, or as the likeliest pieces."""


TextSpec: TypeAlias = Multi30kSpec | ParallelTextSpec | TFDSTextSpec
"""Pairs of sentences."""
