"""A training loop that can be stopped at any time, and goes on where it was.

Batches are made ahead, once for all seeds; a seed draws the parameters and the order in
which an epoch goes through the batches.
"""

import dataclasses
import functools
import os
import pathlib
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax
import jraph
import numpy as np
import optax

from benchmarks.generalisation.settings import Setting, network
from relational import graph_tuples
from relational.datasets import GraphPair

Loss = Callable[[list[jraph.GraphsTuple], GraphPair], jax.Array]


@dataclasses.dataclass
class Run:
    """What a run has come to, as it is kept in a file."""

    params: Any
    state: Any
    step: int = 0
    cpu_seconds: float = 0.0
    """Of this process in training steps, compilation left out."""
    curve: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """What was measured on the way."""

    def save(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_bytes(pickle.dumps(jax.device_get(dataclasses.asdict(self))))
        os.replace(beside, path)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Run":
        return cls(**pickle.loads(path.read_bytes()))


class Trainer:
    """The network of a setting, its loss, and what it learns from."""

    def __init__(
        self,
        setting: Setting,
        outputs: dict[str, int],
        loss: Loss,
        batches: Sequence[GraphPair],
    ) -> None:
        self.setting = setting
        self.batches = batches
        self.loss = loss
        self.optimizer = setting.optimizer()
        self.model = hk.without_apply_rng(
            hk.transform(
                lambda graph, steps=None: network(setting, outputs)(
                    graph, num_steps=steps
                )
            )
        )
        self._update = jax.jit(self._updated, donate_argnums=(0, 1))

    def start(self, seed: int) -> Run:
        # One step of the core has all parameters.
        init = jax.jit(functools.partial(self.model.init, steps=1))
        params = init(jax.random.key(seed), self.batches[0].inputs)
        return Run(params, self.optimizer.init(params))

    def train(self, run: Run, seed: int, last: int, deadline: float) -> float:
        """Takes steps up to number `last`, or until the deadline; returns the loss."""
        loss = np.nan
        while run.step < last and time.monotonic() < deadline:
            pair = self._batch(seed, run.step)
            compiled, began = self._update._cache_size(), time.process_time()
            run.params, run.state, value = self._update(run.params, run.state, pair)
            loss = float(value)
            if self._update._cache_size() == compiled:
                run.cpu_seconds += time.process_time() - began
            run.step += 1
        return loss

    def _batch(self, seed: int, step: int) -> GraphPair:
        epoch, place = divmod(step, len(self.batches))
        order = np.random.default_rng([seed, epoch]).permutation(len(self.batches))
        return self.batches[order[place]]

    def _updated(self, params: Any, state: Any, pair: GraphPair) -> tuple[Any, ...]:
        def loss(params: Any) -> jax.Array:
            return self.loss(self.model.apply(params, pair.inputs), pair)

        value, gradient = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):  # Optax relies on it.
            updates, state = self.optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value


def batched(
    pairs: Sequence[GraphPair], batch_size: int, num_buckets: int
) -> list[GraphPair]:
    """Returns batches of one number of graphs, all padded to a few sizes."""
    inputs, targets = (
        [
            graph_tuples.batch([pair[part] for pair in pairs[first:][:batch_size]])
            for first in range(0, len(pairs), batch_size)
        ]
        for part in (0, 1)
    )
    buckets = graph_tuples.Buckets.fit(inputs, batch_size=1, num_buckets=num_buckets)
    result = []
    for one, other in zip(inputs, targets, strict=True):
        padded = buckets.collate([one])
        target = buckets.collate([other])._replace(
            senders=padded.senders, receivers=padded.receivers
        )
        result.append(GraphPair(padded, target))
    return result


def kept(path: pathlib.Path, make: Callable[[], Any]) -> Any:
    """Returns what a file keeps; makes it first, if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_bytes(pickle.dumps(make()))
        os.replace(beside, path)
    return pickle.loads(path.read_bytes())
