"""Graph networks as tasks of the training loop: what is asked of them, and the loss.

A task is a network and an aim. The aim compares the graph that the network gives with
what is true, and says what the result is judged by. In training the loss is the mean over
all steps of processing; a trained network is judged by its last one.

Shapes: B 1 (a batch is a graph tuple), N nodes, E edges, G graphs of a tuple, C classes.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import jraph

from relational import graph_tuples, specs
from relational.models.building import build
from relational.models.graph_batches import KnownEdges, graph_of, label_of
from relational.models.network import Network
from relational.training.evaluation import Evaluation
from relational.training.tasks import Batch, Measure, Outcome, Params, Words


class Aim(Protocol):
    """What is asked of the graphs that a network gives."""

    @property
    def words(self) -> Words:
        """What the loss is counted in."""

    def outcome(self, graph: jraph.GraphsTuple, batch: Batch) -> Outcome:
        """Returns loss and weight of each graph, or node, that counts: [...]."""

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns what a split is judged by, in words."""


@dataclasses.dataclass(frozen=True)
class GraphTask:
    """A graph network that is to meet an aim.

    Attributes:
      spec: the network.
      aim: what is asked of it.
      edges: those of all batches, if these bring none.
    """

    spec: specs.NetworkSpec
    aim: Aim
    edges: KnownEdges | None = None

    @property
    def network(self) -> Network:
        """The network's pure functions."""
        return _network(self.spec)

    @property
    def words(self) -> Words:
        """What the loss is counted in."""
        return self.aim.words

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Returns float32 parameters for graphs like these."""

        def init(key: jax.Array, batch: Batch) -> Params:
            return self.network.init(key, self.graph(batch))

        return jax.jit(init)(key, dict(batch))

    def graph(self, batch: Batch) -> jraph.GraphsTuple:
        """Returns the graph tuple of a batch, as the network reads it."""
        return graph_of(batch, self.edges)

    def outcome(
        self, params: Params, key: jax.Array, batch: Batch, *, is_training: bool
    ) -> Outcome:
        """Returns the loss of each graph, or node: the mean over steps in training."""
        outputs = self.network.apply(
            params, key, self.graph(batch), is_training=is_training
        )
        outputs = tuple(_in_float32(graph) for graph in outputs)
        *_, last = found = [
            self.aim.outcome(graph, batch)
            for graph in (outputs if is_training else outputs[-1:])
        ]
        loss = functools.reduce(jnp.add, [each.loss for each in found]) / len(found)
        return dataclasses.replace(
            last,
            loss=loss[None],
            weight=last.weight[None],
            measures={} if is_training else _with_batch_axis(last.measures),
        )

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns what a split is judged by, in words."""
        return self.aim.judged(evaluation)


@dataclasses.dataclass(frozen=True)
class Answers:
    """The class of each node and of each edge: whether it is part of the answer.

    The loss of a graph is the mean surprise of its nodes and that of its edges, added.
    We differ from the demonstrations of Battaglia et al. (2018) in taking the means over
    each graph, not over the batch, so that each graph counts alike.
    """

    words: ClassVar[Words] = Words(loss="nats/graph", counted="graphs")

    def outcome(self, graph: jraph.GraphsTuple, batch: Batch) -> Outcome:
        """Returns the loss of each graph."""
        is_real = graph_tuples.graph_mask(graph)
        loss = num_wrong = jnp.zeros(len(graph.n_node))
        measures = {}
        for part, counts, ids in (
            ("nodes", graph.n_node, graph_tuples.node_graph_ids(graph)),
            ("edges", graph.n_edge, graph_tuples.edge_graph_ids(graph)),
        ):
            logits, true = getattr(graph, part), label_of(batch, part)
            summed = functools.partial(
                jax.ops.segment_sum, segment_ids=ids, num_segments=len(counts)
            )
            surprise = summed(-jnp.sum(true * jax.nn.log_softmax(logits), -1))
            loss += surprise / jnp.maximum(counts, 1).astype(jnp.float32)
            is_wrong = jnp.argmax(logits, -1) != jnp.argmax(true, -1)
            wrong = jnp.where(is_real, summed(is_wrong.astype(jnp.float32)), 0)
            total = jnp.where(is_real, counts, 0).astype(jnp.float32)
            measures[f"{part} right"] = Measure(total=total - wrong, size=total)
            num_wrong += wrong
        weight = is_real.astype(jnp.float32)
        solved = jnp.where(num_wrong == 0, weight, 0)
        measures["graphs solved"] = Measure(total=solved, size=weight)
        return Outcome(
            loss=jnp.where(is_real, loss, 0), weight=weight, measures=measures
        )

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns the shares of nodes and edges that are right, and of graphs solved."""
        shares = {
            name: f"{100 * evaluation.measures[name]:.2f} %"
            for name in ("nodes right", "edges right", "graphs solved")
        }
        return {**shares, "nats/graph": f"{evaluation.loss:.4f}", **_graphs(evaluation)}


@dataclasses.dataclass(frozen=True)
class NodeClasses:
    """The class of each node that counts: its surprise is the loss."""

    words: ClassVar[Words] = Words(loss="nats/node", counted="nodes")

    def outcome(self, graph: jraph.GraphsTuple, batch: Batch) -> Outcome:
        """Returns the loss of each node."""
        true = jnp.maximum(
            label_of(batch, "nodes"), 0
        )  # -1 is unknown, and not counted.
        weight = label_of(batch, "nodes", "counted").astype(jnp.float32)
        surprise = -jax.nn.log_softmax(graph.nodes)
        loss = jnp.take_along_axis(surprise, true[:, None], axis=-1)[:, 0]
        is_right = (jnp.argmax(graph.nodes, -1) == true).astype(jnp.float32)
        accuracy = Measure(total=is_right * weight, size=weight)
        return Outcome(
            loss=loss * weight, weight=weight, measures={"accuracy": accuracy}
        )

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns the accuracy."""
        return {
            "accuracy": f"{100 * evaluation.measures['accuracy']:.2f} %",
            "nats/node": f"{evaluation.loss:.4f}",
            "nodes": f"{evaluation.tokens}",
        }


