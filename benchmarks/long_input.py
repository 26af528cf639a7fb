"""`python -m benchmarks.long_input`: memory of a training step, over the length.

A decoder of 4 layers, 256 wide, whose tokens hear the 256 up to their own, takes steps of
training by its spec on one sequence. Each length has a process of its own, whose largest
resident memory is told; what it holds before the step (Python, JAX, parameters and
AdamW's means) is told apart.
"""

import json
import pathlib
import subprocess
import sys
import time
from typing import Annotated, Any

import matplotlib
import numpy as np
import typer

from benchmarks import kept
from benchmarks.decoders import Decoder, batch_of
from benchmarks.machine import machine

_LENGTHS = (4096, 8192, 16384, 32768)
_SIZES = {"layers": 4, "width": 256, "heads": 4, "vocabulary": 512}
_BEFORE = 255
_TOPOLOGY = f"{{and: [causal, {{band: {{before: {_BEFORE}}}}}]}}"
_KEPT = pathlib.Path(__file__).parent.parent / "docs/results/benchmarks"
_ONE = "--one"  # What a process of one length is called with.


def main(
    length: Annotated[
        list[int] | None, typer.Option(help="Lengths; 4096 to 32768 if not given.")
    ] = None,
    plot: Annotated[
        pathlib.Path | None, typer.Option(help="A picture to write.")
    ] = None,
    out: Annotated[pathlib.Path, typer.Option(help="The file of results.")] = (
        _KEPT / "long_input.jsonl"
    ),
) -> None:
    """Prints memory and time of a step at each length, as a table."""
    lengths = length or list(_LENGTHS)
    others = [row for row in kept.rows(out) if row["length"] not in lengths]
    out.unlink(missing_ok=True)
    for row in others:
        kept.keep(out, row)
    for each in lengths:
        command = [sys.executable, "-m", "benchmarks.long_input", _ONE, str(each)]
        said = subprocess.run(command, check=True, capture_output=True, text=True)
        kept.keep(out, {**json.loads(said.stdout), "machine": machine()})
    rows = sorted(kept.rows(out), key=lambda row: row["length"])
    titles = ("length", "peak, MiB", "of a step, MiB", "XLA's temporary, MiB")
    print("\n".join(kept.head((*titles, "seconds a step", "tokens/s"))))
    for row in rows:
        cells = [row["length"], row["peak"], row["step"], row["temporary"]]
        speed = row["length"] / row["seconds"]
        numbers = " | ".join(f"{cell:,.0f}" for cell in cells)
        print(f"| {numbers} | {row['seconds']:.2f} | {speed:,.0f} |")
    if plot is not None:
        _draw(rows, plot)


def _one(length: int) -> None:
    """Tells, as JSON, MiB and seconds of steps at one length."""
    import jax
    import jax.numpy as jnp

    from relational.models.tasks import NextToken
    from relational.training import steps

    spec = Decoder(**_SIZES).spec(topology=_TOPOLOGY)
    task, training = NextToken(spec.model), steps.essentials(spec.training)
    random = np.random.default_rng(0)
    tokens = random.integers(0, _SIZES["vocabulary"], (1, length + 1))
    batches = jax.tree.map(lambda leaf: jnp.asarray(leaf[None]), batch_of(tokens))
    short = batch_of(tokens[:, : 2 * _BEFORE])
    state = steps.initial_state(task, training, short)  # Of no length.
    program = steps.update.lower(state, batches, task=task, training=training).compile()
    before = _mebibytes("VmRSS")
    state, _ = jax.block_until_ready(program(state, batches))
    began = time.perf_counter()
    jax.block_until_ready(program(state, batches))
    found: dict[str, Any] = {
        "length": length,
        "peak": _mebibytes("VmHWM"),
        "step": _mebibytes("VmHWM") - before,
        "temporary": program.memory_analysis().temp_size_in_bytes / 2**20,
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(found))


def _mebibytes(field: str) -> float:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return float(line.split()[1]) / 1024


def _draw(rows: list[kept.Row], path: pathlib.Path) -> None:
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "long_input"  # The same results, one file.
    import matplotlib.pyplot as plt

    lengths = [row["length"] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, label in (("peak", "process"), ("step", "of a step")):
        axes.plot(lengths, [row[name] for row in rows], marker="o", label=label)
    axes.set(
        xlabel="length",
        ylabel="largest resident memory, MiB",
        title="A training step, 4 layers of 256, a window of 256",
        xlim=(0, None),
        ylim=(0, None),
    )
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    if sys.argv[1:2] == [_ONE]:
        _one(int(sys.argv[2]))
    else:
        typer.run(main)
