"""What layers add to the objective of a training, and what they only note.

Any layer may have more to say than its graph: a loss that keeps a router even, the share
of nodes that found no expert. A model gathers it from its layers, a task hands it on to
the training loop, and so it stands in the metrics of a run.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """Numbers by name, each a mean over the nodes that count.

    Attributes:
      losses: terms of the objective, with their factors.
      noted: what changes nothing.

    >>> import jax.numpy as jnp
    >>> one = Auxiliary(losses={"balance": jnp.float32(0.5)}, noted={"busiest": jnp.float32(0.25)})
    >>> both = gathered([one, one])
    >>> float(both.losses["balance"]), float(both.noted["busiest"])
    (1.0, 0.25)
    """

    losses: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)
    noted: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)


def gathered(layers: Iterable[Auxiliary]) -> Auxiliary:
    """Returns what the layers of a model have to say: losses added up, notes averaged."""
    losses: dict[str, list[jax.Array]] = {}
    noted: dict[str, list[jax.Array]] = {}
    for layer in layers:
        for said, kept in ((layer.losses, losses), (layer.noted, noted)):
            for name, value in said.items():
                kept.setdefault(name, []).append(value)
    return Auxiliary(
        losses={name: jnp.stack(each).sum() for name, each in losses.items()},
        noted={name: jnp.stack(each).mean() for name, each in noted.items()},
    )
