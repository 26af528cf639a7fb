"""Batches of pairs: few shapes, little padding, each pair equally often, a kept place."""

import itertools
from collections import Counter

import numpy as np
import pytest

from relational.datasets import length_buckets, token_batches
from relational.datasets.length_buckets import LengthBuckets
from relational.datasets.token_batches import TokenPairs
from relational.datasets.token_lists import TokenLists

TENSOR2TENSOR = [
    *range(8, 20),
    *(20, 22, 24, 26, 28, 30, 33, 36, 39, 42, 46, 50, 55, 60, 66, 72, 79, 86, 94),
    *(103, 113, 124),
]  # Boundaries of `utils/data_reader_test.py` for a batch of 128 tokens.
ITS_SIZES = [16, 12, 12, *[8] * 6, *[6] * 4, *[4] * 5, *[3] * 4, *[2] * 4]


def pairs(count=200, longest=30, seed=0):
    """Pairs that can be told apart: each token of pair i is i + 2, its end 1."""
    rng = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        lengths = rng.integers(1, longest + 1, count)
        sides.append(
            TokenLists.of([[i + 2] * (n - 1) + [1] for i, n in enumerate(lengths)])
        )
    return TokenPairs(source=sides[0], target=sides[1])


def fitted(made, **options):
    given = {"num_buckets": 4, "tokens": 240, "most": 12, **options}
    return length_buckets.fit(made.lengths, **given)


def numbers(batch, made):
    """Which pairs a batch has: found by their tokens, or by their lengths."""
    sides = zip(batch["source"], batch["target"], strict=True)
    return [int(max(source.max(), target.max())) - 2 for source, target in sides]


def test_bounds_are_those_of_tensor2tensor():
    assert length_buckets.boundaries(128) == [*TENSOR2TENSOR, 128]
    # A batch there holds what fits, rounded down to a divisor of 48; one side counts.
    sizes = length_buckets.sized(TENSOR2TENSOR, tokens=2 * 128, most=999).sizes
    divisors = [number for number in range(1, 49) if 48 % number == 0]
    rounded = [max(d for d in divisors if d <= size) for size in sizes]
    assert rounded == [*ITS_SIZES, *[1] * (len(TENSOR2TENSOR) - len(ITS_SIZES))]


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 5])
def test_the_chosen_bounds_fill_up_least_of_all(num_buckets):
    lengths = pairs(count=80, longest=16, seed=1).lengths
    grid = length_buckets.boundaries(int(lengths.max()))

    def filled(bounds):
        return sum(min(b for b in bounds if b >= length) for length in lengths)

    least = min(
        filled((*some, grid[-1]))
        for some in itertools.combinations(grid[:-1], num_buckets - 1)
    )
    found = length_buckets.fit(lengths, num_buckets=num_buckets, tokens=None, most=4)
    assert len(found.bounds) <= num_buckets
    assert filled(found.bounds) == least
    assert found.sizes == (4,) * len(found.bounds)


def test_a_batch_holds_what_it_says_and_no_more_tokens_than_allowed():
    made = pairs()
    buckets = fitted(made)
    walk = token_batches.training(made, buckets=buckets, seed=3)
    shapes = set()
    for _ in range(60):
        batch = next(walk)
        size, length = batch["source"].shape
        shapes.add((size, length))
        assert batch["target"].shape == (size, length)
        assert 2 * size * length <= 240
        assert size <= 12
        for name in ("source", "target"):
            lists, lengths = getattr(made, name), batch[f"{name}_length"]
            assert batch[name].dtype == lengths.dtype == np.int32
            ends = batch[name][np.arange(size), lengths - 1]
            assert (ends == 1).all()
            counted = np.arange(length) < lengths[:, None]
            assert (batch[name][~counted] == 0).all()
            assert (batch[name][counted] > 0).all()
            for row, number in zip(batch[name], numbers(batch, made), strict=True):
                if number >= 0:  # Both sides of a pair may be an end alone.
                    np.testing.assert_array_equal(np.trim_zeros(row), lists[number])
    assert shapes == set(zip(buckets.sizes, buckets.bounds, strict=True))


@pytest.mark.parametrize("at_once", [1, 3])
def test_after_any_epoch_each_pair_was_seen_as_often_but_for_a_batch_a_bucket(at_once):
    made = pairs(count=300)
    buckets = fitted(made)
    walk = token_batches.Walk(made, buckets, 7, at_once)
    counts = np.bincount(buckets.of(made.lengths), minlength=len(buckets.bounds))
    for epochs in (1, 4):
        units = sum(
            epochs * count // (size * at_once)
            for count, size in zip(counts, buckets.sizes, strict=True)
        )
        seen = Counter()
        rows = 0
        for index in range(units * at_once):
            batch = walk[index]
            rows += len(batch["source"])
            seen.update(numbers(batch, made))
        seen.pop(-1, None)
        assert set(seen.values()) <= {epochs - 1, epochs}
        missing = epochs * len(made) - rows
        assert 0 <= missing < sum(size * at_once for size in buckets.sizes)


