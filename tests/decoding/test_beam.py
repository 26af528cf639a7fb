"""Beam search: Tensor2Tensor's own vectors (utils/beam_search_test.py), and brute force."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational.decoding import Beam, beam_search, length_penalty

# Probabilities of the next token, for each step and each hypothesis; token 1 ends.
STEPS = [
    [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8]],
    [[0.4, 0.5, 0.1], [0.2, 0.4, 0.4]],
    [[0.05, 0.9, 0.05], [0.4, 0.4, 0.2]],
]


def searched(steps, how, *, state=(), also=lambda state, tokens: state):
    table = jnp.log(jnp.asarray(steps, jnp.float32))

    def advance(tokens, position, state):
        return table[position], also(state, tokens)

    return beam_search(
        advance,
        state,
        longest=jnp.array([len(steps)]),
        capacity=len(steps),
        how=how,
        start=0,
        end=1,
    )


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    [
        (0.0, [([2, 1, 0], math.log(0.8 * 0.5)), ([2, 0, 1], math.log(0.8 * 0.36))]),
        (0.6, [([2, 1, 0], -0.835344), ([2, 0, 1], -1.047453)]),
        (3.5, [([2, 0, 1], -0.454791), ([2, 1, 0], -0.534219)]),
    ],
)
def test_the_two_best_are_those_of_tensor2tensor(alpha, wanted):
    found = searched(STEPS, Beam(size=2, alpha=alpha, num_best=2))
    assert found.tokens[0].tolist() == [tokens for tokens, _ in wanted]
    np.testing.assert_allclose(found.scores[0], [s for _, s in wanted], atol=1e-6)
    assert found.is_finished.all()


def test_the_search_for_the_best_alone_finds_it():
    found = searched(STEPS, Beam(size=2, alpha=0.0))
    assert found.tokens.tolist() == [[[2, 1, 0]]]


def test_a_beam_of_one_is_greedy():
    found = searched([[[0.7, 0.3]], [[0.4, 0.6]], [[0.5, 0.5]]], Beam(size=1, alpha=0))
    assert found.tokens.tolist() == [[[0, 1, 0]]]
    assert math.exp(found.scores[0, 0]) == pytest.approx(0.42)


def test_what_never_ends_is_cut_off_and_has_its_log_probability():
    found = searched([[[0.2, 0.1, 0.7]], [[0.4, 0.1, 0.5]]], Beam(size=1, alpha=3.0))
    assert found.tokens.tolist() == [[[2, 2]]]
    assert math.exp(found.scores[0, 0]) == pytest.approx(0.35)
    assert not found.is_finished.any()


def test_the_state_is_that_of_the_parents():
    """Each row keeps a log of the tokens that it was given: they are its beginning."""
    heard = jnp.zeros([2, 4], jnp.int32)

    def write(state, tokens):
        log, position = state
        log = jax.vmap(lambda row, p, t: row.at[p].set(t))(log, position, tokens)
        return log, position + 1

    table = jnp.log(jnp.asarray(STEPS))
    logs = []

    def advance(tokens, position, state):
        state = write(state, tokens)
        jax.debug.callback(lambda log: logs.append(np.asarray(log)), state[0])
        return table[position], state

    beam_search(
        advance,
        (heard, jnp.zeros(2, jnp.int32)),
        longest=jnp.array([3]),
        capacity=3,
        how=Beam(size=2, alpha=0.0, num_best=2),
        start=0,
        end=1,
    )
    jax.effects_barrier()
    # After the first step both go on from row 0, since row 1 was never likely.
    np.testing.assert_array_equal(logs[1], [[0, 2, 0, 0], [0, 0, 0, 0]])
    # Then `2 0` (0.32) and `2 2` (0.08), both of row 0.
    np.testing.assert_array_equal(logs[2], [[0, 2, 0, 0], [0, 2, 2, 0]])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_of_all_beginnings_finds_what_trying_all_finds(alpha):
    rng = np.random.default_rng(0)
    vocabulary, longest = 4, 4
    table = (
        rng.normal(size=[longest, vocabulary, vocabulary]) * 2
    )  # Of the token before.
    log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))
    scored = []
    for length in range(1, longest + 1):
        for body in itertools.product([0, 2, 3], repeat=length - 1):
            tokens = (*body, 1)
            total = sum(
                log_p[i, before, token]
                for i, (before, token) in enumerate(
                    zip((0, *body), tokens, strict=True)
                )
            )
            scored.append((total / ((5 + length) / 6) ** alpha, tokens))
    scored.sort(reverse=True)

    def advance(tokens, position, state):
        return jnp.asarray(table, jnp.float32)[position][tokens], state

    found = beam_search(
        advance,
        (),
        longest=jnp.array([longest]),
        capacity=longest + 2,
        how=Beam(size=27, alpha=alpha, num_best=5),
        start=0,
        end=1,
    )
    for rank, (score, tokens) in enumerate(scored[:5]):
        length = found.lengths[0, rank]
        assert found.tokens[0, rank, :length].tolist() == list(tokens)
        assert found.scores[0, rank] == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    ("length", "penalty"),
    [(1, 1.0), (2, 1.096903), (10, 1.732862), (25, 2.626528), (50, 3.778565)],
)
def test_the_length_penalty_is_the_published_one(length, penalty):
    assert length_penalty(length, 0.6) == pytest.approx(penalty, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 0}, "`Beam.size` must be .*1 or more; got 0"),
        ({"num_best": 9}, "`Beam.num_best` must be at most `size`, 4; got 9"),
        ({"alpha": -1.0}, "`Beam.alpha` must be a number of 0 or more; got -1.0"),
    ],
)
def test_a_beam_out_of_range_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Beam(**fields)
