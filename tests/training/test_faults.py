"""Whatever goes wrong is said in words, and the run stays usable."""

import contextlib
import dataclasses
import errno
import os
import random
import re
import resource
import shutil
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest

from relational.specs import WarmupCosineSpec
from relational.training import Outcome, evaluate, load, train
from relational.training.steps import initial_state

_KILLS = int(os.environ.get("RELATIONAL_KILLS", "3"))
_STEPS = 20 * _KILLS


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The table of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = train(toy.Bigrams(), toy.Made(), toy.spec(steps=_STEPS), folder)
    return result.run.metrics.read_text()


def _read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was not printed: {lines}")


def test_killed_run_goes_on_as_if_it_had_not_been(
    toy, start_toy, tmp_path, whole, console
):
    random_, kills = random.Random(0), 0
    for _ in range(_KILLS):
        process = start_toy(tmp_path / "run", _STEPS)
        is_going = any("loss" in line for line in process.stdout)
        if is_going:  # On a busy machine the run may end before its last killer comes.
            time.sleep(random_.uniform(0.0, 1.0))  # Most passes in writing files.
        kills += is_going and process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert kills
    result = train(
        toy.Bigrams(),
        toy.Made(),
        toy.spec(steps=_STEPS),
        tmp_path / "run",
        console=console,
    )
    assert result.run.metrics.read_text() == whole


def test_second_process_is_refused_and_the_first_goes_on(
    toy, start_toy, tmp_path, console
):
    process = start_toy(tmp_path / "run", 100_000)
    try:
        _read_until(process, "loss")
        words = rf"is being trained by process {process.pid}\. Wait for it, stop it"
        with pytest.raises(ValueError, match=words):
            train(
                toy.Bigrams(),
                toy.Made(),
                toy.spec(steps=100_000),
                tmp_path / "run",
                console=console,
            )
        _read_until(process, "loss")
        process.send_signal(signal.SIGTERM)
        printed = process.stdout.read()
        assert process.wait() == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.stdout.close()
    found = re.search(r"Stopped by SIGTERM after step (\d+) of 100000\.", printed)
    assert found is not None, printed
    assert load(tmp_path / "run", checkpoint="newest").position.step == int(found[1])
    assert "Traceback" not in printed


def test_same_process_is_refused_a_second_time(toy, tmp_path, console):
    class Nested(toy.Made):
        def evaluation(self, split):
            train(
                toy.Bigrams(), toy.Made(), toy.spec(), tmp_path / "r", console=console
            )
            return super().evaluation(split)

    with pytest.raises(ValueError, match="that no other process trains"):
        train(toy.Bigrams(), Nested(), toy.spec(), tmp_path / "r", console=console)


def _train(toy, folder, console, task=None, data=None, **changes):
    return train(
        task or toy.Bigrams(),
        data or toy.Made(),
        toy.spec(**changes),
        folder,
        console=console,
    )


def test_changed_spec_is_refused_with_the_difference(toy, tmp_path, console):
    _train(toy, tmp_path / "r", console, steps=2)
    with pytest.raises(ValueError, match="begun with") as caught:
        _train(toy, tmp_path / "r", console, steps=2, seed=1, clip_norm=None)
    lines = str(caught.value).splitlines()
    assert lines[1:5] == [
        "  - training.seed: 0",
        "  + training.seed: 1",
        "  - training.clip_norm: 1.0",
        "  + training.clip_norm: null",
    ]
    assert lines[5] == "Take these back, or train in a new folder."
    assert _train(toy, tmp_path / "r", console, steps=2).step == 2


def test_a_run_that_failed_before_its_first_step_can_be_begun_otherwise(
    toy, tmp_path, console
):
    class Lacking(toy.Made):
        def training(self, seed):
            raise ValueError("book.txt: there is no such file.")

    with pytest.raises(ValueError, match="no such file"):
        _train(toy, tmp_path / "r", console, data=Lacking(), steps=2)
    assert _train(toy, tmp_path / "r", console, steps=2, seed=1).step == 2


def test_steps_cannot_be_lowered(toy, tmp_path, console):
    _train(toy, tmp_path / "r", console, steps=3)
    with pytest.raises(ValueError, match="can be raised, but not lowered"):
        _train(toy, tmp_path / "r", console, steps=2)


