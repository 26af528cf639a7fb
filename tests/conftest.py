"""What every test runs under: one strict JAX, which compiles quickly.

Most of the suite's time is compilation, so XLA's costlier passes are off; set
`RELATIONAL_TEST_OPTIMIZED=1` to test the code that users run.

What hypothesis draws is the same in every run (profile `ci`); with
`HYPOTHESIS_PROFILE=deep` it is new each time, and ten times as much.
"""

import os

import haiku as hk
import hypothesis
import jax
import pytest

if not os.environ.get("RELATIONAL_TEST_OPTIMIZED"):
    jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_enable_compilation_cache", False)  # Commands would fill it.

hypothesis.settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, database=None
)
hypothesis.settings.register_profile(
    "deep",
    max_examples=1000,
    deadline=None,
    derandomize=False,
    database=None,
    print_blob=True,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def strict_jax():
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        hk.config.context(check_jax_usage=True),
    ):
        yield


@pytest.fixture
def optimised():
    """XLA as users run it: what it fuses, it does not store."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
