"""What the edges of a graph network say: kept edge by edge, or a term of `propagate`.

Shapes: *lead leading axes of the graph, N nodes, E edges, G graphs of a tuple, D width.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

import relational as rl
from relational.aggregators import Aggregator
from relational.blocks import parts, pooling
from relational.blocks.features import with_edges
from relational.blocks.heads import joined_heads, split_heads

Aggregators = Aggregator | tuple[Aggregator, ...]


class Kept:
    """What edges say, edge by edge: features [*lead, E, D].

    With scores [*lead, E, H] nodes attend to edges: H parts of the features, each with
    weights of its own, which then stand side by side.
    """

    def __init__(
        self,
        graph: rl.Graph,
        over: str,
        features: jax.Array,
        scores: jax.Array | None = None,
    ) -> None:
        self.graph, self.over, self.features = graph, over, features
        self.scores = scores

    def received(self, aggregator: Aggregators, lowering: Any) -> jax.Array:
        """Returns what each receiver hears: [*lead, N, D]."""
        return self._heard(parts.listed(self.graph, self.over), aggregator, lowering)

    def sent(self, aggregator: Aggregators, lowering: Any) -> jax.Array:
        """Returns what the edges say that begin in each node: [*lead, N, D]."""
        edge_set = self.graph.edge_set(self.over)
        if edge_set.senders != edge_set.receivers:
            raise ValueError(
                "`node_inputs` may have `sent` where an edge set leads from a node set "
                f"to itself; got `{edge_set.senders}` and `{edge_set.receivers}`."
            )
        return self._heard(parts.listed(self.graph, self.over).T, aggregator, lowering)

    def pooled(self, aggregator: Aggregators, lowering: Any) -> jax.Array:
        """Returns what each graph hears of its edges: [*lead, D] or [G, D]."""
        del lowering
        return pooling.pool_edges(self.graph, self.over, self.features, aggregator)

    def in_graph(self, graph: rl.Graph) -> rl.Graph:
        """Returns a graph with these edges."""
        return with_edges(graph, self.over, self.features)

    def _heard(self, topology: Any, aggregator: Aggregators, lowering: Any) -> Any:
        if self.scores is not None:
            return self._attended(topology, aggregator, lowering)
        heard = rl.propagate(
            topology,
            batch_axes=self.graph.batch_axes,
            edges=self.features,
            message=lambda edge: edge,
            aggregator=aggregator,
            lowering=lowering,
        )
        return parts.joined(heard)

    def _attended(self, topology: Any, aggregator: Aggregators, lowering: Any) -> Any:
        assert self.scores is not None
        num_heads, width = self.scores.shape[-1], self.features.shape[-1]
        if width % num_heads:
            raise ValueError(
                "the scores of an edge must be as many as divide the width of what it "
                f"says, {width}; got {num_heads}."
            )
        heard = rl.propagate(
            topology,
            batch_axes=self.graph.batch_axes + 1,
            edges={
                "score": jnp.moveaxis(self.scores, -1, 0),
                "said": split_heads(self.features, num_heads),
            },
            score=lambda edge: edge.score,
            message=lambda edge: edge.said,
            aggregator=aggregator,
            lowering=lowering,
        )
        each = heard if isinstance(heard, tuple) else (heard,)
        return jnp.concatenate([joined_heads(one, "concatenated") for one in each], -1)


class Term:
    """What edges say, as a function of one edge; `propagate` need not keep it."""

    def __init__(
        self,
        graph: rl.Graph,
        over: str,
        read: Mapping[str, jax.Array],
        update: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        self.graph, self.over, self.read, self.update = graph, over, read, update

    def received(self, aggregator: Aggregators, lowering: Any) -> jax.Array:
        """Returns what each receiver hears: [*lead, N, D]."""
        sides: dict[str, dict[str, jax.Array]] = {}
        for name, value in self.read.items():
            sides.setdefault(_SITES[name], {})[name] = value
        edge_set = self.graph.edge_set(self.over)
        sites = [site for site in ("receiver", "sender", "edge") if site in sides]

        def say(**sites: Any) -> Any:
            return self.update({n: sites[_SITES[n]][n] for n in self.read})

        say.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # PEP 362.
            [inspect.Parameter(at, inspect.Parameter.KEYWORD_ONLY) for at in sites]
        )
        topology = parts.within_graphs(self.graph, self.over)
        if "sender" not in sides:  # The topology must then know how many there are.
            sides["sender"] = {"none": self._no_features(edge_set.senders)}
        heard = rl.propagate(
            topology,
            batch_axes=self.graph.batch_axes,
            receivers=sides.get("receiver"),
            senders=sides["sender"],
            edges=sides.get("edge"),
            num_receivers=self.graph.num_nodes(edge_set.receivers),
            message=say,
            aggregator=aggregator,
            lowering=lowering,
        )
        return parts.joined(heard)

    def pooled(self, aggregator: Aggregators, lowering: Any) -> jax.Array:
        """Returns the sum of what all edges say: that of what nodes hear."""
        assert aggregator == rl.Sum()
        node_set = self.graph.edge_set(self.over).receivers
        heard = self.received(aggregator, lowering)
        return pooling.pool_nodes(self.graph, node_set, heard, aggregator)

    def _no_features(self, node_set: str) -> jax.Array:
        lead = jnp.shape(jax.tree.leaves(self.graph.nodes[node_set])[0])
        return jnp.zeros([*lead[: self.graph.batch_axes + 1], 0])


_SITES = {
    "edge": "edge",
    "receiver": "receiver",
    "sender": "sender",
    "globals": "receiver",
}


def at_edges(
    topology: rl.Edges, name: str, value: jax.Array, batch_axes: int
) -> jax.Array:
    """Returns what one end of each edge has: [*lead, E, D]."""
    if name == "sender":
        return rl.per_edge(
            topology, lambda sender: sender, senders=value, batch_axes=batch_axes
        )
    return rl.per_edge(
        topology, lambda receiver: receiver, receivers=value, batch_axes=batch_axes
    )
