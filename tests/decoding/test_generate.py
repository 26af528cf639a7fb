"""Generation, with a model that is a table: what a seed, a prime and a length say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import specs
from relational.decoding import Sampling, generate
from relational.models import Model

VOCABULARY = 7
TABLE = np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY))
START = VOCABULARY - 1


def _apply(params, key, inputs, *, is_training):
    raise NotImplementedError


def _heard(params, caches, inputs):
    """Node t hears the token before it, and how often each token was heard."""
    tokens = inputs["note"]["token"]
    heard = caches[0] + jax.nn.one_hot(tokens, VOCABULARY).cumsum(axis=1)
    return params[tokens] + heard, heard


def _prefill(params, caches, inputs, lengths):
    logits, heard = _heard(params, caches, inputs)
    return logits, (jnp.take_along_axis(heard, lengths[:, None, None] - 1, axis=1),)


def _step(params, caches, inputs, position):
    logits, heard = _heard(params, caches, inputs)
    return logits, (heard,)


MODEL = Model(
    init=_apply,
    apply=_apply,
    start=lambda params, inputs, length: (
        jnp.zeros([len(inputs["note"]["token"]), 1, VOCABULARY]),
    ),
    prefill=_prefill,
    step=_step,
    with_auxiliary=_apply,
    weights=_apply,
)


def _nodes(token, position, state):
    token = jnp.where(position == 0, START, token)
    return {"note": {"token": token}}, state


def _generate(num_pieces: int = 2, prime=None, **changes):
    prime = np.zeros([num_pieces, 0], np.int32) if prime is None else prime
    arguments = {"prime": prime, "length": 12, "nodes": _nodes, "state": ()}
    arguments["forbidden"] = (START,)
    return generate(MODEL, jnp.asarray(TABLE, jnp.float32), **arguments | changes)


def _by_hand(tokens: np.ndarray) -> np.ndarray:
    """The logits that each token of one piece was drawn from."""
    before = np.append(START, tokens[:-1])
    return TABLE[before] + np.eye(VOCABULARY)[before].cumsum(axis=0)


PRIME = np.array([[3, 1, 4], [1, 5, 0]], np.int32)


@pytest.mark.parametrize("prime", [None, PRIME])
def test_log_probabilities_are_the_models_own(prime) -> None:
    how = Sampling(temperature=0.7, top_k=4)
    found = _generate(prime=prime, how=how)
    for tokens, got in zip(found.tokens, found.log_probabilities, strict=True):
        logits = _by_hand(tokens)
        every = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(got, every[np.arange(len(got)), tokens], atol=1e-5)


def test_the_prime_stands_first() -> None:
    found = _generate(prime=PRIME)
    assert found.tokens.shape == (2, 15)
    assert found.prime_length == 3
    assert (found.tokens[:, :3] == PRIME).all()


def test_at_temperature_zero_the_likeliest_token_is_taken() -> None:
    for tokens in _generate(how=Sampling(temperature=0)).tokens:
        likeliest = _by_hand(tokens)[:, :START].argmax(axis=-1)
        assert tokens.tolist() == likeliest.tolist()


def test_a_token_that_is_forbidden_is_never_drawn() -> None:
    hot = Sampling(temperature=1e6)
    drawn = [
        _generate(seed=seed, how=hot, forbidden=[START]).tokens for seed in range(8)
    ]
    assert sorted(np.unique(drawn)) == list(range(START))


def test_what_is_cut_off_is_never_drawn() -> None:
    for tokens in _generate(how=Sampling(temperature=9.0, top_k=2)).tokens:
        rank = (-_by_hand(tokens)[:, :START]).argsort(axis=-1)
        assert (rank[:, :2] == tokens[:, None]).any(axis=-1).all()


def test_a_seed_says_all_and_a_piece_does_not_see_those_beside_it() -> None:
    two, again, three = _generate(2, seed=7), _generate(2, seed=7), _generate(3, seed=7)
    assert (two.tokens == again.tokens).all()
    assert (two.tokens == three.tokens[:2]).all()
    assert (two.tokens[0] != two.tokens[1]).any()
    assert (two.tokens != _generate(2, seed=8).tokens).any()


def test_another_seed_prime_or_temperature_compiles_nothing(num_compiled) -> None:
    _generate(prime=PRIME)
    num_compiled()
    _generate(prime=PRIME, seed=5)
    _generate(prime=PRIME[::-1], how=Sampling(temperature=0))
    _generate(prime=PRIME, how=Sampling(top_k=3, top_p=0.5, min_p=0.1))
    assert num_compiled() == 0
    _generate(prime=np.concatenate([PRIME, PRIME]))
    assert num_compiled() == 2  # The prime, and the loop.


def test_lengths_up_to_a_multiple_of_256_share_a_program() -> None:
    traced = []

    def nodes(token, position, state):
        traced.append(position)
        return _nodes(token, position, state)

    longest = _generate(prime=PRIME, nodes=nodes, length=253, seed=3)
    num_traced = len(traced)
    for length in (1, 5, 252):
        found = _generate(prime=PRIME, nodes=nodes, length=length, seed=3)
        assert found.tokens.shape == (2, 3 + length)
        assert (found.tokens == longest.tokens[:, : 3 + length]).all()
    shorter = _generate(prime=PRIME[:, :1], nodes=nodes, length=5)
    assert (shorter.tokens[:, 0] == PRIME[:, 0]).all()
    assert len(traced) == num_traced
    _generate(prime=PRIME, nodes=nodes, length=254)
    assert len(traced) > num_traced


def test_speed_and_surprise_are_told() -> None:
    found = _generate(prime=PRIME)
    assert found.tokens_per_second == pytest.approx(24 / found.seconds)
    expected = -found.log_probabilities[:, 3:].mean(axis=1)
    np.testing.assert_allclose(found.nats_per_token, expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prime": np.zeros(3, int)}, r"`prime` must be whole .* int64 of shape \[3\]"),
        ({"prime": np.zeros([1, 3])}, r"`prime` .* got float64 of shape \[1, 3\]"),
        ({"prime": np.zeros([0, 3], int)}, r"`prime` .* one piece or more"),
        ({"forbidden": [-1]}, "`forbidden` must be some of the ids"),
        ({"forbidden": 3}, "`forbidden` must be a list of ids, whole numbers; got 3"),
        ({"length": 1.5}, "`length` must be a whole number; got 1.5"),
        ({"length": 0}, "`length` must be 1 or more; got 0"),
        ({"seed": -1}, "`seed` must be 0 to 4294967295; got -1"),
        ({"seed": 2**32}, "`seed` must be 0 to 4294967295; got 4294967296"),
        ({"forbidden": tuple(range(VOCABULARY))}, "`forbidden` .* not all"),
    ],
)
def test_what_cannot_be_generated_is_refused(changes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _generate(**changes)


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_prime_of_another_vocabulary_is_refused(token: int) -> None:
    sizes = [f"model.nodes.token.vocabulary={VOCABULARY}"]
    spec = specs.override(specs.load("transformer"), sizes).model
    model = dataclasses.replace(MODEL, spec=spec)
    prime = np.array([[3, token]])
    given = {"prime": prime, "length": 1, "nodes": _nodes, "state": ()}
    words = f"`prime` must hold tokens from 0 to {VOCABULARY - 1}; got .*{token}"
    with pytest.raises(ValueError, match=words):
        generate(model, jnp.asarray(TABLE, jnp.float32), **given)
