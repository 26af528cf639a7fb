"""The small parts: digests, positions, the table, TensorBoard, curves, imports."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from relational.plotting.curves import draw_curves
from relational.training import Evaluation, Position, Words, read_metrics, train
from relational.training._digests import bit_sum, structure
from relational.training.metrics import MetricsFile, added, training_row


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "bool", "uint8"])
def test_bit_sum_sees_one_changed_value_and_two_exchanged_ones(dtype):
    values = np.arange(12).reshape(3, 4).astype(jnp.dtype(dtype))
    changed, exchanged = values.copy(), values.copy()
    changed[1, 2] = 0
    exchanged[0, :2] = values[0, 1::-1]
    sums = [int(bit_sum({"a": a, "b": values})) for a in (values, changed, exchanged)]
    assert len(set(sums)) == 3
    assert sums[0] == int(bit_sum({"a": values.copy(), "b": values.copy()}))


def test_bit_sum_tells_zero_from_minus_zero():
    assert int(bit_sum(jnp.array([0.0]))) != int(bit_sum(jnp.array([-0.0])))


def test_structure_is_of_names_shapes_and_dtypes_not_of_values():
    tree = {"w": np.zeros((2, 3), np.float32)}
    assert structure(tree) == structure({"w": np.ones((2, 3), np.float32)})
    assert structure(tree) != structure({"v": np.zeros((2, 3), np.float32)})
    assert structure(tree) != structure({"w": np.zeros((3, 2), np.float32)})
    assert structure(tree) != structure({"w": np.zeros((2, 3), np.int32)})


@pytest.mark.parametrize(
    "state", [b"\x00\xffpickled", {"next": 3, "inner": [{"seed": b"ab"}]}, None]
)
def test_position_survives_json(state):
    position = Position(
        step=7,
        batches=state,
        fingerprint="f",
        unlogged={"loss": 0.1 + 0.2},
        validation=Evaluation(
            split="validation", loss=1 / 3, standard_error=0.1, tokens=5, pieces=2
        ),
        evaluated_step=5,
        best_step=5,
        best_loss=1 / 3,
    )
    text = json.dumps(position.as_json())
    assert Position.of_json(json.loads(text)) == position


def test_position_takes_numpy_numbers():
    fields = {"place": np.int64(3), "order": np.arange(2)}
    position = Position(
        step=0,
        batches=fields,
        fingerprint="f",
        unlogged={},
        validation=None,
        evaluated_step=None,
        best_step=None,
        best_loss=None,
    )
    assert json.loads(json.dumps(position.as_json()))["batches"] == {
        "place": 3,
        "order": [0, 1],
    }


def test_row_is_nats_per_token_over_all_steps_since_the_last():
    totals = {}
    for loss, tokens, rate in [(6.0, 3.0, 0.1), (4.0, 7.0, 0.2)]:
        report = {"loss": loss, "tokens": tokens, "learning_rate": rate, "extra": loss}
        totals = added(totals, report)
    row = training_row(9, totals)
    assert (row["loss"], row["tokens"], row["learning_rate"]) == (1.0, 10, 0.2)
    assert (row["step"], row["split"], row["extra"]) == (9, "train", 5.0)


def _row(step):
    return {"step": step, "split": "train", "loss": step / 3, "tokens": 1}


def test_table_taken_up_again_loses_later_rows_and_torn_lines(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsFile(path, auxiliary=[], step=0) as table:
        for step in (1, 2, 3):
            table.write(_row(step))
    with path.open("ab") as file:
        file.write("2,train,0.5é".encode()[:-1])
    with MetricsFile(path, auxiliary=[], step=2) as table:
        table.write(_row(3))
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "3"]
    assert read_metrics(path)[0]["loss"] == "0.33333334"


def test_new_run_begins_the_table_anew(tmp_path):
    path = tmp_path / "metrics.csv"
    for _ in range(2):
        with MetricsFile(path, auxiliary=["commitment"], step=0) as table:
            table.write(_row(1))
    assert len(read_metrics(path)) == 1
    assert "commitment" in read_metrics(path)[0]


def test_events_can_be_read_back(toy, tmp_path, console):
    from tensorboardX.proto.event_pb2 import Event

    task, spec = toy.Bigrams(auxiliary=True), toy.spec(steps=6)
    result = train(task, toy.Made(), spec, tmp_path / "r", console=console)
    (path,) = result.run.tensorboard.iterdir()
    found = {}
    content = path.read_bytes()
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        content = content[16 + size :]
    rows = [row for row in read_metrics(result.run.metrics) if row["split"] == "train"]
    losses = [(int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows]
    assert found["train/loss"] == losses
    assert found["validation/loss"][0][0] == 0
    assert {"train/tokens_per_second", "train/size"} <= found.keys()


def test_lines_tell_loss_speed_and_time_left(toy, tmp_path, console):
    train(toy.Bigrams(), toy.Made(), toy.spec(steps=6), tmp_path / "r", console=console)
    said = console.file.getvalue()
    assert f"Training in `{tmp_path / 'r'}`: 6 steps, 63 parameters." in said
    line = next(line for line in said.splitlines() if "step 3/6" in line)
    assert "loss " in line
    assert "tokens/s" in line
    assert line.endswith("left")
    assert "step 6/6  validation " in said


def test_bar_is_drawn_on_a_terminal(toy, tmp_path):
    import io

    import rich.console

    terminal = rich.console.Console(file=io.StringIO(), force_terminal=True, width=120)
    train(
        toy.Bigrams(), toy.Made(), toy.spec(steps=6), tmp_path / "r", console=terminal
    )
    said = terminal.file.getvalue()
    assert "6/6" in said
    assert "tokens/s" in said


def test_curves_are_drawn_with_baselines(toy, tmp_path, console):
    result = train(
        toy.Bigrams(),
        toy.Made(),
        toy.spec(steps=6),
        tmp_path / "r",
        baselines={"uniform": 1.946},
        console=console,
    )
    assert result.run.curves.read_bytes().startswith(b"\x89PNG")
    axes = draw_curves(read_metrics(result.run.metrics), baselines={"uniform": 2}).axes
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["training", "validation (± standard error)"]
    assert any("uniform" in text.get_text() for text in axes[0].texts)


def test_curves_have_the_unit_of_their_task(toy, tmp_path, console, monkeypatch):
    class Fitted(toy.Bigrams):
        words = Words(loss="squared error", counted="graphs")

    drawn = []

    def kept(*rows, **settings):
        drawn.append(draw_curves(*rows, **settings))
        return drawn[-1]

    monkeypatch.setattr("relational.plotting.curves.draw_curves", kept)
    train(Fitted(), toy.Made(), toy.spec(steps=2), tmp_path / "r", console=console)
    assert drawn[-1].axes[0].get_ylabel() == "loss (squared error)"


def test_curves_of_a_run_without_rows_are_empty_not_an_error():
    assert len(draw_curves([]).axes) == 1


def test_importing_training_loads_no_heavy_library():
    heavy = ["orbax", "tensorboardX", "matplotlib", "grain", "tensorflow"]
    code = f"import sys, relational.training as t; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
