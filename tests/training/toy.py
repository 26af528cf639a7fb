"""A small task and its data, for the tests of training; also a program that trains.

python toy.py FOLDER STEPS: trains, prints what the loop prints.
"""

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.specs import AdamSpec, ConstantSpec, TrainingSpec
from relational.training import Batch, Interrupted, Outcome, Params, train

VOCABULARY, WIDTH, LENGTH = 7, 4, 6


@dataclasses.dataclass(frozen=True)
class Bigrams:
    """Softmax regression of a token on the one before, with a kind of dropout."""

    dropout: float = 0.2
    auxiliary: bool = False

    def init(self, key: jax.Array, batch: Batch) -> Params:
        assert batch["token"].ndim == 2
        # Not `jax.random.normal`: that would take longer to compile than all the rest.
        place = jnp.arange(2.0 * VOCABULARY * WIDTH) + _phase(key)
        first, second = jnp.cos(1.7 * place).reshape(2, -1)
        return {
            "bigrams/~/embed": {"w": first.reshape(VOCABULARY, WIDTH)},
            "bigrams/~/read_out": {
                "w": second.reshape(WIDTH, VOCABULARY),
                "b": jnp.zeros(VOCABULARY),
            },
        }

    def outcome(
        self, params: Params, key: jax.Array, batch: Batch, *, is_training: bool
    ) -> Outcome:
        token, length = jnp.asarray(batch["token"]), jnp.asarray(batch["length"])
        hidden = params["bigrams/~/embed"]["w"][token[:, :-1]]
        if is_training and self.dropout:
            noise = jnp.cos(2.3 * (jnp.arange(float(hidden.size)) + _phase(key)))
            kept = noise.reshape(hidden.shape) > 2 * self.dropout - 1
            hidden = jnp.where(kept, hidden, 0)
        read_out = params["bigrams/~/read_out"]
        bias = read_out["b"][None, None]
        logits = jnp.einsum("btd,dv->btv", hidden, read_out["w"]) + bias
        nats = -jax.nn.log_softmax(logits.astype(jnp.float32))
        nats = jnp.take_along_axis(nats, token[:, 1:, None], axis=-1)[..., 0]
        counted = jnp.arange(LENGTH - 1)[None] < length[:, None]
        counted = counted.astype(jnp.float32)
        weight = counted.sum(-1)
        per_token = jnp.sum(hidden.astype(jnp.float32) ** 2, -1)
        mean = jnp.sum(per_token * counted) / jnp.sum(weight)
        return Outcome(
            loss=jnp.sum(nats * counted, -1),
            weight=weight,
            auxiliary={"size": 0.1 * mean} if self.auxiliary else {},
        )


@dataclasses.dataclass(frozen=True)
class Traced(Bigrams):
    """A task that keeps when it was traced: an entry a trace, whether of training."""

    traces: list[bool] = dataclasses.field(default_factory=list, compare=False)

    def outcome(
        self, params: Params, key: jax.Array, batch: Batch, *, is_training: bool
    ) -> Outcome:
        self.traces.append(is_training)
        return super().outcome(params, key, batch, is_training=is_training)


def _phase(key: jax.Array) -> jax.Array:
    return (jax.random.key_data(key)[-1] % 1000).astype(jnp.float32)


class Walk:
    """An endless walk over made rows, in an order that a seed and a place decide."""

    def __init__(self, rows: Batch, *, seed: int, batch_size: int) -> None:
        self.rows, self.seed, self.batch_size, self.place = rows, seed, batch_size, 0

    def __next__(self) -> Batch:
        random = np.random.default_rng([self.seed, self.place])
        self.place += 1
        chosen = random.integers(0, len(self.rows["token"]), self.batch_size)
        return {name: leaf[chosen] for name, leaf in self.rows.items()}

    def get_state(self) -> Any:
        return {"place": np.int64(self.place)}

    def set_state(self, state: Any) -> None:
        self.place = int(state["place"])


@dataclasses.dataclass(frozen=True)
class Made:
    """Rows in which a token is mostly the one before plus one; lengths differ."""

    batch_size: int = 4
    fingerprint: str = "made-1"

    def rows(self, seed: int, num_rows: int) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        start = random.integers(0, VOCABULARY, (num_rows, 1))
        noise = random.integers(0, 2, (num_rows, LENGTH))
        token = (start + np.arange(LENGTH) + noise) % VOCABULARY
        length = random.integers(1, LENGTH, num_rows)
        return {"token": token.astype(np.int32), "length": length.astype(np.int32)}

    def training(self, seed: int) -> Any:
        return Walk(self.rows(1, 64), seed=seed, batch_size=self.batch_size)

    def evaluation(self, split: str) -> Iterable[dict[str, np.ndarray]]:
        rows = self.rows({"validation": 2, "test": 3}[split], 10)
        rows["piece"] = np.arange(10) // 3  # Of 3, 3, 3 and 1 rows.
        for first in range(0, 10, 4):  # Of 4, 4 and 2 rows.
            yield {name: leaf[first : first + 4] for name, leaf in rows.items()}


def spec(**changes: Any) -> TrainingSpec:
    values: dict[str, Any] = {
        "steps": 20,
        "batch_size": 4,
        "optimizer": AdamSpec(b2=0.99),
        "schedule": ConstantSpec(rate=0.05),
        "log_every": 3,
        "evaluate_every": 10,
        "checkpoint_every": 5,
        "keep": 2,
    }
    return TrainingSpec(**(values | changes))


if __name__ == "__main__":
    try:
        train(Bigrams(), Made(), spec(steps=int(sys.argv[2])), sys.argv[1])
    except Interrupted as stop:
        print(stop, flush=True)
        sys.exit(128 + stop.signal_number)
    except (ValueError, OSError) as error:
        print(error, flush=True)
        sys.exit(1)
