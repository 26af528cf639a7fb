"""Products with sparse matrices: what they serve, and equality with the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import terms
from relational.lowerings import multiples, sparse

L = rl.lowerings
NUMBER = jax.ShapeDtypeStruct((), "float32")
VECTOR = jax.ShapeDtypeStruct((4,), "float32")
SITES = {
    "receiver": {"x": VECTOR, "scale": NUMBER},
    "sender": {"x": VECTOR, "scale": NUMBER},
    "edge": {"x": VECTOR, "weight": NUMBER, "kind": jax.ShapeDtypeStruct((), "int32")},
    "context": NUMBER,
}
HELD = jnp.arange(4.0)


def traced(function, role):
    return terms.trace(function, SITES, role)[0]


@pytest.mark.parametrize(
    ("message", "is_multiple"),
    [
        (lambda sender: sender.x, True),
        (lambda edge, sender: edge.weight * sender.x, True),
        (lambda edge, sender: -sender.x * jax.nn.sigmoid(edge.weight) / 2, True),
        (lambda receiver, sender: sender.x / (1 + receiver.scale**2), True),
        (lambda edge, sender: jnp.where(edge.kind > 1, 2.0, 0.5) * sender.x, True),
        (lambda edge, sender: edge.weight * sender.scale, True),
        (lambda context, edge, sender: context * edge.weight * sender.x, True),
        (lambda edge, sender: edge.weight / sender.scale, False),
        (lambda edge, sender: edge.weight * sender.x + edge.weight, False),
        (lambda edge, sender: edge.weight * sender.x * sender.scale, False),
        (lambda edge, sender: edge.weight * jnp.tanh(sender.x), False),
        (lambda edge, sender: edge.x * sender.x, False),
        (lambda edge, sender: edge.weight * sender.x * HELD, False),
        (lambda edge, sender: edge.weight * sender.x * sender.x, False),
        (lambda edge, sender: edge.weight * sender.x[::-1], False),
        (lambda edge: edge.x, False),
    ],
)
def test_a_message_is_a_multiple_where_its_equations_show_it(message, is_multiple):
    found = multiples.of_sender(traced(message, "message"))
    assert (found is not None) == is_multiple


@pytest.mark.parametrize(
    ("score", "is_multiple"),
    [
        (lambda receiver, sender: rl.dot(receiver.x, sender.x), True),
        (lambda receiver, sender: rl.dot(sender.x / 2, -receiver.x) / 3, True),
        (lambda receiver, sender: (receiver.x * sender.x).sum(), True),
        (lambda receiver, sender, context: context * (receiver.x @ sender.x), True),
        (lambda receiver, sender: rl.dot(receiver.x, sender.x) ** 2, False),
        (lambda receiver, sender: rl.dot(receiver.x, sender.x) + 1, False),
        (lambda receiver, sender: rl.dot(receiver.x, jnp.abs(sender.x)), False),
        (lambda receiver, sender: rl.dot(receiver.x * HELD, sender.x), False),
        (lambda receiver, sender: receiver.scale * sender.scale, False),
        (lambda receiver, sender: (receiver.x - sender.x).sum(), False),
        (lambda sender: rl.dot(sender.x, HELD), False),
    ],
)
def test_a_score_is_a_dot_where_its_equations_show_it(score, is_multiple):
    found = multiples.of_both_ends(traced(score, "score"))
    assert (found is not None) == is_multiple


def graph(rng, receivers, senders, count):
    """A graph with repeated edges, and with nodes that hear nobody."""
    hearing = np.minimum(rng.geometric(0.3, count) - 1, receivers - 1)
    speaking = np.minimum(rng.geometric(0.2, count) - 1, senders - 1)
    return rl.Edges(speaking, hearing, receivers, senders)


def some(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def attention(topology, count, aggregator, lowering, *, dropout=None):
    """Returns a loss of arrays that scores and messages of all served kinds read."""
    hears = isinstance(aggregator, rl.Softmax)

    def loss(arrays):
        found = rl.propagate(
            topology,
            batch_axes=2,
            receivers={"query": arrays["query"], "pitch": arrays["pitch"][..., :9]},
            senders={
                "key": arrays["key"],
                "value": arrays["value"],
                "pitch": arrays["pitch"],
            },
            edges={"weight": arrays["weight"], "bias": arrays["bias"]},
            context=arrays["slope"],
            relations={
                "offset": rl.Offset(clip=2).rows(key=arrays["rows"]),
                "kind": rl.Labels(arrays["labels"], count=3).rows(x=arrays["kinds"]),
                "step": rl.Difference("pitch"),
            },
            score=[
                lambda receiver, sender: rl.dot(receiver.query, sender.key) / 2,
                lambda receiver, offset: rl.dot(receiver.query, offset.key) / 2,
                lambda context, step: context * step.astype(jnp.float32) / 8,
                lambda edge: edge.bias,
                lambda: arrays["held"][0],
            ]
            if hears
            else None,
            message=[
                lambda sender: sender.value * 2,
                lambda edge, sender: jax.nn.sigmoid(edge.weight) * sender.value / 3,
                lambda kind, sender: kind.x * sender.value,
                lambda: arrays["held"],
            ],
            aggregator=aggregator,
            dropout=dropout if hears else None,
            lowering=lowering,
        )
        return sum(jnp.sin(each).sum() for each in jax.tree.leaves(found)), found

    assert count
    return loss


def arrays_for(rng, count):
    return {
        "query": some(rng, 2, 1, 9, 3),
        "key": some(rng, 1, 3, 11, 3),
        "value": some(rng, 2, 3, 11, 3),
        "weight": some(rng, 1, 1, count),
        "bias": some(rng, 1, 3, count),
        "slope": some(rng, 2, 1),
        "rows": some(rng, 1, 3, 5, 3),
        "kinds": some(rng, 2, 1, 3),
        "labels": jnp.asarray(rng.integers(-1, 4, (2, 1, count))),
        "pitch": jnp.asarray(rng.integers(0, 6, (1, 1, 11))),
        "held": some(rng, 3),
    }


def split(arrays):
    moving = {k: v for k, v in arrays.items() if v.dtype == jnp.float32}
    return moving, {k: v for k, v in arrays.items() if k not in moving}


@pytest.mark.parametrize("kind", ["one list", "transposed", "filtered", "sorted"])
@pytest.mark.parametrize(
    "aggregator", [rl.Softmax(), rl.Sum(), (rl.Mean(), rl.Sum())], ids=str
)
@pytest.mark.parametrize("unrolls", [True, False])
def test_sparse_products_equal_the_edges(monkeypatch, aggregator, kind, unrolls):
    if not unrolls:
        monkeypatch.setattr(sparse, "_MOST_TOGETHER", 1)
    rng = np.random.default_rng(0)
    topology = graph(rng, 9, 11, 50)
    if kind == "transposed":
        topology = graph(rng, 11, 9, 50).T
    if kind == "filtered":
        topology = topology & rl.Band(before=3, after=6)
    if kind == "sorted":
        topology = rl.Edges(rng.integers(0, 11, 50), np.arange(50) // 6, 9, 11)
    count = topology.listed(9, 11).senders.size
    moving, fixed = split(arrays_for(rng, count))
    dropout = rl.Dropout(0.25, jax.random.key(1))

    def run(lowering):
        loss = attention(topology, count, aggregator, lowering, dropout=dropout)
        both = jax.value_and_grad(
            lambda moving: loss({**moving, **fixed}), has_aux=True
        )
        return jax.jit(both)(moving)

    found, wanted = run(L.Sparse()), run(L.Edges())
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


NODES, COUNT = 30, 200


def test_a_batch_on_one_graph_is_one_product_of_more_columns():
    ends = np.random.default_rng(1).integers(0, NODES, (2, COUNT))

    def heard(x):
        return rl.propagate(
            rl.Edges(*ends, NODES),
            senders=x,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=L.Sparse(),
        )

    x = some(np.random.default_rng(0), 3, NODES, 5)
    program = jax.jit(jax.vmap(heard)).lower(x).compile().as_text()
    assert program.count("cpu_csr_sparse_dense_ffi") == 1
    wanted = jnp.stack([heard(each) for each in x])
    np.testing.assert_allclose(jax.vmap(heard)(x), wanted, atol=1e-5)


@pytest.mark.parametrize("lead", [1, 3, 17])
@pytest.mark.parametrize("width", [1, 7, 8, 9])
def test_one_node_hears_itself_whatever_the_heads_and_features(lead, width):
    loop = rl.Edges(np.zeros(1, int), np.zeros(1, int), 1, 1)
    x = some(np.random.default_rng(0), lead, 1, width)
    found = rl.propagate(
        loop,
        batch_axes=1,
        receivers=x,
        senders=x,
        score=lambda receiver, sender: rl.dot(receiver, sender),
        message=lambda sender: sender,
        aggregator=rl.Softmax(),
        lowering=L.Sparse(),
    )
    np.testing.assert_allclose(found, x, atol=1e-6)


def test_arrays_without_features_are_left_to_others():
    loop = rl.Edges(np.zeros(1, int), np.zeros(1, int), 1, 1)

    def heard(lowering):
        return rl.propagate(
            loop,
            senders=jnp.ones((1, 0)),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=lowering,
        )

    assert heard(None).shape == (1, 0)
    with pytest.raises(ValueError, match="a term reads an array without features"):
        heard(L.Sparse())


def test_bfloat16_is_summed_in_float32():
    x = jnp.ones((300, 1), jnp.bfloat16)
    star = rl.Edges(np.arange(300), np.zeros(300, int), 1, 300)
    found = rl.propagate(
        star,
        senders=x,
        message=lambda sender: sender,
        aggregator=rl.Sum(),
        lowering=L.Sparse(),
    )
    assert found.dtype == jnp.bfloat16
    assert found.item() == 300  # In bfloat16 it would stay 256.


def test_attention_on_large_graphs_takes_sparse_products(optimised):
    rng = np.random.default_rng(0)
    nodes, count = 2000, 100_000
    listed = rl.Edges(*rng.integers(0, nodes, (2, count)), nodes)

    def attend(x):
        return rl.propagate(
            listed,
            receivers=x,
            senders=x,
            score=lambda receiver, sender: rl.dot(receiver, sender),
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
        )

    x = jax.ShapeDtypeStruct((nodes, 64), "float32")
    assert rl.explain(attend, x).plans[0].lowering.name == "sparse"
    run = jax.jit(jax.grad(lambda x: attend(x).sum()))
    memory = run.lower(x).compile().memory_analysis().temp_size_in_bytes
    assert memory < 4 * count * 64 / 2  # No array of edges x features is stored.


@pytest.mark.parametrize(
    ("aggregator", "message", "words"),
    [
        (rl.Max(), lambda sender: sender, "more than weigh messages"),
        (rl.Sum(), lambda receiver: receiver, "more than a number times"),
    ],
    ids=["aggregator", "message"],
)
def test_what_is_no_product_is_refused(aggregator, message, words):
    with pytest.raises(ValueError, match=words):
        rl.propagate(
            rl.Edges([0, 1], [1, 2], 3),
            receivers=jnp.ones(3),
            senders=jnp.ones(3),
            message=message,
            aggregator=aggregator,
            lowering=L.Sparse(),
        )


def test_senders_that_nobody_hears_are_not_asked_where_terms_are_partial():
    rng = np.random.default_rng(0)
    edges = rl.Edges(rng.integers(1, 2000, 20_000), rng.integers(0, 2000, 20_000), 2000)
    x = jnp.ones((2000, 32)).at[0].set(0.0)  # The root has no derivative there.

    def heard(x, **options):
        return rl.propagate(
            edges,
            senders=x,
            message=lambda sender: jnp.sqrt(sender),
            aggregator=rl.Sum(),
            partial_terms=True,
            **options,
        ).sum()

    assert np.isfinite(jax.grad(heard)(x)).all()
    with pytest.raises(ValueError, match="it asks senders that nobody hears"):
        heard(x, lowering=rl.lowerings.Sparse())


def test_chosen_senders_that_are_none_do_not_count():
    near = rl.Neighbours(senders=np.array([[0, -1], [7, 1]]), num_senders=3)
    x = jnp.array([1.0, 2.0, 4.0])[:, None]

    def heard(x, lowering):
        found = rl.propagate(
            near,
            senders=x,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=lowering,
        )
        return found.sum(), found

    for lowering in (rl.lowerings.Sparse(), rl.lowerings.Edges(), rl.lowerings.Slots()):
        gradient, found = jax.grad(heard, has_aux=True)(x, lowering)
        assert found.tolist() == [[1.0], [2.0]]
        assert gradient.tolist() == [[1.0], [1.0], [0.0]]


def test_without_graphs_something_else_serves():
    def heard(**options):
        return rl.propagate(
            rl.Edges([0, 1], [1, 0], 2),
            senders=jnp.zeros((0, 2, 4)),
            batch_axes=1,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            **options,
        )

    assert heard().shape == (0, 2, 4)
    with pytest.raises(ValueError, match="there are no graphs"):
        heard(lowering=rl.lowerings.Sparse())


def test_a_quotient_of_integers_is_no_multiple():
    edges = rl.Edges([1, 2, 0, 2], [0, 0, 1, 2], num_receivers=3)
    heard = rl.propagate(
        edges,
        senders=jnp.array([7, 8, 9]),
        edges=jnp.array([2, 3, 2, 4]),
        message=lambda sender, edge: jax.lax.div(sender, edge),
        aggregator=rl.Sum(),
    )
    assert heard.tolist() == [7.0, 3.0, 2.0]
