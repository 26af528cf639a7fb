"""Every lowering beside the definition under every transformation of JAX.

The definition is compiled once a call, and not transformed: of a batch, one by one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import relational as rl

L = rl.lowerings
NUM_NODES, WIDTH = 12, 4
WINDOW = rl.Window(grid=(3, 4), size=3)
STENCIL = rl.Stencil(grid=(3, 4), size=3)
LISTED = rl.Edges(*WINDOW.edges(NUM_NODES, NUM_NODES), NUM_NODES)


def attention(topology, lowering, x, weight):
    return rl.propagate(
        topology,
        receivers=x,
        senders=x,
        context=weight[0],
        score=lambda receiver, sender, context: context * rl.dot(receiver, sender),
        message=lambda sender: sender,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )


def plain_attention(topology, lowering, x, weight):
    return rl.propagate(
        topology,
        receivers=x * weight[0],
        senders=x,
        score=lambda receiver, sender: rl.dot(receiver, sender),
        message=lambda sender: sender,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )


def pooling(topology, lowering, x, weight):
    return rl.propagate(
        topology,
        receivers=x,
        senders=x * weight[0],
        message=lambda receiver, sender: jnp.tanh(receiver - sender),
        aggregator=rl.Max(),
        lowering=lowering,
    )


def convolution(topology, lowering, x, weight):
    return rl.propagate(
        topology,
        senders=x,
        relations={"tap": STENCIL.tap.rows(weight=jnp.tile(weight[:, None], WIDTH))},
        message=lambda sender, tap: sender * tap.weight,
        aggregator=rl.Sum(),
        lowering=lowering,
    )


CASES = {
    "edges": (L.Edges(), LISTED, attention),
    "dense": (L.Dense(), WINDOW, attention),
    "tiles": (L.Tiles(block=5), WINDOW, attention),
    "window": (L.Window(block=(2, 2)), WINDOW, attention),
    "stencil": (L.Stencil(), STENCIL, convolution),
    "shifts": (L.Shifts(), STENCIL, pooling),
    "sparse": (L.Sparse(), LISTED, attention),
    "slots": (L.Slots(), LISTED, pooling),
    "kernel": (L.Kernel(interpret=True), rl.Causal(), attention),
    "fused": (L.Fused(implementation="xla"), rl.Causal(), plain_attention),
}
ANY_ORDER = ("edges", "dense", "stencil", "shifts", "sparse")
FORWARD = ("edges", "dense", "window", "stencil", "shifts", "fused")


def gradients(topology, call, lowering):
    """Returns the gradients of a loss of a call, for one x and one weight."""

    def loss(x, weight):
        return jnp.sin(call(topology, lowering, x, weight)).sum()

    return jax.grad(loss, argnums=(0, 1))


@functools.cache
def definition(topology, call):
    """Returns the gradients by the definition, compiled and not transformed."""
    return jax.jit(gradients(topology, call, L.Edges()))


@functools.cache
def transformed(name, transformation):
    """Returns the gradients by a lowering, transformed and compiled."""
    lowering, topology, call = CASES[name]
    transform = (BATCHED | ALONE)[transformation]
    return transform(gradients(topology, call, lowering))


def scanned(function):
    def step(carry, pair):
        return carry, function(*pair)

    return lambda x, weight: jax.lax.scan(step, 0.0, (x, weight))[1]


def exported(function):
    written = export.export(jax.jit(function))(*arrays("export")).serialize()
    return jax.jit(export.deserialize(written).call)


def summed(function):
    def loss(x, weight):
        return sum(jnp.cos(each).sum() for each in function(x, weight))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


BATCHED = {
    "vmap": lambda function: jax.jit(jax.vmap(function)),
    "vmap of x": lambda function: jax.jit(jax.vmap(function, in_axes=(0, None))),
    "scan": lambda function: jax.jit(scanned(function)),
}
ALONE = {
    "jit": jax.jit,
    "checkpoint": lambda function: jax.jit(jax.checkpoint(function)),
    "export": exported,
}


def arrays(transformation):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, NUM_NODES, WIDTH)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(2, 9)), jnp.float32)
    if transformation == "vmap of x":
        return x, weight[0]
    return (x, weight) if transformation in BATCHED else (x[0], weight[0])


def one_by_one(function, transformation):
    """Returns what a function gives for each of a batch, or for the one there is."""
    x, weight = arrays(transformation)
    if transformation not in BATCHED:
        return function(x, weight)
    weights = [weight] * len(x) if weight.ndim == 1 else weight
    each = [function(*pair) for pair in zip(x, weights, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def assert_close(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("transformation", [*BATCHED, *ALONE])
@pytest.mark.parametrize("name", CASES)
def test_transformations_of_a_lowering_are_those_of_the_definition(
    name, transformation
):
    run, given = transformed(name, transformation), arrays(transformation)
    wanted = one_by_one(definition(*CASES[name][1:]), transformation)
    for _ in range(2):  # The second call takes what the first has kept.
        assert_close(run(*given), wanted)


@pytest.mark.parametrize("name", [name for name in ANY_ORDER if name != "edges"])
def test_second_derivatives(name):
    lowering, topology, call = CASES[name]
    found, wanted = (
        summed(gradients(topology, call, each)) for each in (lowering, L.Edges())
    )
    given = arrays("jit")
    for _ in range(2):
        assert_close(found(*given), wanted(*given))


@pytest.mark.parametrize("name", FORWARD)
def test_forward_derivatives_are_those_in_reverse(name):
    lowering, topology, call = CASES[name]
    at = arrays("jit")
    along = jax.tree.map(jnp.cos, at)

    def run(x, weight):
        return call(topology, lowering, x, weight)

    out, forward = jax.jit(lambda: jax.jvp(run, at, along))()
    slopes = jax.jit(jax.vjp(run, *at)[1])(jnp.sin(out))
    found = jnp.vdot(forward, jnp.sin(out))
    wanted = sum(map(jnp.vdot, slopes, along))
    assert abs(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_same_run_to_run(name):
    run, given = transformed(name, "jit"), arrays("jit")
    first = run(*given)
    for _ in range(3):
        for one, other in zip(run(*given), first, strict=True):
            np.testing.assert_array_equal(one, other)
