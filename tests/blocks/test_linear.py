"""Dense layers of short floats: what Haiku's give, and gradients that float32 gives."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.blocks import Linear
from relational.blocks.linear import with_rows

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 5)).astype(np.float32)
COTANGENT = RANDOM.normal(size=(6, 4)).astype(np.float32)


def _gradients(function, *arguments):
    def weighed(*arguments):
        out = function(*arguments).astype(jnp.float32)
        return (out * COTANGENT).sum()

    both = jax.value_and_grad(weighed, argnums=tuple(range(len(arguments))))
    with jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, jax.jit(both)(*arguments))


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_dense_layer_is_that_of_haiku_with_its_parameters(with_bias, dtype):
    init = hk.initializers.RandomNormal()

    def layer(kind):
        return hk.without_apply_rng(
            hk.transform(lambda x: kind(4, with_bias, w_init=init, name="it")(x))
        )

    x = jnp.asarray(X, dtype)
    params = layer(hk.Linear).init(jax.random.key(0), x)
    ours = layer(Linear).init(jax.random.key(0), x)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, ours, params))
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    expected = _gradients(layer(hk.Linear).apply, *wide)
    found = _gradients(layer(Linear).apply, params, x)
    tolerance = 1e-6 if dtype == jnp.float32 else 2e-2
    for each, true in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(
            each.astype(np.float32), true, rtol=tolerance, atol=2 * tolerance
        )
    assert layer(Linear).apply(params, x).dtype == dtype


def test_products_with_the_rows_of_a_table_have_the_gradients_of_float32():
    table = RANDOM.normal(size=(4, 5)).astype(np.float32)
    short = [jnp.asarray(each, jnp.bfloat16) for each in (X, table)]
    wide = [each.astype(jnp.float32) for each in short]
    expected = _gradients(lambda x, table: x @ table.T, *wide)
    for given in (short, wide):
        found = _gradients(with_rows, *given)
        for each, true in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(
                each.astype(np.float32), true, rtol=2e-2, atol=4e-2
            )
