"""Subwords: text as whole numbers and back, with a vocabulary learned from a corpus.

The work is SentencePiece's (the extra `text`). A vocabulary is the bytes of its model:
they are all that is needed to read and to write what a trained model speaks, so they
are kept beside it. `token_lists` holds what many lines become.

Shapes: M lines, N tokens of all lines.
"""

import dataclasses
import functools
import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

from jaxtyping import Integer
from numpy import ndarray

from relational._checks import check_count, shown
from relational.datasets import preparing
from relational.datasets.token_lists import TokenLists

PAD, EOS, UNKNOWN = 0, 1, 2
"""The first tokens: what fills up, what ends a line, and what is never read."""

NUM_RESERVED = 3 + 256
"""The tokens that every vocabulary has: those three, and the 256 bytes."""

Kind = Literal["bpe", "unigram"]

_MOST_LINES = 2_000_000  # To learn from; of more, evenly spaced ones are taken.
_LINES_AT_ONCE = 10_000  # To encode: Python's lists of numbers are large.
_VERSION = 1  # Of how vocabularies are learned; raise it when they change.
_SHOWN = 60  # Characters of SentencePiece's own words that a message repeats.


@dataclasses.dataclass(frozen=True)
class Subwords:
    r"""A vocabulary of subwords.

    Every line of text has one list of tokens, and its text comes back as it was, white
    space and letters that were never seen included: what has no piece is spelt by the
    bytes of its UTF-8. One thing is lost: the letter U+2581, by which SentencePiece
    writes a space, comes back as one.

    Attributes:
        model: a model of SentencePiece, as bytes, with `PAD`, `EOS` and `UNKNOWN` in
            their places.

    Raises:
        ValueError: if the bytes are no such model.
        ImportError: if SentencePiece is absent.

    >>> corpus = ["ein Hund rennt", "eine Katze rennt", "a dog runs", "a cat runs"]
    >>> words = learn_subwords(corpus, vocabulary=300)
    >>> words.size, words.decode(words.encode("ein  Dog \u2603 rennt"))
    (300, 'ein  Dog \u2603 rennt')
    >>> words.decode([*words.encode("a dog"), EOS, PAD, PAD])
    'a dog'

    Reference: T. Kudo and J. Richardson, SentencePiece: a simple and language independent
    subword tokenizer and detokenizer for neural text processing, EMNLP 2018.
    """

    model: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        found = [processor_of(self.model).piece_to_id(piece) for piece in _RESERVED]
        if found != [PAD, EOS, UNKNOWN]:
            raise ValueError(
                f"`model` must have {', '.join(_RESERVED)} as its tokens {PAD}, {EOS} and "
                f"{UNKNOWN}; got {found}. `learn_subwords` makes such a model."
            )

    @property
    def size(self) -> int:
        """The number of tokens."""
        return int(processor_of(self.model).get_piece_size())

    @property
    def target(self) -> Self:
        """The vocabulary of what is written: this one, which both languages share."""
        return self

    @property
    def digest(self) -> str:
        """A short text that tells this vocabulary from others."""
        return hashlib.sha256(self.model).hexdigest()[:16]

    def encode(self, line: str) -> list[int]:
        """The tokens of a line, without an end."""
        tokens: list[int] = processor_of(self.model).encode(line)
        return tokens

    def encode_all(self, lines: Sequence[str]) -> TokenLists:
        """The tokens of many lines, each with `EOS` at its end."""
        processor = processor_of(self.model)
        return TokenLists.of(
            tokens
            for first in range(0, len(lines), _LINES_AT_ONCE)
            for tokens in processor.encode(
                list(lines[first : first + _LINES_AT_ONCE]), add_eos=True
            )
        )

    def decode(self, tokens: Sequence[int] | Integer[ndarray, " N"]) -> str:
        """The text of some tokens; `PAD` and `EOS` say nothing.

        Bytes that are no UTF-8, which a model may say, become U+FFFD.

        Raises:
            ValueError: if a number is no token.
        """
        whole = [int(token) for token in tokens]
        size = self.size
        wrong = next((token for token in whole if not 0 <= token < size), None)
        if wrong is not None:
            raise ValueError(
                f"`tokens` must be 0 to {size - 1}; got {wrong}. They are of another "
                "vocabulary."
            )
        return str(processor_of(self.model).decode(whole))

    def pieces(self, tokens: Sequence[int] | Integer[ndarray, " N"]) -> list[str]:
        """How each token is written, for pictures: a space is the letter U+2581."""
        written: list[str] = processor_of(self.model).id_to_piece(
            [int(token) for token in tokens]
        )
        return written


