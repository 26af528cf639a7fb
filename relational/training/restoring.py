"""Reading checkpoints back, and finding out which of them can be trusted."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from relational.training._digests import bit_sum, structure
from relational.training._quiet import without_orbax_logs
from relational.training.failures import first_line
from relational.training.positions import Position
from relational.training.steps import State, one_device, shaped_like
from relational.training.tasks import Params

Which = Literal["best", "newest"] | int


class UnreadableError(Exception):
    """A checkpoint is damaged; the message says how it shows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a finished or running training has to give away."""

    params: Params
    """Parameters, as nested dicts of float32 arrays."""

    position: Position
    """Where the run stood when they were saved."""


def load(folder: Path | str, *, checkpoint: Which = "best") -> Loaded:
    """Returns the parameters that a run has saved, on this machine's first device.

    Args:
      folder: the folder of the run. It is only read, so the run may be training.
      checkpoint: `"best"`, by validation loss (the newest if none was evaluated or
        the best cannot be read); `"newest"` (that can be read); or a step.

    Raises:
      ValueError: the run has no such checkpoint, or none that can be read.
    """
    checkpoints = Path(folder) / "checkpoints"
    present = steps(checkpoints)
    if not present:
        raise ValueError(
            f"`folder` must be a run that has saved a checkpoint; `{folder}` has none "
            "yet. Train first, or look for the folder that holds `checkpoints/`."
        )
    if isinstance(checkpoint, int) and checkpoint not in present:
        listed = ", ".join(map(str, present))
        raise ValueError(
            f"`checkpoint` must be a step that `{folder}` kept: {listed}; "
            f"got {checkpoint}."
        )
    reasons: dict[int, str] = {}
    with without_orbax_logs():
        for step in _in_order(checkpoints, present, checkpoint):
            try:
                return _read_params(path_of(checkpoints, step))
            except UnreadableError as reason:
                reasons[step] = str(reason)
    raise none_readable(checkpoints, reasons)


def kept_losses(folder: Path | str) -> dict[int, float | None]:
    """Returns the steps whose checkpoints a run has kept, each with its validation loss.

    Where a checkpoint was not evaluated, or cannot be read, the loss is None.
    """
    checkpoints = Path(folder) / "checkpoints"
    losses: dict[int, float | None] = {}
    with without_orbax_logs():
        for step in steps(checkpoints):
            losses[step] = None
            with contextlib.suppress(UnreadableError):
                position, _ = _read_position(path_of(checkpoints, step))
                if position.evaluated_step == step and position.validation is not None:
                    losses[step] = position.validation.loss
    return losses


def read_state(path: Path, like: State) -> tuple[State, Position]:
    """Returns the state and position saved at `path`.

    Raises:
      UnreadableError: it is damaged.
      ValueError: it holds the state of another model or optimiser.
    """
    position, seal = _read_position(path)
    if seal["structure"] != structure((like.params, like.optimizer)):
        raise ValueError(
            f"The checkpoint `{path}` must hold the arrays of the model and optimiser "
            "that are trained; their names or shapes differ. The code of the model "
            "has changed since: train in a new folder."
        )
    params = _read(path, "params", like.params, seal)
    optimizer = _read(path, "optimizer", like.optimizer, seal)
    step = jax.device_put(np.asarray(position.step, like.step.dtype), one_device())
    return State(params=params, optimizer=optimizer, step=step), position


def steps(checkpoints: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, oldest first."""
    if not checkpoints.is_dir():
        return []
    return sorted(int(path.name) for path in checkpoints.iterdir() if _is_step(path))


def path_of(checkpoints: Path, step: int) -> Path:
    """Returns where the checkpoint of `step` lies."""
    return checkpoints.absolute() / f"{step:08d}"  # orbax refuses relative paths.


def none_readable(checkpoints: Path, reasons: Mapping[int, str]) -> ValueError:
    """Returns the error for a folder in which no checkpoint can be read, by step."""
    listed = "; ".join(f"{step}: {reason}" for step, reason in reasons.items())
    return ValueError(
        f"`{checkpoints}` must hold a checkpoint that can be read; none of "
        f"{len(reasons)} can ({listed}). Take them from a backup, or move "
        "the folder away to train from the beginning."
    )


def _is_step(path: Path) -> bool:
    return path.name.isdecimal() and path.is_dir()


def _in_order(checkpoints: Path, present: list[int], checkpoint: Which) -> list[int]:
    """Returns the steps to try, one after the other."""
    if isinstance(checkpoint, int):
        return [checkpoint]
    newest_first = present[::-1]
    if checkpoint == "newest":
        return newest_first
    for step in newest_first:
        try:
            position, _ = _read_position(path_of(checkpoints, step))
        except UnreadableError:
            continue
        if position.best_step in present:
            return [position.best_step, *newest_first]
        break
    return newest_first


def _read_params(path: Path) -> Loaded:
    position, seal = _read_position(path)
    return Loaded(params=_read(path, "params", None, seal), position=position)


def _read_position(path: Path) -> tuple[Position, dict[str, Any]]:
    import orbax.checkpoint as ocp

    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            fields = reader.restore(path / "position")
        return Position.of_json(fields), fields["seal"]
    except Exception as error:
        raise UnreadableError(first_line(error)) from error


def _read(path: Path, item: str, like: Any, seal: dict[str, Any]) -> Any:
    """Returns one item, of the form of `like`, or as nested dicts if it is None."""
    import orbax.checkpoint as ocp

    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            if like is None:
                saved = reader.metadata(path / item)
                like = shaped_like(getattr(saved, "item_metadata", saved).tree)
            tree = reader.restore(path / item, ocp.args.StandardRestore(like))
        found = int(bit_sum(tree))
    except Exception as error:  # orbax and tensorstore have no common error.
        raise UnreadableError(first_line(error)) from error
    if found != seal[item]:
        raise UnreadableError(f"the numbers of `{item}` are not those that were saved")
    return tree
