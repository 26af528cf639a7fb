"""A run that was stopped and taken up again equals one that was not."""

import dataclasses
import os
import shutil
import signal
import threading

import grain
import jax
import numpy as np
import pytest

from relational.specs import MuonSpec
from relational.training import Interrupted, load, read_metrics, train

_CASES = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "bfloat16": {"precision": "bfloat16"},
    "muon": {"optimizer": MuonSpec()},
}


def _stop_at(toy, step):
    """A data set that sends SIGTERM to this process when it is asked for a batch."""

    class Walk(toy.Walk):
        def __next__(self):
            if self.place == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__next__()

    @dataclasses.dataclass(frozen=True)
    class Data(toy.Made):
        def training(self, seed):
            return Walk(self.rows(1, 64), seed=seed, batch_size=self.batch_size)

    return Data()


def _leaves(result):
    return jax.tree.leaves(result.params)


@pytest.mark.parametrize("case", _CASES)
def test_resumed_run_is_bit_equal(toy, tmp_path, console, case):
    spec, task = toy.spec(**_CASES[case]), toy.Bigrams(auxiliary=True)
    whole = train(task, toy.Made(), spec, tmp_path / "whole", console=console)
    for step in (7, 16):  # Neither a row, nor an evaluation, nor a checkpoint is due.
        data = _stop_at(toy, (step - 1) * spec.accumulate)
        with pytest.raises(Interrupted, match=f"SIGTERM after step {step} of 20"):
            train(task, data, spec, tmp_path / "parts", console=console)
    parts = train(task, toy.Made(), spec, tmp_path / "parts", console=console)
    assert parts.run.metrics.read_text() == whole.run.metrics.read_text()
    assert parts.validation == whole.validation
    for one, other in zip(_leaves(parts), _leaves(whole), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("asked", [1, 2, 3])  # Before, at step 10, at the end.
def test_stop_does_not_wait_for_an_evaluation(toy, tmp_path, console, asked):
    """Each evaluation has 3 batches; the second of the one asked for is never read."""
    evaluations = []

    @dataclasses.dataclass(frozen=True)
    class Data(toy.Made):
        def evaluation(self, split):
            evaluations.append(0)
            for batch in super().evaluation(split):
                if len(evaluations) == asked:
                    os.kill(os.getpid(), signal.SIGINT)
                evaluations[-1] += 1
                yield batch

    task, step = toy.Bigrams(), 10 * (asked - 1)
    where = f"after step {step} of 20" if step else "before the first step"
    with pytest.raises(Interrupted, match=f"SIGINT {where}"):
        train(task, Data(), toy.spec(), tmp_path / "parts", console=console)
    assert evaluations[-1] <= 2
    parts = train(task, toy.Made(), toy.spec(), tmp_path / "parts", console=console)
    whole = train(task, toy.Made(), toy.spec(), tmp_path / "whole", console=console)
    assert parts.run.metrics.read_text() == whole.run.metrics.read_text()
    assert (parts.validation, parts.best_step) == (whole.validation, whole.best_step)
    kept = [load(tmp_path / name).position for name in ("parts", "whole")]
    assert dataclasses.replace(kept[0], unlogged={}) == dataclasses.replace(
        kept[1], unlogged={}
    )


def test_resuming_compiles_nothing_again(toy, tmp_path, console):
    task, spec = toy.Traced(dropout=0.03), toy.spec()  # A value of this test's own.
    with pytest.raises(Interrupted):
        train(task, _stop_at(toy, 6), spec, tmp_path / "run", console=console)
    traces = list(task.traces)
    assert True in traces
    train(task, toy.Made(), spec, tmp_path / "run", console=console)
    equal = toy.Traced(dropout=0.03)
    train(equal, toy.Made(), spec, tmp_path / "2", console=console)
    assert task.traces == traces
    assert not equal.traces


def test_backend_compiles_once(toy, tmp_path, console):
    compiled = []

    def listen(event, duration, **details):
        del duration
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name", event))

    task, spec = toy.Bigrams(dropout=0.04), toy.spec()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with pytest.raises(Interrupted):
            train(task, _stop_at(toy, 6), spec, tmp_path / "run", console=console)
        assert sum("update" in name for name in compiled) <= 1
        compiled.clear()
        train(task, toy.Made(), spec, tmp_path / "run", console=console)
        assert not [name for name in compiled if "update" in name or "sums" in name]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_interrupt_restores_the_handlers_and_tells_the_signal(toy, tmp_path, console):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught:
        train(
            toy.Bigrams(), _stop_at(toy, 3), toy.spec(), tmp_path / "r", console=console
        )
    assert caught.value.signal_number == signal.SIGTERM
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_training_in_another_thread_handles_no_signal(toy, tmp_path, console):
    results = []

    def run():
        spec = toy.spec(steps=5)
        results.append(
            train(toy.Bigrams(), toy.Made(), spec, tmp_path / "r", console=console)
        )

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results[0].step == 5


def test_longer_run_equals_one_that_was_long_from_the_start(toy, tmp_path, console):
    short = toy.spec(steps=10, log_every=5)
    long = dataclasses.replace(short, steps=20, keep=3, checkpoint_every=4)
    train(toy.Bigrams(), toy.Made(), short, tmp_path / "run", console=console)
    grown = train(toy.Bigrams(), toy.Made(), long, tmp_path / "run", console=console)
    whole = train(toy.Bigrams(), toy.Made(), long, tmp_path / "whole", console=console)
    assert grown.run.metrics.read_text() == whole.run.metrics.read_text()
    assert grown.run.spec.read_text() == whole.run.spec.read_text()


def test_relative_folder_will_do(toy, tmp_path, console, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(toy.Bigrams(), toy.Made(), toy.spec(steps=10), "run", console=console)
    train(toy.Bigrams(), toy.Made(), toy.spec(steps=12), "run", console=console)
    assert load("run", checkpoint="newest").position.step == 12


def test_complete_run_is_left_alone(toy, tmp_path, console):
    first = train(
        toy.Bigrams(), toy.Made(), toy.spec(), tmp_path / "r", console=console
    )
    table = first.run.metrics.read_text()
    again = train(
        toy.Bigrams(), toy.Made(), toy.spec(), tmp_path / "r", console=console
    )
    assert again.run.metrics.read_text() == table
    assert (again.step, again.validation) == (20, first.validation)
    assert again.best_loss == first.best_loss


def test_grain_pipeline_is_resumed_where_it_was(toy, tmp_path, console):
    @dataclasses.dataclass(frozen=True)
    class Piped(toy.Made):
        def training(self, seed):
            rows = self.rows(1, 64)
            pick = lambda index: {name: leaf[index] for name, leaf in rows.items()}
            dataset = grain.MapDataset.range(64).seed(seed).shuffle().repeat().map(pick)
            return iter(dataset.batch(4).to_iter_dataset())

    whole = train(
        toy.Bigrams(), Piped(), toy.spec(), tmp_path / "whole", console=console
    )
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "00000020")
    again = train(toy.Bigrams(), Piped(), toy.spec(), tmp_path / "run", console=console)
    assert again.run.metrics.read_text() == whole.run.metrics.read_text()


def test_best_checkpoint_is_kept_and_found(toy, tmp_path, console):
    spec = toy.spec(steps=60, keep=1, evaluate_every=5, checkpoint_every=20)
    fast = dataclasses.replace(spec, schedule=type(spec.schedule)(rate=0.5))
    result = train(toy.Bigrams(), toy.Made(), fast, tmp_path / "r", console=console)
    rows = [
        row for row in read_metrics(result.run.metrics) if row["split"] == "validation"
    ]
    best = min(rows[1:], key=lambda row: float(row["loss"]))
    assert result.best_step == int(best["step"])
    kept = sorted(path.name for path in result.run.checkpoints.iterdir())
    assert kept == sorted({f"{result.best_step:08d}", "00000060"})
    assert load(tmp_path / "r").position.step == result.best_step
    assert load(tmp_path / "r", checkpoint="newest").position.step == 60
    for one, other in zip(
        jax.tree.leaves(load(tmp_path / "r", checkpoint="newest").params),
        _leaves(result),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
