"""How surprised a model of tokens is, in nats, with or without smoothed labels.

Shapes: *lead any leading axes, V vocabulary.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from relational._checks import shown


def surprise(
    logits: Float[Array, "*lead V"],
    tokens: Int[Array, "*lead"],
    label_smoothing: float = 0.0,
) -> Float[Array, "*lead"]:
    """Returns the cross entropy of each token, above the least that it can be.

    The label q has 1 - e at the true token and e / (V - 1) at each other one; the loss
    is the Kullback-Leibler divergence sum_v q_v (log q_v - log p_v), which is 0 where
    the model says q, and with e = 0 the surprise -log p of the token.

    Args:
      logits: of any floating type; log-probabilities are taken in float32.
      tokens: the true ones.
      label_smoothing: e, from 0 to below 1.

    Raises:
      ValueError: if `label_smoothing` is out of its range.

    >>> logits = jnp.log(jnp.array([0.9, 0.05, 0.05]))
    >>> round(float(surprise(logits, jnp.array(0))), 4), round(-math.log(0.9), 4)
    (0.1054, 0.1054)
    >>> abs(round(float(surprise(logits, jnp.array(0), 0.1)), 4))  # Just as smoothed.
    0.0

    Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7; in this form
    (e shared by the *other* tokens, the entropy of q taken off) in Tensor2Tensor, with
    which Vaswani et al. 2017 trained. Szegedy et al. mix q with the uniform distribution
    over *all* tokens, e / V each: the same with e (V - 1) / V for e.
    """
    if isinstance(label_smoothing, bool) or not 0 <= label_smoothing < 1:
        raise ValueError(
            "`label_smoothing` must be from 0 to below 1; got "
            f"{shown(label_smoothing)}. 0 smooths nothing."
        )
    logits = logits.astype(jnp.float32)
    total = jax.nn.logsumexp(logits, axis=-1)
    # By comparison, since the gradient of a gather is a scatter into all logits.
    every = jnp.arange(logits.shape[-1], dtype=tokens.dtype)
    is_true = tokens[..., None] == every.reshape(*(1,) * tokens.ndim, -1)
    chosen = jnp.where(is_true, logits, 0).sum(axis=-1) - total
    if not label_smoothing:
        return -chosen
    size = logits.shape[-1]
    share = label_smoothing / max(1, size - 1)
    others = logits.sum(axis=-1) - size * total - chosen  # Sum of log p over them.
    least = smoothed_entropy(size, label_smoothing)
    return -(1 - label_smoothing) * chosen - share * others - least


def smoothed_entropy(vocabulary: int, label_smoothing: float) -> float:
    """Returns the entropy of a smoothed label, in nats.

    >>> round(smoothed_entropy(37_000, 0.1), 4)
    1.3769
    """
    if not label_smoothing or vocabulary < 2:
        return 0.0
    share = label_smoothing / (vocabulary - 1)
    true = (1 - label_smoothing) * math.log1p(-label_smoothing)
    return -true - label_smoothing * math.log(share)
