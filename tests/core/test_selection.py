"""Choosing senders: against sorting, against formulas, and what is refused."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import selection

TOPOLOGIES = st.sampled_from(
    [
        rl.Complete(),
        rl.Causal(),
        rl.Band(before=2, after=1),
        rl.Strided(3),
        rl.Complete() - rl.Self(),
    ]
)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles so small that rows and columns come in several, the last ones shorter."""
    monkeypatch.setattr(selection, "_TILE", 12)
    monkeypatch.setattr(selection, "_MOST_SENDERS", 4)


def _by_sorting(score, mask, k):
    """Returns the chosen of each receiver: stable, so that ties go to the lowest."""
    chosen = []
    for row, heard in zip(score, mask, strict=True):
        order = sorted(np.flatnonzero(heard), key=lambda at: -row[at])
        chosen.append([int(at) for at in order[:k]])
    return chosen


@hypothesis.settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(TOPOLOGIES, st.integers(1, 5), st.integers(1, 9), st.integers(5, 9))
def test_the_best_are_those_of_sorting(small_tiles, topology, k, receivers, senders):
    rng = np.random.default_rng(0)
    query = rng.integers(-2, 3, (2, receivers, 2)).astype(np.float32)  # Scores tie.
    key = rng.integers(-2, 3, (2, senders, 2)).astype(np.float32)
    bias = rng.integers(-1, 2, (1, 4)).astype(np.float32)
    offset = rl.Offset(clip=(-1, 2))
    found = rl.select(
        topology,
        k=k,
        batch_axes=1,
        receivers=query,
        senders=key,
        relations={"offset": offset.rows(bias=bias)},
        score=[
            lambda receiver, sender: rl.dot(receiver, sender),
            lambda offset: offset.bias,
        ],
    )
    mask = topology.mask(receivers, senders)
    labels = offset.label(np.subtract.outer(-np.arange(receivers), -np.arange(senders)))
    for graph in range(2):
        score = query[graph] @ key[graph].T + bias[0][labels]
        wanted = _by_sorting(score, mask, k)
        for receiver, chosen in enumerate(wanted):
            row = found.senders[graph, receiver]
            heard = slice(None) if found.valid is None else found.valid[graph, receiver]
            assert row[heard].tolist() == chosen


def test_what_is_not_a_number_is_never_chosen():
    score = jnp.array([1.0, jnp.nan, 3.0, -jnp.inf])
    found = rl.select(
        rl.Complete(), k=3, senders=score, num_receivers=1, score=lambda sender: sender
    )
    assert found.senders[0, :2].tolist() == [2, 0]
    assert found.valid[0].tolist() == [True, True, False]


def test_vector_quantisation_has_its_codes_means_and_gradients():
    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.normal(size=(50, 3)), jnp.float32)
    codes = jnp.asarray(rng.normal(size=(7, 3)), jnp.float32)

    @jax.jit
    def quantise(latents, codes):
        nearest = rl.select(
            rl.Complete(),
            receivers=latents,
            senders=codes,
            k=1,
            score=[
                lambda receiver, sender: 2 * rl.dot(receiver, sender),
                lambda sender: -rl.dot(sender, sender),
            ],
        )
        heard = {"message": lambda sender: sender}
        chosen = rl.propagate(nearest, senders=codes, aggregator=rl.Sum(), **heard)
        means = rl.propagate(nearest.T, senders=latents, aggregator=rl.Mean(), **heard)
        return chosen, means

    chosen, means = quantise(latents, codes)
    distance = ((latents[:, None] - codes[None]) ** 2).sum(-1)
    nearest = np.argmin(distance, axis=1)
    np.testing.assert_allclose(chosen, codes[nearest], atol=1e-6)
    for code in range(7):
        own = latents[nearest == code]
        np.testing.assert_allclose(
            means[code], own.mean(0) if len(own) else 0, atol=1e-6
        )
    gradient = jax.grad(lambda codes: quantise(latents, codes)[0].sum())(codes)
    counts = np.bincount(nearest, minlength=7)
    np.testing.assert_allclose(
        gradient, np.repeat(counts[:, None], 3, axis=1), atol=1e-5
    )


