"""Plans say what is computed, how, and why; and what it takes, when asked."""

import dataclasses
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import relational as rl
from relational.explaining.costs import cost
from relational.explaining.measuring import measure, operands_of
from relational.explaining.operations import operations
from relational.explaining.pictures import picture, tile_map


def attend(query, key, value, rows, topology=None, lowering=None):
    return rl.propagate(
        rl.Causal() if topology is None else topology,
        batch_axes=1,
        receivers=query,
        senders={"key": key, "value": value},
        relations={"offset": rl.Offset(limit=(-63, 0)).rows(key=rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver, sender.key),
            lambda receiver, offset: rl.dot(receiver, offset.key),
        ],
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )


def shapes(length, heads=8, width=64):
    nodes = jax.ShapeDtypeStruct((heads, length, width), "float32")
    return nodes, nodes, nodes, jax.ShapeDtypeStruct((heads, 64, width), "float32")


def explanation(length, **options):
    return rl.explain(attend, *shapes(length), **options)


def mean(topology, x, **options):
    return rl.propagate(
        topology,
        senders=x,
        message=lambda sender: sender,
        aggregator=rl.Mean(),
        **options,
    )


def mean_plan(topology, *shape, **options):
    x = jax.ShapeDtypeStruct(shape, "float32")
    return rl.explain(lambda x: mean(topology, x, **options), x).plans[0]


def test_a_long_piece_takes_tiles_and_a_short_one_all_pairs():
    assert explanation(2048).plans[0].lowering.name == "tiles"
    assert explanation(32).plans[0].lowering.name == "dense"


def test_an_explanation_names_terms_costs_and_choice():
    text = str(explanation(2048))
    assert "2,048 receivers x 2,048 senders x 8 graphs, 2,098,176 edges" in text
    assert "dot of receiver, sender: a matrix product, 2.4 G operations" in text
    assert "a product with the table, then skewed into the tile" in text
    assert "leaf of sender: weights @ values" in text
    assert "<- chosen" in text
    assert "\n  estimated  " in text
    assert "MiB moved" in text
    assert "measured" not in text


def test_a_score_of_sender_and_relation_is_evaluated_once_a_label():
    def position_to_content(x, rows):
        return rl.propagate(
            rl.Complete(),
            senders=x,
            relations={"offset": rl.Offset(clip=3).rows(query=rows)},
            score=lambda sender, offset: rl.dot(sender, offset.query),
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
        )

    shapes = [jax.ShapeDtypeStruct((count, 4), "float32") for count in (32, 7)]
    plan = rl.explain(position_to_content, *shapes).plans[0]
    (score,) = [term for term in cost(plan).terms if term.role == "score"]
    assert plan.lowering.name == "dense"
    assert score.becomes == (
        "a product with the table, then skewed into the tile turned round"
    )
    assert score.evaluations == 32 * (7 + 1)  # Senders, labels and what is beyond.


def test_the_topology_is_drawn_near_and_from_afar():
    lines = str(explanation(96)).splitlines()
    assert lines[1:4] == [
        "  its first 12 nodes   all 96, 8 a character",
        "  #...........         +...........",
        "  ##..........         #+..........",
    ]
    assert lines[14] == "  rows hear columns: # all, + some, . none"


def test_layers_of_one_shape_are_counted_once():
    def twice(x, rows):
        return attend(attend(x, x, x, rows), x, x, rows)

    nodes = jax.ShapeDtypeStruct((8, 128, 64), "float32")
    rows = jax.ShapeDtypeStruct((8, 64, 64), "float32")
    found = rl.explain(twice, nodes, rows)
    assert found.counts == (2,)
    assert "2 times" in str(found)


def test_plans_of_different_widths_are_different():
    def both(x, y):
        return mean(rl.Causal(), x), mean(rl.Causal(), y)

    found = rl.explain(
        both,
        jax.ShapeDtypeStruct((16, 4), "float32"),
        jax.ShapeDtypeStruct((16, 4), "bfloat16"),
    )
    assert found.counts == (1, 1)


def test_a_function_without_a_call_says_so():
    found = rl.explain(lambda x: x + 1, 1.0)
    assert str(found) == "no call of `propagate`"
    assert found.as_dict() == {"plans": []}
    assert "no call of" in found._repr_html_()


