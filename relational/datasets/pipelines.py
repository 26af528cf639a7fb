"""From pieces to batches: grain pipelines for training and for evaluation.

Both cut pieces into windows of nodes with the attributes of `serialisation.attributes`
and stack them. The pieces are tokenised once and stay in memory; a window costs some
tens of microseconds.

Shapes: B batch, T window, S steps.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from relational._checks import check_count, check_seed, is_whole, shown
from relational.datasets.chorales import Piece
from relational.datasets.serialisation import (
    DEFAULT_PITCH,
    NUM_VOICES,
    attributes,
    tokens_of,
    transposed,
    transpositions,
)

if TYPE_CHECKING:
    import grain

Window = dict[str, Shaped[np.ndarray, "..."]]

_ADVICE = {
    "window": "It counts tokens.",
    "overlap": "It counts tokens.",
    "batch_size": "It counts windows.",
    "transpose": "It counts semitones.",
}
_FOR_EVER = 2**32  # Epochs. Grain's own endless length is too long for a batch of one.


def training(
    pieces: Sequence[Piece],
    *,
    window: int,
    batch_size: int,
    transpose: int,
    seed: int,
) -> "grain.DatasetIterator[Window]":
    """An endless, resumable iterator over batches of random windows.

    Each epoch visits every piece once, in a new order. A visit transposes the piece by
    a random interval of at most `transpose` semitones that keeps all of it in range,
    and takes a random window that begins at a step. A piece shorter than the window
    is padded at its end. All randomness follows from `seed` and the number of the
    window, so that `get_state()` and `set_state()` resume exactly.

    Args:
        pieces: the training pieces.
        window: tokens in a window, a multiple of 4.
        batch_size: windows in a batch.
        transpose: the largest transposition up and down, in semitones; 0 for none.
        seed: of all randomness, 0 to 2^32 - 1.

    Returns:
        An iterator (`next`, `get_state`, `set_state`) over dictionaries of the arrays
        of `serialisation.attributes`, [B, T] each. Padding weighs 0 and holds zeros, but
        for a `pitch` of 60. `onset` and `beat` stay those of the piece.

    Raises:
        ValueError: if an argument is out of range, or a piece cannot be tokenised.

    >>> steps = np.arange(8, dtype=np.int32)
    >>> piece = Piece(pitch=np.full((8, 4), 60, np.int32), beat=steps, index=0)
    >>> batches = training([piece], window=16, batch_size=2, transpose=3, seed=0)
    >>> batch = next(batches)
    >>> batch["token"].shape, batch["previous"][:, 0].tolist()
    ((2, 16), [47, 47])
    """
    import grain

    _check_at_least("transpose", transpose, 0)
    check_seed("seed", seed)
    songs = _songs(pieces, window, batch_size)

    def draw(song: _Song, rng: np.random.Generator) -> Window:
        lowest, highest = transpositions(song.tokens, transpose)
        tokens = transposed(song.tokens, int(rng.integers(lowest, highest + 1)))
        spare = max(0, len(song.beat) - window // NUM_VOICES)
        first_step = int(rng.integers(spare + 1))
        return _window(_Song(tokens=tokens, beat=song.beat), first_step, window)

    windows = grain.MapDataset.source(songs).seed(seed).shuffle().repeat(_FOR_EVER)
    batches = windows.random_map(draw).batch(batch_size)
    # What lies in memory is best read in the caller's thread, says grain.
    return iter(batches.to_iter_dataset(grain.ReadOptions(0, 0)))


def evaluation(
    pieces: Sequence[Piece], *, window: int, batch_size: int, overlap: int = 0
) -> "grain.MapDataset[Window]":
    """Batches in which every token of every piece weighs 1 exactly once.

    A piece is cut into windows of `window` tokens, the last one padded. A window begins
    afresh and knows nothing of the piece before it, except that its first `overlap`
    tokens are the last of the window before: they are heard and weigh 0. A large overlap
    scores each token in more context, at the cost of more windows.

    Args:
        pieces: the pieces to score.
        window: tokens in a window, a multiple of 4.
        batch_size: windows in a batch; the last batch is filled with windows of weight 0.
        overlap: tokens of context, a multiple of 4 below `window`.

    Returns:
        A finite dataset: it has a length, is iterated over as often as one likes, and
        gives the arrays of `serialisation.attributes`, [B, T] each, and `piece`, int32
        [B]: which of `pieces` (counted from 0) a window is of, -1 for none.

    Raises:
        ValueError: if an argument is out of range, or a piece cannot be tokenised.

    >>> steps = np.arange(6, dtype=np.int32)
    >>> piece = Piece(pitch=np.full((6, 4), 60, np.int32), beat=steps, index=0)
    >>> for batch in evaluation([piece], window=16, batch_size=2, overlap=8):
    ...     print(batch["piece"], batch["onset"][:, 0], batch["weight"].sum(axis=1))
    [0 0] [0 2] [16.  8.]
    """
    import grain

    songs = _songs(pieces, window, batch_size)
    _check_multiple("overlap", overlap)
    if overlap >= window:
        raise ValueError(
            f"`overlap` must be smaller than `window`, {window}; got {overlap}. Half the "
            "window is a good choice."
        )
    cuts = [
        _Cut(
            piece=piece, first_step=first // NUM_VOICES, context=overlap if first else 0
        )
        for piece, song in enumerate(songs)
        for first in _firsts(len(song.tokens), window, overlap)
    ]
    cuts += [_NO_CUT] * (-len(cuts) % batch_size)

    def look(cut: _Cut) -> Window:
        song = songs[cut.piece] if cut.piece >= 0 else _SILENT
        nodes = _window(song, cut.first_step, window)
        nodes["weight"][: cut.context] = 0.0
        nodes["piece"] = np.array(cut.piece, np.int32)
        return nodes

    return grain.MapDataset.source(cuts).map(look).batch(batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Song:
    """A piece, tokenised: `tokens` [T = 4 S] and `beat` [S]."""

    tokens: Int[np.ndarray, " T"]
    beat: Int[np.ndarray, " S"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cut:
    """Where a window of evaluation begins, and how many of its tokens are context."""

    piece: int
    first_step: int
    context: int


_SILENT = _Song(tokens=np.zeros(0, np.int32), beat=np.zeros(0, np.int32))
_NO_CUT = _Cut(piece=-1, first_step=0, context=0)


def _songs(pieces: Sequence[Piece], window: int, batch_size: int) -> list[_Song]:
    """Checks what both pipelines share, and tokenises."""
    _check_at_least("window", window, NUM_VOICES)
    _check_multiple("window", window)
    _check_at_least("batch_size", batch_size, 1)
    songs = []
    for number, piece in enumerate(pieces):
        if not isinstance(piece, Mapping) or not {"pitch", "beat"} <= set(piece):
            raise ValueError(
                "`pieces` must each be a mapping with `pitch` and `beat`, as "
                f"`datasets.load` gives them; got {shown(piece)} as piece {number}."
            )
        tokens = tokens_of(piece["pitch"])
        beat = np.asarray(piece["beat"], np.int32)
        if beat.shape != (len(tokens) // NUM_VOICES,) or not len(beat):
            raise ValueError(
                "`pieces` must each have one `beat` a step, and at least one step; got "
                f"{len(piece['pitch'])} steps and beats of shape {list(beat.shape)} in "
                f"piece {number}."
            )
        songs.append(_Song(tokens=tokens, beat=beat))
    if not songs:
        raise ValueError("`pieces` must hold at least one piece; got none.")
    return songs


def _firsts(num_tokens: int, window: int, overlap: int) -> range:
    """Where the windows begin: the last is the first to reach the end of the piece."""
    return range(0, max(num_tokens - overlap, 1), window - overlap)


def _window(song: _Song, first_step: int, window: int) -> Window:
    """The nodes of a window, padded at the end to [T]."""
    first = first_step * NUM_VOICES
    nodes = attributes(
        song.tokens[first : first + window],
        song.beat[first_step : first_step + window // NUM_VOICES],
        first_step=first_step,
    )
    if len(nodes["token"]) == window:
        return nodes
    return {name: _padded(name, value, window) for name, value in nodes.items()}


def _padded(
    name: str, value: Shaped[np.ndarray, "..."], window: int
) -> Shaped[np.ndarray, " T"]:
    padded = np.full(window, DEFAULT_PITCH if name == "pitch" else 0, value.dtype)
    padded[: len(value)] = value
    return padded


def _check_at_least(name: str, value: int, least: int) -> None:
    check_count(name, value, least=least, advice=_ADVICE[name])


def _check_multiple(name: str, value: int) -> None:
    if not is_whole(value):
        check_count(name, value, least=0, advice=_ADVICE[name])
    if value < 0 or value % NUM_VOICES:
        nearest = max(round(value / NUM_VOICES), 0) * NUM_VOICES
        raise ValueError(
            f"`{name}` must be a multiple of 4, the tokens of a step; got {value}. "
            f"{nearest} is the nearest."
        )