@dataclasses.dataclass(frozen=True)
class GraphNumber:
    """A number of each graph, normalised: the squared error is the loss.

    Attributes:
      std: of the training targets, in their unit.
      unit: of the targets.
    """

    std: float
    unit: str
    words: ClassVar[Words] = Words(loss="squared error", counted="graphs")

    def outcome(self, graph: jraph.GraphsTuple, batch: Batch) -> Outcome:
        """Returns the loss of each graph."""
        weight = graph_tuples.graph_mask(graph).astype(jnp.float32)
        error = graph.globals[:, 0] - label_of(batch, "globals")[:, 0]
        return Outcome(loss=error**2 * weight, weight=weight)

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns the root mean square error in the unit of the targets."""
        error, spread = _root(evaluation)
        return {
            f"RMSE in {self.unit}": f"{self.std * error:.4f}",
            "standard error": f"{self.std * spread:.4f}",
            **_graphs(evaluation),
        }


@dataclasses.dataclass(frozen=True)
class NodeVectors:
    """A vector for each node: its squared distance from the true one is the loss.

    Attributes:
      unit: of the vectors.
    """

    unit: str
    words: ClassVar[Words] = Words(loss="squared error", counted="nodes")

    def outcome(self, graph: jraph.GraphsTuple, batch: Batch) -> Outcome:
        """Returns the loss of each graph, and its number of nodes."""
        is_real = graph_tuples.graph_mask(graph)
        square = jnp.sum((graph.nodes - label_of(batch, "nodes")) ** 2, -1)
        ids = graph_tuples.node_graph_ids(graph)
        loss = jax.ops.segment_sum(square, ids, len(graph.n_node))
        return Outcome(
            loss=jnp.where(is_real, loss, 0),
            weight=jnp.where(is_real, graph.n_node, 0).astype(jnp.float32),
        )

    def judged(self, evaluation: Evaluation) -> Mapping[str, str]:
        """Returns the root mean square distance."""
        error, spread = _root(evaluation)
        return {
            f"RMSE in {self.unit}": f"{error:.5f}",
            "standard error": f"{spread:.5f}",
            **_graphs(evaluation),
        }


def _graphs(evaluation: Evaluation) -> dict[str, str]:
    return {"graphs": f"{evaluation.pieces}"}


def _root(evaluation: Evaluation) -> tuple[float, float]:
    """Returns the root of a mean square, and its standard error to first order."""
    root = math.sqrt(evaluation.loss)
    return root, evaluation.standard_error / (2 * root) if root else 0.0


def _in_float32(graph: jraph.GraphsTuple) -> jraph.GraphsTuple:
    def wide(leaf: Any) -> Any:
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(jnp.float32) if is_float else leaf

    return jax.tree.map(wide, graph)


def _with_batch_axis(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


@functools.lru_cache(maxsize=32)
def _network(spec: specs.NetworkSpec) -> Network:
    return build(spec)
