"""Graph networks as data: a stack of layers, or encode, process, decode."""

from typing import Literal

from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count
from relational.specs.layers import Layers


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class StackSpec:
    """Layers, one after the other; what the data ask for is read from the last."""

    layers: Layers
    """The layers, first to last."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ProcessSpec:
    """The steps in the middle, which share their parameters."""

    steps: Count
    """Number of steps."""
    core: Layers
    """One step: it reads what was encoded beside what the last step made."""
    memory: Literal["gru", "lstm"] | None = None
    """Cells that let what the core made into a hidden graph; nothing means none."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class EncodeProcessDecodeSpec:
    """Encode, process, decode (Battaglia et al. 2018, figure 6c).

    The graph is decoded after every step, and the loss is the mean over the steps.
    """

    encode: Layers
    """From the data to the latent graph."""
    process: ProcessSpec
    """From latent graph to latent graph, step by step."""
    decode: Layers
    """From the latent graph to what the data ask for."""


NetworkSpec = StackSpec | EncodeProcessDecodeSpec
"""A graph network."""
