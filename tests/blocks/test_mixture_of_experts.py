"""Mixtures of experts against their definition: every expert on every token."""

import functools

import haiku as hk
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.blocks import FeedForward, MixtureOfExperts

WIDTH = 5
KINDS = {
    "two of four": {"num_experts": 4, "num_chosen": 2, "width": 3},
    "one of three": {"num_experts": 3, "num_chosen": 1, "width": 7},
    "all of three, gated": {
        "num_experts": 3,
        "num_chosen": 3,
        "width": 2,
        "is_gated": True,
        "activation": "silu",
        "softmax_over": "all",
    },
}
LEAD, TOKENS = (2,), 7
OFTEN = hypothesis.settings(
    max_examples=8, deadline=None, derandomize=True, database=None
)
SEEDS = st.integers(0, 2**20)


@functools.cache
def block(kind, **more):
    settings = KINDS.get(kind, {}) | more

    def run(x, counted=None, is_training=False):
        graph = rl.Graph(nodes={"word": x}, batch_axes=x.ndim - 2)
        made = MixtureOfExperts(**settings, name="experts")
        graph, routing = made.routed(
            graph, "word", counted=counted, is_training=is_training
        )
        return graph.features("word"), routing

    return hk.transform(run)


@functools.cache
def compiled(kind, **more):
    return jax.jit(block(kind, **more).apply, static_argnames="is_training")