def test_steps_cannot_be_raised_under_a_schedule_that_ends_with_them(
    toy, tmp_path, console
):
    schedule = WarmupCosineSpec(peak=0.1, warmup=1)
    _train(toy, tmp_path / "r", console, steps=2, schedule=schedule)
    with pytest.raises(ValueError, match="not with a schedule that ends"):
        _train(toy, tmp_path / "r", console, steps=4, schedule=schedule)


def test_changed_data_are_refused(toy, tmp_path, console):
    _train(toy, tmp_path / "r", console, steps=2)
    other = toy.Made(fingerprint="made-2")
    with pytest.raises(ValueError, match=r"fingerprint was made-1\); got made-2"):
        _train(toy, tmp_path / "r", console, data=other, steps=4)
    assert _train(toy, tmp_path / "r", console, steps=4).step == 4


def test_parameters_of_another_model_are_refused(toy, tmp_path, console):
    @dataclasses.dataclass(frozen=True)
    class Grown(toy.Bigrams):
        def init(self, key, batch):
            params = super().init(key, batch)
            return params | {"more": {"w": np.zeros(3, np.float32)}}

    _train(toy, tmp_path / "r", console, steps=2)
    with pytest.raises(ValueError, match="the model and optimiser that are trained"):
        _train(toy, tmp_path / "r", console, task=Grown(), steps=4)


def test_folder_with_something_else_is_refused(toy, tmp_path, console):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(
        ValueError, match=r"holds `letter\.txt`\. Choose another folder"
    ):
        _train(toy, tmp_path, console)


def test_file_in_place_of_a_folder_is_named(toy, tmp_path, console):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match=re.escape(str(folder))) as caught:
            _train(toy, folder, console)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.csv", "tensorboard", "checkpoints"])
def test_obstructed_path_is_named_and_the_run_stays_usable(
    toy, tmp_path, console, name
):
    result = _train(toy, tmp_path / "r", console, steps=2)
    path = tmp_path / "r" / name
    path.rename(tmp_path / "kept")
    if name == "metrics.csv":
        path.mkdir()
    else:
        path.write_text("")
    with pytest.raises(OSError, match=re.escape(str(path))):
        _train(toy, tmp_path / "r", console, steps=4)
    path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "kept").rename(path)
    assert _train(toy, tmp_path / "r", console, steps=4).step == result.step + 2


def test_not_a_number_stops_and_names_the_step(toy, tmp_path, console):
    @dataclasses.dataclass(frozen=True)
    class Exploding(toy.Bigrams):
        def outcome(self, params, key, batch, *, is_training):
            out = super().outcome(params, key, batch, is_training=is_training)
            if not is_training:
                return out
            loss = jnp.where(batch["bad"] > 0, jnp.nan, out.loss)
            return Outcome(loss=loss, weight=out.weight)

    class Walk(toy.Walk):
        def __next__(self):
            batch = super().__next__()
            return batch | {"bad": np.full(4, float(self.place == 14), np.float32)}

    class Data(toy.Made):
        def training(self, seed):
            return Walk(self.rows(1, 64), seed=seed, batch_size=4)

    for _ in range(2):  # The second time it goes on from the checkpoint, to the same.
        with pytest.raises(
            FloatingPointError, match="at step 14: the loss is nan"
        ) as c:
            _train(toy, tmp_path / "r", console, task=Exploding(), data=Data())
        assert "the last good one is of step 10" in str(c.value)
    kept = load(tmp_path / "r", checkpoint="newest")
    assert kept.position.step == 10
    assert all(
        np.isfinite(leaf).all() for leaf in kept.params["bigrams/~/embed"].values()
    )


def test_batch_without_tokens_is_said_to_be_one(toy, tmp_path, console):
    class Empty(toy.Made):
        def training(self, seed):
            rows = self.rows(1, 64)
            rows["length"][:] = 0
            return toy.Walk(rows, seed=seed, batch_size=4)

    with pytest.raises(FloatingPointError, match="batch has no counted token"):
        _train(toy, tmp_path / "r", console, data=Empty())


def test_data_that_end_are_refused(toy, tmp_path, console):
    class Walk(toy.Walk):
        def __next__(self):
            if self.place == 5:
                raise StopIteration
            return super().__next__()

    class Ending(toy.Made):
        def training(self, seed):
            return Walk(self.rows(1, 64), seed=seed, batch_size=4)

    with pytest.raises(ValueError, match=r"must never end, and it did.*repeat\(\)"):
        _train(toy, tmp_path / "r", console, data=Ending())


