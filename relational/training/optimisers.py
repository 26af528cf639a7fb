"""From a training spec to an optax transformation and its learning rate.

Steps are counted from 1 here, as in the papers: the first update is made with
`rate(training, 1)`. (optax counts the updates already made.)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from relational.specs import (
    AdamSpec,
    AdamWSpec,
    ConstantSpec,
    MuonSpec,
    TrainingSpec,
    WarmupCosineSpec,
    WarmupRsqrtSpec,
)

Step = int | Int[Array, ""]
Rate = Float[Array, ""]


def optimiser(training: TrainingSpec) -> optax.GradientTransformation:
    """Returns clipping by the global norm (where asked for), then the optimiser.

    >>> from relational.specs import AdamSpec, ConstantSpec, TrainingSpec
    >>> schedule = ConstantSpec(rate=0.5)
    >>> spec = TrainingSpec(
    ...     steps=1, batch_size=1, optimizer=AdamSpec(), schedule=schedule
    ... )
    >>> weight = jnp.array(2.0)
    >>> adam = optimiser(spec)
    >>> change, _ = adam.update(weight, adam.init(weight), weight)
    >>> print(f"{change:.3f}")  # Adam's first is the rate against the sign.
    -0.500
    """

    def of_count(count: Any) -> Rate:
        return rate(training, count + 1)

    chosen = _transformation(training.optimizer, of_count)
    if training.clip_norm is not None:
        chosen = optax.chain(optax.clip_by_global_norm(training.clip_norm), chosen)
    return optax.GradientTransformation(chosen.init, _lenient(chosen.update))


def rate(training: TrainingSpec, step: Step) -> Rate:
    """Returns the learning rate of update number `step`, the first being 1."""
    return _rate(training.schedule, jnp.asarray(step, jnp.float32), training.steps)


def depends_on_length(schedule: Any) -> bool:
    """Says whether a longer training would have had other rates from the start."""
    return isinstance(schedule, WarmupCosineSpec)


def _lenient(update: Callable[..., Any]) -> Callable[..., Any]:
    """Lets optax raise a float to the power of its count where jax is set to refuse."""

    def wrapped(*arguments: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return update(*arguments)

    return wrapped


@functools.singledispatch
def _transformation(
    spec: Any, schedule: Callable[[Any], Rate]
) -> optax.GradientTransformation:
    del schedule
    raise TypeError(
        "`optimizer` must be one of the optimiser specs of `relational.specs`; got "
        f"{spec!r}. Use `AdamSpec()` or `AdamWSpec()`."
    )


@_transformation.register
def _(spec: AdamSpec, schedule: Callable[[Any], Rate]) -> optax.GradientTransformation:
    adam = optax.adam(schedule, b1=spec.b1, b2=spec.b2, eps=spec.eps)
    if not spec.l2:
        return adam
    mask = functools.partial(_matrices, within=spec.l2_within)
    return optax.chain(optax.add_decayed_weights(spec.l2, mask), adam)


@_transformation.register
def _(spec: AdamWSpec, schedule: Callable[[Any], Rate]) -> optax.GradientTransformation:
    return optax.adamw(
        schedule,
        b1=spec.b1,
        b2=spec.b2,
        eps=spec.eps,
        weight_decay=spec.weight_decay,
    )


@_transformation.register
def _(spec: MuonSpec, schedule: Callable[[Any], Rate]) -> optax.GradientTransformation:
    muon = optax.contrib.muon(
        schedule,
        beta=spec.beta,
        weight_decay=spec.weight_decay,
        consistent_rms=_RMS_OF_ADAM,
    )
    adam = optax.adam(schedule, b1=spec.b1, b2=spec.b2, eps=spec.eps)
    return optax.partition({"muon": muon, "adam": adam}, _by_kind)


_RMS_OF_ADAM = 0.2  # Root mean square of Adam's updates, as Liu et al. (2025) found it.


def _matrices(params: Any, within: str | None) -> Any:
    """Says of each leaf whether it is no offset and lies within the module."""

    def is_decayed(path: Any, leaf: Any) -> bool:
        del leaf
        module = jax.tree_util.keystr(path[:-1], simple=True, separator="/").split("/")
        is_inside = within is None or within in module
        return is_inside and getattr(path[-1], "key", None) not in _OFFSETS

    decayed = jax.tree_util.tree_map_with_path(is_decayed, params)
    if not any(jax.tree.leaves(decayed)):
        raise ValueError(
            f"`training.optimizer.adam.l2_within` must name a layer that has matrices; "
            f"`{within}` has none. The modules are {', '.join(params)}."
        )
    return decayed


_OFFSETS = ("b", "offset", "scale")  # Haiku's names of what is no matrix.


def _by_kind(params: Any) -> Any:
    """Names the optimiser of each leaf: a dense layer's matrix is called `w`."""

    def kind(path: Any, leaf: Any) -> str:
        is_dense = leaf.ndim == 2 and getattr(path[-1], "key", None) == "w"
        return "muon" if is_dense else "adam"

    return jax.tree_util.tree_map_with_path(kind, params)


@functools.singledispatch
def _rate(spec: Any, step: Rate, num_steps: int) -> Rate:
    del step, num_steps
    raise TypeError(
        "`schedule` must be one of the schedule specs of `relational.specs`; got "
        f"{spec!r}. Use `ConstantSpec(rate=...)`, for example."
    )


@_rate.register
def _(spec: ConstantSpec, step: Rate, num_steps: int) -> Rate:
    del step, num_steps  # The same rate throughout.
    return jnp.asarray(spec.rate, jnp.float32)


@_rate.register
def _(spec: WarmupCosineSpec, step: Rate, num_steps: int) -> Rate:
    """Up a line to `peak` at `warmup`, then half a cosine down to `floor` at the end.

    Loshchilov and Hutter (2017), "SGDR", equation 5, one period without restarts.
    """
    rising = spec.peak * step / max(spec.warmup, 1)
    done = (step - spec.warmup) / max(num_steps - spec.warmup, 1)
    cosine = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1)))
    falling = spec.floor + (spec.peak - spec.floor) * cosine
    return jnp.where(step < spec.warmup, rising, falling)


@_rate.register
def _(spec: WarmupRsqrtSpec, step: Rate, num_steps: int) -> Rate:
    """Returns `factor width^-1/2 min(s^-1/2, s warmup^-3/2)`, s the step from 1.

    Vaswani et al. (2017), section 5.3, equation 3, where `factor` is 1.
    """
    del num_steps  # The rate falls for ever.
    slope: float = spec.warmup**-1.5
    scale: float = spec.factor * spec.width**-0.5
    return scale * jnp.minimum(step**-0.5, step * slope)
