"""Products of the backward pass: the same numbers, from operands that lie upright."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.lowerings.products import upright


def _gradient(weight, value, cotangent):
    """The gradient of a mixture of exponentials, through a `jit` and a custom rule."""

    @jax.jit
    def mixed(weight, value):
        return jax.nn.relu(jnp.exp(weight) @ value)

    return jax.vjp(mixed, weight, value)[1](cotangent)


@pytest.mark.parametrize("shape", [(3, 8, 2), (8, 3, 5), (1, 1, 1), (4, 1, 7)])
def test_the_gradient_is_the_same_and_no_left_operand_lies_transposed(shape):
    receivers, senders, features = shape
    rng = np.random.default_rng(0)
    weight, value, cotangent = (
        jnp.asarray(rng.normal(size=size), jnp.float32)
        for size in (
            (receivers, senders),
            (senders, features),
            (receivers, features),
        )
    )
    arguments = weight, value, cotangent
    found, wanted = upright(_gradient)(*arguments), _gradient(*arguments)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert "([0], [0])" in str(jax.make_jaxpr(_gradient)(*arguments))
    assert "([0], [0])" not in str(jax.make_jaxpr(upright(_gradient))(*arguments))


def test_what_is_batched_or_differentiated_again_is_the_same():
    weight, value, cotangent = jnp.ones([2, 3, 8]), jnp.ones([8, 4]), jnp.ones([3, 4])

    def total(gradient, weight):
        return sum(leaf.sum() for leaf in gradient(weight, value, cotangent))

    def slopes(gradient):
        return jax.vmap(jax.grad(lambda weight: total(gradient, weight)))(weight)

    np.testing.assert_allclose(slopes(upright(_gradient)), slopes(_gradient), rtol=1e-6)
