"""The network of the demonstrations, and the settings in which it is trained.

Shapes: D width.
"""

import dataclasses
from collections.abc import Mapping

import haiku as hk
import optax

import relational as rl
from relational import blocks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Sizes of a network, and how long and how fast it learns."""

    iterations: int
    batch_size: int
    processing: int
    """Steps of the core, in training and in tests."""
    width: int = 16
    rate: float = 1e-3
    decays: bool = False
    """Whether the rate is warmed up over 200 iterations and falls to 0 by a cosine."""
    clip_norm: float | None = None
    """The largest norm of a gradient, longer ones are shortened."""
    aggregator: rl.aggregators.Aggregator = rl.Sum()  # noqa: RUF009  # It is frozen.
    predicts_change: bool = False
    """Of springs: whether the change of a velocity is decoded, or the velocity."""

    def optimizer(self) -> optax.GradientTransformation:
        adam = optax.adam(self._schedule())
        if self.clip_norm is None:
            return adam
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adam)

    def _schedule(self) -> optax.ScalarOrSchedule:
        if not self.decays:
            return self.rate
        warmup = min(200, self.iterations // 10)
        return optax.warmup_cosine_decay_schedule(
            0.0, self.rate, warmup, self.iterations
        )


_PUZZLE = Setting(iterations=10_000, batch_size=32, processing=10)
_SPRINGS = Setting(iterations=10_000, batch_size=256, processing=1)
_TUNED = {"rate": 4e-3, "decays": True}

SETTINGS: dict[str, dict[str, Setting]] = {
    "shortest_path": {
        "published": _PUZZLE,
        "tuned": dataclasses.replace(
            _PUZZLE, iterations=4_000, width=32, aggregator=rl.Max(), **_TUNED
        ),
    },
    "sorting": {
        "published": _PUZZLE,
        "tuned": dataclasses.replace(
            _PUZZLE,
            iterations=3_000,
            aggregator=rl.Max(),
            rate=2e-3,
            decays=True,
            clip_norm=1.0,
        ),
    },
    "springs": {
        "published": _SPRINGS,
        "tuned": dataclasses.replace(
            _SPRINGS, width=32, predicts_change=True, **_TUNED
        ),
    },
}


def network(setting: Setting, outputs: Mapping[str, int]) -> blocks.EncodeProcessDecode:
    """Figure 6c of the paper; every update is an MLP of two layers and a layer norm.

    Args:
      setting: width and steps.
      outputs: the width of what is predicted of each "edge", "node", "global".
    """

    def updates() -> dict[str, hk.Sequential]:
        return {f"update_{part}": _mlp(setting.width) for part in _PARTS}

    output = blocks.Independent(
        **{f"update_{part}": hk.Linear(width) for part, width in outputs.items()},
        name="output",
    )
    return blocks.EncodeProcessDecode(
        encoder=blocks.Independent(**updates(), name="encoder"),
        core=blocks.GraphNetwork(
            **updates(), edges_to_nodes=setting.aggregator, name="core"
        ),
        decoder=blocks.Sequential(
            [blocks.Independent(**updates(), name="decoder"), output]
        ),
        num_steps=setting.processing,
    )


_PARTS = ("edge", "node", "global")


def _mlp(width: int) -> hk.Sequential:
    return hk.Sequential(
        [
            hk.nets.MLP([width, width], activate_final=True),
            hk.LayerNorm(axis=-1, create_scale=True, create_offset=True),
        ]
    )
