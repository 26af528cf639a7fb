"""The mean of several checkpoints: weights that a long walk has gone round.

At a constant or slowly falling rate, parameters wander about a good place; their mean is
nearer to it than any of them.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from relational._checks import check_count
from relational.training.restoring import Loaded, Which, kept_losses, load
from relational.training.tasks import Params


def mean_of(trees: Sequence[Params]) -> Params:
    """Returns the mean of parameters, leaf by leaf, added up in float64.

    Args:
      trees: parameters of one model.

    Raises:
      ValueError: there are none, or they differ in their names or shapes.

    >>> mean_of([{"w": np.float32([1, 2])}, {"w": np.float32([3, 6])}])
    {'w': array([2., 4.], dtype=float32)}

    Reference: A. Vaswani et al., Attention is all you need, 2017, section 6.1, where the
    last 5 checkpoints, or 20, are averaged.
    """
    if not trees:
        raise ValueError("`trees` must hold at least one model's parameters; got none.")
    first = _shapes(trees[0])
    for number, tree in enumerate(trees):
        if _shapes(tree) != first:
            raise ValueError(
                "`trees` must be of one model, with equal names and shapes; those of "
                f"number {number} differ from the first."
            )

    def mean(*leaves: np.ndarray) -> np.ndarray:
        total = sum(np.asarray(leaf, np.float64) for leaf in leaves)
        return np.asarray(total / len(leaves), np.asarray(leaves[0]).dtype)

    return jax.tree.map(mean, *trees)


def load_mean(
    folder: Path | str, *, checkpoint: Which = "best", count: int = 1
) -> Loaded:
    """Returns the mean of several checkpoints of a run.

    Args:
      folder: the folder of the run. `training.keep` of its spec says how many it has.
      checkpoint: `"newest"`, the newest ones; `"best"`, those with the lowest validation
        losses; or a step, that one and those before it.
      count: how many.

    Returns:
      The mean, and where the run stood at the first of them: the best, or the newest.

    Raises:
      ValueError: the run has not so many, or one cannot be read.
    """
    check_count("count", count, least=1, advice="It counts checkpoints.")
    if count == 1:
        return load(folder, checkpoint=checkpoint)
    losses = kept_losses(folder)
    candidates = sorted(losses, reverse=True)
    if checkpoint == "best":
        judged = [step for step in candidates if losses[step] is not None]
        candidates = sorted(judged, key=lambda step: losses[step] or 0.0)
    elif checkpoint != "newest":
        candidates = [step for step in candidates if step <= checkpoint]
    if len(candidates) < count:
        kind = " with a validation loss" if checkpoint == "best" else ""
        raise ValueError(
            f"`count` (`--average`) must be at most {len(candidates)}, the "
            f"checkpoints{kind} that `{folder}` has kept; got {count}. `training.keep` "
            "says how many are."
        )
    loaded = [load(folder, checkpoint=step) for step in candidates[:count]]
    params = mean_of([each.params for each in loaded])
    return Loaded(params=jax.device_put(params), position=loaded[0].position)


def _shapes(tree: Params) -> object:
    return jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]