def test_attention_to_the_best_few_is_that_of_a_mask():
    rng = np.random.default_rng(0)
    query, key, value = (
        jnp.asarray(rng.normal(size=(3, 8, 4)), jnp.float32) for _ in range(3)
    )
    score = {"score": lambda receiver, sender: rl.dot(receiver, sender.key)}
    call = {
        "batch_axes": 1,
        "receivers": query,
        "senders": {"key": key, "value": value},
    }
    chosen = rl.select(rl.Causal(), k=2, **call, **score)
    heard = rl.propagate(
        chosen,
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        **call,
        **score,
    )
    scores = np.einsum("hrd,hsd->hrs", query, key)
    scores[:, ~np.tri(8, dtype=bool)] = -np.inf
    second = np.sort(scores, axis=-1)[..., -2:-1]
    weights = np.exp(np.where(scores >= second, scores, -np.inf))
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(heard, weights @ np.asarray(value), atol=1e-5)


def test_the_best_of_listed_edges_are_those_of_the_rule():
    rng = np.random.default_rng(0)
    query, key = (rng.integers(-2, 3, (2, 9, 2)).astype(np.float32) for _ in "qk")
    topology = rl.Causal() - rl.Self()
    shuffle = rng.permutation(36)
    senders, receivers = (side[shuffle] for side in topology.edges(9))
    offset = rl.Offset(clip=2)
    call = {
        "k": 3,
        "batch_axes": 1,
        "receivers": query,
        "senders": key,
        "relations": {
            "offset": offset.rows(bias=np.arange(5.0, dtype=np.float32)[None])
        },
        "score": [
            lambda receiver, sender: rl.dot(receiver, sender),
            lambda offset: offset.bias,
        ],
    }
    for noise in (None, jax.random.key(3)):
        wanted = rl.select(topology, **call, noise=noise)
        for edges in (
            rl.Edges(senders, receivers, 9),
            rl.Edges(jnp.asarray(senders), jnp.asarray(receivers)),
        ):
            found = jax.jit(lambda edges: rl.select(edges, **call, noise=noise))(edges)  # noqa: B023
            np.testing.assert_array_equal(found.valid, wanted.valid)
            chosen = [
                np.where(each.valid, each.senders, -1) for each in (found, wanted)
            ]
            np.testing.assert_array_equal(*chosen)


def test_listed_edges_are_chosen_by_their_features_and_those_nowhere_never():
    @jax.jit
    def chosen(senders, receivers, weight):
        return rl.select(
            rl.Edges(senders, receivers, num_receivers=3),
            k=2,
            edges=weight,
            score=lambda edge: edge,
        )

    senders, receivers = jnp.array([0, 1, 2, 7, 1, 0]), jnp.array([1, 1, 1, 0, 0, 3])
    weight = jnp.array([1.0, 5.0, 3.0, 9.0, jnp.nan, 9.0])
    found = chosen(senders, receivers, weight)
    assert found.valid.tolist() == [[False, False], [True, True], [False, False]]
    assert found.senders[1].tolist() == [1, 2]
    none = rl.select(
        rl.Edges([], [], 3), k=1, edges=jnp.ones(0), score=lambda edge: edge
    )
    assert none.degrees().tolist() == [0, 0, 0]


SCORES = jnp.log(jnp.array([0.5, 0.1, 0.25, 0.15]))


def _drawn(key, k=1, count=20_000, lead=1, topology=None):
    return rl.select(
        topology or rl.Complete(),
        k=k,
        noise=jax.random.key(key),
        batch_axes=1,
        receivers=jnp.zeros((lead, count)),
        senders=SCORES[None],
        score=lambda sender: sender,
    ).senders


