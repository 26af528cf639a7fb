from collections import Counter

import numpy as np

from relational.datasets.melodies import families, split_of

_TUNE = np.repeat([60, 62, 64, 65, 67, 65, 64, 62, 60, 59, 60, 67, 65], 4)
_OTHER = np.repeat([60, 60, 67, 67, 69, 69, 67, 65, 65, 64, 64, 62, 60], 4)


def test_a_melody_is_known_in_every_key_and_with_passing_notes():
    passing = _TUNE.copy()
    passing[2::4] += 1  # Between the quarters.
    assert families(["c", "b", "a"], [_TUNE, _TUNE + 5, passing]) == ["a", "a", "a"]


def test_another_melody_is_another_family():
    assert families(["a", "b"], [_TUNE, _OTHER]) == ["a", "b"]


def test_kin_of_kin_are_kin():
    both = np.concatenate([_TUNE, _OTHER])
    assert families(["x", "y", "z"], [_TUNE, _OTHER, both]) == ["x", "x", "x"]


def test_versions_of_one_work_are_kin_whatever_they_sound_like():
    names = ["bwv112.5", "bwv112.5-sc", "bwv112.6"]
    rest = np.full(40, -1)
    assert families(names, [_TUNE, _OTHER, rest]) == [
        "bwv112.5",
        "bwv112.5",
        "bwv112.6",
    ]


def test_the_split_is_stable_and_has_the_promised_shares():
    assert [split_of(name) for name in ("bwv269", "bwv1.6", "bwv10.7")] == [
        "train",
        "train",
        "train",
    ]
    counts = Counter(split_of(f"family {number}") for number in range(20_000))
    assert abs(counts["train"] / 20_000 - 0.76) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.12) < 0.01
    assert abs(counts["test"] / 20_000 - 0.12) < 0.01
