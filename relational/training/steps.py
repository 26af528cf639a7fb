"""One step of training: a pure function from a state and a batch to the next state.

Everything that a step needs is in its arguments. The key of step s is
`fold_in(key(seed), s)`, so no random state is kept anywhere, and a step that is run
again after a restart is the same step.

Shapes: B examples in a batch, K batches in a step, M numbers in a report.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from relational.specs import TrainingSpec
from relational.training.optimisers import depends_on_length, optimiser, rate
from relational.training.tasks import Batch, Params, Task

_FOR_EVER = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All that training changes: it goes into a step and comes out of it."""

    params: Params
    """Master parameters, float32 whatever the precision of the computation."""

    optimizer: Any
    """State of the optax transformation."""

    step: Int[Array, ""]
    """Steps taken."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["names"]
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What one step has to say; it stays on the device until somebody asks.

    The numbers lie in one array, since each array that leaves a device has its price:

    - `loss`: nats, summed over the batches;
    - `tokens`: counted tokens;
    - `gradient_norm`: global norm of the gradient, before clipping;
    - `learning_rate`: rate of this step;
    - each auxiliary term, and what else is noted, averaged over the counted tokens.
    """

    values: Float[Array, " M"]
    """The numbers."""

    names: tuple[str, ...]
    """Their names."""

    def numbers(self) -> dict[str, float]:
        """Returns the numbers by name; this waits for the step."""
        return dict(zip(self.names, np.asarray(self.values).tolist(), strict=True))


def initial_state(task: Task, training: TrainingSpec, batch: Batch) -> State:
    """Returns the state before the first step; of `batch` only shapes are read."""
    state = _initial_state(batch, task=task, training=training)
    return jax.device_put(state, one_device())


def abstract_state(task: Task, training: TrainingSpec, batch: Batch) -> State:
    """Returns the state's shapes and dtypes, computing nothing."""
    make = functools.partial(_initial_state, task=task, training=training)
    return shaped_like(jax.eval_shape(make, batch))


@functools.partial(
    jax.jit, static_argnames=("task", "training"), donate_argnames="state"
)
def update(
    state: State, batches: Batch, *, task: Task, training: TrainingSpec
) -> tuple[State, Report]:
    """Takes one step: the gradient of K batches joined, and one update by it.

    The objective is `sum(loss) / sum(weight) + sum(auxiliary)`. The batches are taken
    one after the other; the gradients of their sums are added, and divided by the
    weight of all of them, so the result is that of the joined batch (up to rounding)
    even when the batches weigh unequally. Auxiliary terms, being means, count by the
    weight of their batch.

    Args:
      state: where training stands; its buffers are donated, so it is gone afterwards.
      batches: arrays of shape [K, B, ...].
      task: the model and its loss.
      training: optimiser, schedule, clipping, precision and seed.

    Returns:
      The next state, and what is to be said about the step.
    """
    step = state.step + 1
    key = jax.random.fold_in(jax.random.key(training.seed), step)
    compute = _numerators(task, training.precision)
    gradients, sums = _accumulated(
        jax.grad(compute, has_aux=True), state.params, key, batches
    )
    gradients = jax.tree.map(lambda leaf: leaf / sums["tokens"], gradients)
    norm = optax.tree.norm(gradients)
    changes, optimizer = optimiser(training).update(
        gradients, state.optimizer, state.params
    )
    report = _report(
        {
            "loss": sums["loss"],
            "tokens": sums["tokens"],
            "gradient_norm": norm,
            "learning_rate": rate(training, step),
            **{name: x / sums["tokens"] for name, x in sums["auxiliary"].items()},
            **{name: x / sums["tokens"] for name, x in sums["noted"].items()},
        }
    )
    params = optax.apply_updates(state.params, changes)
    return State(params=params, optimizer=optimizer, step=step), report


def essentials(training: TrainingSpec) -> TrainingSpec:
    """Returns the spec with all that a step does not look at set to fixed values.

    Compiled steps are kept under their spec: those that differ only in how often
    they are logged, or in how many follow, should be one.
    """
    has_end = depends_on_length(training.schedule)
    return dataclasses.replace(
        training,
        steps=training.steps if has_end else _FOR_EVER,
        batch_size=1,  # The batches have their own shape.
        accumulate=1,
        log_every=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep=1,
        patience=None,
    )


def shaped_like(tree: Any) -> Any:
    """Returns the shapes and dtypes of `tree`, on the device that training uses."""

    def shape(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one_device())

    return jax.tree.map(shape, tree)


def one_device() -> jax.sharding.Sharding:
    """Returns where the state of a training lies.

    Made and restored states are both put there: arrays that are "committed" to a
    device and arrays that are not would each compile a step of their own.
    """
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def in_precision(params: Params, precision: str) -> Params:
    """Returns `params` with floating leaves in the dtype named by `precision`."""
    dtype = jnp.dtype(precision)

    def cast(leaf: Array) -> Array:
        is_floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if is_floating else leaf

    return jax.tree.map(cast, params)


@functools.partial(jax.jit, static_argnames=("task", "training"))
def _initial_state(batch: Batch, *, task: Task, training: TrainingSpec) -> State:
    # Steps are counted from 1: key 0 is free for the parameters.
    key = jax.random.fold_in(jax.random.key(training.seed), 0)
    params = task.init(key, batch)
    return State(
        params=params,
        optimizer=optimiser(training).init(params),
        step=jnp.zeros((), jnp.int32),
    )


def _report(numbers: Mapping[str, Array]) -> Report:
    values = jnp.stack([number.astype(jnp.float32) for number in numbers.values()])
    return Report(values=values, names=tuple(numbers))


def _numerators(task: Task, precision: str) -> Any:
    def compute(
        params: Params, key: PRNGKeyArray, batch: Batch
    ) -> tuple[Array, dict[str, Any]]:
        outcome = task.outcome(
            in_precision(params, precision), key, batch, is_training=True
        )
        tokens = jnp.sum(outcome.weight.astype(jnp.float32))
        tokens = jax.lax.stop_gradient(tokens)
        loss = jnp.sum(outcome.loss.astype(jnp.float32))
        auxiliary, noted = (
            {name: term.astype(jnp.float32) * tokens for name, term in terms.items()}
            for terms in (outcome.auxiliary, outcome.noted)
        )
        sums = {"loss": loss, "tokens": tokens, "auxiliary": auxiliary, "noted": noted}
        return loss + sum(auxiliary.values()), sums

    return compute


def _accumulated(
    gradient: Any, params: Params, key: PRNGKeyArray, batches: Batch
) -> Any:
    """Returns `gradient` (and its sums) added up over the K batches."""

    def of_one(index: Any, batch: Batch) -> Any:
        return gradient(params, jax.random.fold_in(key, index), batch)

    def add(total: Any, numbered: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_one(*numbered)), None

    num_batches = jax.tree.leaves(batches)[0].shape[0]
    first = jax.tree.map(lambda leaf: leaf[0], batches)
    if num_batches == 1:
        return of_one(0, first)
    shapes = jax.eval_shape(of_one, 0, first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.scan(add, zeros, (jnp.arange(num_batches), batches))[0]