def test_a_plan_says_why_a_lowering_cannot_serve():
    nodes = jax.ShapeDtypeStruct((4, 2), "float32")
    plan = rl.lower(
        rl.Edges([0, 1], [1, 2], 4),
        senders=nodes,
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    assert "cannot serve: the edges are listed one by one" in str(plan)


def test_repeated_edges_stay_a_list():
    plan = rl.lower(
        rl.Edges([0, 0], [1, 1], 2),
        senders=jax.ShapeDtypeStruct((2, 2), "float32"),
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    assert plan.lowering.name == "edges"
    assert "an edge may occur twice" in str(plan)


def test_asking_for_what_cannot_serve_lists_what_can():
    with pytest.raises(ValueError, match=r"These can: sparse, slots, edges\."):
        rl.propagate(
            rl.Edges([0, 0], [1, 1], 2),
            senders=jax.numpy.ones(2),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=rl.lowerings.Dense(),
        )


def test_what_was_asked_for_is_estimated_as_it_was_asked_for():
    small, large = (
        cost(mean_plan(rl.Causal(), 512, 8, lowering=rl.lowerings.Tiles(block=size)))
        for size in (32, 256)
    )
    assert small.bytes < large.bytes
    assert small.operations < large.operations  # It masks less away.
    plan = mean_plan(rl.Causal(), 512, 8, lowering=rl.lowerings.Tiles(block=32))
    assert "lowering   tiles: asked for" in str(plan)


def test_a_lowering_of_the_users_own_is_explained():
    class Mine(rl.lowerings.Edges):
        name = "mine"

    plan = mean_plan(rl.Causal(), 8, 2, lowering=Mine())
    assert "    mine     about" in str(plan)
    assert str(plan).count("<- chosen") == 1


# Costs.


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: x @ x.T, 2 * 4 * 4 * 3),
        (lambda x: jnp.tanh(x) + 1, 2 * 12),
        (lambda x: x.sum(), 12),
        (lambda x: x.T.reshape(2, 6), 0),
        (lambda x: jax.nn.relu(x), 12),
        (lambda x: jax.lax.scan(lambda c, y: (c + y, None), x[0], x)[0], 4 * 3),
    ],
    ids=["product", "elementwise", "sum", "moving", "called", "loop"],
)
def test_operations_are_counted(function, count):
    jaxpr = jax.make_jaxpr(function)(jnp.ones((4, 3))).jaxpr
    assert operations(jaxpr) == count


@pytest.mark.parametrize(
    "lowering", [rl.lowerings.Dense(), rl.lowerings.Edges()], ids=["dense", "edges"]
)
def test_operations_are_those_that_xla_counts(lowering):
    arrays = shapes(64)

    def run(*arrays):
        return attend(*arrays, lowering=lowering)

    counted = jax.jit(run).lower(*arrays).compile().cost_analysis()["flops"]
    estimated = cost(rl.explain(run, *arrays).plans[0]).operations
    assert 0.5 < estimated / counted < 2


def test_a_plain_sum_is_counted_exactly():
    plan = mean_plan(rl.Complete(), 10, 3, lowering=rl.lowerings.Dense())
    (term,) = cost(plan).terms
    assert (term.evaluations, term.operations) == (10, 2 * 10 * 10 * 3)
    plan = mean_plan(rl.Causal(), 10, 3, lowering=rl.lowerings.Edges())
    (term,) = cost(plan).terms
    assert (term.becomes, term.evaluations) == ("every edge", 55)
    assert term.operations == 55 * 2 * 3


def test_a_convolution_is_counted_tap_by_tap():
    stencil = rl.Stencil(grid=(8, 8), size=3)

    def filtered(pixel, kernel):
        return rl.propagate(
            stencil,
            senders={"pixel": pixel},
            relations={"tap": stencil.tap.rows(kernel=kernel)},
            message=lambda sender, tap: rl.dot(sender.pixel, tap.kernel),
            aggregator=rl.Sum(),
            lowering=rl.lowerings.Stencil(),
        )

    plan = rl.explain(filtered, jnp.ones((64, 4)), jnp.ones((9, 4, 5))).plans[0]
    (term,) = cost(plan).terms
    assert term.becomes == "a convolution"
    inside = (8 * 3 - 2) ** 2  # The border has fewer neighbours.
    assert term.operations == inside * 2 * 4 * 5


def test_tiles_move_less_than_all_pairs():
    arrays = shapes(512)
    moved = [
        cost(
            rl.explain(lambda *a, one=one: attend(*a, lowering=one), *arrays).plans[0]
        ).moved
        for one in (rl.lowerings.Tiles(), rl.lowerings.Dense())
    ]
    whole = sum(4 * np.prod(array.shape) for array in arrays)
    assert whole < moved[0] < moved[1] / 5


# Pictures in characters.


