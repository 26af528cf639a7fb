"""Neighbours that were chosen: so many senders for each receiver.

Shapes: *lead the leading axes of `propagate`; R receivers, S senders, K chosen.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from relational import _pytrees
from relational._checks import check_count, shown
from relational.topologies.base import End, Listed
from relational.topologies.unbounded import Unbounded


@_pytrees.register(data=("senders", "valid"))
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Neighbours(Unbounded):
    """Each receiver hears K senders, the best first; `select` makes them.

    `.T` lets each sender hear those who chose it.

    Attributes:
      senders: [*lead, R, K] integers.
      valid: [*lead, R, K], whether a place is taken; None where all are.
      num_senders: S.

    >>> import numpy as np
    >>> near = Neighbours(senders=np.array([[1], [2], [1]]), num_senders=3)
    >>> near.T.degrees()
    array([0, 2, 1])
    """

    senders: Int[Array, "*lead R K"]
    num_senders: int
    valid: Bool[Array, "*lead R K"] | None = None

    def __post_init__(self) -> None:
        check_count(
            "Neighbours.num_senders",
            self.num_senders,
            least=0,
            advice="It counts nodes.",
        )
        senders: Any = self.senders
        valid = self.valid
        if not hasattr(senders, "dtype"):
            senders = np.asarray(senders)
            object.__setattr__(self, "senders", senders)
        is_whole = jnp.issubdtype(senders.dtype, jnp.integer)
        if not is_whole or senders.ndim < 2:
            raise ValueError(
                "`Neighbours.senders` must be integers [*lead, R, K], K senders for each "
                f"receiver; got {shown(senders)}."
            )
        if valid is not None and (valid.shape != senders.shape or valid.dtype != bool):
            raise ValueError(
                "`Neighbours.valid` must be booleans of the shape of `senders`, "
                f"{list(senders.shape)}; got {shown(valid)}."
            )

    @property
    def k(self) -> int:
        """How many senders a receiver hears at most."""
        return int(self.senders.shape[-1])

    def within(self, capacity: Any) -> "Neighbours":
        """Returns the same choices, but for those of senders that too many chose.

        First choices go before second ones, and earlier receivers before later ones: so
        experts take tokens up to their capacity (Fedus et al. 2022, section 2.2).

        Args:
          capacity: how many receivers hear one sender at most; a number, or an integer
            array [] where it follows from the data.

        >>> import numpy as np
        >>> near = Neighbours(senders=np.array([[1], [1], [1]]), num_senders=2)
        >>> near.within(2).valid.tolist()
        [[True], [True], [False]]
        """
        if not isinstance(capacity, jax.Array):
            check_count("capacity", capacity, least=0, advice="It counts receivers.")
        elif capacity.shape or not jnp.issubdtype(capacity.dtype, jnp.integer):
            raise ValueError(
                f"`capacity` must be one integer; got {shown(capacity)}. It counts "
                "receivers."
            )
        *lead, receivers, k = self.senders.shape
        chosen = jnp.asarray(self.senders)
        if self.valid is not None:
            chosen = jnp.where(self.valid, chosen, self.num_senders)
        queue = jnp.swapaxes(chosen, -1, -2).reshape(*lead, k * receivers)
        order = jnp.argsort(queue, axis=-1, stable=True)
        sorted_queue = jnp.take_along_axis(queue, order, axis=-1)
        # In a sorted queue a place's rank is its distance to the first of its sender.
        place = jnp.broadcast_to(jnp.arange(k * receivers), queue.shape)
        is_first = jnp.diff(sorted_queue, axis=-1, prepend=-1) != 0
        first = jnp.where(is_first, place, 0)
        rank = place - jnp.asarray(jnp.maximum.accumulate(first, axis=-1))
        back = jnp.argsort(order, axis=-1)
        kept = jnp.take_along_axis(rank, back, axis=-1) < capacity
        kept = jnp.swapaxes(kept.reshape(*lead, k, receivers), -1, -2)
        if self.valid is not None:
            kept = kept & self.valid
        return dataclasses.replace(self, valid=kept)

    def listed(self, num_receivers: int, num_senders: int) -> Listed:
        del num_receivers, num_senders  # As `counts` says.
        *lead, receivers, k = self.senders.shape
        flat = (*lead, receivers * k)
        xp = np if isinstance(self.senders, np.ndarray) else jnp
        hearing = xp.broadcast_to(xp.repeat(xp.arange(receivers), k), flat)
        valid = None if self.valid is None else self.valid.reshape(flat)
        return Listed(self.senders.reshape(flat), hearing, valid)

    def counts(self) -> tuple[int | None, int | None]:
        return int(self.senders.shape[-2]), self.num_senders

    def admits(self, receiver: End, sender: End, context: Any) -> Any:
        del context
        chosen = np.asarray(self.senders)
        if chosen.ndim > 2:
            raise ValueError(
                f"`{self}` has other edges for each leading index; ask one graph of it."
            )
        keys = np.arange(len(chosen))[:, None] * self.num_senders + chosen
        keys = keys if self.valid is None else keys[np.asarray(self.valid)]
        asked = np.int64(receiver.position) * self.num_senders + sender.position
        return np.isin(asked, keys)

    def __str__(self) -> str:
        return f"Neighbours({self.k} of {self.num_senders})"
