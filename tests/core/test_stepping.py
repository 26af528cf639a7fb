"""The law of decoding: stepping through a sequence equals one parallel pass over it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl

LENGTH = 17
KEYS = jax.random.split(jax.random.key(0), 7)
QUERY, KEY, VALUE = (jax.random.normal(KEYS[i], (2, 3, LENGTH, 4)) for i in range(3))
OFFSET_KEYS = jax.random.normal(KEYS[3], (1, 3, 9, 4))
OFFSET_VALUES = jax.random.normal(KEYS[4], (1, 1, 9, 4))
PITCH_KEYS = jax.random.normal(KEYS[5], (1, 1, 7, 4))
PITCH = jax.random.randint(KEYS[6], (2, 1, LENGTH), 60, 72)
TERMS = {
    "aggregator": rl.Softmax(),
    "relations": {
        "offset": rl.Offset(limit=4).rows(key=OFFSET_KEYS, value=OFFSET_VALUES),
        "interval": rl.Difference("pitch", clip=3).rows(key=PITCH_KEYS),
    },
    "score": [
        lambda receiver, sender: rl.dot(receiver.query, sender.key),
        lambda receiver, offset: rl.dot(receiver.query, offset.key),
        lambda receiver, interval: rl.dot(receiver.query, interval.key),
    ],
    "message": [lambda sender: sender.value, lambda offset: offset.value],
}
RECEIVERS = {"query": QUERY, "pitch": PITCH}
SENDERS = {"key": KEY, "value": VALUE, "pitch": PITCH}
TOPOLOGIES = {
    rl.Causal(): LENGTH,
    rl.Band(before=5): 6,
    rl.Blocks(size=4) & rl.Causal(): 8,
    (rl.Causal() - rl.Band(before=2)) | rl.Self(): LENGTH,
}


def at(tree, positions):
    """The nodes at `positions` [batch], each as a sequence of one."""

    def take(leaf):
        rows = [leaf[b, :, int(p)] for b, p in enumerate(positions)]
        return jnp.stack(rows)[:, :, None]

    return jax.tree.map(take, tree)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=str)
@pytest.mark.parametrize("primes", [(0, 0), (7, 4), (LENGTH - 1, 0)])
def test_stepping_equals_the_parallel_pass(topology, primes):
    whole = rl.propagate(
        topology, batch_axes=2, receivers=RECEIVERS, senders=SENDERS, **TERMS
    )
    cache = rl.start(topology, SENDERS, length=LENGTH, batch_axes=2)
    assert cache.slots == TOPOLOGIES[topology]
    prime = jax.tree.map(lambda leaf: leaf[:, :, : max(primes)], SENDERS)
    cache = rl.prefill(cache, prime, jnp.array(primes))
    step = jax.jit(
        lambda cache, position, receivers, senders: rl.step(
            cache, position, receivers=receivers, senders=senders, **TERMS
        )
    )
    positions = np.array(primes)
    while positions.max() < LENGTH:
        heard, cache = step(
            cache,
            jnp.asarray(positions),
            at(RECEIVERS, positions),
            at(SENDERS, positions),
        )
        np.testing.assert_allclose(heard, at(whole, positions), atol=3e-6)
        positions = positions + 1


LENGTHS = jnp.array([LENGTH, 6])


@pytest.mark.parametrize(
    "topology",
    [rl.Complete(), rl.Band(before=2, after=5), rl.Strided(3), rl.Causal().T],
    ids=str,
)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
def test_stepping_beside_fixed_senders_equals_the_parallel_pass(topology, lengths):
    bound = rl.Lengths(senders=LENGTH if lengths is None else lengths[:, None])
    whole = rl.propagate(
        topology & bound, batch_axes=2, receivers=RECEIVERS, senders=SENDERS, **TERMS
    )
    cache = rl.start_fixed(topology, SENDERS, batch_axes=2, lengths=lengths)
    assert (cache.is_fixed, cache.slots) == (True, LENGTH)
    step = jax.jit(
        lambda cache, position, receivers: rl.step(
            cache, position, receivers=receivers, **TERMS
        )
    )
    for positions in ((0, 3), (LENGTH - 1, 8), (5, 0)):  # In whatever order.
        heard, after = step(cache, jnp.array(positions), at(RECEIVERS, positions))
        np.testing.assert_allclose(heard, at(whole, positions), atol=3e-6)
        assert (after.positions == cache.positions).all()


def test_a_cache_is_as_long_as_the_window_not_as_the_sequence():
    node = jax.ShapeDtypeStruct((1, 2, 1, 4), "float32")
    for topology, slots in [
        (rl.Band(before=63), 64),
        (rl.Blocks(size=32) & rl.Causal(), 64),
        (rl.Causal(), 100_000),
    ]:
        cache = rl.start(topology, node, length=100_000, batch_axes=2)
        assert cache.senders.shape == (1, 2, slots, 4)


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        (rl.Complete(), r"`Complete\(\)` cannot be stepped: node 0 hears node 1,"),
        (rl.Band(before=2, after=1), r"node 0 hears node 1, which comes later"),
        (rl.Blocks(size=4), r"Intersect it with `rl.Causal\(\)`"),
        (rl.Causal().T, r"node 0 hears node 1"),
    ],
)
def test_a_topology_that_hears_later_nodes_has_no_step(topology, words):
    with pytest.raises(ValueError, match=words):
        rl.start(topology, KEY, length=LENGTH, batch_axes=2)


def test_stepping_needs_a_batch_axis():
    with pytest.raises(ValueError, match="`batch_axes` must be 1 or more for stepping"):
        rl.start(rl.Causal(), KEY[0, 0], length=LENGTH, batch_axes=0)


NODE = jax.ShapeDtypeStruct((2, 1, 3), "float32")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: rl.start(rl.Causal(), NODE, length=0, batch_axes=1),
            "`length` must be 1 or more; got 0",
        ),
        (
            lambda: rl.prefill(cache(), jnp.ones([2, 5, 4])),
            r"`senders` must be \[2, nodes, 3\], as .* started with; got \[2, 5, 4\]",
        ),
        (
            lambda: rl.prefill(cache(), {"note": jnp.ones([2, 5, 3])}),
            "`senders` must be the pytree that the cache was started with",
        ),
        (
            lambda: rl.prefill(cache(), jnp.ones([2, 5, 3]), jnp.ones(2)),
            r"`lengths` must be integers \[2\], one a sequence; got float32 \[2\]",
        ),
        (
            lambda: step(jnp.array([0, 0]), jnp.ones([2, 2, 3])),
            "`senders` must hold one node; got 2",
        ),
        (
            lambda: step(jnp.array([0, 0]), jnp.ones([2, 1, 4])),
            r"`senders` must be \[2, nodes, 3\]",
        ),
        (
            lambda: rl.prefill(fixed(), jnp.ones([2, 5, 3])),
            "`cache` must be one that grows, from `rl.start`; got one of `rl.start_fixed`",
        ),
        (
            lambda: rl.step(
                fixed(),
                jnp.array([0, 0]),
                senders=jnp.ones([2, 1, 3]),
                message=lambda sender: sender,
                aggregator=rl.Sum(),
            ),
            "`senders` must be left out: the cache is of `rl.start_fixed`",
        ),
        (
            lambda: rl.start_fixed(
                rl.Complete(), jnp.ones([2, 5]), batch_axes=1, lengths=jnp.ones(2)
            ),
            r"`lengths` must be integers \[2\], one a sequence; got float32 \[2\]",
        ),
        (
            lambda: rl.start_fixed(
                rl.Complete(), [jnp.ones([2, 5]), jnp.ones([2, 4])], batch_axes=1
            ),
            "`senders` must be arrays of one number of nodes; got 4, 5",
        ),
        (
            lambda: step(0, jnp.ones([2, 1, 3])),
            r"`position` must be integers \[2\], one a sequence; got int32 \[\]",
        ),
        (
            lambda: step(jnp.array([0.0, 1.0]), jnp.ones([2, 1, 3])),
            r"`position` must be integers \[2\], one a sequence; got float32 \[2\]",
        ),
    ],
)
def test_what_does_not_fit_the_cache_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def cache():
    return rl.start(rl.Causal(), NODE, length=7, batch_axes=1)


def fixed():
    return rl.start_fixed(rl.Complete(), jnp.ones([2, 5, 3]), batch_axes=1)


def step(position, senders):
    terms = {"message": lambda sender: sender, "aggregator": rl.Sum()}
    return rl.step(cache(), position, senders=senders, **terms)
