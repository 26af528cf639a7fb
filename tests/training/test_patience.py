"""Training that ends when nothing has become better for long enough."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from relational.specs import SpecError
from relational.training import Measure, Outcome, load, read_metrics, train


@dataclasses.dataclass(frozen=True)
class Scripted:
    """A task whose evaluations follow a script: the step decides loss and accuracy."""

    losses: tuple[float, ...]
    shares: tuple[float, ...]

    def init(self, key, batch):
        return {"step": jnp.zeros(())}

    def outcome(self, params, key, batch, *, is_training):
        ones = jnp.ones_like(batch["x"])
        if is_training:  # Each gradient is 1, and so each step of SGD-like Adam alike.
            return Outcome(loss=params["step"] * ones, weight=ones)
        place = jnp.round(-params["step"] / 0.05 / 2).astype(jnp.int32)
        loss, share = (jnp.array(each)[place] for each in (self.losses, self.shares))
        measures = {"accuracy": Measure(total=share * ones, size=ones)}
        return Outcome(loss=loss * ones, weight=ones, measures=measures)


class Ones:
    """One batch, again and again."""

    fingerprint = "ones"

    def training(self, seed):
        return self

    def __next__(self):
        return {"x": np.ones(2, np.float32)}

    def get_state(self):
        return 0

    def set_state(self, state):
        pass

    def evaluation(self, split):
        return [next(self)]


# Evaluations are of steps 0, 2, 4, ...; the loss is best at 4, the accuracy at 8 to 12.
TASK = Scripted(
    losses=(9.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
    shares=(0.9, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.2, 0.1, 0.0, 0.0),
)


def patient(toy, **changes):
    values = {"steps": 20, "evaluate_every": 2, "log_every": 5, "checkpoint_every": 50}
    return toy.spec(**(values | changes))


def test_training_ends_when_neither_loss_nor_measures_are_as_good_as_ever(
    toy, tmp_path, console
):
    spec = patient(toy, patience=6)
    result = train(TASK, Ones(), spec, tmp_path / "r", console=console)
    assert (result.step, result.best_step, result.best_loss) == (18, 4, 1.0)
    assert "18 steps in" in console.file.getvalue().replace("\n", " ")
    assert "the last 6 of which made nothing" in console.file.getvalue()
    rows = read_metrics(result.run.metrics)
    trained = [row["step"] for row in rows if row["split"] == "train"]
    assert trained[-1] == "18"
    assert load(tmp_path / "r", checkpoint="newest").position.step == 18

    again = train(TASK, Ones(), spec, tmp_path / "r", console=console)
    assert again.step == 18
    assert read_metrics(result.run.metrics) == rows


@pytest.mark.parametrize(("patience", "last"), [(None, 20), (2, 14), (20, 20)])
def test_patience_is_counted_in_steps(toy, tmp_path, console, patience, last):
    spec = patient(toy, patience=patience)
    assert train(TASK, Ones(), spec, tmp_path / "r", console=console).step == last


def test_patience_is_at_least_as_long_as_what_is_between_two_evaluations(toy):
    with pytest.raises((SpecError, ValueError), match="`evaluate_every` or more, 10"):
        toy.spec(patience=9)
