"""Shortest paths and sorting: classes of nodes and edges, right or wrong.

Shapes: N nodes, E edges, C classes.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jraph
import optax

from benchmarks.generalisation.settings import Setting
from benchmarks.generalisation.training import Run, Trainer, batched, kept
from relational import datasets, graph_tuples
from relational.datasets import GraphPair, graph_metrics

_TASKS = {"shortest_path": datasets.ShortestPath, "sorting": datasets.Sorting}
_SEEDS = {"training": 100, "8 to 16": 101, "16 to 32": 102}
_SIZES = {"training": (8, 16), "8 to 16": (8, 16), "16 to 32": (16, 32)}
_OUTPUTS = {"node": 2, "edge": 2}


class Puzzle:
    """A task with its network: trained on 8 to 16 nodes, tested there and on 16 to 32."""

    tests = ("8 to 16", "16 to 32")

    def __init__(
        self,
        task: str,
        setting: Setting,
        folder: pathlib.Path,
        *,
        num_batches: int = 2048,
        num_tests: int = 1000,
    ) -> None:
        made = {"training": num_batches * setting.batch_size} | dict.fromkeys(
            self.tests, num_tests
        )
        self._batches = {
            name: kept(
                folder / f"{task}-{name.replace(' ', '-')}-{count}.pickle",
                functools.partial(_made, task, name, count, setting.batch_size),
            )
            for name, count in made.items()
        }
        self.trainer = Trainer(setting, _OUTPUTS, _loss, self._batches["training"])
        self._count = jax.jit(self._counted, static_argnames="steps")

    def measure(self, run: Run, steps: int | None = None) -> dict[str, Any]:
        """Returns counts of right answers at both sizes, after so many steps."""
        return {
            name: self._answers(run.params, self._batches[name], steps)
            for name in self.tests
        }

    def brief(self, run: Run) -> dict[str, float]:
        """Returns the share of graphs that are solved, of every fourth batch."""
        found = {
            name: self._answers(run.params, self._batches[name][::4], None)
            for name in self.tests
        }
        return {
            name: round(one["graphs_solved"] / one["num_graphs"], 4)
            for name, one in found.items()
        }

    def _answers(
        self, params: Any, batches: Sequence[GraphPair], steps: int | None
    ) -> dict[str, int]:
        counts = [self._count(params, pair, steps=steps) for pair in batches]
        total = jax.tree.map(lambda *each: int(sum(each)), *counts)
        return dict(total._asdict())

    def _counted(
        self, params: Any, pair: GraphPair, *, steps: int | None
    ) -> graph_metrics.Answers:
        last = self.trainer.model.apply(params, pair.inputs, steps)[-1]
        real = graph_tuples.graph_mask(pair.inputs)
        return graph_metrics.answers(last, pair.targets, real)


def _made(task: str, name: str, count: int, batch_size: int) -> list[GraphPair]:
    source = _TASKS[task](seed=_SEEDS[name], num_graphs=count, num_nodes=_SIZES[name])
    pairs = [source[i] for i in range(count)]
    return batched(pairs, batch_size, num_buckets=2 if name == "training" else 1)


def _loss(outputs: list[jraph.GraphsTuple], pair: GraphPair) -> jax.Array:
    """The mean over processing steps of the cross-entropies of nodes and of edges."""
    real_nodes = graph_tuples.node_mask(pair.inputs)
    real_edges = graph_tuples.edge_mask(pair.inputs)
    cross_entropy = optax.softmax_cross_entropy
    total = jnp.zeros([])
    for output in outputs:
        of_nodes = cross_entropy(output.nodes, pair.targets.nodes)
        of_edges = cross_entropy(output.edges, pair.targets.edges)
        total += jnp.mean(of_nodes, where=real_nodes)
        total += jnp.mean(of_edges, where=real_edges)
    return total / len(outputs)
