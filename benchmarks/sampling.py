"""`python -m benchmarks.sampling`: a large graph learned from by neighbour sampling.

GraphSAGE on generated graphs of 100,000, 300,000 and 1,000,000 edges, whose nodes
belong to ten communities: four of five edges stay within one, and features are so noisy
that a node alone tells little. Each size, and beside it training on the whole graph at
once, runs in a process of its own, which reports the most memory that it held besides
the graph.

Shapes: N nodes, E edges, D features, C communities.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Annotated

import typer

from benchmarks import kept
from benchmarks.machine import machine
from benchmarks.sampled_training import save_graph

_ROOT = pathlib.Path(__file__).parent.parent
_KEPT = _ROOT / "docs" / "results" / "sampling.jsonl"
SIZES = (100_000, 300_000, 1_000_000)


def main(
    edges: Annotated[
        list[int] | None, typer.Option(help="Sizes of graphs; three if not given.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of training, each of 128 nodes.")] = 300,
    whole_steps: Annotated[
        int, typer.Option(help="Of training on the whole graph; 0 leaves it out.")
    ] = 50,
    out: Annotated[
        pathlib.Path, typer.Option(help="Where results are kept, a line a run.")
    ] = _KEPT,
) -> None:
    """Measures what has not been measured, and prints a table of what was kept."""
    print(machine())
    for num_edges in edges or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            save_graph(pathlib.Path(folder), num_edges, seed=0)
            for how, count in (("sampled", steps), ("whole", whole_steps)):
                run = {"edges": num_edges, "how": how, "steps": count}
                if count and not kept.holds(kept.rows(out), run):
                    kept.keep(out, {**run, **_in_a_process(folder, how, count)})
                    print(kept.rows(out)[-1], flush=True)
    print(table(kept.rows(out)))


def _in_a_process(folder: str, how: str, steps: int) -> kept.Row:
    command = [sys.executable, "-m", "benchmarks.sampled_training", folder, how]
    ran = subprocess.run(
        [*command, str(steps)], cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def table(found: list[kept.Row]) -> str:
    """Returns the rows, in Markdown."""
    titles = (
        "edges",
        "trained on",
        "the graph, MiB",
        "besides it, MiB",
        "of which training, MiB",
        "ms a step",
        "test accuracy, %",
        "by features alone, %",
    )
    lines = kept.head(titles)
    for row in sorted(found, key=lambda row: (row["how"], row["edges"])):
        how = "samples" if row["how"] == "sampled" else "the whole graph"
        lines.append(
            f"| {row['edges']:,} | {how} | {row['graph_mib']:.0f} | "
            f"{row['peak_mib'] - row['graph_mib']:.0f} | "
            f"{row['peak_mib'] - row['before_mib']:.0f} | "
            f"{row['milliseconds']:.1f} | {100 * row['test']:.1f} | "
            f"{100 * row['alone']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
