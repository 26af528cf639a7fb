"""What every test runs under: one strict JAX, which compiles quickly.

Most of the suite's time is compilation, so XLA's costlier passes are off; set
`RELATIONAL_TEST_OPTIMIZED=1` to test the code that users run.
"""

import os

import haiku as hk
import jax
import pytest

if not os.environ.get("RELATIONAL_TEST_OPTIMIZED"):
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def strict_jax():
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        hk.config.context(check_jax_usage=True),
    ):
        yield
