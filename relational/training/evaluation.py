"""How well a model predicts a split: nats per token, and how sure we are of it.

Shapes: B examples in a batch, P pieces.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from relational.training.steps import in_precision
from relational.training.tasks import Batch, Data, Outcome, Params, Task, Words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Negative log-likelihood of a split."""

    split: str
    """Name of the split, such as `validation`."""

    loss: float
    """Nats per token: all nats over all counted tokens."""

    standard_error: float
    """Standard error of `loss` over pieces (not tokens); NaN if there is but one."""

    tokens: int
    """Counted tokens."""

    pieces: int
    """Independent units with at least one counted token."""

    measures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """The shares and means that the task measures, by name."""


def evaluate(
    task: Task, params: Params, data: Data, split: str, *, precision: str = "float32"
) -> Evaluation:
    """Returns the negative log-likelihood per token of every example of `split`.

    The tokens of one piece are far from independent, so the standard error takes
    the pieces (`Data.evaluation`'s `piece`; without it, the examples) as the
    independent units: see `ratio`.

    Args:
      task: the model and its loss.
      params: its parameters.
      data: where the split is read.
      split: name of the split.
      precision: dtype of the computation; the sums are float32 and, over batches,
        float64.

    Returns:
      The evaluation. The pass is compiled once a shape: a smaller last batch is filled
      up with copies of its first example, whose outcomes are dropped.

    Raises:
      ValueError: the split holds no counted token, or a batch is larger than the
        first one of its shape.
    """
    batches = data.evaluation(split)
    return evaluate_batches(task, params, batches, split, precision=precision)


def evaluate_batches(
    task: Task,
    params: Params,
    batches: Iterable[Batch],
    split: str,
    *,
    precision: str = "float32",
) -> Evaluation:
    """Returns what `evaluate` does, of batches that are called `split`."""
    nats: dict[int, float] = {}
    tokens: dict[int, float] = {}
    measured: dict[str, tuple[float, float]] = {}
    for rows in _outcomes(task, params, batches, precision):
        for piece, l, w in zip(rows.pieces, rows.loss, rows.weight, strict=True):
            nats[piece] = nats.get(piece, 0.0) + l
            tokens[piece] = tokens.get(piece, 0.0) + w
        for name, (total, size) in rows.measures.items():
            before = measured.get(name, (0.0, 0.0))
            measured[name] = (before[0] + total, before[1] + size)
    counted = [piece for piece in tokens if tokens[piece] > 0]
    if not counted:
        raise ValueError(
            f"`split` must name a split with at least one counted token; {split!r} "
            "has none. Look at what `data.evaluation` gives for it."
        )
    mean, error = ratio(
        np.array([nats[piece] for piece in counted]),
        np.array([tokens[piece] for piece in counted]),
    )
    return Evaluation(
        split=split,
        loss=mean,
        standard_error=error,
        tokens=round(sum(tokens.values())),
        pieces=len(counted),
        measures={name: total / size for name, (total, size) in measured.items()},
    )


def words_of(task: Task) -> Words:
    """Returns what a task calls what it counts: tokens, if it does not say."""
    return getattr(task, "words", Words())


def judged(task: Task, evaluation: Evaluation) -> Mapping[str, str]:
    """Returns what a split is judged by: the loss, if the task does not say."""
    if hasattr(task, "judged"):
        found: Mapping[str, str] = task.judged(evaluation)
        return found
    words = words_of(task)
    return {
        words.loss: f"{evaluation.loss:.4f}",
        "standard error": f"{evaluation.standard_error:.4f}",
        words.counted: f"{evaluation.tokens:,}".replace(",", " "),
        "pieces": f"{evaluation.pieces}",
    }


def ratio(
    totals: Float[np.ndarray, " P"], sizes: Float[np.ndarray, " P"]
) -> tuple[float, float]:
    """Returns the ratio r of two sums over independent pieces, and its standard error.

    With totals y_p and sizes x_p of P pieces, r = sum(y) / sum(x), and

        error^2 = P / (P - 1) * sum_p (y_p - r x_p)^2 / sum(x)^2,

    the linearised (Taylor) variance of a ratio. One piece alone says nothing about
    its spread: the error is then NaN.

    >>> ratio(np.array([2.0, 4.0]), np.array([2.0, 2.0]))
    (1.5, 0.5)

    Cochran (1977), "Sampling Techniques", 3rd edition, section 2.11, for a sample
    that is small beside the population.
    """
    r = float(np.sum(totals) / np.sum(sizes))
    num_pieces = len(totals)
    if num_pieces < 2:
        return r, math.nan
    squares = float(np.sum((totals - r * sizes) ** 2))
    error = math.sqrt(num_pieces / (num_pieces - 1) * squares) / float(np.sum(sizes))
    return r, error


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The outcome of a batch: a row for each example, or part of one."""

    pieces: list[int]
    loss: list[float]
    weight: list[float]
    measures: dict[str, tuple[float, float]]


def _outcomes(
    task: Task, params: Params, batches: Iterable[Batch], precision: str
) -> Iterator[_Rows]:
    """Yields what each batch came to."""
    num_rows: dict[object, int] = {}  # By the shape of an example.
    first_free = 0
    waiting = None  # The device works on one batch while the next one is read.
    for index, batch in enumerate(batches):
        arrays = dict(batch)
        size = len(next(iter(arrays.values())))
        shape = tuple(leaf.shape[1:] for leaf in arrays.values())
        most = num_rows.setdefault(shape, size)
        if size > most:
            raise ValueError(
                "`data.evaluation` must give batches no larger than its first of their "
                f"shape, of {most} examples; batch {index} has {size}. Only the last "
                "batch of a shape may differ, and be smaller."
            )
        pieces = arrays.pop("piece", None)
        outcome = _sums(params, _filled(arrays, most), task=task, dtype=precision)
        if pieces is None:
            parts = outcome.loss.shape[1:]
            count = size * math.prod(parts)
            pieces = np.arange(first_free, first_free + count).reshape(size, *parts)
            first_free += count
        if waiting is not None:
            yield _rows(*waiting)
        waiting = pieces, outcome
    if waiting is not None:
        yield _rows(*waiting)


def _filled(batch: Batch, num_rows: int) -> dict[str, Shaped[np.ndarray, "B ..."]]:
    def fill(leaf: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "B ..."]:
        copies = np.broadcast_to(leaf[:1], (num_rows - len(leaf), *leaf.shape[1:]))
        return np.concatenate([leaf, copies])

    return {
        name: leaf if len(leaf) == num_rows else fill(leaf)
        for name, leaf in batch.items()
    }


@functools.partial(jax.jit, static_argnames=("task", "dtype"))
def _sums(params: Params, batch: Batch, *, task: Task, dtype: str) -> Outcome:
    outcome = task.outcome(
        in_precision(params, dtype), jax.random.key(0), batch, is_training=False
    )
    outcome = dataclasses.replace(outcome, auxiliary={}, noted={})
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), outcome)


def _rows(pieces: Shaped[np.ndarray, "B *parts"], outcome: Outcome) -> _Rows:
    size = len(pieces)

    def flat(leaf: Array) -> Float[np.ndarray, " rows"]:
        return np.asarray(leaf, np.float64)[:size].reshape(-1)

    return _Rows(
        pieces=pieces.reshape(-1).tolist(),
        loss=flat(outcome.loss).tolist(),
        weight=flat(outcome.weight).tolist(),
        measures={
            name: (float(flat(each.total).sum()), float(flat(each.size).sum()))
            for name, each in outcome.measures.items()
        },
    )