def test_two_node_sets_are_drawn_with_their_own_sizes():
    plan = rl.lower(
        rl.Complete(),
        receivers=jax.ShapeDtypeStruct((24, 2), "float32"),
        senders=jax.ShapeDtypeStruct((3, 2), "float32"),
        message=lambda sender: sender,
        aggregator=rl.Sum(),
    )
    lines = picture(plan.problem).splitlines()
    assert lines[0] == "its first 12 nodes   all 24 x 3, 2 x 1 a character"
    assert lines[1] == "###                  ###"


def test_a_list_of_edges_is_drawn_as_it_is():
    full = [(receiver, sender) for receiver in (0, 1) for sender in (2, 3)]
    receivers, senders = np.array([*full, (23, 0)]).T
    plan = mean_plan(rl.Edges(senders, receivers, 24), 24, 2)
    drawn = tile_map(plan.problem)
    assert drawn[0] == ".#.........."
    assert drawn[11] == "+..........."
    assert set("".join(drawn[1:11])) == {"."}


def test_of_traced_edges_only_the_map_is_drawn():
    def masked(ids, x):
        return mean(rl.SameSegment(ids) & rl.Causal(), x)

    found = rl.explain(masked, jnp.zeros(24, int), jnp.ones((24, 2)))
    lines = picture(found.plans[0].problem).splitlines()
    assert lines[0] == "all 24, 2 a character"
    assert lines[1] == "+..........."


def test_no_nodes_have_no_picture():
    assert picture(mean_plan(rl.Complete(), 0, 2).problem) == "no pair of nodes"


# Measurements.


@pytest.fixture(scope="module")
def measured_explanation():
    return explanation(16, measure=True, budget=600)


def test_all_that_can_serve_is_measured_forward_and_with_gradients(
    measured_explanation,
):
    found = measured_explanation
    (measured,) = found.measured
    able = {
        each.lowering.name for each in found.plans[0].candidates if not each.reasons
    }
    assert measured[0].lowering == found.plans[0].lowering.name
    assert {each.lowering for each in measured} == able >= {"dense", "edges"}
    for each in measured:
        assert each.reason == ""
        assert 0 < each.forward
        assert 0 < each.both
        assert each.forward_bytes >= 0
        assert each.both_bytes > 0
    assert str(found).count(" with gradients, ") == len(able)


def test_memory_is_what_xla_says():
    arrays = shapes(64)

    def run(*arrays):
        return attend(*arrays, lowering=rl.lowerings.Dense())

    wanted = jax.jit(run).lower(*arrays).compile().memory_analysis()
    plan = dataclasses.replace(rl.explain(run, *arrays).plans[0], candidates=())
    (measured,) = measure([plan], 600)
    assert measured[0].forward_bytes == pytest.approx(
        wanted.temp_size_in_bytes, rel=0.3
    )


def test_known_edges_lengths_and_labels_are_measured_as_they_are():
    senders, receivers = np.array([0, 2, 2]), np.array([1, 0, 1])
    topology = rl.Edges(senders, receivers, 3) & rl.Lengths(senders=np.array(2))
    labels = rl.Labels(np.array([4, 0, 2]), count=5)

    def call(x, rows):
        return rl.propagate(
            topology,
            senders={"value": x, "age": jnp.arange(3)},
            relations={"kind": labels.rows(row=rows)},
            message=lambda sender, kind: (
                sender.value * kind.row * sender.age.astype("float32")
            ),
            aggregator=rl.Sum(),
        )

    found = rl.explain(
        call, jnp.ones((3, 2)), jnp.ones((5, 2)), measure=True, budget=600
    )
    drawn = operands_of(found.plans[0])
    np.testing.assert_array_equal(drawn.edge.senders, senders)
    np.testing.assert_array_equal(drawn.edge.receivers, receivers)
    np.testing.assert_array_equal(drawn.edge.valid, [True, False, False])
    assert (drawn.edge.labels["kind"] < 5).all()
    assert found.measured[0][0].both > 0


def test_edges_that_are_traced_are_not_measured():
    def call(senders, receivers, x):
        return mean(rl.Edges(senders, receivers, 3), x)

    edges = jnp.array([0, 1])
    found = rl.explain(call, edges, edges, jnp.ones((3, 2)), measure=True)
    assert found.measured[0][0].forward is None
    words = "not measured: the arrays of Edges(2 edges) are traced"
    assert words in str(found)
    assert "close over them" in str(found)


def test_segments_that_are_closed_over_are_measured():
    ids = jnp.array([0, 0, 1, 1])
    x = jax.ShapeDtypeStruct((4, 2), "float32")
    found = rl.explain(
        lambda x: mean(rl.SameSegment(ids), x), x, measure=True, budget=600
    )
    assert found.measured[0][0].forward > 0
    drawn = operands_of(found.plans[0])
    np.testing.assert_array_equal(drawn.sender.topology, ids)


