"""Tuned choices: measured once, kept in a file, taken where they fit."""

import json

import jax
import jax.numpy as jnp
import pytest

import relational as rl
from relational.explaining.measuring import Measured
from relational.tuning import describe, load

L = rl.lowerings
NODES = jax.ShapeDtypeStruct((24, 4), "float32")


def mean(nodes, lowering=None):
    return rl.propagate(
        rl.Causal(),
        senders=nodes,
        message=lambda sender: sender,
        aggregator=rl.Mean(),
        lowering=lowering,
    )


def plan_of(function, *arguments):
    return rl.explain(function, *arguments).plans[0]


def written(path, choice):
    """Writes a file as `tune` does, with a choice of our own."""
    content = {
        "format": "relational lowerings 1",
        "choices": {choice.pop("at"): choice},
    }
    path.write_text(json.dumps(content), "utf-8")
    return path


@pytest.fixture
def slow_file(tmp_path):
    """A file that prefers what the planner never takes for this call."""
    assert plan_of(mean, NODES).lowering.name == "dense"
    at = describe(plan_of(mean, NODES).problem)
    choice = {"at": at, "lowering": "edges", "options": {}, "forward": 2e-3}
    return written(tmp_path / "tuned.json", choice | {"both": 5e-3})


def test_a_stored_choice_is_taken_and_gives_its_reason(slow_file):
    with rl.tuned(slow_file):
        plan = plan_of(mean, NODES)
    assert plan.lowering == L.Edges()
    assert "edges: tuned: measured 2 ms, 5 ms with gradients" in str(plan)
    assert plan_of(mean, NODES).lowering == L.Dense()


def test_a_choice_holds_for_its_own_problem_alone(slow_file):
    with rl.tuned(slow_file):
        assert plan_of(mean, jax.ShapeDtypeStruct((25, 4), "float32")).reason == ""
        assert plan_of(mean, jax.ShapeDtypeStruct((24, 4), "bfloat16")).reason == ""
        assert plan_of(lambda x: mean(-x), NODES).reason != ""


def test_what_is_asked_for_rules_over_what_is_stored(slow_file):
    with rl.tuned(slow_file):
        plan = plan_of(lambda x: mean(x, L.Tiles(block=8)), NODES)
    assert plan.lowering == L.Tiles(block=8)
    assert plan.is_asked
    assert plan.reason == ""


def test_what_cannot_serve_is_passed_over(tmp_path):
    at = describe(plan_of(mean, NODES).problem)
    choice = {"at": at, "lowering": "window", "options": {}, "forward": 1, "both": None}
    with rl.tuned(written(tmp_path / "tuned.json", choice)):
        assert plan_of(mean, NODES).lowering == L.Dense()


def test_values_do_not_change(slow_file):
    nodes = jnp.arange(12.0).reshape(6, 2)
    with rl.tuned(slow_file):
        tuned = mean(nodes)
    assert jnp.allclose(tuned, mean(nodes))


def test_tuning_measures_every_distinct_call_once(tmp_path):
    def both(nodes):
        return mean(mean(nodes)) + rl.propagate(
            rl.Complete(),
            senders=nodes,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
        )

    path = tmp_path / "tuned.json"
    found = rl.tune(both, NODES, path=path)
    assert len(found.choices) == 2
    assert not found.left_out
    assert all(each.both > 0 < each.forward for each in found.choices)
    assert load(path) == {each.problem: each for each in found.choices}


def test_the_fastest_with_gradients_is_kept(tmp_path, monkeypatch):
    seconds = {
        "dense": (3.0, 9.0),
        "tiles": (1.0, 8.0),
        "edges": (2.0, 7.0),
    }

    def measure(plans, budget):
        assert budget > 0
        return tuple(
            (Measured(each.lowering.name, *seconds[each.lowering.name]),)
            for each in plans
        )

    monkeypatch.setattr("relational.explaining.measuring.measure", measure)
    found = rl.tune(mean, NODES, path=tmp_path / "tuned.json")
    assert found.choices[0].lowering == L.Edges()
    seconds["edges"] = (0.5, None)  # No time was left for its gradients.
    found = rl.tune(mean, NODES, path=tmp_path / "tuned.json")
    assert found.choices[0].lowering == L.Tiles()


