"""What a router chose: which experts each token hears, and how evenly they are loaded.

The losses keep a router from sending all tokens to a few experts; they are added to a
training's objective by whoever trains (`models.Auxiliary`).

Shapes: N tokens, M of them counted, E experts, K chosen.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from relational.topologies import Neighbours


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Routing:
    """The edges from experts to tokens, and the scores that they were chosen by.

    Attributes:
      logits: [N, E], the router's scores in float32, with noise where there was any.
      chosen: the K experts of each counted token, the best first.
      heard: those that had room for it.
      weights: [N, K], how much each of them counts.
      counted: [N], which tokens are no padding; at least one.

    >>> import jax.numpy as jnp, relational as rl
    >>> logits = jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25]]))
    >>> both = rl.topologies.Neighbours(senders=jnp.array([[0], [0]]), num_senders=2)
    >>> routing = Routing(logits=logits, chosen=both, heard=both.within(1),
    ...                   weights=jnp.array([[0.75], [0.75]]), counted=jnp.array([True, True]))
    >>> [round(float(each), 3) for each in (
    ...     routing.balance_loss(), routing.busiest(), routing.dropped())]
    [1.5, 1.0, 0.5]
    """

    logits: Float[Array, "N E"]
    chosen: Neighbours
    heard: Neighbours
    weights: Float[Array, "N K"]
    counted: Bool[Array, " N"]

    def balance_loss(self) -> jax.Array:
        """Returns E sum_e f_e P_e, which is 1 where all experts are alike.

        f_e is the share of counted tokens whose first choice is e, P_e the mean
        probability of e (Fedus et al. 2022, equations 4 to 6, without their factor). Of
        several choices the first alone counts, as in Mesh TensorFlow's top-2 router.
        """
        first = self._count(self.chosen.senders[:, :1])
        share = first / jnp.maximum(first.sum(), 1)
        mean = self._mean(jax.nn.softmax(self.logits, axis=-1))
        return self.logits.shape[-1] * jnp.sum(share * mean)

    def importance_loss(self) -> jax.Array:
        """Returns the squared coefficient of variation of the experts' importance.

        The importance of an expert is the sum of its weights over the counted tokens
        (Shazeer et al. 2017, equations 6 and 7, without their factor).
        """
        counted = jnp.where(self.counted[:, None], self.weights, 0)
        importance = self._summed(counted, self.chosen.senders)
        spread = jnp.var(importance)
        return spread / jnp.maximum(jnp.mean(importance) ** 2, 1e-10)

    def z_loss(self) -> jax.Array:
        """Returns the mean of (log sum_e exp(logit_e))^2 over the counted tokens.

        It keeps the logits small (Zoph et al. 2022, equation 5).
        """
        return self._mean(jax.nn.logsumexp(self.logits, axis=-1) ** 2)

    def busiest(self) -> jax.Array:
        """Returns the largest share of all choices that one expert has; 1/E is best."""
        choices = self._count(self.chosen.senders)
        return choices.max() / jnp.maximum(choices.sum(), 1)

    def dropped(self) -> jax.Array:
        """Returns the share of the counted tokens' choices that found no room."""
        wanted = self.counted.sum(dtype=jnp.float32) * self.chosen.k
        valid = self.heard.valid
        heard = wanted if valid is None else valid.sum(dtype=jnp.float32)
        return (wanted - heard) / jnp.maximum(wanted, 1)

    def _count(self, experts: Any) -> jax.Array:
        """Returns how many counted tokens chose each expert, [E]."""
        ones = jnp.broadcast_to(self.counted[:, None], experts.shape)
        return self._summed(ones.astype(jnp.float32), experts)

    def _summed(self, values: Any, experts: Any) -> jax.Array:
        total = jnp.zeros(self.logits.shape[-1], jnp.float32)
        return total.at[experts.reshape(-1)].add(values.reshape(-1))

    def _mean(self, values: Any) -> jax.Array:
        """Returns the mean over the counted tokens of [N, ...]."""
        mask = self.counted.reshape(-1, *(1,) * (values.ndim - 1))
        total = jnp.where(mask, values, 0).sum(axis=0)
        return total / jnp.maximum(self.counted.sum(dtype=jnp.float32), 1)
