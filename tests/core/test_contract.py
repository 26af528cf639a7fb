"""The contract of `propagate`: transformations, operands, names, counts, errors."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl

L = rl.lowerings
LOWERINGS = [L.Edges(), L.Dense(), L.Tiles(block=4)]
each_lowering = pytest.mark.parametrize("lowering", LOWERINGS, ids=lambda low: low.name)


def attend(x, rows, lowering=None, topology=None, **more):
    return rl.propagate(
        topology or rl.Causal(),
        receivers=x,
        senders=x,
        relations={"offset": rl.Offset(clip=2).rows(key=rows)},
        score=[
            lambda receiver, sender: rl.dot(receiver, sender),
            lambda receiver, offset: rl.dot(receiver, offset.key),
        ],
        message=lambda sender: sender,
        aggregator=rl.Softmax(),
        lowering=lowering,
        **more,
    )


X = jax.random.normal(jax.random.key(0), (9, 4))
ROWS = jax.random.normal(jax.random.key(1), (5, 4))


@each_lowering
def test_transformations_change_nothing(lowering):
    def total(x, rows):
        return jnp.sin(attend(x, rows, lowering)).sum()

    value, slope = jax.value_and_grad(total)(X, ROWS)  # Not compiled as a whole.
    np.testing.assert_allclose(jax.jit(total)(X, ROWS), value, rtol=1e-5)
    kept = jax.jit(jax.grad(jax.checkpoint(total)))(X, ROWS)
    np.testing.assert_allclose(kept, slope, atol=1e-5)
    many = jnp.stack([X, 2 * X])
    batched = jax.jit(jax.vmap(jax.grad(total), (0, None)))(many, ROWS)
    np.testing.assert_allclose(batched[0], slope, atol=1e-5)
    summed = jax.grad(lambda many: jax.vmap(total, (0, None))(many, ROWS).sum())
    grown = jax.jit(summed)(many)
    np.testing.assert_allclose(grown, batched, atol=1e-5)

    def body(x, _):
        return attend(x, ROWS, lowering), None

    looped = jax.jit(lambda x: jax.lax.scan(body, x, None, length=2)[0])(X)
    once = jax.jit(lambda x: attend(x, ROWS, lowering))
    twice = once(once(X))
    np.testing.assert_allclose(looped, twice, atol=1e-5)


@each_lowering
def test_terms_close_over_arrays_of_any_type(lowering):
    scale, shift = jnp.array([1.0, 2.0, 3.0]), jnp.arange(3)

    def total(x, scale, shift, key):
        noise = jax.random.normal(key, ())

        def message(sender):
            return sender * scale[shift[1]] + noise + jax.random.uniform(key)

        heard = rl.propagate(
            rl.Causal(),
            senders=x,
            message=message,
            aggregator=rl.Mean(),
            lowering=lowering,
        )
        return (heard * heard).sum()

    arguments = (X, scale, shift, jax.random.key(3))
    eager = jax.grad(total, argnums=1)(*arguments)
    assert float(jnp.abs(eager[1])) > 0.1
    batched = jax.jit(jax.vmap(jax.grad(total, argnums=1), (None, 0, None, None)))
    found = batched(X, jnp.stack([scale, scale]), shift, jax.random.key(3))
    np.testing.assert_allclose(found[0], eager, rtol=1e-5)


def hear_all_kinds(lowering):
    """Returns a function of a float, a table, integers and a key, and its arguments.

    Its terms close over integers and a key that are arguments too.
    """

    def total(x, rows, pitch, key):
        order, noise = jnp.argsort(pitch)[:4], jax.random.fold_in(key, 1)

        def message(sender):
            return sender.x[order % 4] + jax.random.uniform(noise, (4,))

        heard = rl.propagate(
            rl.Causal(),
            receivers={"x": x, "pitch": pitch},
            senders={"x": x, "pitch": pitch},
            relations={"pitch": rl.Difference("pitch", clip=2).rows(key=rows)},
            score=[
                lambda receiver, sender: rl.dot(receiver.x, sender.x),
                lambda receiver, pitch: rl.dot(receiver.x, pitch.key),
            ],
            message=message,
            aggregator=rl.Softmax(),
            dropout=rl.Dropout(0.3, key),
            lowering=lowering,
        )
        return jnp.sin(heard).sum()

    return total, (X, ROWS, jnp.arange(9) * 2 % 7, jax.random.key(3))


OTHERS = (2 * X, ROWS[::-1], (jnp.arange(9) * 4 + 1) % 7, jax.random.key(4))


def assert_close(found, wanted):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5),
        found,
        wanted,
    )


@pytest.mark.parametrize("batched", [(0, 1, 2, 3), (0,), (1, 3), (2,)], ids=str)
@each_lowering
def test_an_outer_vmap_batches_any_of_the_arguments(lowering, batched):
    total, arguments = hear_all_kinds(lowering)
    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    mixed = [
        OTHERS[at] if at in batched else argument
        for at, argument in enumerate(arguments)
    ]
    wanted = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), both(*arguments), both(*mixed)
    )
    stacked = [
        jnp.stack([argument, other]) if at in batched else argument
        for at, (argument, other) in enumerate(zip(arguments, mixed, strict=True))
    ]
    axes = tuple(0 if at in batched else None for at in range(4))
    assert_close(jax.jit(jax.vmap(both, axes))(*stacked), wanted)

    def summed(x, rows):
        return jax.vmap(total, axes)(x, rows, *stacked[2:]).sum()

    value, slopes = jax.jit(jax.value_and_grad(summed, argnums=(0, 1)))(*stacked[:2])
    assert_close(value, wanted[0].sum())
    for at, slope in enumerate(slopes):
        assert_close(slope, wanted[1][at] if at in batched else wanted[1][at].sum(0))


@each_lowering
def test_checkpoint_and_scan_give_the_gradients_of_a_loop(lowering):
    total, (x, rows, pitch, key) = hear_all_kinds(lowering)
    keys = jnp.stack([key, OTHERS[3]])

    def step(x, pitch_and_key):
        drawn, key = pitch_and_key
        return x + jax.checkpoint(total)(x, rows, drawn, key) / 10, None

    pitches = jnp.stack([pitch, OTHERS[2]])

    def scanned(x):
        return jax.lax.scan(step, x, (pitches, keys))[0].sum()

    def looped(x):
        for at in range(2):  # Keys cannot be walked over under `jit`.
            x = x + total(x, rows, pitches[at], keys[at]) / 10
        return x.sum()

    wanted = jax.jit(jax.value_and_grad(looped))(x)
    assert_close(jax.jit(jax.value_and_grad(scanned))(x), wanted)


@each_lowering
def test_an_exported_program_gives_the_same_values_and_gradients(lowering):
    total, (x, rows, pitch, key) = hear_all_kinds(lowering)

    def of_data(x, rows, pitch, key_data):
        return total(x, rows, pitch, jax.random.wrap_key_data(key_data))

    arguments = (x, rows, pitch, jax.random.key_data(key))
    program = jax.export.export(jax.jit(of_data))(*arguments)
    loaded = jax.export.deserialize(program.serialize(vjp_order=1))
    both = jax.value_and_grad(loaded.call, argnums=(0, 1))
    wanted = jax.jit(jax.value_and_grad(of_data, argnums=(0, 1)))(*arguments)
    assert_close(jax.jit(both)(*arguments), wanted)


def test_topologies_pass_through_jit_as_arguments():
    graph = rl.Edges([0, 1, 2], [1, 2, 0], num_receivers=3)

    @jax.jit
    def heard(graph, x):
        return rl.propagate(
            graph, senders=x, message=lambda sender: sender, aggregator=rl.Sum()
        )

    np.testing.assert_array_equal(heard(graph, jnp.arange(3.0)), [2, 0, 1])
    np.testing.assert_array_equal(heard(graph, jnp.arange(3.0) + 1), [3, 1, 2])


def test_traced_edges_out_of_range_are_dropped():
    @jax.jit
    def heard(senders, receivers):
        return rl.propagate(
            rl.Edges(senders, receivers, 3),
            senders=jnp.ones(3),
            message=lambda sender: sender,
            aggregator=rl.Sum(),
        )

    found = heard(jnp.array([0, -1, 5, 1]), jnp.array([0, 0, 1, 7]))
    np.testing.assert_array_equal(found, [1, 0, 0])


@each_lowering
def test_leading_axes_are_full_or_one(lowering):
    if lowering.name == "edges":
        lowering = None
    keys = jax.random.split(jax.random.key(0), 3)
    query = jax.random.normal(keys[0], (2, 3, 6, 4))
    key = jax.random.normal(keys[1], (2, 1, 6, 4))  # One key head for three queries.
    value = jax.random.normal(keys[2], (1, 3, 6, 5))

    def heard(query, key, value):
        return rl.propagate(
            rl.Causal(),
            batch_axes=2,
            receivers=query,
            senders={"key": key, "value": value},
            score=lambda receiver, sender: rl.dot(receiver, sender.key),
            message=lambda sender: sender.value,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    def both(*arrays):
        return heard(*arrays), jax.grad(lambda *x: jnp.sin(heard(*x)).sum(), (1, 2))(
            *arrays
        )

    full = [jnp.broadcast_to(x, (2, 3, *x.shape[2:])) for x in (query, key, value)]
    found, slope = jax.jit(both)(query, key, value)
    wanted, wide = jax.jit(both)(*full)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(slope[0], wide[0].sum(1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(slope[1], wide[1].sum(0, keepdims=True), atol=1e-5)


@each_lowering
def test_empty_sides_give_empty_or_zero(lowering):
    if lowering.name == "tiles":
        lowering = None

    def heard(receivers, senders):
        return rl.propagate(
            rl.Complete(),
            num_receivers=receivers,
            senders=jnp.ones((senders, 2)),
            message=lambda sender: sender,
            aggregator=(rl.Sum(), rl.Max(), rl.Std()),
            lowering=lowering,
        )

    assert [part.shape for part in heard(0, 3)] == [(0, 2)] * 3
    assert all((part == 0).all() for part in heard(3, 0))


def test_partial_terms_are_never_evaluated_off_the_edges():
    x = jnp.array([1.0, 2.0, 0.0])

    def total(x):
        return rl.propagate(
            rl.Edges([0, 1], [1, 0], 3),
            receivers=x,
            senders=x,
            message=lambda receiver, sender: jnp.log(receiver) / sender,
            aggregator=rl.Sum(),
            partial_terms=True,
        ).sum()

    assert (
        rl.lower(
            rl.Causal(),
            senders=X,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            partial_terms=True,
        ).lowering
        == L.Edges()
    )
    assert jnp.isfinite(jax.grad(total)(x)).all()


def test_partial_terms_are_never_evaluated_where_a_listed_edge_does_not_count():
    valid = jnp.array([[True, False], [True, True]])
    chosen = jnp.array([[0, 1], [1, 0]])

    @jax.jit
    def total(factor):
        return rl.propagate(
            rl.Neighbours(senders=chosen, num_senders=2, valid=valid),
            senders=jnp.array([1.0, 2.0]),
            edges=factor * jnp.array([1.0, 0.0, 4.0, 9.0]),
            message=lambda sender, edge: sender * jnp.sqrt(edge),
            aggregator=rl.Sum(),
            partial_terms=True,
            lowering=L.Edges(),
        ).sum()

    # (1 + 2 x 2 + 3) sqrt(factor), of which the derivative at 1 is half.
    assert float(jax.grad(total)(1.0)) == 4.0


def test_per_edge_keeps_the_order_of_the_edges():
    graph = rl.Edges([2, 0, 1], [0, 1, 1], num_receivers=3)
    found = rl.per_edge(
        graph,
        lambda receiver, sender, edge: 100 * receiver + 10 * sender + edge,
        receivers=jnp.arange(3.0),
        senders=jnp.arange(3.0),
        edges=jnp.array([7.0, 8.0, 9.0]),
    )
    np.testing.assert_array_equal(found, [27, 108, 119])


def test_per_edge_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"`per_edge` would return .* GiB"):
        rl.per_edge(rl.Complete(), lambda sender: sender, senders=jnp.zeros((9000, 8)))


@each_lowering
def test_padding_beyond_the_lengths_is_invisible(lowering):
    lengths = jnp.array([5, 3])
    topology = rl.Causal() & rl.Lengths(senders=lengths)
    x = jax.random.normal(jax.random.key(0), (2, 7, 4))
    garbage = jnp.where(jnp.arange(7)[None, :, None] < lengths[:, None, None], x, 1e6)

    @jax.jit
    def heard(x):
        return attend(x, ROWS[None], lowering, topology, batch_axes=1)

    short = attend(x[1:, :3], ROWS[None], lowering, batch_axes=1)
    np.testing.assert_allclose(heard(x)[1, :3], short[0], atol=1e-6)
    np.testing.assert_allclose(heard(garbage)[1, :3], short[0], atol=1e-6)


SAID_TO_SEVEN = [
    lambda sender: sender,
    lambda receiver: receiver,
    lambda receiver, sender: receiver * sender,
    lambda receiver, offset: receiver * offset.key,
    lambda sender, offset: sender * offset.key,
]


@pytest.mark.parametrize("message", SAID_TO_SEVEN, ids=range(5))
@each_lowering
def test_what_is_not_a_number_reaches_its_receiver_alone(lowering, message):
    broken = X.at[7].set(math.nan)
    heard = jax.jit(
        lambda: rl.propagate(
            rl.Causal(),
            receivers=broken,
            senders=X,
            relations={"offset": rl.Offset(limit=(-8, 0)).rows(key=jnp.ones((9, 4)))},
            score=[
                lambda receiver, sender: rl.dot(receiver, sender),
                lambda receiver, offset: rl.dot(receiver, offset.key),
            ],
            message=message,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )
    )()
    assert np.flatnonzero(np.isnan(heard).any(axis=1)).tolist() == [7]


NEAR = rl.Window(grid=(9,), size=3)
LISTED = rl.Edges(*NEAR.edges(9, 9), 9)


@pytest.mark.parametrize(
    ("lowering", "topology", "end"),
    [
        (L.Window(), NEAR, "receiver"),  # A product of tiles lets a sender's out.
        (L.Slots(), LISTED, "receiver"),
        (L.Slots(), LISTED, "sender"),
        (L.Sparse(), LISTED, "receiver"),
        (L.Sparse(), LISTED, "sender"),
    ],
)
def test_what_is_not_a_number_reaches_its_neighbours_alone(lowering, topology, end):
    broken = X.at[5].set(math.nan)
    heard = jax.jit(
        lambda: rl.propagate(
            topology,
            receivers=broken if end == "receiver" else X,
            senders=broken if end == "sender" else X,
            score=lambda receiver, sender: rl.dot(receiver, sender),
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )
    )()
    reached = [5] if end == "receiver" else [4, 5, 6]
    assert np.flatnonzero(np.isnan(heard).any(axis=1)).tolist() == reached


AGGREGATORS = [rl.Sum(), rl.Mean(), rl.Max(), rl.Min(), rl.LogSumExp(), rl.Std()]


@pytest.mark.parametrize("aggregator", AGGREGATORS, ids=repr)
@each_lowering
def test_what_is_not_a_number_is_heard_by_every_aggregator(lowering, aggregator):
    heard = jax.jit(
        lambda: rl.propagate(
            rl.Causal(),
            senders=X.at[2].set(math.nan),
            message=lambda sender: sender,
            aggregator=aggregator,
            lowering=lowering,
        )
    )()
    assert np.isnan(heard[2:]).all()


@each_lowering
def test_permuting_nodes_permutes_the_result(lowering):
    order = jax.random.permutation(jax.random.key(4), 9)
    labels = jax.random.randint(jax.random.key(5), (9, 9), 0, 5)

    @jax.jit
    def heard(x, labels):
        return rl.propagate(
            rl.Complete(),
            receivers=x,
            senders=x,
            relations={"kind": rl.Labels(labels, count=5).rows(key=ROWS)},
            score=[
                lambda receiver, sender: rl.dot(receiver, sender),
                lambda receiver, kind: rl.dot(receiver, kind.key),
            ],
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
            lowering=lowering,
        )

    permuted = heard(X[order], labels[order][:, order])
    np.testing.assert_allclose(permuted, heard(X, labels)[order], atol=1e-5)


def test_tiles_store_no_square_array():
    length, head = 2048, 16
    shapes = [jax.ShapeDtypeStruct((1, 2, length, head), "float32")] * 3
    rows = jax.ShapeDtypeStruct((1, 2, length, head), "float32")

    def total(query, key, value, key_rows, value_rows):
        return rl.propagate(
            rl.Causal(),
            batch_axes=2,
            receivers=query / math.sqrt(head),
            senders={"key": key, "value": value},
            relations={
                "offset": rl.Offset(limit=(1 - length, 0)).rows(
                    key=key_rows, value=value_rows
                )
            },
            score=[
                lambda receiver, sender: rl.dot(receiver, sender.key),
                lambda receiver, offset: rl.dot(receiver, offset.key),
            ],
            message=[lambda sender: sender.value, lambda offset: offset.value],
            aggregator=rl.Softmax(),
            lowering=L.Tiles(block=64),
        ).sum()

    compiled = (
        jax.jit(jax.grad(total, argnums=range(5))).lower(*shapes, rows, rows).compile()
    )
    memory = compiled.memory_analysis().temp_size_in_bytes
    assert memory < 4 * length * length  # Less than one matrix of one head.


SENDERS = {"senders": X, "message": lambda sender: sender}


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A wrong call, and the words that it must get."""

    words: str
    call: dict
    topology: object = dataclasses.field(default_factory=rl.Causal)