def _truncate(path):
    """Cuts the largest file of a checkpoint in half."""
    files = [file for file in path.rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def _empty_position(path):
    (path / "position" / "metadata").write_text("")


def _flip(path):
    """Flips a bit of each file that holds numbers."""
    for file in path.rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) * 2 // 3] ^= 0x10
        file.write_bytes(bytes(content))


def _empty(path):
    shutil.rmtree(path)
    path.mkdir()


_DAMAGES = {
    "truncated": _truncate,
    "no position": _empty_position,
    "flipped": _flip,
    "empty": _empty,
}


@pytest.mark.parametrize("how", _DAMAGES)
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    toy, tmp_path, console, how, whole
):
    _train(toy, tmp_path / "r", console, steps=20)
    newest = tmp_path / "r" / "checkpoints" / "00000020"
    _DAMAGES[how](newest)
    result = _train(toy, tmp_path / "r", console, steps=_STEPS)
    said = console.file.getvalue()
    assert "The checkpoint of step 20 cannot be read (" in said
    assert "after step 15" in said
    rows = [line for line in whole.splitlines() if line]
    assert [r for r in result.run.metrics.read_text().splitlines() if r] == rows


def test_no_readable_checkpoint_is_not_a_new_beginning(toy, tmp_path, console):
    _train(toy, tmp_path / "r", console, steps=10)
    for path in (tmp_path / "r" / "checkpoints").iterdir():
        (path / "position" / "metadata").write_text("")
    for attempt in (
        lambda: _train(toy, tmp_path / "r", console, steps=12),
        lambda: load(tmp_path / "r"),
    ):
        with pytest.raises(
            ValueError, match=r"none of 2 can \(10: .*Take them from a backup"
        ):
            attempt()


@contextlib.contextmanager
def _no_file_larger_than(num_bytes):
    """Makes the system refuse to write larger files, as a full disk refuses any."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Writing threads of tensorstore fail after orbax has stopped listening to them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_full_disk_is_one_line_and_the_run_goes_on_later(
    toy, tmp_path, console, whole, capfd
):
    _train(toy, tmp_path / "r", console, steps=10)
    with (
        _no_file_larger_than(600),
        pytest.raises(OSError, match="Cannot write the") as caught,
    ):
        _train(toy, tmp_path / "r", console, steps=_STEPS)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "r") in str(caught.value)
    assert caught.value.errno == errno.EFBIG
    assert "Traceback" not in capfd.readouterr().err
    checkpoints = tmp_path / "r" / "checkpoints"
    assert max(p.name for p in checkpoints.iterdir()) == "00000010"
    result = _train(toy, tmp_path / "r", console, steps=_STEPS)
    assert result.run.metrics.read_text().splitlines()[-3:] == whole.splitlines()[-3:]


@pytest.mark.parametrize("victim", ["checkpoint", "metrics"])
def test_no_space_left_is_said_of_the_file(toy, tmp_path, console, monkeypatch, victim):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if victim == "metrics":
        monkeypatch.setattr("relational.training.metrics._line", fail)
        words = r"metrics\.csv`: No space left on device"
    else:
        import orbax.checkpoint as ocp

        monkeypatch.setattr(ocp.AsyncCheckpointer, "save", fail)
        words = r"checkpoints/00000005`: No space left on device"
    with pytest.raises(OSError, match=words):
        _train(toy, tmp_path / "r", console)
    monkeypatch.undo()
    assert _train(toy, tmp_path / "r", console).step == 20


def test_missing_checkpoint_is_listed(toy, tmp_path, console):
    with pytest.raises(ValueError, match="must be a run that has saved a checkpoint"):
        load(tmp_path)
    _train(toy, tmp_path / "r", console, steps=10)
    with pytest.raises(ValueError, match=r"that .* kept: 5, 10; got 7"):
        load(tmp_path / "r", checkpoint=7)


def test_loaded_parameters_evaluate_as_in_training(toy, tmp_path, console):
    result = _train(toy, tmp_path / "r", console, steps=10)
    params = load(tmp_path / "r", checkpoint="newest").params
    assert (
        evaluate(toy.Bigrams(), params, toy.Made(), "validation") == result.validation
    )
    first = next(toy.Made().training(0))
    untrained = initial_state(toy.Bigrams(), toy.spec(), first).params
    before = evaluate(toy.Bigrams(), untrained, toy.Made(), "validation")
    assert before.loss > result.validation.loss
