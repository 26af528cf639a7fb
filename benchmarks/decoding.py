"""`python -m benchmarks.decoding`: what the next token costs, over the position.

Two models of 5 layers, 256 wide, 8 heads, with relative positions: one hears all tokens
before, the other its own block of 128 and the one before it. One program takes 64
tokens; it is run again and again, and never compiled again.
"""

import functools
import pathlib
import statistics
import time
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import typer

from relational import specs
from relational.datasets.serialisation import next_attributes
from relational.models.tasks import NextToken

_SPECS = {"global": "music_transformer", "local": "music_transformer_local"}
_CHUNK = 64  # Tokens that are timed together.
# The position, the token before it, and the pitch before it, of one sequence.
_FIRST = tuple(jnp.array([value], jnp.int32) for value in (0, 0, 60))


def main(
    length: Annotated[int, typer.Option(help="Tokens, a multiple of 64.")] = 1024,
    rounds: Annotated[int, typer.Option(help="How often each model decodes.")] = 7,
    plot: Annotated[
        pathlib.Path | None, typer.Option(help="A picture to write.")
    ] = None,
) -> None:
    """Prints milliseconds a token, by position, as a table."""
    decoders = {name: _Decoder(spec, length) for name, spec in _SPECS.items()}
    times: dict[str, list[list[float]]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decoder in decoders.items():
            times[name].append(decoder.decode())
    found = {
        name: [statistics.median(each) for each in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    print(f"| tokens | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for at in range(length // _CHUNK):
        cells = [f"{values[at] * 1e3:.2f}" for values in found.values()]
        print(f"| {at * _CHUNK} to {(at + 1) * _CHUNK} | {' | '.join(cells)} |")
    compiled = {name: decoder.num_compiled for name, decoder in decoders.items()}
    print(f"Programs compiled: {compiled}")
    if plot is not None:
        _draw(found, plot)


class _Decoder:
    """A model with its parameters, that draws the likeliest token at each position."""

    def __init__(self, spec: str, length: int) -> None:
        self.task = NextToken(specs.load(spec).model)
        self.length = length
        self.params = jax.jit(self.task.model.init)(jax.random.key(0), self._inputs())
        self.advance = jax.jit(functools.partial(_advance, self.task))
        self.decode()  # Compiles.

    def _inputs(self) -> Any:
        return _inputs(self.task, *_FIRST)[0]

    @property
    def num_compiled(self) -> int:
        return self.advance._cache_size()

    def decode(self) -> list[float]:
        """Returns seconds a token, chunk by chunk."""
        state = (
            *_FIRST,
            self.task.model.start(self.params, self._inputs(), self.length),
        )
        seconds = []
        for _ in range(self.length // _CHUNK):
            began = time.perf_counter()
            state = jax.block_until_ready(self.advance(self.params, state))
            seconds.append((time.perf_counter() - began) / _CHUNK)
        return seconds


def _inputs(task: NextToken, position: Any, token: Any, pitch: Any) -> Any:
    """Returns the inputs of one node, and the pitch that it has heard."""
    known = next_attributes(token, position[0], pitch)
    return task.inputs({k: v[:, None] for k, v in known.items()}), known["pitch"]


def _advance(task: NextToken, params: Any, state: Any) -> Any:
    def step(state: Any, _: None) -> tuple[Any, None]:
        position, token, pitch, caches = state
        inputs, pitch = _inputs(task, position, token, pitch)
        logits, caches = task.model.step(params, caches, inputs, position)
        token = logits[:, 0].argmax(axis=-1).astype(jnp.int32)
        return (position + 1, token, pitch, caches), None

    return jax.lax.scan(step, state, None, length=_CHUNK)[0]


def _draw(found: dict[str, list[float]], path: pathlib.Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, seconds in found.items():
        positions = (np.arange(len(seconds)) + 0.5) * _CHUNK
        axes.plot(positions, np.array(seconds) * 1e3, marker="o", label=name)
    axes.set(
        xlabel="position",
        ylabel="milliseconds a token",
        title="Decoding, 5 layers of 256, one sequence",
    )
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    typer.run(main)
