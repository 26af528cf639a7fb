"""How a network is trained on splits, all of which run the same compiled programs.

Shapes: B molecules of a batch.
"""

import dataclasses
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

import relational.datasets as data
from benchmarks import kept
from benchmarks.molecules.baselines import Errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A network, how its batches are made, and how it is trained."""

    network: Any  # From a batch to [B], of targets with mean 0 and variance 1.
    batches: Any  # A class: of graphs and targets, whose `batches` are drawn.
    width: int = 64
    steps: int
    epochs: int
    batch_size: int = 32
    rate: float
    decay: float = 1e-2
    dropout: float = 0.1

    def over(self, molecules: data.Molecules) -> Errors:
        """Returns the errors by seed; all of them run the same compiled programs."""
        made = self.batches(molecules.graphs, molecules.targets, self.batch_size)
        model = hk.transform(
            lambda batch, rate: self.network(
                batch, width=self.width, steps=self.steps, rate=rate
            )
        )
        first = next(made.batches(np.arange(len(molecules.targets)), None))
        optimizer = self._optimizer(len(molecules.targets))

        @jax.jit
        def start(key: jax.Array) -> Any:
            params = model.init(key, first, 0.0)
            return params, optimizer.init(params), key

        @jax.jit
        def step(state: Any, batch: Any, mean: Any, std: Any) -> Any:
            params, optimizer_state, key = state
            key, own = jax.random.split(key)

            def loss(params: Any) -> jax.Array:
                said = model.apply(params, own, batch, self.dropout)
                targets, real = made.targets(batch)
                square = (said - (targets - mean) / std) ** 2
                # A batch of few molecules counts for few.
                return jnp.sum(square, where=real) / self.batch_size

            updates, optimizer_state = optimizer.update(
                jax.grad(loss)(params), optimizer_state, params
            )
            return optax.apply_updates(params, updates), optimizer_state, key

        @jax.jit
        def squares(params: Any, batch: Any, mean: Any, std: Any) -> Any:
            said = model.apply(params, None, batch, 0.0) * std + mean
            targets, real = made.targets(batch)
            return jnp.sum((said - targets) ** 2, where=real), real.sum()

        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            scale = data.scale_of(molecules.targets[split.train])
            rng = np.random.default_rng(seed)

            def error(params: Any, part: np.ndarray) -> float:
                batches = made.batches(part, None)
                found = [squares(params, b, scale.mean, scale.std) for b in batches]
                total, count = np.sum(jax.device_get(found), axis=0)
                return float(np.sqrt(total / count))

            state = start(jax.random.key(seed))
            best, chosen, best_epoch = np.inf, state[0], 0
            for epoch in range(self.epochs):
                for batch in made.batches(split.train, rng):
                    state = step(state, batch, scale.mean, scale.std)
                found = error(state[0], split.validation)
                if found < best:
                    best, chosen, best_epoch = found, state[0], epoch + 1
            return {
                "train": error(chosen, split.train),
                "validation": best,
                "test": error(chosen, split.test),
                "epoch": best_epoch,
                "epochs": self.epochs,
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(chosen)),
            }

        return errors

    def _optimizer(self, num_molecules: int) -> Any:
        num_steps = self.epochs * (num_molecules * 8 // 10 // self.batch_size)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.rate, num_steps // 20, num_steps
        )
        return optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(schedule, weight_decay=self.decay),
        )