def test_tiles_and_windows_are_tried_with_several_blocks(tmp_path, monkeypatch):
    tried = []

    def measure(plans, budget):
        del budget
        tried.extend(each.lowering for each in plans)
        last = len(plans) - 1
        return tuple(
            (Measured(each.lowering.name, 1.0, 1.0 - (at == last)),)
            for at, each in enumerate(plans)
        )

    monkeypatch.setattr("relational.explaining.measuring.measure", measure)
    window = rl.Window(grid=(32, 32), size=7)
    nodes = jax.ShapeDtypeStruct((1024, 4), "float32")

    def call(nodes):
        return rl.propagate(
            window, senders=nodes, message=lambda sender: sender, aggregator=rl.Mean()
        )

    path = tmp_path / "tuned.json"
    found = rl.tune(call, nodes, path=path)
    assert len({each.block for each in tried if isinstance(each, L.Tiles)}) > 2
    assert L.Window(block=(4, 4)) in tried
    assert len(set(tried)) == len(tried)
    assert load(path)[found.choices[0].problem].lowering == tried[-1]


def test_a_second_tuning_keeps_the_first(tmp_path):
    path = tmp_path / "tuned.json"
    first = rl.tune(mean, NODES, path=path).choices
    second = rl.tune(mean, jax.ShapeDtypeStruct((8, 4), "float32"), path=path).choices
    assert load(path) == {each.problem: each for each in (*first, *second)}
    assert [each.name for each in tmp_path.iterdir()] == ["tuned.json"]


def test_what_cannot_be_measured_is_left_out_with_a_reason(tmp_path):
    def packed(nodes, ids):
        return rl.propagate(
            rl.Causal() & rl.SameSegment(ids),
            senders=nodes,
            message=lambda sender: sender,
            aggregator=rl.Mean(),
        )

    path = tmp_path / "tuned.json"
    found = rl.tune(packed, NODES, jax.ShapeDtypeStruct((24,), "int32"), path=path)
    assert not found.choices
    assert "traced" in found.left_out[0]
    assert load(path) == {}


def test_a_function_that_never_propagates_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`function` must call `propagate`"):
        rl.tune(jnp.sin, NODES, path=tmp_path / "tuned.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        ("{}", "no 'format'"),
        ('{"format": "other"}', "its format is 'other'"),
        ('{"format": "relational lowerings 1"}', "no 'choices'"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "other.json"
    path.write_text(content, "utf-8")
    with pytest.raises(
        ValueError, match=f"must be a file that `rl.tune` wrote.*{reason}"
    ):
        rl.tune(mean, NODES, path=path)
    with pytest.raises(ValueError, match="must be a file"), rl.tuned(path):
        pass
    assert path.read_text("utf-8") == content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lowering": "magic"}, "there is no lowering 'magic'; there are stencil"),
        ({"lowering": "tiles", "options": {"block": -1}}, "`Tiles.block` must be"),
        ({"options": {"blocks": 1}}, "unexpected keyword"),
        ({"forward": "soon"}, "could not convert"),
    ],
)
def test_a_damaged_choice_is_refused(tmp_path, change, reason):
    choice = {"at": "x", "lowering": "dense", "options": {}, "forward": 1, "both": 2}
    path = written(tmp_path / "tuned.json", choice | change)
    with pytest.raises(ValueError, match=reason), rl.tuned(path):
        pass


def test_a_missing_file_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"tuned\.json"),
        rl.tuned(tmp_path / "tuned.json"),
    ):
        pass
