"""The curves of a training: how the loss fell, beside what it is compared with.

Shapes: R rows of metrics.
"""

from collections.abc import Mapping, Sequence

import matplotlib.axes
import matplotlib.figure
import numpy as np
from jaxtyping import Float

_TRAINING, _VALIDATION, _BASELINE = "#0072B2", "#D55E00", "#555555"
_SPAN = (
    0.02  # Share of the rows, on either side, that the training loss is averaged over.
)


def draw_curves(
    rows: Sequence[Mapping[str, str]],
    *,
    baselines: Mapping[str, float] | None = None,
    unit: str = "nats per token",
) -> matplotlib.figure.Figure:
    """Returns a picture of the losses of a run over its steps.

    The training loss is drawn faintly as it is and strongly when smoothed; the
    validation loss with a band of one standard error; its lowest point is marked.

    Args:
      rows: rows of a run's `metrics.csv`, as `read_metrics` gives them.
      baselines: losses to compare with, in the same unit, by name.
      unit: of the losses.

    Returns:
      A figure, which belongs to nobody: save it, or show it in a notebook.

    >>> rows = [{"split": "train", "step": str(s), "loss": str(1 / s)} for s in (1, 2)]
    >>> draw_curves(rows).axes[0].get_ylabel()
    'loss (nats per token)'
    """
    figure = matplotlib.figure.Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _draw_training(axes, *_columns(rows, "train", "step", "loss"))
    columns = _columns(rows, "validation", "step", "loss", "standard_error")
    _draw_validation(axes, *columns)
    for name, loss in (baselines or {}).items():
        _draw_baseline(axes, name, loss)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss ({unit})")
    axes.set_xlim(left=0)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", framealpha=1, edgecolor="none")
    return figure


def _columns(
    rows: Sequence[Mapping[str, str]], split: str, *names: str
) -> list[Float[np.ndarray, " R"]]:
    chosen = [row for row in rows if row["split"] == split]
    return [np.array([float(row[name]) for row in chosen]) for name in names]


def _draw_training(
    axes: matplotlib.axes.Axes,
    step: Float[np.ndarray, " R"],
    loss: Float[np.ndarray, " R"],
) -> None:
    if not len(step):
        return
    axes.plot(step, loss, color=_TRAINING, alpha=0.3, linewidth=0.8)
    axes.plot(step, _smoothed(loss), color=_TRAINING, linewidth=1.6, label="training")
    axes.update_datalim([(step[-1], 0.0)], updatey=False)


def _draw_validation(
    axes: matplotlib.axes.Axes,
    step: Float[np.ndarray, " R"],
    loss: Float[np.ndarray, " R"],
    error: Float[np.ndarray, " R"],
) -> None:
    if not len(step):
        return
    axes.fill_between(
        step, loss - error, loss + error, color=_VALIDATION, alpha=0.2, linewidth=0
    )
    axes.plot(
        step,
        loss,
        color=_VALIDATION,
        linewidth=1.4,
        marker="o",
        markersize=3,
        label="validation (± standard error)",
    )
    best = int(np.argmin(loss))
    axes.plot(
        step[best], loss[best], "o", color=_VALIDATION, markersize=8, fillstyle="none"
    )
    axes.annotate(
        f"best {loss[best]:.3f}",
        (step[best], loss[best]),
        xytext=(0, 7),  # Above: the training loss runs below.
        textcoords="offset points",
        color=_VALIDATION,
        fontsize=8,
        ha="center",
    )


def _draw_baseline(axes: matplotlib.axes.Axes, name: str, loss: float) -> None:
    axes.axhline(loss, color=_BASELINE, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.annotate(  # Outside, where it covers no curve.
        f"{name}\n{loss:.3f}",
        (1.01, loss),
        xycoords=("axes fraction", "data"),
        color=_BASELINE,
        fontsize=8,
        va="center",
        annotation_clip=False,
    )


def _smoothed(loss: Float[np.ndarray, " R"]) -> Float[np.ndarray, " R"]:
    """Returns the mean over a window around each row, which is shorter at the ends."""
    reach = round(len(loss) * _SPAN)
    sums = np.concatenate([[0.0], np.cumsum(loss)])
    index = np.arange(len(loss))
    first = np.maximum(index - reach, 0)
    last = np.minimum(index + reach + 1, len(loss))
    means: Float[np.ndarray, " R"] = (sums[last] - sums[first]) / (last - first)
    return means
