"""The mean of checkpoints, and which of them are meant."""

import jax
import numpy as np
import pytest
import rich.console

from relational import training
from relational.specs import TrainingSpec
from relational.training.restoring import kept_losses


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    """A run of 12 steps that keeps four checkpoints, and evaluates at every other."""
    folder = tmp_path_factory.mktemp("runs") / "averaged"
    spec = TrainingSpec(
        steps=12, batch_size=4, evaluate_every=4, checkpoint_every=2, keep=4
    )
    quiet = rich.console.Console(quiet=True)
    training.train(toy.Bigrams(), toy.Made(), spec, folder, console=quiet)
    return folder


def params_at(run, *steps):
    loaded = [training.load(run, checkpoint=step).params for step in steps]
    return jax.tree.map(lambda *leaves: np.mean(np.stack(leaves), 0), *loaded)


def assert_equal(found, expected):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), found, expected
    )
    assert jax.tree.structure(found) == jax.tree.structure(expected)


def test_the_newest_the_best_or_those_up_to_a_step_are_averaged(run):
    losses = kept_losses(run)
    steps = sorted(losses)
    assert steps[-4:] == [6, 8, 10, 12]
    assert [losses[step] is None for step in steps[-4:]] == [True, False, True, False]
    newest = training.load_mean(run, checkpoint="newest", count=3)
    assert_equal(newest.params, params_at(run, 12, 10, 8))
    assert newest.position.step == 12
    best = training.load_mean(run, checkpoint="best", count=2)
    judged = sorted((loss, step) for step, loss in losses.items() if loss is not None)
    assert_equal(best.params, params_at(run, *(step for _, step in judged[:2])))
    assert best.position.step == judged[0][1]
    upto = training.load_mean(run, checkpoint=10, count=2)
    assert_equal(upto.params, params_at(run, 10, 8))


def test_the_mean_of_one_checkpoint_is_that_checkpoint(run):
    for which in ("best", "newest", 8):
        one = training.load_mean(run, checkpoint=which)
        assert one.position == training.load(run, checkpoint=which).position


def test_more_checkpoints_than_there_are_cannot_be_averaged(run):
    with pytest.raises(ValueError, match=r"must be at most \d, the checkpoints that"):
        training.load_mean(run, checkpoint="newest", count=9)
    with pytest.raises(
        ValueError, match=r"the checkpoints with a validation loss that"
    ):
        training.load_mean(run, checkpoint="best", count=4)
    with pytest.raises(ValueError, match=r"`count` must be 1 or more; got 0"):
        training.load_mean(run, count=0)


def test_only_equal_models_have_a_mean():
    one = {"w": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="those of number 1 differ from the first"):
        training.mean_of([one, {"w": np.ones(3, np.float32)}])
    with pytest.raises(ValueError, match="at least one model's parameters; got none"):
        training.mean_of([])
    many = training.mean_of([{"w": np.float32([1e8])}, {"w": np.float32([1])}] * 2)
    assert many["w"].dtype == np.float32
    assert many["w"][0] == np.float32((1e8 + 1) / 2)
