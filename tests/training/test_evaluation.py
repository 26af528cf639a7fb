import math

import jax
import numpy as np
import pytest

from relational.training import Outcome, evaluate
from relational.training.evaluation import ratio


def test_standard_error_is_that_of_a_ratio_over_pieces_by_hand():
    # r = 12 / 8; residuals 1 - 1.5, 5 - 3, 6 - 7.5; sum of squares 6.5.
    mean, error = ratio(np.array([1.0, 5.0, 6.0]), np.array([1.0, 2.0, 5.0]))
    assert mean == 1.5
    assert error == pytest.approx(math.sqrt(3 / 2 * 6.5) / 8)


def test_equal_pieces_have_the_usual_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=50)
    mean, error = ratio(values, np.ones(50))
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_one_piece_says_nothing_about_its_spread():
    assert math.isnan(ratio(np.array([3.0]), np.array([2.0]))[1])


def _brute_force(toy, params, split):
    """Nats and tokens of each piece, one example at a time."""
    totals = {}
    for batch in toy.Made().evaluation(split):
        for row in range(len(batch["token"])):
            one = {name: leaf[row : row + 1] for name, leaf in batch.items()}
            out = toy.Bigrams().outcome(params, None, one, is_training=False)
            nats, tokens = totals.get(int(batch["piece"][row]), (0.0, 0.0))
            piece = int(batch["piece"][row])
            totals[piece] = (nats + float(out.loss[0]), tokens + float(out.weight[0]))
    return np.array(list(totals.values())).T


def test_evaluation_is_the_sum_over_examples_one_by_one(toy):
    params = toy.Bigrams().init(jax.random.key(0), next(toy.Made().training(0)))
    found = evaluate(toy.Bigrams(), params, toy.Made(), "validation")
    nats, tokens = _brute_force(toy, params, "validation")
    mean, error = ratio(nats, tokens)
    assert found.loss == pytest.approx(mean, rel=1e-5)
    assert found.standard_error == pytest.approx(error, rel=1e-4)
    assert (found.tokens, found.pieces) == (int(tokens.sum()), 4)


def test_a_smaller_last_batch_is_not_compiled_again(toy):
    task = toy.Traced(dropout=0.01)  # A value of this test's own.
    params = task.init(jax.random.key(0), next(toy.Made().training(0)))
    evaluate(task, params, toy.Made(), "validation")
    evaluate(task, params, toy.Made(), "test")
    assert task.traces == [False]


class _Fixed:
    def outcome(self, params, key, batch, *, is_training):
        del params, key, is_training
        return Outcome(loss=batch["x"], weight=batch["x"] * 0)


class _Batches:
    def __init__(self, *sizes):
        self.sizes = sizes

    def evaluation(self, split):
        del split
        return [{"x": np.ones(size, np.float32)} for size in self.sizes]


def test_a_split_without_tokens_is_refused():
    with pytest.raises(ValueError, match="at least one counted token; 'test' has none"):
        evaluate(_Fixed(), {}, _Batches(2), "test")
    with pytest.raises(ValueError, match="at least one counted token"):
        evaluate(_Fixed(), {}, _Batches(), "test")


def test_a_growing_batch_is_refused():
    with pytest.raises(
        ValueError, match="of their shape, of 2 examples; batch 1 has 3"
    ):
        evaluate(_Fixed(), {}, _Batches(2, 3), "test")
