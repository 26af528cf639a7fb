"""One table of models of one sequence of tokens; every model obeys every law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import models, specs

LENGTH = 24
SPECS = {
    name: spec
    for name, spec in ((name, specs.load(name)) for name in specs.names())
    if isinstance(spec.model, specs.ModelSpec) and len(spec.model.nodes) == 1
}
SPECS["biases and slopes"] = specs.override(
    specs.load("transformer"),
    [
        "model.nodes.token.positions=none",
        "model.edges.self.relations={near: {buckets: 8, furthest: 20, later: false}}",
        "model.blocks[0].attention.biases=[near]",
        "model.blocks[0].attention.slopes=true",
    ],
)
SMALL = ["model.nodes.token.width=16"]


def small(name):
    """The same arrangement with narrow nodes and few layers."""
    text = specs.dumps(SPECS[name])
    spec = specs.override(specs.loads(text), SMALL)
    blocks = [
        f"model.blocks[{i}].feed_forward.width=8" for i in range(len(spec.model.blocks))
    ]
    heads = [
        f"model.blocks[{i}].attention.heads=2" for i in range(len(spec.model.blocks))
    ]
    repeats = [f"model.blocks[{i}].repeat=1" for i in range(len(spec.model.blocks))]
    return specs.override(spec, blocks + heads + repeats).model


def inputs(seed=0, batch=2):
    rng = np.random.default_rng(seed)
    position = np.arange(LENGTH)[None].repeat(batch, 0)
    return {
        "token": {
            "token": jnp.asarray(rng.integers(0, 47, (batch, LENGTH))),
            "voice": jnp.asarray(position % 4),
            "beat": jnp.asarray(position // 4 % 16),
            "onset": jnp.asarray(position // 4),
            "pitch": jnp.asarray(rng.integers(40, 80, (batch, LENGTH))),
        }
    }


def moved(params):
    """Parameters of which none is 0: biases begin there, and would prove nothing."""
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(2)
    noise = [jnp.asarray(random.normal(0, 0.1, x.shape), x.dtype) for x in leaves]
    return tree.unflatten([x + each for x, each in zip(leaves, noise, strict=True)])


@pytest.fixture(scope="module", params=SPECS)
def case(request):
    model = models.build(small(request.param))
    params = moved(jax.jit(model.init)(jax.random.key(0), inputs()))
    apply = jax.jit(model.apply, static_argnames="is_training")
    return model, params, apply


def at(tree, span):
    return jax.tree.map(lambda leaf: leaf[:, span], tree)


def test_eager_is_jit(case):
    model, params, apply = case
    eager = model.apply(params, None, inputs(), is_training=False)
    np.testing.assert_allclose(
        apply(params, None, inputs(), is_training=False), eager, atol=1e-4
    )


def test_nothing_leaks_from_later_tokens(case):
    _, params, apply = case
    changed = jax.tree.map(jnp.array, inputs())
    for name in ("token", "pitch"):
        changed["token"][name] = changed["token"][name].at[:, 10:].add(-3)
    before = apply(params, None, inputs(), is_training=False)
    after = apply(params, None, changed, is_training=False)
    np.testing.assert_allclose(after[:, :10], before[:, :10], atol=1e-5)
    assert not np.allclose(after[:, 10:], before[:, 10:], atol=1e-3)


def test_examples_of_a_batch_do_not_hear_each_other(case):
    _, params, apply = case
    both = apply(params, None, inputs(), is_training=False)
    one = apply(
        params, None, jax.tree.map(lambda x: x[1:], inputs()), is_training=False
    )
    np.testing.assert_allclose(one[0], both[1], atol=1e-5)


def test_stepping_equals_the_parallel_pass(case):
    model, params, apply = case
    whole = apply(params, None, inputs(), is_training=False)
    start = jax.jit(model.start, static_argnums=2)
    caches = start(params, at(inputs(), slice(1)), LENGTH)
    prime = at(inputs(), slice(7))
    logits, caches = jax.jit(model.prefill)(params, caches, prime, jnp.array([7, 7]))
    np.testing.assert_allclose(logits, whole[:, :7], atol=2e-4)
    step = jax.jit(model.step)
    for position in range(7, LENGTH):
        node = at(inputs(), slice(position, position + 1))
        logits, caches = step(params, caches, node, jnp.array([position, position]))
        np.testing.assert_allclose(logits[:, 0], whole[:, position], atol=2e-4)
    assert step._cache_size() == 1


def test_bfloat16_is_near_float32(case):
    _, params, apply = case
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    with jax.numpy_dtype_promotion("standard"):
        found = apply(half, None, inputs(), is_training=False)
    assert found.dtype == jnp.float32
    wanted = apply(params, None, inputs(), is_training=False)
    assert float(jnp.abs(found - wanted).mean()) < 0.05


def test_dropout_acts_in_training_only(case):
    _, params, apply = case
    keys = jax.random.split(jax.random.key(0))
    calm = [apply(params, key, inputs(), is_training=False) for key in keys]
    np.testing.assert_array_equal(*calm)
    noisy = [apply(params, key, inputs(), is_training=True) for key in keys]
    assert not np.allclose(*noisy, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("transformer", 3_965_696),
        ("music_transformer", 4_622_336),
        ("music_transformer_local", 4_293_376),
    ],
)
def test_shipped_models_keep_their_sizes(name, count):
    model = models.build(SPECS[name].model)
    params = jax.eval_shape(model.init, jax.random.key(0), inputs())
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
