"""Who listens to whom in a chorale: the attention weights of a model, head by head.

Shapes: S steps (sixteenths), T = 4 S tokens, H heads, A attentions.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from relational.datasets.serialisation import BEATS_PER_BAR, attributes, tokens_of
from relational.models.tasks import NextToken

MOST_STEPS = 256
"""The longest piece that is looked at: weights are stored for all pairs of nodes."""


def listening(
    task: NextToken,
    params: Any,
    pitch: Shaped[np.ndarray, "S 4"],
    *,
    first_beat: int = 0,
) -> list[Float[np.ndarray, "H T T"]]:
    """Returns how much the node of each token listens to the nodes before it, and itself.

    Node j has heard token j - 1, so a weight on node j is a weight on that token.

    Args:
        task: a model of chorales.
        params: its parameters.
        pitch: MIDI pitches, -1 where a voice rests, [S, 4].
        first_beat: the position in its bar of the first step.

    Returns:
        For each attention of the model, [H, T, T]: receivers, then senders.

    Raises:
        ValueError: if `pitch` is no piece, or longer than 256 steps.

    >>> import jax
    >>> from relational import specs
    >>> spec = specs.override(specs.load("transformer"), ["model.blocks[0].repeat=2"])
    >>> task = NextToken(spec.model)
    >>> chords = np.array([[72, 67, 64, 48]] * 2)
    >>> nodes = attributes(tokens_of(chords), np.arange(2))
    >>> params = task.init(jax.random.key(0), {n: x[None] for n, x in nodes.items()})
    >>> [weights.shape for weights in listening(task, params, chords)]
    [(8, 8, 8), (8, 8, 8)]
    """
    tokens = tokens_of(np.asarray(pitch))
    num_steps = len(pitch)
    if not 1 <= num_steps <= MOST_STEPS:
        raise ValueError(
            f"`pitch` must have 1 to {MOST_STEPS} steps; got {num_steps}. Cut a window "
            "out of the piece."
        )
    beat = (first_beat + np.arange(num_steps)) % BEATS_PER_BAR
    nodes = {name: leaf[None] for name, leaf in attributes(tokens, beat).items()}
    found = _weights(params, dict(task.inputs(nodes)), task=task)
    return [np.asarray(weights, np.float32)[0] for weights in found]


def most_telling(weights: Sequence[Float[np.ndarray, "H T T"]]) -> tuple[int, int]:
    """Returns the attention and the head at which it is best to look.

    Good to look at is a head that listens to few nodes, and not just to those of the
    chord at hand: the share of weight beyond the last four nodes, times how far the
    entropy lies below that of listening to all alike.

    Args:
        weights: for each attention, [H, T, T]; causal.

    >>> alike = np.tril(np.ones([8, 8])) / np.arange(1, 9)[:, None]
    >>> first = np.eye(8)[np.zeros(8, int)]  # All listen to the first node.
    >>> most_telling([np.stack([alike, np.eye(8)]), np.stack([alike, first])])
    (1, 1)
    """
    scores = [[_telling(head) for head in heads] for heads in weights]
    best = [int(np.argmax(row)) for row in scores]
    attention = int(
        np.argmax([row[head] for row, head in zip(scores, best, strict=True)])
    )
    return attention, best[attention]


def _telling(head: Float[np.ndarray, "T T"]) -> float:
    size = len(head)
    later = np.arange(size)[:, None]
    is_far = later - np.arange(size)[None] >= 4
    entropy = -(head * np.log(np.maximum(head, 1e-30))).sum(axis=1)
    most = np.log(np.maximum(np.arange(1, size + 1), 2))
    sharpness = 1 - entropy / most
    rows = slice(size // 2, None)  # Those that have enough to listen to.
    return float(((head * is_far).sum(axis=1) * sharpness)[rows].mean())


@functools.partial(jax.jit, static_argnames=("task",))
def _weights(params: Any, inputs: Any, *, task: NextToken) -> tuple[Array, ...]:
    return task.model.weights(params, inputs)
