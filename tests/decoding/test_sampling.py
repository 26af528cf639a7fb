"""Each way of changing a distribution, against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.decoding import (
    Sampling,
    draw,
    drawn,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    tempered,
    without,
)

QUARTERS = jnp.log(jnp.array([[0.125, 0.5, 0.25, 0.125]]))


def _probability(logits: jax.Array) -> object:
    """Compares like a list of numbers, up to rounding."""
    return pytest.approx(np.asarray(jax.nn.softmax(logits))[0].tolist(), rel=1e-5)


def test_a_temperature_of_one_changes_nothing() -> None:
    assert _probability(tempered(QUARTERS, 1.0)) == [0.125, 0.5, 0.25, 0.125]


def test_half_a_temperature_squares_the_odds() -> None:
    # 1 : 16 : 4 : 1, over 22.
    expected = [odds / 22 for odds in (1, 16, 4, 1)]
    assert _probability(tempered(QUARTERS, 0.5)) == expected


def test_twice_the_temperature_takes_the_root_of_the_odds() -> None:
    odds = np.sqrt([1, 4, 2, 1])
    expected = (odds / odds.sum()).tolist()
    assert _probability(tempered(QUARTERS, 2.0)) == expected


def test_at_temperature_zero_the_first_of_the_likeliest_is_certain() -> None:
    logits = jnp.array([[1.0, 3.0, 3.0], [5.0, 1.0, 2.0]])
    assert jax.nn.softmax(tempered(logits, 0.0)).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_a_tiny_temperature_overflows_nothing() -> None:
    assert _probability(tempered(QUARTERS, 1e-30)) == [0, 1, 0, 0]


def test_top_k_keeps_k_even_among_equals() -> None:
    assert _probability(keep_top_k(QUARTERS, 2)) == [0, 2 / 3, 1 / 3, 0]
    assert _probability(keep_top_k(QUARTERS, 3)) == [1 / 7, 4 / 7, 2 / 7, 0]
    assert keep_top_k(jnp.zeros([1, 4]), 2).tolist() == [[0, 0, -np.inf, -np.inf]]


def test_top_k_of_more_than_there_are_keeps_all() -> None:
    assert keep_top_k(QUARTERS, 9).tolist() == QUARTERS.tolist()


@pytest.mark.parametrize(
    ("p", "kept"),
    [(0.01, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.9, 4), (1.0, 4)],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p: float, kept: int) -> None:
    order = [1, 2, 0, 3]  # From the likeliest down; of equals the first.
    finite = np.isfinite(np.asarray(keep_top_p(QUARTERS, p)))[0]
    assert sorted(np.flatnonzero(finite)) == sorted(order[:kept])


def test_a_top_p_of_one_keeps_even_what_floats_cannot_add() -> None:
    logits = jnp.array([[0.0, -40.0, -60.0]])
    assert keep_top_p(logits, 1.0).tolist() == logits.tolist()
    # In float32 this is 0; the likeliest token stays all the same.
    assert np.isfinite(keep_top_p(logits, 1e-50)).sum() == 1


@pytest.mark.parametrize(
    ("p", "kept"), [(0.0, 4), (0.24, 4), (0.26, 3), (0.49, 3), (0.51, 2), (0.76, 1)]
)
def test_min_p_keeps_what_is_not_much_less_likely_than_the_best(
    p: float, kept: int
) -> None:
    logits = jnp.log(jnp.array([[0.1, 0.4, 0.3, 0.2]])) + 5
    assert np.isfinite(np.asarray(keep_min_p(logits, p))).sum() == kept


def test_all_three_are_taken_in_order() -> None:
    # Tempered: 1 : 16 : 4 : 1. Two kept: 0.8 and 0.2. The nucleus of 0.8: the first.
    how = Sampling(temperature=0.5, top_k=2, top_p=0.79)
    assert _probability(how(QUARTERS)) == [0, 1, 0, 0]
    how = Sampling(temperature=0.5, top_k=2, top_p=0.81)
    assert _probability(how(QUARTERS)) == [0, 0.8, 0.2, 0]


def test_what_is_forbidden_gets_no_probability() -> None:
    assert _probability(without(QUARTERS, [1])) == [0.25, 0, 0.5, 0.25]


def test_draws_follow_the_distribution() -> None:
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = draw(keys, jnp.tile(QUARTERS, (4000, 1)))
    share = np.bincount(np.asarray(drawn), minlength=4) / 4000
    # Three standard errors of a share are at most 3 sqrt(1/4 / 4000) = 0.024.
    np.testing.assert_allclose(share, [0.125, 0.5, 0.25, 0.125], atol=0.024)


def test_one_program_serves_all_temperatures() -> None:
    @jax.jit
    def both(logits, numbers):
        return keep_top_p(
            keep_top_k(tempered(logits, numbers[0]), numbers[1]), numbers[2]
        )

    for how in (Sampling(), Sampling(temperature=0.0), Sampling(top_k=1, top_p=0.3)):
        np.testing.assert_allclose(
            both(QUARTERS, how.numbers()), how(QUARTERS), rtol=1e-6
        )
    assert both._cache_size() == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"temperature": -1.0},
            "`temperature` must be a number of 0 or more; got -1.0",
        ),
        ({"temperature": float("nan")}, "`temperature` .* got nan"),
        ({"temperature": float("inf")}, "`temperature` .* got inf"),
        ({"top_k": 0}, "`top_k` must be a whole number of 1 or more; got 0"),
        ({"top_k": 2.5}, "`top_k` .* got 2.5"),
        ({"top_k": float("inf")}, "`top_k` .* got inf"),
        ({"top_p": 0.0}, "`top_p` must be above 0 and at most 1; got 0.0"),
        ({"top_p": 1.5}, "`top_p` .* got 1.5"),
        ({"top_p": float("nan")}, "`top_p` .* got nan"),
        ({"min_p": -0.1}, "`min_p` must be from 0 to 1; got -0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sampling(**arguments)


def test_the_functions_refuse_as_well() -> None:
    with pytest.raises(ValueError, match="`temperature`"):
        tempered(QUARTERS, -0.1)
    with pytest.raises(ValueError, match="`top_k`"):
        keep_top_k(QUARTERS, 0)
    with pytest.raises(ValueError, match="`top_p`"):
        keep_top_p(QUARTERS, 2)
    with pytest.raises(ValueError, match="`forbidden` must be some of the ids 0 to 3"):
        without(QUARTERS, [4])
    with pytest.raises(ValueError, match="not all"):
        without(QUARTERS, [0, 1, 2, 3])


def _largest_by_sorting(logits: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-logits, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.where(rank < k, logits, -np.inf)


def _nucleus_by_sorting(logits: np.ndarray, size: int) -> np.ndarray:
    """Returns the nucleus, and a probability of which it has `size` tokens."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    share = np.take_along_axis(odds / odds.sum(axis=-1, keepdims=True), order, axis=-1)
    return share.cumsum(axis=-1)[:, size - 1] - share[:, size - 1] / 2


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_the_largest_are_those_that_sorting_finds(dtype) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(3, 300)).astype(np.float32).astype(dtype)
    logits[1] = np.round(logits[1].astype(np.float32)).astype(dtype)  # Many are equal.
    logits[2, :100] = -np.inf
    logits[2, 100:200] *= dtype(0)  # Zeros of both signs.
    plain = logits.astype(np.float32)
    cut = jax.jit(keep_top_k)
    for k in (1, 2, 17, 150, 250, 299, 300):
        found = np.asarray(cut(logits, jnp.int32(k))).astype(np.float32)
        np.testing.assert_array_equal(found, _largest_by_sorting(plain, k))


def test_the_nucleus_is_that_which_sorting_finds() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(1, 300)).astype(np.float32) * 3
    cut = jax.jit(keep_top_p)
    for row in (logits, np.round(logits)):  # Many of the latter are equal.
        for size in (1, 2, 17, 80, 150):
            (p,) = _nucleus_by_sorting(row, size)
            found = cut(row, jnp.float32(p))
            np.testing.assert_array_equal(found, _largest_by_sorting(row, size))


def test_what_a_loop_draws_is_drawn_from_what_was_changed() -> None:
    keys = jax.random.split(jax.random.key(0), 64)
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(64, 50)), jnp.float32)
    both = jax.jit(drawn)
    for how in (Sampling(), Sampling(temperature=0.7, top_k=9, top_p=0.8, min_p=0.05)):
        expected = draw(keys, how(logits))
        assert both(keys, logits, how.numbers()).tolist() == expected.tolist()
    cold = both(keys, logits, Sampling(temperature=0).numbers())
    assert cold.tolist() == logits.argmax(axis=-1).tolist()
    assert both._cache_size() == 1
