"""`python -m benchmarks.packing SPEC`: whether short pairs should share a row.

Batches of like length are filled up to the bounds of their buckets. Packed, several pairs
lie one behind the other in a row of one length, and attention is kept within each pair:
fewer places hold padding, but scores are computed between all places of a row. Both are
given the same pairs and timed, forward and backward, with dropout.

Needs the extra `text`.
"""

import pathlib
import time
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer

from benchmarks.kept import head
from benchmarks.machine import machine
from relational import models, specs
from relational.models.surprise import surprise
from relational.models.text_data import ParallelData
from relational.models.token_graph import SEGMENT
from relational.models.translation import START, Translation, counted, ends_of

Batch = dict[str, Any]
SIDES = ("source", "target")


def main(
    name: Annotated[str, typer.Argument(metavar="SPEC", help="Of two node sets.")],
    data_source: Annotated[
        pathlib.Path | None, typer.Option("--data", help="The folder of its files.")
    ] = None,
    batches: Annotated[int, typer.Option(help="Batches that are timed.")] = 32,
    rounds: Annotated[int, typer.Option(help="The fastest of them counts.")] = 3,
    lengths: Annotated[
        list[int] | None, typer.Option(help="Of rows; 64 and 128 if not given.")
    ] = None,
) -> None:
    """Prints the share of padding and the time of both."""
    print(machine())
    spec = specs.load(name)
    assert isinstance(spec.model, specs.ModelSpec)
    data = ParallelData(
        spec.data,
        batch_size=spec.training.batch_size,
        data_source=None if data_source is None else str(data_source),
    )
    walk = data.training(spec.training.seed)
    bucketed = [next(walk) for _ in range(batches)]
    pairs = [pair for batch in bucketed for pair in _pairs(batch)]
    ways = {"buckets": bucketed}
    for length in lengths or (64, 128):
        rows = max(1, spec.data.tokens // (2 * length))
        ways[f"rows of {length}"] = packed(pairs, length=length, rows=rows)
    step = _step(spec)
    lines = head(("way", "batches", "shapes", "padding", "target tokens/s of one core"))
    for way, found in ways.items():
        real = sum(int(batch["target_length"].sum()) for batch in found)
        filled = sum(batch[side].size for batch in found for side in SIDES)
        both = sum(
            int(batch[f"{side}_length"].sum()) for batch in found for side in SIDES
        )
        shapes = {batch["source"].shape for batch in found}
        seconds = _seconds(step, found, rounds)
        lines.append(
            f"| {way} | {len(found)} | {len(shapes)} | {1 - both / filled:.0%} | "
            f"{real / seconds:,.0f} |"
        )
    print("\n".join(lines))


def packed(
    pairs: list[tuple[np.ndarray, np.ndarray]], *, length: int, rows: int
) -> list[Batch]:
    """Puts each pair into the first row that has place for both of its sides."""
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = []
    place: list[np.ndarray] = []
    for pair in pairs:
        sizes = np.array([len(side) for side in pair])
        assert sizes.max() <= length
        chosen = next(
            (i for i, left in enumerate(place) if (left >= sizes).all()), None
        )
        if chosen is None:
            kept.append([])
            place.append(np.full(2, length))
            chosen = len(kept) - 1
        kept[chosen].append(pair)
        place[chosen] = place[chosen] - sizes
    return [
        _rows(kept[first : first + rows], length, rows)
        for first in range(0, len(kept), rows)
    ]


def _rows(
    content: list[list[tuple[np.ndarray, np.ndarray]]], length: int, rows: int
) -> Batch:
    batch = {}
    for index, side in enumerate(SIDES):
        tokens = np.zeros([rows, length], np.int32)
        before = np.full([rows, length], START, np.int32)
        # Padding is a segment of its own, as large as it is.
        segment = np.zeros([rows, length], np.int32)
        for row, pairs in enumerate(content):
            at = 0
            for number, pair in enumerate(pairs, start=1):
                end = at + len(pair[index])
                tokens[row, at:end] = pair[index]
                before[row, at + 1 : end] = pair[index][:-1]
                segment[row, at:end] = number
                at = end
        batch |= {
            side: tokens,
            f"{side}_segment": segment,
            f"{side}_length": (segment > 0).sum(axis=1).astype(np.int32),
        }
        if side == "target":
            batch["before"] = before
    return batch


def _pairs(batch: Batch) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (source[:heard], target[:said])
        for source, heard, target, said in zip(
            batch["source"],
            batch["source_length"],
            batch["target"],
            batch["target_length"],
            strict=True,
        )
    ]


def _step(spec: specs.Spec) -> Any:
    """Returns a compiled function from parameters and a batch to the gradient."""
    task = Translation(spec.model)
    model, ends = models.build(spec.model), ends_of(spec.model)
    example = {
        name: np.ones([1, 8] if name in SIDES else [1], np.int32)
        for name in (*SIDES, "source_length", "target_length")
    }
    params = task.init(jax.random.key(0), example)

    def inputs(batch: Batch) -> Any:
        if "before" not in batch:
            return task.inputs(batch)
        return {
            ends.source: {"token": batch["source"], SEGMENT: batch["source_segment"]},
            ends.target: {"token": batch["before"], SEGMENT: batch["target_segment"]},
        }

    def nats(params: Any, batch: Batch) -> jax.Array:
        key = jax.random.key(1)
        logits = model.apply(params, key, inputs(batch), is_training=True)
        weight = counted(batch)
        if "before" in batch:
            weight = batch["target_segment"] > 0
        found = surprise(logits, batch["target"], spec.training.label_smoothing)
        return jnp.where(weight, found, 0).sum()

    gradient = jax.jit(jax.grad(nats))
    return lambda batch: jax.block_until_ready(gradient(params, batch))


def _seconds(step: Any, batches: list[Batch], rounds: int) -> float:
    """Returns the processor time of all batches, in the fastest of the rounds."""
    placed = [
        {name: jnp.asarray(leaf) for name, leaf in batch.items()} for batch in batches
    ]
    for batch in placed:
        step(batch)  # Compiles what is new.
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for batch in placed:
            step(batch)
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    typer.run(main)
