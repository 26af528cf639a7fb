"""A run that begins with given parameters, and not with drawn ones.

Its checkpoint of step 0 says nothing of data: the first training that goes on from it
takes them as they are.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from relational.specs import Spec
from relational.training.checkpoints import Checkpoints
from relational.training.failures import naming
from relational.training.optimisers import optimiser
from relational.training.positions import Position
from relational.training.restoring import steps as steps_of
from relational.training.runs import Run, opened, replace
from relational.training.steps import State
from relational.training.tasks import Params


def begin(
    params: Params,
    spec: Spec,
    folder: Path | str,
    *,
    kept: Mapping[str, bytes] | None = None,
) -> Run:
    """Makes the folder of a run that has taken no step, with given parameters.

    `load` reads them, and `train` with the same spec goes on from them.

    Args:
      params: what the model of the spec would begin with.
      spec: the spec.
      folder: the folder of the run, a new one.
      kept: files that belong to the run, by name, such as a vocabulary.

    Raises:
      ValueError: the folder holds something, or another process uses it.
      OSError: it cannot be written.

    >>> import jax, jax.numpy as jnp, tempfile
    >>> from relational import models, specs, training
    >>> spec = specs.load("demo")
    >>> names = ["token", "voice", "beat", "pitch", "onset"]
    >>> inputs = {"token": {name: jnp.zeros([1, 1], int) for name in names}}
    >>> params = jax.jit(models.build(spec.model).init)(jax.random.key(5), inputs)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = begin(params, spec, folder)
    ...     found = training.load(folder)
    >>> found.position.step, bool((found.params["model/embed_token"]["table"]
    ...                            == params["model/embed_token"]["table"]).all())
    (0, True)
    """
    if steps_of(Run(Path(folder)).checkpoints):
        raise ValueError(
            f"`folder` must be new; `{folder}` is a run with checkpoints. Choose another "
            "one."
        )
    with opened(Path(folder), spec) as run:
        with naming(run.folder, "keep a run"):
            for name, content in (kept or {}).items():
                replace(run.folder / name, content)
        params = jax.tree.map(jnp.asarray, params)
        state = State(
            params=params,
            optimizer=optimiser(spec.training).init(params),
            step=jnp.zeros((), jnp.int32),
        )
        with Checkpoints(run.checkpoints, keep=spec.training.keep) as checkpoints:
            checkpoints.save(state, Position.first())
    return run
