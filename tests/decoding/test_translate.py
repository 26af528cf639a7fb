"""From sources to targets: cached decoding finds what the parallel pass would find."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import decoding
from relational.decoding import GREEDY, Beam, Sampling, translate
from relational.models import build
from relational.models.translation import Translation
from relational.specs import ReadOutSpec
from tests.models import pairs

UNTIED = {"read_out": ReadOutSpec(node="target", tied=False)}  # Tied, it would echo.
SPECS = {
    name: dataclasses.replace(spec, **UNTIED)
    for name, spec in (("absolute", pairs.absolute()), ("relative", pairs.relative()))
}
BATCH = pairs.reversals(4, length=7)
SOURCE, LENGTH = BATCH["source"], BATCH["source_length"]
EXTRA = 2
THREE = Beam(size=3, num_best=3)


@functools.cache
def made(name):
    """A model whose parameters are large, so that it has opinions."""
    task = Translation(SPECS[name])
    params = task.init(jax.random.key(0), BATCH)
    params = jax.tree.map(lambda leaf: leaf * (2.0 if leaf.ndim > 1 else 1.0), params)

    @jax.jit
    def log_p(target):
        inputs = task.inputs({**BATCH, "target": target, "target_length": LENGTH + 9})
        logits = task.model.apply(params, None, inputs, is_training=False)
        return jax.nn.log_softmax(logits).at[..., 0].set(-jnp.inf)

    return task.model, params, log_p


@pytest.fixture(params=SPECS)
def case(request):
    return made(request.param)


def greedily(log_p):
    """The likeliest token after each, by one parallel pass a token, without caches."""
    target = np.zeros([4, 9], np.int32)
    for place in range(9):
        target[:, place] = np.argmax(np.asarray(log_p(target))[:, place], axis=-1)
    found = []
    for row, length in zip(target, LENGTH, strict=True):
        tokens = row[: length + EXTRA].tolist() if length else []
        found.append(tokens[: tokens.index(1)] if 1 in tokens else tokens)
    return found


def said(found):
    return [best[0].tolist() if best else [] for best in found.tokens]


def test_greedy_decoding_is_that_of_the_parallel_pass(case):
    model, params, log_p = case
    found = translate(model, params, SOURCE, LENGTH, how=GREEDY, extra_length=EXTRA)
    assert said(found) == greedily(log_p)
    assert found.tokens[3] == []  # A row without a source has no target.
    assert sum(map(len, said(found))) > 6


def test_a_beam_of_one_is_greedy(case):
    model, params, _ = case
    greedy = translate(
        model, params, SOURCE, LENGTH, how=Sampling(top_k=1), extra_length=EXTRA
    )
    found = translate(
        model, params, SOURCE, LENGTH, how=Beam(size=1), extra_length=EXTRA
    )
    assert said(found) == said(greedy)
    assert found.is_finished == greedy.is_finished


def test_scores_are_those_of_the_parallel_pass(case):
    model, params, _ = case
    found = translate(model, params, SOURCE, LENGTH, how=THREE, extra_length=EXTRA)
    assert [len(best) for best in found.tokens] == [3, 3, 3, 0]
    for rank in range(3):
        target, length = np.zeros([4, 16], np.int32), np.zeros(4, np.int32)
        for row in range(3):
            tokens, end = found.tokens[row][rank], found.is_finished[row][rank]
            length[row] = len(tokens) + end
            target[row, : length[row]] = [*tokens, 1][: length[row]]
        scored = decoding.score(
            model, params, {**BATCH, "target": target, "target_length": length}
        )
        np.testing.assert_array_equal(scored.tokens, length)
        for row in range(3):
            penalty = (
                ((5 + length[row]) / 6) ** 0.6 if found.is_finished[row][rank] else 1
            )
            wanted = scored.log_probabilities[row] / penalty
            assert found.scores[row][rank] == pytest.approx(wanted, abs=1e-4)
    for scores, ended in zip(found.scores[:3], found.is_finished, strict=False):
        assert ended == sorted(ended, reverse=True)
        whole = [s for s, e in zip(scores, ended, strict=True) if e]
        assert whole == sorted(whole, reverse=True)


def test_a_source_is_translated_alike_whatever_stands_beside_it():
    model, params, _ = made("absolute")
    together = translate(model, params, SOURCE, LENGTH, how=THREE, extra_length=EXTRA)
    alone = translate(
        model, params, SOURCE[[2]], LENGTH[[2]], how=THREE, extra_length=EXTRA
    )
    for found, wanted in zip(alone.tokens[0], together.tokens[2], strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(alone.scores[0], together.scores[2], atol=1e-4)


@pytest.mark.parametrize("how", [GREEDY, THREE, Sampling()])
def test_a_prefix_is_what_a_target_begins_with(how):
    model, params, _ = made("absolute")
    prefixes = [[5, 6], [], [7], []]
    found = translate(
        model, params, SOURCE, LENGTH, how=how, extra_length=EXTRA, prefixes=prefixes
    )
    free = translate(model, params, SOURCE, LENGTH, how=how, extra_length=EXTRA)
    for tokens, prefix in zip(said(found), prefixes, strict=True):
        assert tokens[: len(prefix)] == prefix
    assert said(found)[1] == said(free)[1]


def test_draws_follow_the_seed_and_the_model():
    model, params, log_p = made("absolute")
    many = np.repeat(SOURCE[:1], 600, axis=0), np.repeat(LENGTH[:1], 600)
    found = translate(model, params, *many, how=Sampling(), extra_length=0, seed=3)
    same = translate(model, params, *many, how=Sampling(), extra_length=0, seed=3)
    assert said(found) == said(same)
    first = [tokens[0] if tokens else 1 for tokens in said(found)]
    share = np.bincount(first, minlength=14) / 600
    odds = np.exp(np.asarray(log_p(np.zeros([4, 9], np.int32)))[0, 0])
    # Three standard errors of a share are at most 3 sqrt(1/4 / 600) = 0.06.
    np.testing.assert_allclose(share, odds / odds.sum(), atol=0.06)


def test_lengths_up_to_a_multiple_share_two_programs(num_compiled):
    _, params, _ = made("absolute")
    model = build(SPECS["absolute"])  # Of which nothing is compiled yet.
    num_compiled()
    translate(model, params, SOURCE, LENGTH, how=THREE, extra_length=EXTRA)
    assert num_compiled() >= 2
    lengths = np.minimum(LENGTH, 5)
    other = Beam(size=3, num_best=3, alpha=1.0)
    translate(model, params, SOURCE[:, :5], lengths, how=other, extra_length=EXTRA + 3)
    assert num_compiled() == 0
    translate(model, params, SOURCE, LENGTH, how=THREE, extra_length=EXTRA + 8)
    assert num_compiled() == 2  # The sources, and the loop.


def test_lengths_of_a_small_type_do_not_wrap():
    _, params, _ = made("absolute")
    model, small = build(SPECS["absolute"]), LENGTH.astype(np.uint8)
    found, wanted = (
        translate(model, params, SOURCE, each, how=THREE, extra_length=252)
        for each in (small, LENGTH)
    )
    assert found.scores == wanted.scores


def test_parameters_that_are_not_numbers_are_told():
    model, params, _ = made("absolute")
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    with pytest.raises(ValueError, match="`params` must give probabilities"):
        translate(model, broken, SOURCE, LENGTH, how=THREE, extra_length=EXTRA)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": SOURCE.astype(float)}, r"`source` must be whole numbers \[B, S\]"),
        ({"source": SOURCE + 9}, "`source` must hold tokens from 0 to 13; got 9 to"),
        ({"source_length": LENGTH + 9}, r"`source_length` must be .* from 0 to 7"),
        ({"extra_length": -1}, "`extra_length` must be 0 or more; got -1"),
        ({"seed": -1}, "`seed` must be 0 to 4294967295; got -1"),
        ({"prefixes": [[2]]}, "`prefixes` must be one for each source, 4; got 1"),
        (
            {"prefixes": [[1], [], [], []]},
            r"`prefixes\[0\]` must be tokens from 0 to 13 without the start, 0, and the",
        ),
        (
            {"prefixes": [[2.5], [], [], []]},
            r"`prefixes\[0\]` must be tokens from 0 to 13 without the start, 0, and the",
        ),
        (
            {"prefixes": [[], [2] * 99, [], []]},
            r"`prefixes\[1\]` must be shorter .* got 99. Raise `extra_length`",
        ),
    ],
)
def test_what_cannot_be_translated_is_refused(change, words):
    model, params, _ = made("absolute")
    arguments = {"source": SOURCE, "source_length": LENGTH, **change}
    with pytest.raises(ValueError, match=words):
        translate(model, params, **arguments)
