"""Aggregators agree with NumPy, merge exactly, and stay finite where nobody speaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.lowerings.tile import Part

GRAPH = rl.Edges([0, 1, 2, 2, 3, 3], [0, 0, 0, 1, 1, 1], num_receivers=3, num_senders=4)
VALUES = np.array([[1.0, -2.0], [4.0, 0.5], [4.0, 3.0], [-1.0, 3.0]], np.float32)
EXPECTED = {
    rl.Sum(): lambda rows: rows.sum(axis=0),
    rl.Mean(): lambda rows: rows.mean(axis=0),
    rl.Max(): lambda rows: rows.max(axis=0),
    rl.Min(): lambda rows: rows.min(axis=0),
    rl.Std(): lambda rows: rows.std(axis=0),
    rl.LogSumExp(): lambda rows: np.log(np.exp(rows).sum(axis=0)),
}


@pytest.mark.parametrize("aggregator", EXPECTED, ids=lambda each: type(each).__name__)
def test_aggregators_agree_with_numpy(aggregator):
    found = rl.propagate(
        GRAPH, senders=VALUES, message=lambda sender: sender, aggregator=aggregator
    )
    wanted = EXPECTED[aggregator]
    np.testing.assert_allclose(found[0], wanted(VALUES[[0, 1, 2]]), atol=1e-6)
    np.testing.assert_allclose(found[1], wanted(VALUES[[2, 3, 3]]), atol=1e-6)
    np.testing.assert_array_equal(found[2], [0, 0])


def test_log_sum_exp_states_its_value_where_nobody_speaks():
    found = rl.propagate(
        GRAPH,
        senders=VALUES,
        message=lambda sender: sender,
        aggregator=rl.LogSumExp(unreached=-1e9),
    )
    np.testing.assert_array_equal(found[2], [-1e9, -1e9])


@pytest.mark.parametrize(
    "lowering", [rl.lowerings.Edges(), rl.lowerings.Dense()], ids=lambda each: each.name
)
def test_tied_maxima_share_the_gradient(lowering):
    def top(values):
        return rl.propagate(
            rl.Complete(),
            num_receivers=1,
            senders=values,
            message=lambda sender: sender,
            aggregator=rl.Max(),
            lowering=lowering,
        ).sum()

    np.testing.assert_array_equal(
        jax.grad(top)(jnp.array([3.0, 1.0, 3.0])), [0.5, 0, 0.5]
    )


@pytest.mark.parametrize(
    "aggregator", [*EXPECTED, rl.Softmax()], ids=lambda each: type(each).__name__
)
def test_gradients_are_finite_where_nobody_speaks_or_all_say_the_same(aggregator):
    def total(values):
        return rl.propagate(
            rl.Causal() - rl.Self(),
            senders=values,
            message=lambda sender: sender,
            score=(lambda sender: sender) if aggregator.hears_score else None,
            aggregator=aggregator,
        ).sum()

    assert jnp.isfinite(jax.grad(total)(jnp.ones(4))).all()


@pytest.mark.parametrize("aggregator", EXPECTED, ids=lambda each: type(each).__name__)
def test_parts_merge_to_the_whole(aggregator):
    rows = jnp.asarray(VALUES)[None]  # One receiver.

    def part(columns):
        message = rows[:, columns]
        if aggregator.shift_of is None:
            shift = None
            lifted = aggregator.lift(None, message, None)
            lifted["total"] = jnp.broadcast_to(lifted["total"], message.shape[:2])
        else:
            reduce = {"max": jnp.max, "min": jnp.min, "mean": jnp.mean}
            shift = reduce[aggregator.shift_by](message, axis=1)
            lifted = aggregator.lift(None, message, shift[:, None])
        sums = jax.tree.map(lambda leaf: leaf.sum(axis=1), lifted)
        return Part(shift, sums, jnp.array([True]))

    merged = part(slice(0, 1)).merge(part(slice(1, 4)), aggregator)
    found = aggregator.finish(merged.sums, merged.shift)
    np.testing.assert_allclose(found[0], EXPECTED[aggregator](VALUES), atol=1e-6)


def test_a_part_that_heard_nothing_has_no_say_in_the_shift():
    def part(scores, heard):
        shift = jnp.array([max(scores)] if heard else [0.0])
        weight = jnp.exp(jnp.array([scores]) - shift[:, None]) * float(heard)
        sums = {
            "total": weight.sum(axis=1),
            "message": weight @ jnp.ones((len(scores), 1)),
        }
        return Part(shift, sums, jnp.array([heard]))

    merged = part([-300.0, -301.0], True).merge(part([5.0], False), rl.Softmax())
    found = rl.Softmax().finish(merged.sums, merged.shift)
    np.testing.assert_allclose(found, [[1.0]])


def test_a_tuple_of_aggregators_gives_a_tuple():
    mean, top = rl.propagate(
        GRAPH,
        senders=VALUES,
        message=lambda sender: sender,
        aggregator=(rl.Mean(), rl.Max()),
    )
    np.testing.assert_allclose(mean[0], VALUES[:3].mean(axis=0))
    np.testing.assert_allclose(top[0], VALUES[:3].max(axis=0))


def test_dropout_drops_its_share_and_keeps_the_mean():
    def heard(key):
        return rl.propagate(
            rl.Complete(),
            num_receivers=300,
            senders=jnp.ones((300, 1)),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            dropout=rl.Dropout(0.25, key),
        )

    found = heard(jax.random.key(0)) * 0.75  # How many of 300 were kept.
    assert abs(float(found.mean()) / 300 - 0.75) < 0.005
    assert float(found.std()) < 3 * np.sqrt(300 * 0.75 * 0.25)
    assert not np.array_equal(found, heard(jax.random.key(1)) * 0.75)


def test_a_rate_of_0_drops_nothing_of_any_aggregator():
    found, wanted = (
        rl.propagate(
            rl.Causal(),
            senders=VALUES,
            message=lambda sender: sender,
            aggregator=rl.Max(),
            dropout=dropout,
        )
        for dropout in (rl.Dropout(0.0, jax.random.key(0)), None)
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "lowering",
    [None, rl.lowerings.Edges(), rl.lowerings.Dense()],
    ids=lambda each: each.name if each else "chosen",
)
def test_a_graph_without_edges_says_nothing(lowering):
    def heard(values):
        return rl.propagate(
            rl.Edges([], [], 4),
            senders=values,
            message=lambda sender: sender,
            aggregator=(rl.Sum(), rl.Mean(), rl.Max(), rl.Std()),
            lowering=lowering,
        )

    for part in heard(jnp.asarray(VALUES)):
        np.testing.assert_array_equal(part, np.zeros((4, 2)))
    slope = jax.grad(lambda values: sum(part.sum() for part in heard(values)))
    np.testing.assert_array_equal(slope(jnp.asarray(VALUES)), np.zeros((4, 2)))
    assert rl.Edges([], [], 4).degrees().tolist() == [0, 0, 0, 0]


ODD = [0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, -np.nan, 6e4, -6e4]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32"])
@pytest.mark.parametrize("which", [rl.Max(), rl.Min()])
def test_extremes_of_listed_edges_are_those_of_numpy(which, dtype):
    rng = np.random.default_rng(0)
    receivers, senders = rng.integers(0, 60, 240), np.arange(240)
    kinds = range(-3, 3) if dtype == "int32" else ODD
    message = jnp.asarray(rng.choice(list(kinds), 240), dtype)
    heard = rl.propagate(
        rl.Edges(senders, receivers, 60, 240),
        senders=message,
        message=lambda sender: sender,
        aggregator=which,
        lowering=rl.lowerings.Edges(),
    )
    said = np.asarray(message, "float64")
    best = np.max if which == rl.Max() else np.min
    for receiver in range(60):
        own = said[receivers == receiver]
        want = best(own) if own.size else 0.0
        np.testing.assert_allclose(float(heard[receiver]), want)


INF = np.inf
WEIGHING = [
    (rl.Softmax(), [-INF, -INF], 0.0),
    (rl.Softmax(), [-INF, 2.0], 1.0),
    (rl.Softmax(), [-INF] * 16 + [-200.0] * 16, 23.5),
]
HEARING = [
    (rl.Max(), [-INF, -INF], -INF),
    (rl.Min(), [INF, INF], INF),
    (rl.Max(), [-INF, INF, 1.0], INF),
    (rl.Max(), [-2e30, -2e30], -2e30),
    (rl.LogSumExp(), [-INF, -INF], -INF),
    (rl.LogSumExp(), [-INF, 0.0], 0.0),
    (rl.LogSumExp(), [0.0, INF], INF),
]
SERVED = {
    rl.lowerings.Dense(): WEIGHING + HEARING,
    rl.lowerings.Tiles(senders=16): WEIGHING + HEARING,
    rl.lowerings.Edges(): WEIGHING + HEARING,
    rl.lowerings.Slots(): WEIGHING + HEARING,
    rl.lowerings.Kernel(interpret=True): WEIGHING,
    rl.lowerings.Sparse(): WEIGHING,
}


@pytest.mark.parametrize("lowering", SERVED, ids=lambda lowering: lowering.name)
def test_infinities_are_heard_alike_by_all_lowerings(lowering):
    for aggregator, said, wanted in SERVED[lowering]:
        said = jnp.asarray(said, jnp.float32)
        weighs = aggregator == rl.Softmax()
        value = jnp.arange(said.size, dtype=jnp.float32) if weighs else said
        found = heard_by_one(value, said if weighs else None, aggregator, lowering)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        if weighs:
            gradient = jax.grad(heard_by_one)(value, said, aggregator, lowering)
            assert np.isfinite(gradient).all()


def heard_by_one(value, score, aggregator, lowering):
    everyone = rl.Complete()
    if lowering.name in ("edges", "slots", "sparse"):
        senders = np.arange(value.size)
        everyone = rl.Edges(senders, np.zeros_like(senders), 1, senders.size)
    return rl.propagate(
        everyone,
        num_receivers=1,
        senders={"value": value} if score is None else {"value": value, "score": score},
        score=None if score is None else lambda sender: sender.score,
        message=lambda sender: sender.value,
        aggregator=aggregator,
        lowering=lowering,
    )[0]
