"""What calls cost, as the planner sees it, and how its choices are judged."""

import math

import jax
import numpy as np
import pytest

import relational as rl
from benchmarks.choices import fitting, report
from benchmarks.choices.grid import cases
from benchmarks.choices.measuring import Measurement, append, read
from relational import plans
from relational.lowerings import costs

CASES = cases()


def outcome(chosen, seconds):
    return report.Outcome("a case", chosen, seconds)


def problem_of(call, *shapes):
    return rl.explain(call, *shapes).plans[0].problem


@pytest.mark.parametrize("case", CASES[::9], ids=lambda case: case.name)
def test_costs_are_finite_and_positive(case):
    plan = rl.explain(case.call, *case.shapes()).plans[0]
    able = [each for each in plan.candidates if not each.reasons]
    assert len(able) > 1
    for each in able:
        assert 0 < each.seconds < math.inf
        assert 0 <= each.bytes < math.inf


def test_cases_are_the_same_every_time_and_all_differ():
    assert [case.name for case in cases()] == [case.name for case in CASES]
    assert len({case.name for case in CASES}) == len(CASES) > 200


def test_every_kind_of_work_has_a_rate():
    for case in CASES[::9]:
        problem = problem_of(case.call, *case.shapes())
        for lowering in plans.LOWERINGS:
            if lowering.name in costs.RATES and not lowering.refuse(problem):
                work, size = lowering.work(problem)
                kinds = {**work, **costs.overhead(size)}
                assert set(kinds) <= set(costs.RATES[lowering.name])


def attend(query, key, value):
    return rl.propagate(
        rl.Complete(),
        batch_axes=1,
        receivers=query,
        senders={"key": key, "value": value},
        score=lambda receiver, sender: rl.dot(receiver, sender.key),
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )


def test_the_work_of_attention_is_two_products_and_an_exponential():
    nodes = jax.ShapeDtypeStruct((3, 10, 4), "float32")
    work = costs.tile_work(problem_of(attend, nodes, nodes, nodes), 300)
    assert {kind: count for kind, count in work.items() if count} == {
        "pair": 300,
        "exponential": 300,
        "product": 300 * (4 + 4),
    }


def test_what_depends_on_one_end_is_not_counted_for_pairs():
    def call(nodes):
        return rl.propagate(
            rl.Complete(),
            receivers=nodes,
            senders=nodes,
            message=lambda receiver, sender: jax.numpy.sin(sender) + receiver,
            aggregator=rl.Sum(),
        )

    problem = problem_of(call, jax.ShapeDtypeStruct((10, 4), "float32"))
    assert costs.tile_work(problem, 100)["element"] == 100 * 4  # The sums alone.
    assert costs.edge_work(problem)["element"] == 100 * 8


def test_few_edges_are_listed_and_many_are_a_matrix():
    def chosen(nodes, per_cent):
        case = next(
            each
            for each in CASES
            if each.topology == f"random_edges({nodes}, {per_cent})"
            and each.terms == "dot"
            and each.width == 64
        )
        return rl.explain(case.call, *case.shapes()).plans[0].lowering.name

    assert chosen(1024, 0.5) in ("edges", "sparse")
    assert chosen(96, 30) == "dense"


def test_the_ratio_is_that_of_the_choice_over_the_best():
    found = outcome("dense", {"dense": (1.0, 6.0), "tiles": (2.0, 4.0)})
    assert found.best == "tiles"
    assert found.ratio() == 1.5
    assert found.ratio(0) == 1.0
    assert outcome("edges", {"dense": (1.0, 1.0)}).ratio() == math.inf


def test_each_half_is_judged_by_rates_of_the_other(monkeypatch):
    taken = []

    def rates(cases, found):
        taken.append([case.name for case in cases])
        return costs.RATES

    monkeypatch.setattr(fitting, "rates", rates)
    some = [case for case in CASES if "dot" in case.terms][:4]
    found = {
        case.name: Measurement(case.name, {"dense": [1.0, 1.0], "edges": [2.0, 2.0]}, 0)
        for case in some
    }
    judged = report.held_out(some, found)
    names = [[each.case for each in half] for half in judged.values()]
    assert (
        names
        == taken[::-1]
        == [[c.name for c in some[::2]], [c.name for c in some[1::2]]]
    )


def test_the_share_counts_what_is_within_a_quarter():
    assert report.share([1.0, 1.25, 1.26, math.inf]) == 0.5


def test_the_report_names_shares_and_the_worst():
    found = [
        outcome("dense", {"dense": (1.0, 1.0), "tiles": (2.0, 2.0)}),
        outcome("dense", {"dense": (1.0, 8.0), "tiles": (2.0, 2.0)}),
    ]
    text = report.table(found, {"a half": found[1:]})
    assert "| all, as it is | 2 | 50.0% | 2.00 | 4.00 | 100.0% |" in text
    assert "| a half | 1 | 0.0% | 4.00 | 4.00 | 100.0% |" in text
    assert "| dense | 1 | 1 |" in text
    assert "| a case | dense, 8e+03 ms | tiles, 2e+03 ms | 4.00 |" in text


def test_the_report_replaces_what_stands_between_the_markers(tmp_path):
    page = tmp_path / "page.md"
    begin, end = "<!-- choices: begin -->", "<!-- choices: end -->"
    page.write_text(f"Before.\n{begin}\nold\n{end}\nAfter.\n", "utf-8")
    report.write(page, "new")
    text = page.read_text("utf-8")
    assert text == f"Before.\n{begin}\n\nnew\n\n{end}\nAfter.\n"
    page.write_text("No markers.", "utf-8")
    with pytest.raises(ValueError, match="must have one line"):
        report.write(page, "new")


def test_measurements_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "results" / "choices.jsonl"
    first = Measurement("one", {"dense": [1.0, 2.0], "edges": None}, 0.5, {"dense": 8})
    append(path, first)
    append(path, Measurement("two", {}, 0.0))
    assert read(path)["one"] == first
    assert list(read(path)) == ["one", "two"]


def test_rates_are_found_again_from_what_they_make():
    wanted = {"pair": 2e-9, "product": 5e-11, "call": 1e-4}
    rows = [
        {"call": 1, "pair": 10**size, "product": 10**size * width}
        for size in (3, 4, 5, 6)
        for width in (8, 32, 128)
    ]
    times = [sum(row[kind] * wanted[kind] for kind in row) for row in rows]
    found = fitting.fit(rows, np.array(times), {})
    assert found == pytest.approx(wanted, rel=0.02)
    assert fitting.fit(rows, np.array(times), {"call": 2e-4})["call"] >= 2e-4
