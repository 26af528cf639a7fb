"""Every lowering beside the definition under every transformation of JAX."""

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


def gradients(name, lowering):
    """Returns the gradients of a loss of a call, for one x and one weight."""
    _, topology, call = CASES[name]

    def loss(x, weight):
        return jnp.sin(call(topology, lowering, x, weight)).sum()

    return jax.grad(loss, argnums=(0, 1))


def scanned(function):
    def step(carry, pair):
        return carry, function(*pair)

    return jax.jit(lambda x, weight: jax.lax.scan(step, 0.0, (x, weight))[1])


def exported(function):
    def call(x, weight):
        written = export.export(jax.jit(function))(x, weight).serialize()
        return export.deserialize(written).call(x, weight)

    return call


def summed(function):
    def loss(x, weight):
        return sum(jnp.cos(each).sum() for each in function(x, weight))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


BATCHED = {
    "vmap": jax.vmap,
    "vmap of x": lambda function: jax.vmap(function, in_axes=(0, None)),
    "scan": scanned,
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


def check(name, transformation, transform):
    given = arrays(transformation)
    runs = [transform(gradients(name, each)) for each in (CASES[name][0], L.Edges())]
    for _ in range(2):  # The second call takes what the first has kept.
        found, wanted = (run(*given) for run in runs)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("transformation", [*BATCHED, *ALONE])
@pytest.mark.parametrize("name", CASES)
def test_transformations_of_a_lowering_are_those_of_the_definition(
    name, transformation
):
    check(name, transformation, (BATCHED | ALONE)[transformation])


@pytest.mark.parametrize("name", ANY_ORDER)
def test_second_derivatives(name):
    check(name, "second derivatives", summed)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_same_run_to_run(name):
    run = jax.jit(gradients(name, CASES[name][0]))
    given = arrays("jit")
    first = run(*given)
    for _ in range(3):
        for one, other in zip(run(*given), first, strict=True):
            np.testing.assert_array_equal(one, other)