def test_noise_draws_senders_with_the_probabilities_of_the_softmax():
    wanted = np.exp(SCORES)
    for key in range(3):
        share = np.bincount(np.asarray(_drawn(key)).reshape(-1), minlength=4) / 20_000
        sigma = np.sqrt(wanted * (1 - wanted) / 20_000)
        assert (np.abs(share - wanted) < 4 * sigma).all()


def test_noise_draws_the_second_from_those_that_are_left():
    first, second = np.asarray(_drawn(0, k=2)).reshape(-1, 2).T
    probability = np.exp(np.asarray(SCORES, np.float64))
    wanted = np.outer(probability, probability) / (1 - probability[:, None])
    np.fill_diagonal(wanted, 0)
    share = np.bincount(first * 4 + second, minlength=16).reshape(4, 4) / 20_000
    assert (np.abs(share - wanted) < 4 * np.sqrt(wanted / 20_000) + 1e-9).all()


def test_noise_is_that_of_the_edge_and_of_the_graph():
    one, other = np.asarray(_drawn(5, lead=2))[..., 0]
    np.testing.assert_array_equal(one, np.asarray(_drawn(5))[0, :, 0])
    agree = (np.exp(2 * np.asarray(SCORES, np.float64))).sum()
    for independent in (other, np.asarray(_drawn(6))[0, :, 0], np.roll(one, 1)):
        assert abs((one == independent).mean() - agree) < 0.02


def test_noise_does_not_depend_on_tiles(monkeypatch):
    wanted = _drawn(1, k=2, count=50)
    monkeypatch.setattr(selection, "_TILE", 12)
    monkeypatch.setattr(selection, "_MOST_SENDERS", 3)
    np.testing.assert_array_equal(_drawn(1, k=2, count=50), wanted)


def test_capacity_takes_first_choices_first_and_early_receivers_before_late():
    senders = np.array([[0, 1], [0, 2], [0, 1], [1, 0]])
    near = rl.Neighbours(senders=senders, num_senders=3)
    assert near.within(2).valid.tolist() == [
        [True, True],
        [True, True],
        [False, False],  # The third of sender 0, then of sender 1 after receiver 3.
        [True, False],
    ]
    within = near.within(2)
    assert within.T.degrees().tolist() == [2, 2, 1]
    assert within.within(1).T.degrees().max() == 1
    traced = jax.jit(lambda most: near.within(most).valid)(jnp.int32(2))
    np.testing.assert_array_equal(traced, within.valid)
    heard = rl.propagate(
        within, senders=jnp.ones(3), message=lambda sender: sender, aggregator=rl.Sum()
    )
    assert heard.tolist() == [2, 2, 0, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"k": 0}, "`k` must be 1 or more; got 0"),
        ({"k": 4}, "`k` must be at most the number of senders, 3; got 4"),
        ({"noise": 3}, "`noise` must be None or one JAX key"),
        ({"edges": jnp.ones(9)}, "cannot serve this call: edges carry features"),
        ({"score": lambda sender: sender[None]}, "one number an edge"),
    ],
)
def test_wrong_choices_are_refused(call, words):
    call = {"topology": rl.Complete(), "k": 1, "score": lambda sender: sender} | call
    with pytest.raises(ValueError, match=words):
        rl.select(call.pop("topology"), senders=jnp.ones(3), **call)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: rl.Neighbours(senders=np.ones((2, 2)), num_senders=3),
            r"must be integers \[\*lead, R, K\]",
        ),
        (
            lambda: rl.Neighbours(
                senders=np.ones((2, 2), int), valid=np.ones(2, bool), num_senders=3
            ),
            "must be booleans of the shape of `senders`",
        ),
        (
            lambda: rl.Neighbours(senders=np.ones((2, 2), int), num_senders=3).within(
                -1
            ),
            "`capacity` must be 0 or more",
        ),
        (
            lambda: rl.Neighbours(senders=np.ones((2, 2), int), num_senders=3).within(
                jnp.ones(2)
            ),
            "`capacity` must be one integer; got an array of float32",
        ),
    ],
)
def test_wrong_neighbours_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