def test_the_batches_of_a_step_have_one_shape():
    made = pairs()
    walk = token_batches.training(made, buckets=fitted(made), seed=0, at_once=4)
    steps = [[next(walk)["source"].shape for _ in range(4)] for _ in range(12)]
    assert all(len(set(shapes)) == 1 for shapes in steps)
    assert len({shapes[0] for shapes in steps}) > 1


def test_a_walk_goes_on_where_it_stopped_and_seeds_give_other_walks():
    made = pairs()
    buckets = fitted(made)

    def walk(seed=5):
        return token_batches.training(made, buckets=buckets, seed=seed, at_once=2)

    first = walk()
    for _ in range(37):
        next(first)
    place = first.get_state()
    expected = [next(first) for _ in range(50)]
    again = walk()
    again.set_state(place)
    for batch in expected:
        found = next(again)
        for name, leaf in batch.items():
            np.testing.assert_array_equal(found[name], leaf)
    other = [next(walk(seed=6))["source_length"].tolist() for _ in range(1)]
    assert other != [next(walk())["source_length"].tolist()]


def test_few_pairs_fill_large_batches_again_and_again():
    made = pairs(count=3, longest=4)
    buckets = length_buckets.fit(made.lengths, num_buckets=2, tokens=None, most=8)
    walk = token_batches.training(made, buckets=buckets, seed=0)
    seen = Counter()
    for _ in range(30):
        seen.update(numbers(next(walk), made))
    assert set(seen) == {0, 1, 2}
    assert max(seen.values()) - min(seen.values()) <= 8


def test_longer_pairs_are_not_trained_on():
    made = pairs()
    short = LengthBuckets(bounds=(10, 15), sizes=(4, 2))
    walk = token_batches.training(made, buckets=short, seed=0)
    assert all(next(walk)["source"].shape[1] <= 15 for _ in range(50))
    none = LengthBuckets(bounds=(0,), sizes=(1,))
    with pytest.raises(ValueError, match="must have some of at most 0 tokens a side"):
        token_batches.training(made, buckets=none, seed=0)


def test_an_evaluation_has_every_pair_once_and_fills_up_only_its_last_batch():
    made = pairs(count=130)
    buckets = fitted(made)
    batches = list(token_batches.evaluation(made, buckets=buckets))
    pieces = np.concatenate([batch["piece"] for batch in batches])
    assert sorted(pieces[pieces >= 0].tolist()) == list(range(130))
    shapes = {batch["source"].shape for batch in batches}
    assert shapes <= set(zip(buckets.sizes, buckets.bounds, strict=True))
    for batch in batches:
        for name in ("source", "target"):
            for row, number, length in zip(
                batch[name], batch["piece"], batch[f"{name}_length"], strict=True
            ):
                expected = getattr(made, name)[number] if number >= 0 else []
                assert row[:length].tolist() == list(expected)
                assert not row[length:].any()
    filled = [(batch["piece"] < 0).any() for batch in batches]
    assert not any(filled[:-1])


def test_an_evaluation_reaches_the_longest_pair_or_says_so():
    made = pairs(count=40, longest=60)
    short = length_buckets.sized((12, 20), tokens=240, most=12)
    with pytest.raises(ValueError, match=r"must reach \d\d, the length .* got 20"):
        list(token_batches.evaluation(made, buckets=short))
    longest = int(made.lengths.max())
    enough = short.reaching(longest, tokens=240, most=12)
    assert enough.bounds[:2] == (12, 20)
    assert enough.bounds[-1] == longest
    found = list(token_batches.evaluation(made, buckets=enough))
    assert sum((batch["piece"] >= 0).sum() for batch in found) == 40


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda made: token_batches.training(made, buckets=fitted(made), seed=-1),
            "`seed` must be 0 to 4294967295; got -1",
        ),
        (
            lambda made: token_batches.training(
                made, buckets=fitted(made), seed=0, at_once=0
            ),
            "`at_once` must be 1 or more; got 0",
        ),
        (
            lambda made: fitted(made, num_buckets=0),
            "`num_buckets` must be 1 or more; got 0",
        ),
        (
            lambda made: TokenPairs(source=made.source, target=TokenLists.of([[1]])),
            "must be equally many lists; got 200 and 1",
        ),
        (
            lambda made: length_buckets.fit(
                np.zeros(0, int), num_buckets=1, tokens=1, most=1
            ),
            "must be those of at least one pair; got none",
        ),
    ],
)
def test_arguments_out_of_range_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(pairs())
