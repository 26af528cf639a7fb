"""Edges sorted into slots: their layout, and equality with the definition."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.lowerings import buckets

L = rl.lowerings


@pytest.fixture
def short_rows(monkeypatch):
    """Rows so short that nodes take several, and so few slots that they are looped."""
    monkeypatch.setattr(buckets, "_LONGEST", 4)
    monkeypatch.setattr(buckets, "UNROLLED", 2)
    buckets._kept.cache_clear()
    yield
    buckets._kept.cache_clear()


OFTEN = hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
ENDS = st.lists(st.integers(0, 5), min_size=1, max_size=40)


@OFTEN
@hypothesis.given(ENDS, st.data())
def test_buckets_hold_every_edge_once_beside_its_node(short_rows, ends, data):
    ends = np.array(ends)
    kept = np.array(
        data.draw(st.lists(st.booleans(), min_size=ends.size, max_size=ends.size))
    )
    found = buckets.Buckets.of(ends, 7, kept)
    edges = [bucket.edges[bucket.valid] for bucket in found.buckets]
    held = np.sort(np.concatenate(edges)) if edges else np.zeros(0)
    np.testing.assert_array_equal(held, np.flatnonzero(kept))
    for bucket in found.buckets:
        nodes = np.broadcast_to(bucket.nodes[..., None], bucket.edges.shape)
        np.testing.assert_array_equal(nodes, ends[bucket.edges])  # Padding too.
    laid = np.concatenate([b.edges.reshape(-1) for b in found.buckets] or [np.zeros(0)])
    np.testing.assert_array_equal(laid[found.place_of[kept]], np.flatnonzero(kept))


def _graph(rng, receivers, senders, count):
    """A graph whose degrees differ as those of a power law, with repeated edges."""
    hearing = np.minimum(rng.geometric(0.3, count) - 1, receivers - 1)
    speaking = np.minimum(rng.geometric(0.2, count) - 1, senders - 1)
    return rl.Edges(speaking, hearing, receivers, senders)


AGGREGATORS = [
    rl.Softmax(),
    rl.Sum(),
    (rl.Max(), rl.Min()),
    rl.LogSumExp(unreached=-1.0),
    (rl.Std(), rl.Mean()),
]


@pytest.mark.parametrize("kind", ["one list", "transposed", "filtered"])
@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=str)
def test_slots_equal_the_edges_in_values_and_gradients(short_rows, aggregator, kind):
    rng = np.random.default_rng(0)
    topology = _graph(rng, 9, 11, 50)
    if kind == "transposed":
        topology = _graph(rng, 11, 9, 50).T
    if kind == "filtered":
        topology = topology & rl.Band(before=3, after=6)
    count = topology.listed(9, 11).senders.size
    hears_score = isinstance(aggregator, rl.Softmax)

    def some(*shape):  # Coarse, so that the largest tie.
        return jnp.asarray(rng.integers(-2, 3, shape), jnp.float32)

    arrays = {
        "query": some(2, 1, 9, 3),
        "key": some(1, 3, 11, 3),
        "value": some(2, 3, 11, 3),
        "edge": some(1, 1, count, 3),
        "slope": some(2, 1),
        "rows": some(1, 3, 5, 3),
        "by_edge": some(2, 1, 4, 3),
        "by_pair": some(1, 1, 4, 3),
        "held": some(3),
    }
    edge_labels = jnp.asarray(rng.integers(-1, 5, (2, 1, count)))
    pair_labels = jnp.asarray(rng.integers(-1, 5, (1, 1, 9, 11)))
    pitch = [jnp.asarray(rng.integers(0, 6, (1, 1, n))) for n in (9, 11)]

    def loss(lowering):
        def run(arrays):
            held = arrays["held"]
            found = rl.propagate(
                topology,
                batch_axes=2,
                receivers={"query": arrays["query"], "pitch": pitch[0]},
                senders={
                    "key": arrays["key"],
                    "value": arrays["value"],
                    "pitch": pitch[1],
                },
                edges=arrays["edge"],
                context=arrays["slope"],
                relations={
                    "offset": rl.Offset(clip=2).rows(key=arrays["rows"]),
                    "kind": rl.Labels(edge_labels, count=4).rows(
                        value=arrays["by_edge"]
                    ),
                    "pair": rl.Labels(pair_labels, count=4).rows(
                        value=arrays["by_pair"]
                    ),
                    "step": rl.Difference("pitch"),
                },
                score=[
                    lambda receiver, sender: rl.dot(receiver.query, sender.key) / 2,
                    lambda receiver, offset: rl.dot(receiver.query, offset.key) / 2,
                    lambda context, step: context * step.astype(jnp.float32) / 8,
                    lambda edge: edge.sum() / 4,
                ]
                if hears_score
                else None,
                message=[
                    lambda sender: sender.value,
                    lambda receiver: receiver.query,
                    lambda edge, kind: edge * kind.value,
                    lambda sender, pair: sender.key * pair.value,
                    lambda: held,
                ],
                aggregator=aggregator,
                dropout=rl.Dropout(0.25, jax.random.key(1)) if hears_score else None,
                lowering=lowering,
            )
            return sum(jnp.sin(each).sum() for each in jax.tree.leaves(found)), found

        return jax.jit(jax.value_and_grad(run, has_aux=True))(arrays)

    found, wanted = loss(L.Slots()), loss(L.Edges())
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def test_large_graphs_take_slots_and_store_no_array_of_edges_and_features(
    optimised,
):
    rng = np.random.default_rng(0)
    nodes, count, width = 2000, 100_000, 64
    graph = rl.Edges(*rng.integers(0, nodes, (2, count)), nodes)

    def attend(x, lowering=None):
        return rl.propagate(
            graph,
            receivers=x,
            senders=x,
            message=lambda receiver, sender: jnp.tanh(receiver + sender),
            aggregator=rl.Max(),
            lowering=lowering,
        )

    x = jax.ShapeDtypeStruct((nodes, width), "float32")
    assert rl.explain(attend, x).plans[0].lowering.name == "slots"
    few = jax.ShapeDtypeStruct((nodes, 2), "float32")  # Sooner done than compiled.
    assert rl.explain(attend, few).plans[0].lowering.name == "edges"

    def memory(lowering):
        run = jax.jit(jax.grad(lambda x: attend(x, lowering).sum()))
        return run.lower(x).compile().memory_analysis().temp_size_in_bytes

    edges = 4 * count * width
    assert memory(L.Slots()) < edges < memory(L.Edges())


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        (rl.Causal(), "the edges follow from a rule"),
        (rl.Edges([], [], 5), "there are no edges to sort"),
        (rl.Edges([[0, 1]] * 2, [[1, 2], [2, 3]], 5), "others in each graph"),
    ],
    ids=["rule", "empty", "several"],
)
def test_what_cannot_be_sorted_is_refused(topology, words):
    with pytest.raises(ValueError, match=words):
        rl.propagate(
            topology,
            batch_axes=1,
            senders=jnp.ones((2, 5)),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=L.Slots(),
        )


def test_traced_edges_are_not_sorted():
    def run(senders):
        return rl.propagate(
            rl.Edges(senders, np.array([0, 1]), 3),
            senders=jnp.ones(3),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=L.Slots(),
        )

    with pytest.raises(ValueError, match="the edges are traced"):
        jax.jit(run)(np.array([1, 2]))
