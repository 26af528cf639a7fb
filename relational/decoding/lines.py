"""Lines of text in, lines of text out: what surrounds a model that translates tokens.

Lines are cut into subwords, put beside others of like length, translated, and written in
the order in which they came. `continued` keeps them; the model itself is a function here.

Shapes: M lines, N of them that hold something, B of a batch, S tokens of a source.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Int32, Int64

from relational.decoding.continued import ContinuedFile

if TYPE_CHECKING:
    from relational.datasets import PairedSubwords, Subwords
    from relational.datasets.token_lists import TokenLists

MOST_TOKENS = 4096
"""A longer line is refused: it is rather a lost newline than a sentence."""

BATCHES_IN_CHUNK = 16
"""Lines are sorted by length within so many batches."""

_FIRST, _GROWTH = 16, 1.5  # The lengths to which sources are filled up: 16, 24, 36, ...
_SHORT = 128  # Of longer sources fewer share a batch, so that memory stays bounded.
_BREAKS = re.compile(r"[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translated:
    """A translation of a line."""

    text: str
    """What it reads."""

    score: float
    """How likely the model finds it, by the measure that chose it; more is better."""


class Candidates(Protocol):
    """What a model makes of a batch: for each row the best, the likeliest first."""

    @property
    def tokens(self) -> Sequence[Sequence[Any]]:
        """Tokens of each candidate of each row, without an end."""

    @property
    def scores(self) -> Sequence[Sequence[float]]:
        """The score of each."""


Decode = Callable[
    [Int32[np.ndarray, "B S"], Int32[np.ndarray, " B"], tuple[int, int]], Candidates
]
"""From sources, their lengths, and the numbers of a chunk and of a batch in it."""


Stream = Callable[
    [Int32[np.ndarray, "B S"], Int32[np.ndarray, " B"], tuple[int, int]],
    Iterator[Sequence[Any]],
]
"""Likewise, to the tokens of each row that are certain, again and again as they grow."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LineTranslator:
    """A model that translates lines.

    Attributes:
        subwords: the vocabulary of both languages, or of a pair of them.
        decode: the model; it is called with a few lengths, and one size for each.
        batch_size: lines in a batch; of lines beyond 128 tokens, fewer.
        num_best: translations of each line.
        stream: the model once more, for `words`.
    """

    subwords: "Subwords | PairedSubwords"
    decode: Decode
    batch_size: int = 32
    num_best: int = 1
    stream: Stream | None = None

    @property
    def chunk_size(self) -> int:
        """Lines that are translated together."""
        return self.batch_size * BATCHES_IN_CHUNK

    def chunk(
        self, lines: Sequence[str], *, number: int = 0, first_line: int = 1
    ) -> list[list[Translated]]:
        """Returns the best translations of each line.

        An empty line has an empty translation.

        Args:
            lines: of the chunk.
            number: of the chunk, from which whatever is random follows.
            first_line: the number of its first line, for messages.

        Raises:
            ValueError: if a line is too long.
        """
        tokens = self._tokens(lines, first_line)
        lengths = tokens.lengths
        found = [[Translated(text="", score=0.0)] * self.num_best for _ in lines]
        full = np.array([bool(line.strip()) for line in lines], bool)
        order = np.argsort(lengths, kind="stable")
        order = order[full[order]]
        for batch, rows in enumerate(self._batches(order, lengths)):
            filled = filled_length(int(lengths[rows].max()))
            # The last rows are said again, since one that is empty might never end.
            padded = np.resize(rows, self._size(filled))
            source = tokens.padded(padded, length=filled)
            candidates = self.decode(
                source, lengths[padded].astype(np.int32), (number, batch)
            )
            for place, row in enumerate(rows):
                scored = zip(
                    candidates.tokens[place], candidates.scores[place], strict=True
                )
                best = [
                    Translated(text=self._text(each), score=float(score))
                    for each, score in scored
                ]
                # A search may end with fewer than were asked for.
                best += [Translated(text="", score=-math.inf)] * self.num_best
                found[row] = best[: self.num_best]
        return found

    def words(self, line: str, *, number: int = 0) -> Iterator[str]:
        """Yields the best translation of a line as it comes, word by word.

        Joined it is what `chunk` finds for that line alone.

        Args:
            line: the line.
            number: as of a chunk that holds nothing else.

        Raises:
            ValueError: if it is too long.
        """
        assert self.stream is not None
        tokens = self._tokens([line], number + 1)
        if not line.strip():
            return
        length = tokens.lengths.astype(np.int32)
        source = tokens.padded(np.zeros(1, int), length=filled_length(int(length[0])))
        shown = text = ""
        for (target,) in self.stream(source, length, (number, 0)):
            text = self._text(target)
            whole = text[: text.rfind(" ") + 1]  # The last word may still grow.
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole
        yield text[len(shown) :]

    def _tokens(self, lines: Sequence[str], first_line: int) -> "TokenLists":
        tokens = self.subwords.encode_all(lines)
        lengths = tokens.lengths
        if len(lines) and lengths.max() > MOST_TOKENS:
            raise ValueError(
                f"line {first_line + int(lengths.argmax())} must have at most "
                f"{MOST_TOKENS} subwords; got {int(lengths.max())}. Split it."
            )
        return tokens

    def _batches(
        self, order: Int64[np.ndarray, " N"], lengths: Int64[np.ndarray, " M"]
    ) -> Iterator[Int64[np.ndarray, " B"]]:
        """Yields the rows of each batch, from those in the order of their lengths."""
        begin = 0
        while begin < len(order):
            rows = order[begin : begin + self.batch_size]
            rows = rows[: self._size(filled_length(int(lengths[rows[-1]])))]
            yield rows
            begin += len(rows)

    def _size(self, filled: int) -> int:
        """Returns how many lines of a length share a batch."""
        return max(1, min(self.batch_size, self.batch_size * _SHORT // filled))

    def _text(self, tokens: Any) -> str:
        """Decoded text, in one line: a model may say the byte of a newline."""
        return _BREAKS.sub(" ", self.subwords.target.decode(tokens))


def filled_length(length: int) -> int:
    """Returns the length to which a source is filled up: each is compiled once.

    >>> [filled_length(length) for length in (1, 16, 17, 40)]
    [16, 16, 24, 54]
    """
    bound = _FIRST
    while bound < length:
        bound = int(bound * _GROWTH)
    return bound


def translate_into(
    file: ContinuedFile,
    lines: Sequence[str],
    translator: LineTranslator,
    written: Callable[[Translated, int], str],
) -> Iterator[int]:
    """Translates lines into a file, after those that it has, chunk by chunk.

    A chunk begins at a multiple of its size whatever the file has, so that a process that
    goes on makes the same batches as one that was never stopped.

    Args:
        file: where each line is a group of `num_best` lines.
        lines: all of them, those that are done as well.
        translator: the model.
        written: what is written of a translation of the line with a number, from 1.

    Yields:
        How many lines are done, after each chunk.
    """
    size = translator.chunk_size
    while file.num_groups < len(lines):
        number = file.num_groups // size
        begin = number * size
        found = translator.chunk(
            lines[begin : begin + size], number=number, first_line=begin + 1
        )
        for index, best in enumerate(found, start=begin):
            if index >= file.num_groups:
                file.add([written(each, index + 1) for each in best])
        file.flush()
        yield file.num_groups