def draw(kind, seed, *, lead=LEAD, tokens=TOKENS, **more):
    """Returns parameters, none of them 0, and tokens."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(
        block(kind, **more).init, jax.random.key(0), jnp.zeros([*lead, tokens, WIDTH])
    )
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes
    )
    return params, jnp.asarray(rng.normal(size=(*lead, tokens, WIDTH)), jnp.float32)


def defined(kind, params, x):
    """Every expert runs on every token; those that were not chosen weigh nothing."""
    settings = KINDS[kind]
    act = {"relu": jax.nn.relu, "silu": jax.nn.silu}[settings.get("activation", "relu")]

    def layer(name, x, equation):
        own = params[f"experts/{name}"]
        return jnp.einsum(equation, x, own["w"]) + own["b"][None, None]

    hidden = act(layer("hidden", x, "bnd,edf->bnef"))
    if settings.get("is_gated"):
        hidden = hidden * layer("gate", x, "bnd,edf->bnef")
    said = layer("output", hidden, "bnef,efd->bned")
    logits = jnp.einsum("bnd,de->bne", x, params["experts"]["router"])
    ranks = (logits[..., None, :] > logits[..., :, None]).sum(-1)
    is_chosen = ranks < settings["num_chosen"]
    over_all = settings.get("softmax_over") == "all" or settings["num_chosen"] == 1
    among = logits if over_all else jnp.where(is_chosen, logits, -jnp.inf)
    weights = jnp.where(is_chosen, jax.nn.softmax(among, axis=-1), 0)
    return jnp.einsum("bned,bne->bnd", said, weights)


@functools.cache
def gradients(kind, is_defined):
    def loss(params, x):
        if is_defined:
            found = defined(kind, params, x)
        else:
            found = block(kind).apply(params, None, x)[0]
        return jnp.sin(found).sum(), found

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


@pytest.mark.parametrize("kind", KINDS)
@OFTEN
@hypothesis.given(SEEDS)
def test_it_is_every_expert_on_every_token_weighed_by_the_router(kind, seed):
    arrays = draw(kind, seed)
    found, wanted = (gradients(kind, each)(*arrays) for each in (False, True))
    for leaf, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        scale = max(1.0, float(jnp.abs(other).max()))
        np.testing.assert_allclose(leaf / scale, other / scale, atol=3e-5)


def test_one_expert_is_a_feed_forward_layer():
    one = {"num_experts": 1, "num_chosen": 1, "width": 4}
    params, x = draw("one", 0, **one)
    found, _ = compiled("one", **one)(params, None, x)

    def alone(x):
        graph = rl.Graph(nodes={"word": x}, batch_axes=1)
        return FeedForward(width=4, name="alone")(graph, "word").features("word")

    own = {
        f"alone/{name}": jax.tree.map(lambda leaf: leaf[0], params[f"experts/{name}"])
        for name in ("hidden", "output")
    }
    wanted = hk.transform(alone).apply(own, None, x)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@OFTEN
@hypothesis.given(SEEDS)
def test_tokens_may_change_places_and_do_not_hear_each_other(seed):
    params, x = draw("two of four", seed)
    run = compiled("two of four")
    found, _ = run(params, None, x)
    order = np.random.default_rng(seed).permutation(TOKENS)
    np.testing.assert_allclose(
        run(params, None, x[:, order])[0], found[:, order], atol=1e-5
    )
    other = run(params, None, x.at[1].add(1.0).at[0, 0].add(1.0))[0]
    np.testing.assert_allclose(other[0, 1:], found[0, 1:], atol=1e-5)


def _room(logits, k, counted, factor):
    """Returns who finds room: all first choices in order, then all second ones."""
    experts = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    left = np.full(
        logits.shape[1], np.ceil(factor * k * counted.sum() / logits.shape[1])
    )
    heard = np.zeros(experts.shape, bool)
    for rank in range(k):
        for token in np.flatnonzero(counted):
            expert = experts[token, rank]
            heard[token, rank] = left[expert] > 0
            left[expert] -= 1
    return experts, heard


TIGHT = {"capacity": 0.75}


@OFTEN
@hypothesis.given(SEEDS)
def test_experts_take_tokens_up_to_their_capacity_and_padding_takes_none(seed):
    params, x = draw("two of four", seed, **TIGHT)
    counted = jnp.asarray(np.random.default_rng(seed).random((*LEAD, TOKENS)) < 0.7)
    run = compiled("two of four", **TIGHT)
    found, routing = run(params, None, x, counted, is_training=True)
    flat = np.asarray(counted).reshape(-1)
    experts, heard = _room(np.asarray(routing.logits), 2, flat, 0.75)
    np.testing.assert_array_equal(routing.chosen.senders[flat], experts[flat])
    np.testing.assert_array_equal(routing.heard.valid, heard)
    whole, _ = run(params, None, x, counted, is_training=False)
    found, whole = (np.asarray(each).reshape(-1, WIDTH) for each in (found, whole))
    all_heard = heard.all(-1)
    np.testing.assert_allclose(found[all_heard], whole[all_heard], atol=1e-5)
    np.testing.assert_array_equal(found[~heard.any(-1)], 0)
    share = (2 * flat.sum() - heard.sum()) / max(1, 2 * flat.sum())
    np.testing.assert_allclose(routing.dropped(), share, atol=1e-6)
    # What stands in padding changes nothing.
    noisy = jnp.where(counted[..., None], x, 9.0)
    again, other = run(params, None, noisy, counted, is_training=True)
    np.testing.assert_array_equal(again.reshape(-1, WIDTH), found)
    for name in ("balance_loss", "importance_loss", "z_loss", "busiest"):
        mine, its = (getattr(each, name)() for each in (routing, other))
        np.testing.assert_allclose(mine, its, rtol=1e-5)


@OFTEN
@hypothesis.given(SEEDS)
def test_the_losses_are_those_of_their_papers(seed):
    params, x = draw("two of four", seed)
    counted = jnp.asarray(np.random.default_rng(seed).random((*LEAD, TOKENS)) < 0.8)
    counted = counted.at[0, 0].set(True)
    _, routing = compiled("two of four")(params, None, x, counted)
    kept = np.asarray(counted).reshape(-1)
    logits = np.asarray(routing.logits, np.float64)[kept]
    exps = np.exp(logits)
    probability = exps / exps.sum(-1, keepdims=True)
    order = np.argsort(-logits, axis=-1)
    first = np.bincount(order[:, 0], minlength=4) / len(logits)
    balance = 4 * np.sum(first * probability.mean(0))
    np.testing.assert_allclose(routing.balance_loss(), balance, rtol=1e-5)
    z = np.mean(np.log(exps.sum(-1)) ** 2)
    np.testing.assert_allclose(routing.z_loss(), z, rtol=1e-5)
    gates = np.zeros_like(exps)
    for token, experts in enumerate(order[:, :2]):
        gates[token, experts] = exps[token, experts] / exps[token, experts].sum()
    importance = gates.sum(0)
    variation = (importance.std() / importance.mean()) ** 2
    np.testing.assert_allclose(routing.importance_loss(), variation, rtol=1e-4)
    busiest = (
        np.bincount(order[:, :2].reshape(-1), minlength=4).max() / order[:, :2].size
    )
    np.testing.assert_allclose(routing.busiest(), busiest, rtol=1e-6)


def test_scores_are_noisy_in_training_alone():
    noisy = {"with_noise": True}
    params, x = draw("two of four", 0, **noisy)
    run = compiled("two of four", **noisy)
    keys = jax.random.split(jax.random.key(0), 2)
    calm = [run(params, key, x)[1].logits for key in keys]
    np.testing.assert_array_equal(*calm)
    flat = x.reshape(-1, WIDTH)
    size = jax.nn.softplus(flat @ params["experts"]["noise"])
    normal = [
        (run(params, key, x, is_training=True)[1].logits - calm[0]) / size
        for key in keys
    ]
    assert not np.allclose(*normal, atol=1e-2)
    drawn = np.stack(normal)
    assert abs(drawn.mean()) < 0.4
    assert 0.7 < drawn.std() < 1.3

    def loss(params):
        return (
            block("two of four", **noisy)
            .apply(params, keys[0], x, is_training=True)[1]
            .balance_loss()
        )

    assert float(jnp.abs(jax.jit(jax.grad(loss))(params)["experts"]["noise"]).max()) > 0


def test_in_bfloat16_only_the_router_is_float32():
    params, x = draw("two of four", 0)
    run = compiled("two of four")
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
    found, routing = run(half[0], None, half[1])
    assert (found.dtype, routing.logits.dtype) == (jnp.bfloat16, jnp.float32)
    # Of the same rounded numbers, so that the same experts are chosen.
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half)
    wanted, _ = run(wide[0], None, wide[1])
    scale = float(jnp.abs(wanted).max())
    np.testing.assert_allclose(
        found.astype(jnp.float32) / scale, wanted / scale, atol=3e-2
    )


def test_a_capacity_of_whole_tokens_is_not_rounded_up():
    more = {"num_experts": 7, "num_chosen": 1, "capacity": 1.0, "softmax_over": "all"}
    params, x = draw("two of four", 0, lead=(), tokens=21, **more)
    run = compiled("two of four", **more)
    _, routing = run(params, None, x, jnp.ones(21, bool), is_training=True)
    taken = routing.heard.senders[routing.heard.valid]
    assert np.bincount(taken).max() == 3  # 1.0 x 21 / 7; in float32 a little above.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_chosen": 5}, "`num_chosen` must be at most `num_experts`, 4; got 5"),
        ({"num_experts": 0}, "`num_experts` must be 1 or more; got 0"),
        ({"activation": "sine"}, "`activation` must be one of 'relu', .* got 'sine'"),
        (
            {"softmax_over": "some"},
            "`softmax_over` must be one of 'chosen', 'all'; got 'some'",
        ),
        (
            {"num_chosen": 1, "softmax_over": "chosen"},
            "must be 'all' where one expert is chosen",
        ),
        ({"capacity": 0}, "`capacity` must be a factor above 0, such as 1.25"),
        ({"capacity": "many"}, "`capacity` must be a factor above 0.* got 'many'"),
    ],
)
def test_what_cannot_be_a_mixture_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(
            block("two of four", **change).init, jax.random.key(0), jnp.ones([3, 4])
        )


def test_tokens_that_count_are_told_one_by_one():
    init, x = block("two of four").init, jnp.ones([2, 7, WIDTH])
    with pytest.raises(ValueError, match=r"`counted` must be booleans \[2, 7\], one a"):
        jax.eval_shape(init, jax.random.key(0), x, jnp.ones([2, 3], bool))
