"""A run is a folder: what was asked for, what came out, and where to go on.

    spec.yaml      the spec, as it is trained
    metrics.csv    one row for every `log_every` steps and for every evaluation
    tensorboard/   the same for TensorBoard, and speeds
    checkpoints/   one folder a step
    curves.png     the losses, drawn when the training is complete

and what the data want kept with it, such as `subwords.model`, a vocabulary.

While a process trains, it holds a lock on `.lock`, which the operating system lets go
of however the process ends.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from relational.specs import Spec, TrainingSpec, difference, dumps, loads
from relational.specs.writer import in_line, plain
from relational.specs.yaml_text import parse
from relational.training.failures import first_line, naming
from relational.training.optimisers import depends_on_length


@dataclasses.dataclass(frozen=True)
class Run:
    """The paths of a run."""

    folder: Path
    """The folder of the run."""

    @property
    def spec(self) -> Path:
        """The spec."""
        return self.folder / "spec.yaml"

    @property
    def metrics(self) -> Path:
        """The table of metrics."""
        return self.folder / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """The folder that TensorBoard reads."""
        return self.folder / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def curves(self) -> Path:
        """The picture of the losses."""
        return self.folder / "curves.png"


@contextlib.contextmanager
def opened(folder: Path, spec: Spec | TrainingSpec) -> Iterator[Run]:
    """Yields the run of `spec` in `folder`, locked against other processes.

    A new run writes `spec.yaml`. A run that exists goes on with an equal spec; apart
    from that, only what changes no number computed so far may differ: `name`,
    `source`, `training.keep`, `training.checkpoint_every`, and a larger
    `training.steps` where the schedule does not look at the number of steps
    (`warmup_cosine` does). The file then holds the new spec. Where nothing was computed
    yet, any spec may begin.

    Raises:
      ValueError: another process trains the run, its spec differs (the differences
        are listed), or the folder holds something else.
      OSError: the folder cannot be made or written.
    """
    run = Run(folder)
    with naming(folder, "keep a run"):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(run)
        lock = (folder / ".lock").open("a+")
    with lock:
        _lock(lock, folder)
        if run.spec.exists() and _has_begun(run):
            _refuse_changes(run, spec)
        with naming(run.spec, "write the spec"):
            replace(run.spec, _text(spec).encode())
        yield run


def _has_begun(run: Run) -> bool:
    """Says whether anything was computed by the spec of a run."""
    return run.metrics.exists() or any(run.checkpoints.glob("[0-9]*"))


def _refuse_foreign(run: Run) -> None:
    if run.spec.exists():
        return
    # A hidden file may be what a killed process had begun, or a desktop's litter.
    others = sorted(p.name for p in run.folder.iterdir() if not p.name.startswith("."))
    if others:
        raise ValueError(
            f"`folder` must be new, empty, or a run with a `spec.yaml`; `{run.folder}` "
            f"has none and holds `{others[0]}`. Choose another folder."
        )


def _lock(lock: TextIO, folder: Path) -> None:
    import fcntl  # Not on every system; nothing but training needs it.

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise ValueError(
            f"`folder` must be a run that no other process trains; `{folder}` is being "
            f"trained by process {lock.read().strip() or 'unknown'}. Wait for it, stop "
            "it, or choose another folder."
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def _refuse_changes(run: Run, spec: Spec | TrainingSpec) -> None:
    old = _saved(run, spec)
    changes = _difference(_with_free_fields_of(spec, old), spec)
    if not changes:
        return
    longer = (
        "\n(`training.steps` can be raised, but not lowered, and not with a schedule "
        "that ends with the last step: its rates so far would have been others.)"
    )
    lines = [f"  {line}" for line in changes]
    raise ValueError(
        f"The spec must be the one that `{run.folder}` was begun with; it differs:\n"
        + "\n".join(lines)
        + "\nTake these back, or train in a new folder."
        + (longer if any("training.steps:" in line for line in lines) else "")
    )


def _saved(run: Run, like: Spec | TrainingSpec) -> Spec | TrainingSpec:
    """Returns the spec that the run was begun with, of the class of `like`."""
    try:
        text = run.spec.read_text("utf-8")
        if isinstance(like, Spec):
            return loads(text, str(run.spec))
        return TrainingSpec(**parse(text, str(run.spec)).data["training"])
    except (ValueError, TypeError, LookupError) as error:
        kind = type(like).__name__
        raise ValueError(
            f"`{run.spec}` must hold the {kind} that the run was begun with; it cannot "
            f"be read as one ({first_line(error)}). Train in a new folder."
        ) from error


def _with_free_fields_of(new: Spec | TrainingSpec, old: Any) -> Any:
    """Returns `old` with those values of `new` that a run in progress may change."""
    before, after = _training(old), _training(new)
    is_longer = after.steps > before.steps and not depends_on_length(after.schedule)
    training = dataclasses.replace(
        before,
        keep=after.keep,
        checkpoint_every=after.checkpoint_every,
        steps=after.steps if is_longer else before.steps,
    )
    if isinstance(old, TrainingSpec):
        return training
    return dataclasses.replace(old, training=training)


def _difference(old: Any, new: Spec | TrainingSpec) -> list[str]:
    if isinstance(new, Spec):
        return difference(old, new)
    before, after = (plain(spec, with_defaults=True) for spec in (old, new))
    return [
        f"{sign} training.{name}: {in_line(fields[name])}"
        for name in before
        if before[name] != after[name]
        for sign, fields in (("-", before), ("+", after))
    ]


def _training(spec: Spec | TrainingSpec) -> TrainingSpec:
    return spec if isinstance(spec, TrainingSpec) else spec.training


def replace(path: Path, content: bytes) -> None:
    """Replaces a file in one piece, if it does not hold the content already."""
    if path.exists() and path.read_bytes() == content:
        return
    fresh = path.with_name(f".{path.name}")
    fresh.write_bytes(content)
    fresh.replace(path)


def _text(spec: Spec | TrainingSpec) -> str:
    if isinstance(spec, Spec):
        return dumps(spec)
    return f"training: {in_line(plain(spec))}\n"
