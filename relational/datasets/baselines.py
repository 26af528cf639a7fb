"""What a model must beat: two guesses that need no training worth the name.

Both are given in nats per token, the unit of the losses, over the same tokens that
`pipelines.evaluation` scores (every token of every piece once).
"""

import math
from collections.abc import Sequence

import numpy as np

from relational._checks import shown
from relational.datasets.chorales import Piece
from relational.datasets.serialisation import NUM_VOICES, START, tokens_of

_NUM_PREDICTABLE = START  # The rest and 46 pitches; the start token is never predicted.


def uniform_loss() -> float:
    """The loss of a guess that holds all 47 tokens equally likely: ln 47 nats a token.

    >>> round(uniform_loss(), 4)
    3.8501
    """
    return math.log(_NUM_PREDICTABLE)


def repeat_probability(pieces: Sequence[Piece]) -> float:
    """How often a voice repeats its token of the step before, in `pieces`.

    This is the one parameter of the repeat-the-last-chord baseline, fitted by maximum
    likelihood with one imagined token on either side, so that it is never 0 or 1.

    Args:
        pieces: the training pieces.

    Returns:
        A probability.

    >>> held = {"pitch": np.full((9, 4), 60), "beat": np.arange(9), "index": 0}
    >>> round(repeat_probability([held]), 3)  # (32 + 1) / (32 + 2)
    0.971
    """
    num_repeated, num_changed, _ = _repeats(pieces)
    return (num_repeated + 1) / (num_repeated + num_changed + 2)


def repeat_loss(pieces: Sequence[Piece], probability: float) -> float:
    """The loss of the guess that the last chord is repeated, in nats per token.

    A voice's next token is the one of the step before with `probability`, and any of
    the 46 others with equal shares of the rest. The first chord of a piece is guessed
    uniformly.

    Args:
        pieces: the pieces to score.
        probability: of a repetition, between 0 and 1: `repeat_probability` of the
            training pieces.

    Returns:
        The mean negative log-likelihood over all tokens.

    Raises:
        ValueError: if `probability` is not between 0 and 1, or there are no tokens.

    >>> held = {"pitch": np.full((9, 4), 60), "beat": np.arange(9), "index": 0}
    >>> round(repeat_loss([held], 0.5), 4)  # (4 ln 47 + 32 ln 2) / 36
    1.0439
    """
    if not isinstance(probability, float | np.floating) or not 0 < probability < 1:
        raise ValueError(
            f"`probability` must lie between 0 and 1; got {shown(probability)}. Fit it with "
            "`repeat_probability`."
        )
    num_repeated, num_changed, num_first = _repeats(pieces)
    num_tokens = num_repeated + num_changed + num_first
    if not num_tokens:
        raise ValueError("`pieces` must hold at least one step; got none.")
    others = math.log(_NUM_PREDICTABLE - 1) - math.log1p(-probability)
    total = num_first * uniform_loss() + num_changed * others
    return (total - num_repeated * math.log(probability)) / num_tokens


def _repeats(pieces: Sequence[Piece]) -> tuple[int, int, int]:
    """Counts the tokens that repeat, that change, and that have none before them."""
    num_repeated = num_changed = num_first = 0
    for piece in pieces:
        tokens = tokens_of(piece["pitch"])
        same = tokens[NUM_VOICES:] == tokens[:-NUM_VOICES]
        num_repeated += int(np.count_nonzero(same))
        num_changed += int(np.count_nonzero(~same))
        num_first += len(tokens) - len(same)
    return num_repeated, num_changed, num_first
