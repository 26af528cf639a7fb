"""Every lowering computes what the definition computes: values and gradients.

The definition is the edge list, in float64. Tolerances are relative to the largest
number of the reference, or to 1.
"""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from tests.core.structures import STRUCTURES, Structure, loss

L = rl.lowerings
LOWERINGS = {
    "edges": L.Edges(),
    "dense": L.Dense(),
    "tiles": L.Tiles(block=6, loops=True),
    "tiles, batched": L.Tiles(block=8, senders=9, loops=False),
}


@functools.cache
def compiled(structure: Structure, name: str):
    def both(moving, fixed):
        def objective(moving):
            result = structure.propagate(moving, fixed, LOWERINGS[name])
            return loss(result), result

        return jax.value_and_grad(objective, has_aux=True)(moving)

    return jax.jit(both)


def reference(structure: Structure, seed: int):
    with jax.enable_x64(True):
        arrays = structure.arrays(seed, "float64")
        (_, value), gradient = compiled(structure, "edges")(**arrays)
        return jax.tree.map(np.asarray, (value, gradient))


def assert_close(found, wanted, tolerance: float):
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        other = dict(jax.tree_util.tree_leaves_with_path(wanted))[path]
        scale = max(1.0, np.abs(other).max(initial=0))
        error = np.abs(np.asarray(leaf, np.float64) - other).max(initial=0) / scale
        assert error <= tolerance, (jax.tree_util.keystr(path), error)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: each.name)
@hypothesis.settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],  # A smaller seed is no simpler.
)
@hypothesis.given(seed=st.integers(0, 2**20))
def test_lowerings_agree_with_the_definition(structure, seed):
    value, gradient = reference(structure, seed)
    arrays = structure.arrays(seed)
    is_half = structure.dtype == "bfloat16"
    for name in LOWERINGS:
        (_, found), slope = compiled(structure, name)(**arrays)
        assert all(
            leaf.dtype == jnp.dtype(structure.dtype) for leaf in jax.tree.leaves(found)
        )
        assert_close(found, value, 2e-2 if is_half else 2e-5)
        assert_close(slope, gradient, 6e-2 if is_half else 1e-4)


def test_there_are_at_most_twenty_structures():
    assert len(STRUCTURES) <= 20
