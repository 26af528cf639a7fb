"""Which chorales share a melody, and on which side of the split they fall.

Bach set many hymn tunes several times. A model that has trained on one setting knows the
melody of the next, so all settings of a tune, found by their sopranos, go to one split.

Shapes: S steps (sixteenths).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_STEPS_PER_QUARTER = 4
_NUM_INTERVALS = 8  # A phrase of a hymn has about eight notes.
_SHARED = 1 / 3  # Of the smaller melody's phrases; found by reading the families.
_VALIDATION_FROM, _TEST_FROM = 0.76, 0.88
_SALT = "chorales 8"  # Of the first few, the one whose splits come out most even.


def families(
    names: Sequence[str], sopranos: Sequence[Int[np.ndarray, " _"]]
) -> list[str]:
    """The family of each piece, named by its first member.

    Two pieces are kin if they carry one catalogue number (`bwv112.5` and
    `bwv112.5-sc`), or if a third of the runs of eight intervals between the quarters of
    the shorter soprano also occur in the other. Kin of kin are kin. Intervals make this
    blind to the key, quarters to passing notes.

    Args:
        names: the names of the pieces, all different.
        sopranos: the MIDI pitches of each piece's soprano, -1 for a rest, [S] each.

    Returns:
        For each piece the first name, in alphabetical order, of its family.

    >>> tune = np.repeat([60, 62, 64, 65, 67, 65, 64, 62, 60, 59, 60], 4)
    >>> families(["a", "b", "c"], [tune, tune + 5, 124 - tune])
    ['a', 'a', 'c']
    """
    order = sorted(range(len(names)), key=lambda piece: names[piece])
    runs = [_runs(soprano) for soprano in sopranos]
    head = list(range(len(names)))  # A forest: each piece points towards its family's.

    def root(piece: int) -> int:
        while head[piece] != piece:
            piece = head[piece]
        return piece

    for place, later in enumerate(order):
        for earlier in order[:place]:
            if _are_kin(names[earlier], names[later], runs[earlier], runs[later]):
                old, new = sorted(
                    (root(earlier), root(later)), key=lambda piece: names[piece]
                )
                head[new] = old
    return [names[root(piece)] for piece in range(len(names))]


def split_of(family: str) -> str:
    """The split of a family: 76, 12 and 12 in a hundred, by a hash of its name.

    The rule looks at nothing else, so that a family stays on its side whatever else the
    corpus holds. The corpus of music21 10.5 falls into 308, 48 and 46 pieces.

    Args:
        family: its name.

    Returns:
        `"train"`, `"validation"` or `"test"`.

    >>> split_of("bwv269")
    'train'
    """
    digest = hashlib.sha256(f"{_SALT} {family}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < _VALIDATION_FROM:
        return "train"
    return "validation" if share < _TEST_FROM else "test"


_Runs = frozenset[tuple[int, ...]]


def _are_kin(one: str, other: str, runs_one: _Runs, runs_other: _Runs) -> bool:
    if one.partition("-")[0] == other.partition("-")[0]:
        return True
    fewer = min(len(runs_one), len(runs_other))
    return fewer > 0 and len(runs_one & runs_other) >= _SHARED * fewer


def _runs(soprano: Int[np.ndarray, " S"]) -> _Runs:
    quarters = soprano[::_STEPS_PER_QUARTER]
    intervals = np.diff(quarters[quarters >= 0]).tolist()
    count = len(intervals) - _NUM_INTERVALS + 1
    return frozenset(tuple(intervals[at : at + _NUM_INTERVALS]) for at in range(count))