def learn_subwords(
    lines: Iterable[str], *, vocabulary: int, kind: Kind = "bpe"
) -> Subwords:
    """Learns a vocabulary from lines of text; equal lines give equal vocabularies.

    One vocabulary serves both languages of a pair if it is learned from both. Letters
    are taken as they are: nothing is normalised.

    Args:
        lines: the corpus; of more than two million lines, so many that lie evenly
            spaced are read.
        vocabulary: the number of tokens, of which 259 are reserved (`NUM_RESERVED`).
        kind: `"bpe"` joins the pair of pieces that is met most often, again and again;
            `"unigram"` keeps the pieces by which the corpus is likeliest.

    Raises:
        ValueError: if the corpus is empty or too small for the vocabulary, or an
            argument is out of range.
        ImportError: if SentencePiece is absent.

    >>> learn_subwords(["a dog runs"], vocabulary=8000)
    Traceback (most recent call last):
    ...
    ValueError: `vocabulary` must be at most 283, the pieces that the corpus has; got \
8000. Take fewer, or more text.

    References: R. Sennrich, B. Haddow, A. Birch, Neural machine translation of rare words
    with subword units, ACL 2016; T. Kudo, Subword regularization, ACL 2018.
    """
    spm = _sentencepiece()
    check_count(
        "vocabulary",
        vocabulary,
        least=NUM_RESERVED + 2,
        advice=f"{NUM_RESERVED} tokens are reserved.",
    )
    if kind not in ("bpe", "unigram"):
        raise ValueError(f"`kind` must be 'bpe' or 'unigram'; got {shown(kind)}.")
    corpus = list(lines)
    every = -(-len(corpus) // _MOST_LINES) or 1
    if not any(line.strip() for line in corpus):
        raise ValueError("`lines` must hold some text; got none.")
    written = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus[::every]),
            model_writer=written,
            model_type=kind,
            vocab_size=int(vocabulary),
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNKNOWN,
            bos_id=-1,
            byte_fallback=True,
            # Lines come back as they were: nothing is folded, no space is dropped.
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            num_threads=1,  # More of them add up in another order.
            minloglevel=2,  # It prints its progress otherwise.
        )
    except RuntimeError as error:
        raise _refusal(vocabulary, error) from error
    return Subwords(written.getvalue())


def kept_subwords(
    lines: Sequence[str],
    *,
    vocabulary: int,
    kind: Kind = "bpe",
    cache: str | os.PathLike[str] | None = None,
) -> Subwords:
    """What `learn_subwords` gives, learned once and kept in the cache.

    It is kept under a digest of the lines and of the options.

    Args:
        lines: the corpus.
        vocabulary: the number of tokens.
        kind: `"bpe"` or `"unigram"`.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Raises:
        ValueError: as `learn_subwords` does, and if the folder cannot be used.
        ImportError: if SentencePiece is absent.
    """
    path = (
        preparing.cache_folder(cache) / "subwords" / f"{_key(lines, vocabulary, kind)}"
    )
    if not path.is_file():
        found = learn_subwords(lines, vocabulary=vocabulary, kind=kind)
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_name(f".{uuid.uuid4().hex}")
        fresh.write_bytes(found.model)
        fresh.replace(path)  # At once, so that a kill leaves nothing half done.
    try:
        return Subwords(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"the vocabulary in {os.fspath(path)!r} cannot be read. Delete the file; it "
            "is then learned again."
        ) from error


_RESERVED = ("<pad>", "</s>", "<unk>")


def _key(lines: Sequence[str], vocabulary: int, kind: str) -> str:
    digest = hashlib.sha256(f"{_VERSION} {kind} {vocabulary}\n".encode())
    for line in lines:
        digest.update(line.encode() + b"\n")
    return f"{kind}-{vocabulary}-{digest.hexdigest()[:24]}.model"


def _refusal(vocabulary: int, error: RuntimeError) -> ValueError:
    """SentencePiece's own error, in our words where we know what it means."""
    words = str(error).rsplit("] ", 1)[-1].strip()
    numbers = [int(number) for number in re.findall(r"\d+", words)]
    if "too high" in words:
        return ValueError(
            f"`vocabulary` must be at most {numbers[-1]}, the pieces that the corpus "
            f"has; got {vocabulary}. Take fewer, or more text."
        )
    if "smaller than required_chars" in words:
        return ValueError(
            f"`vocabulary` must be at least {numbers[-1]}, since every letter that is "
            f"common in the corpus is a token; got {vocabulary}."
        )
    return ValueError(
        f"`lines` must be text that SentencePiece can learn {vocabulary} tokens from; "
        f'it says "{words[:_SHOWN]}".'
    )


@functools.lru_cache(maxsize=8)
def processor_of(model: bytes) -> Any:
    """Returns SentencePiece's reader of a model."""
    spm = _sentencepiece()
    processor = spm.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise ValueError(
            f"`model` must be a model of SentencePiece; got {len(model)} bytes that are "
            "none."
        ) from error
    return processor


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError(
            "text needs the package sentencepiece: `pip install "
            "'relational-nets[text]'`."
        ) from error
    return sentencepiece
