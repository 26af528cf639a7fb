r"""Subwords of two languages, each cut by its own model and numbered by one table.

So Marian's translators have it: a model of SentencePiece for what is read, another for
what is written, and a table from pieces to numbers. A vocabulary is again a few bytes,
which a run keeps.
"""

import base64
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from jaxtyping import Integer
from numpy import ndarray

from relational.datasets.subwords import Subwords, processor_of
from relational.datasets.token_lists import TokenLists

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
"""The pieces that every table has."""

_LANGUAGE = re.compile(r">>[^<>]+<<")
_BEGINNING = b'{"pieces"'  # A model of SentencePiece begins otherwise.


@dataclasses.dataclass(frozen=True)
class PairedSubwords:
    """The vocabulary of one language of a pair; `target` is that of the other one.

    Attributes:
        model: both models and the table, as `paired` gives them.
        side: the language: the one that is read, or the one that is written.

    Raises:
        ValueError: if the bytes are no such vocabulary.
        ImportError: if SentencePiece is absent.

    >>> from relational.datasets import learn_subwords
    >>> german = learn_subwords(["ein Hund", "eine Katze"], vocabulary=270)
    >>> english = learn_subwords(["a dog", "a cat"], vocabulary=270)
    >>> names = [*german.pieces(range(3, 270)), *english.pieces(range(3, 270))]
    >>> table = {name: i for i, name in enumerate(dict.fromkeys(["</s>", "<unk>", *names]))}
    >>> words = paired(german.model, english.model, {**table, "<pad>": len(table)})
    >>> words.decode(words.encode("ein Hund")), words.target.decode(words.target.encode("a"))
    ('ein Hund', 'a')
    """

    model: bytes = dataclasses.field(repr=False)
    side: Literal["source", "target"] = "source"

    def __post_init__(self) -> None:
        _opened(self.model)

    @property
    def target(self) -> Self:
        """The vocabulary of what is written."""
        return dataclasses.replace(self, side="target")

    @property
    def size(self) -> int:
        """The number of tokens."""
        return len(_opened(self.model).pieces)

    @property
    def digest(self) -> str:
        """A short text that tells this vocabulary from others."""
        return hashlib.sha256(self.model).hexdigest()[:16]

    @property
    def end(self) -> int:
        """The token that ends a line."""
        return _opened(self.model).numbers[EOS]

    def encode(self, line: str) -> list[int]:
        """The tokens of a line, without an end; a piece without a number is unknown.

        A language that a line begins with, as in `>>fra<< A dog runs.`, is one piece.
        """
        numbers = _opened(self.model).numbers
        language = _LANGUAGE.match(line)
        first = [language.group()] if language else []
        rest = line[language.end() if language else 0 :]
        pieces = self._processor.encode(rest, out_type=str)
        return [numbers.get(each, numbers[UNKNOWN]) for each in (*first, *pieces)]

    def encode_all(self, lines: Sequence[str]) -> TokenLists:
        """The tokens of many lines, each with its end."""
        return TokenLists.of([*self.encode(line), self.end] for line in lines)

    def decode(self, tokens: Sequence[int] | Integer[ndarray, " N"]) -> str:
        """The text of some tokens; padding and ends say nothing.

        Raises:
            ValueError: if a number is no token.
        """
        pieces = [each for each in self.pieces(tokens) if each not in (PAD, EOS)]
        return str(self._processor.decode(pieces))

    def pieces(self, tokens: Sequence[int] | Integer[ndarray, " N"]) -> list[str]:
        """How each token is written, for pictures: a space is the letter U+2581."""
        known = _opened(self.model).pieces
        wrong = next((each for each in map(int, tokens) if each not in known), None)
        if wrong is not None:
            raise ValueError(
                f"`tokens` must be 0 to {len(known) - 1}; got {wrong}. They are of "
                "another vocabulary."
            )
        return [known[int(token)] for token in tokens]

    @property
    def _processor(self) -> Any:
        opened = _opened(self.model)
        return processor_of(opened.source if self.side == "source" else opened.target)


def paired(source: bytes, target: bytes, numbers: Mapping[str, int]) -> PairedSubwords:
    """Returns the vocabulary of a pair of languages.

    Args:
        source: the model of SentencePiece of what is read.
        target: that of what is written.
        numbers: of all pieces, from 0 on, with those of `</s>`, `<unk>` and `<pad>`.

    Raises:
        ValueError: if a model is none, or the numbers are others.

    >>> paired(b"", b"", {"</s>": 0, "<unk>": 2, "<pad>": 1, "a": 2})
    Traceback (most recent call last):
    ...
    ValueError: `numbers` must be 0 to 3, each for one piece; got `a` for 2.
    """
    pieces: dict[int, str] = {}
    for piece, number in numbers.items():
        is_fresh = number not in pieces and number in range(len(numbers))
        if not is_fresh or isinstance(number, bool):
            raise ValueError(
                f"`numbers` must be 0 to {len(numbers) - 1}, each for one piece; got "
                f"`{piece}` for {number!r}."
            )
        pieces[number] = piece
    missing = [piece for piece in (EOS, UNKNOWN, PAD) if piece not in numbers]
    if missing:
        raise ValueError(f"`numbers` must have the piece `{missing[0]}`; it has not.")
    held = {"pieces": [pieces[number] for number in sorted(pieces)]}
    models = {"source": source, "target": target}
    text = {name: base64.b64encode(model).decode() for name, model in models.items()}
    return PairedSubwords(json.dumps(held | text, separators=(",", ":")).encode())


def vocabulary_of(model: bytes) -> Subwords | PairedSubwords:
    """Returns the vocabulary that a run keeps, of either kind.

    Raises:
        ValueError: if the bytes are neither.
        ImportError: if SentencePiece is absent.
    """
    return (PairedSubwords if model.startswith(_BEGINNING) else Subwords)(model)


@dataclasses.dataclass(frozen=True)
class _Opened:
    source: bytes
    target: bytes
    pieces: Mapping[int, str]
    numbers: Mapping[str, int]


@functools.lru_cache(maxsize=8)
def _opened(model: bytes) -> _Opened:
    try:
        held = json.loads(model)
        pieces = dict(enumerate(held["pieces"]))
        models = [base64.b64decode(held[name]) for name in ("source", "target")]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"`model` must be what `paired` gave; got {len(model)} bytes that are not."
        ) from error
    for each in models:
        processor_of(each)  # It is a model, or this says that it is none.
    numbers = {piece: number for number, piece in pieces.items()}
    return _Opened(models[0], models[1], pieces, numbers)