WRONG = [
    Wrong(
        r"arguments must be among sender; got `receiver`",
        {"senders": X, "message": lambda receiver: receiver, "aggregator": rl.Sum()},
    ),
    Wrong(
        r"`score` must be given: Softmax",
        {**SENDERS, "aggregator": rl.Softmax()},
    ),
    Wrong(
        r"`score` must be left out: Mean does not hear it",
        {**SENDERS, "aggregator": rl.Mean(), "score": lambda sender: sender.sum()},
    ),
    Wrong(
        r"a score term must return one number an edge; got shape \(4,\)",
        {**SENDERS, "aggregator": rl.Softmax(), "score": lambda sender: sender},
    ),
    Wrong(
        r"a message term must return one array; got tuple",
        {"senders": X, "message": lambda sender: (sender,), "aggregator": rl.Sum()},
    ),
    Wrong(
        r"all leaves of `senders` must have one count",
        {
            "senders": {"a": X, "b": X[:3]},
            "message": lambda sender: sender.a,
            "aggregator": rl.Sum(),
        },
    ),
    Wrong(
        r"`senders` must have 2 leading axes",
        {**SENDERS, "aggregator": rl.Sum(), "batch_axes": 2},
    ),
    Wrong(
        r"`relations\['offset'\]\.key` must have 5 rows at axis 0.* got shape \(4, 4\)",
        {
            **SENDERS,
            "aggregator": rl.Sum(),
            "relations": {"offset": rl.Offset(clip=2).rows(key=ROWS[:4])},
        },
    ),
    Wrong(
        r"reads the attribute `pitch`, which `receivers` must have",
        {
            "senders": {"x": X},
            "receivers": {"x": X},
            "message": lambda sender: sender.x,
            "aggregator": rl.Sum(),
            "relations": {"interval": rl.Difference("pitch", clip=2)},
        },
    ),
    Wrong(
        r"a relation must not be called `edge`",
        {**SENDERS, "aggregator": rl.Sum(), "relations": {"edge": rl.Offset(clip=1)}},
    ),
    Wrong(
        r"`edges` must have a row an edge of the topology, 45; got 9",
        {**SENDERS, "aggregator": rl.Sum(), "edges": X},
    ),
    Wrong(
        r"cannot serve this call: the edges are listed one by one",
        {**SENDERS, "aggregator": rl.Sum(), "lowering": L.Tiles()},
        rl.Edges([0], [1], 9),
    ),
    Wrong(
        r"`receivers` must have as many nodes as the topology, 5; got 9",
        {**SENDERS, "receivers": X, "aggregator": rl.Sum()},
        rl.Edges([0], [1], 5, 9),
    ),
    Wrong(
        r"`receivers` or `senders` must be given",
        {"message": lambda: jnp.ones(()), "aggregator": rl.Sum()},
    ),
    Wrong(
        r"message terms must be of one shape, since they add up; got",
        {
            "senders": X,
            "message": [lambda sender: sender, lambda sender: sender[:3]],
            "aggregator": rl.Sum(),
        },
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.words[:40])
def test_wrong_calls_get_clear_words(wrong):
    with pytest.raises(ValueError, match=wrong.words):
        rl.propagate(wrong.topology, **wrong.call)


def test_an_unknown_leaf_names_those_there_are():
    with pytest.raises(AttributeError, match="no `valu` here; there are: key, value"):
        rl.propagate(
            rl.Causal(),
            senders={"key": X, "value": X},
            message=lambda sender: sender.valu,
            aggregator=rl.Sum(),
        )


def test_what_is_not_a_topology_or_an_aggregator_is_refused():
    with pytest.raises(TypeError, match="`topology` must be a topology"):
        rl.propagate("causal", aggregator=rl.Sum(), **SENDERS)
    with pytest.raises(TypeError, match="`aggregator` must be an aggregator"):
        rl.propagate(rl.Causal(), aggregator=("sum",), **SENDERS)


def test_traced_edges_out_of_range_of_no_nodes_are_dropped():
    def heard(senders, receivers):
        return rl.propagate(
            rl.Edges(senders, receivers, 0, 0) & rl.Causal(),
            receivers=jnp.ones((0, 3)),
            senders=jnp.ones((0, 3)),
            message=lambda receiver, sender: receiver + sender,
            aggregator=rl.Sum(),
        )

    ends = jnp.arange(4)
    assert jax.jit(heard)(ends, ends).shape == (0, 3)