def test_dropout_and_keys_are_measured():
    key = jax.random.key(0)

    def call(key, x):
        return mean(rl.Causal(), x, dropout=rl.Dropout(0.5, key))

    found = rl.explain(call, key, jnp.ones((4, 2)), measure=True, budget=600)
    assert found.measured[0][0].both > 0


def test_whole_numbers_have_no_gradients():
    found = rl.explain(
        lambda x: rl.propagate(
            rl.Causal(),
            senders=x,
            message=lambda sender: sender,
            aggregator=rl.Max(),
        ),
        jnp.arange(4),
        measure=True,
        budget=600,
    )
    first = found.measured[0][0]
    assert first.forward > 0
    assert first.both is None
    assert "nothing to differentiate" in str(first)


def test_nobody_waits_longer_than_was_said():
    plans = explanation(2048).plans
    (measured,) = measure(plans, 0.01)
    assert all(each.forward is None for each in measured)
    assert "it would take too long, about" in measured[0].reason


def test_what_takes_too_much_memory_is_not_begun():
    plan = mean_plan(rl.Causal(), 8192, 16)
    able = [each for each in plan.candidates if each.lowering.name == "edges"]
    alone = dataclasses.replace(
        plan, candidates=tuple(able), lowering=Failing("it has no way")
    )
    (measured,) = measure([alone], 1e6)
    assert [each.reason for each in measured] == [
        "it failed: it has no way",
        "it would take too much memory",
    ]


@dataclasses.dataclass(frozen=True)
class Failing(rl.lowerings.Edges):
    words: str
    name = "failing"

    def propagate(self, problem, operands):
        raise NotImplementedError(self.words)


@pytest.mark.parametrize("budget", [0, -1.0, float("inf"), float("nan"), "long"])
def test_a_budget_is_a_time(budget):
    with pytest.raises(ValueError, match="`budget` must be a number of seconds above"):
        rl.explain(lambda x: x, 1.0, measure=True, budget=budget)


# Data, terminals and notebooks.


def test_an_explanation_is_data(measured_explanation):
    found = measured_explanation
    facts = found.as_dict()
    assert json.loads(found.to_json()) == facts
    (plan,) = facts["plans"]
    assert (plan["edges"], plan["times"]) == (136, 1)
    assert plan["density"] == pytest.approx(136 / 256)
    assert plan["picture"][0] == "+......."
    assert (
        plan["estimated"]["operations"]
        == sum(term["operations"] for term in plan["terms"])
        + cost(found.plans[0]).listening
    )
    considered = {each["lowering"]: each for each in plan["considered"]}
    assert considered["slots"] == {
        "lowering": "slots",
        "refuses": ["the edges follow from a rule"],
    }
    measured = considered["dense"]["measured"]
    assert measured["both_seconds"] == found.measured[0][0].both
    assert "measured" not in explanation(16).as_dict()["plans"][0]["considered"][2]


def test_a_terminal_shows_tables():
    console = Console(file=io.StringIO(), width=140)
    console.print(explanation(64))
    shown = console.file.getvalue()
    assert "Causal()" in shown
    assert "weights @ values" in shown
    assert "chosen" in shown
    assert "the edges follow from a rule" in shown


def test_a_notebook_shows_no_markup_of_a_name():
    where = rl.Where(lambda receiver, sender: receiver >= sender)
    x = jax.ShapeDtypeStruct((4, 2), "float32")
    found = rl.explain(lambda x: mean(where, x), x)
    shown = found._repr_html_()
    assert shown.startswith("<pre")
    assert "<lambda>" not in shown
    assert "4 receivers x 4 senders" in shown


def test_a_list_of_all_edges_needs_no_mask():
    receivers, senders = np.divmod(np.arange(64), 8)

    def attend(x, count):
        return rl.propagate(
            rl.Edges(senders[:count], receivers[:count], 8),
            receivers=x,
            senders=x,
            score=lambda receiver, sender: rl.dot(receiver, sender),
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
            lowering=rl.lowerings.Dense(),
        )

    x = jax.random.normal(jax.random.key(0), (8, 4))
    jaxpr = {n: str(jax.make_jaxpr(lambda x, n=n: attend(x, n))(x)) for n in (64, 63)}
    assert "bool[8,8]" not in jaxpr[64]
    assert "bool[8,8]" in jaxpr[63]
    assert "scatter" not in jaxpr[63]
    wanted = jax.nn.softmax(x @ x.T) @ x
    np.testing.assert_allclose(attend(x, 64), wanted, atol=1e-6)
