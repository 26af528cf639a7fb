"""Chorales drawn node by node, against the parallel pass over what was drawn."""

import jax
import numpy as np
import pytest

from relational.datasets import serialisation
from relational.decoding import Sampling, compose
from relational.decoding.chorales import MOST_STEPS

STEPS = 9  # With the prime 56 tokens: seven of the local model's blocks.


def _in_parallel(task, params, pieces: np.ndarray, first_beat: int) -> np.ndarray:
    """Log-probabilities of all tokens, by one pass over nodes as training makes them."""
    nodes = []
    for pitch in pieces:
        beat = (first_beat + np.arange(len(pitch))) % serialisation.BEATS_PER_BAR
        nodes.append(serialisation.attributes(serialisation.tokens_of(pitch), beat))
    batch = {name: np.stack([each[name] for each in nodes]) for name in nodes[0]}

    @jax.jit
    def log_probabilities(params):
        logits = task.model.apply(params, None, task.inputs(batch), is_training=False)
        return jax.nn.log_softmax(logits)

    every = np.asarray(log_probabilities(params))
    return np.take_along_axis(every, batch["token"][..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("model", ["causal", "local"])
@pytest.mark.parametrize("is_primed", [False, True])
def test_log_probabilities_are_those_of_the_parallel_pass(
    model: str, is_primed: bool, prime, request
) -> None:
    task, params = request.getfixturevalue(model)
    given = prime if is_primed else None
    found = compose(
        task, params, steps=STEPS, count=2, prime=given, first_beat=12, seed=3
    )
    prime_steps = len(prime) * is_primed
    assert found.prime_steps == prime_steps
    assert found.pitch.shape == (2, prime_steps + STEPS, 4)
    assert (found.pitch[:, :prime_steps] == prime[:prime_steps]).all()
    assert (found.pitch[0] != found.pitch[1]).any()
    np.testing.assert_allclose(
        found.generated.log_probabilities,
        _in_parallel(task, params, found.pitch, 12),
        atol=1e-4,
    )


@pytest.mark.parametrize(("is_primed", "window"), [(False, 24), (True, 16)])
def test_a_long_piece_is_drawn_in_parts_of_half_a_window(
    is_primed: bool, window: int, prime, causal
) -> None:
    task, params = causal
    given = prime if is_primed else None
    found = compose(
        task,
        params,
        steps=STEPS,
        prime=given,
        first_beat=12,
        seed=3,
        window=window,
    )
    (pitch,), half = found.pitch, window // 2 // 4  # In steps.
    prime_steps = len(prime) * is_primed
    assert (pitch[:prime_steps] == prime[:prime_steps]).all()
    assert len(pitch) == prime_steps + STEPS
    start = prime_steps - half if is_primed else 0
    known = np.full(4 * len(pitch), np.nan)
    while start + half < len(pitch):
        heard = pitch[None, start : start + 2 * half]
        scored = _in_parallel(task, params, heard, (12 + start) % 16)[0]
        fresh = 4 * half if np.isfinite(known).any() else 0
        known[4 * start + fresh :][: len(scored) - fresh] = scored[fresh:]
        start += half
    np.testing.assert_allclose(
        found.generated.log_probabilities[0], known, atol=1e-4, equal_nan=True
    )
    assert np.isfinite(found.generated.nats_per_token).all()


def test_the_start_token_is_never_drawn(causal) -> None:
    task, params = causal
    hot = Sampling(temperature=1e6)
    for seed in range(8):
        found = compose(task, params, steps=STEPS, count=2, seed=seed, how=hot)
        assert found.generated.tokens.max() < serialisation.START


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, r"`steps` must be 1 to 8187 .* got 0"),
        ({"steps": MOST_STEPS}, "at most 8192 sixteenths, 512 bars"),
        ({"count": 0}, "`count` must be 1 or more; got 0"),
        ({"first_beat": 16}, "`first_beat` must be 0 to 15; got 16"),
        ({"prime": np.full([1, 4], 20)}, "`pitch` must be 36 to 81"),
    ],
)
def test_what_cannot_be_composed_is_refused(causal, prime, changes, words) -> None:
    task, params = causal
    with pytest.raises(ValueError, match=words):
        compose(task, params, **{"steps": 1, "prime": prime} | changes)
