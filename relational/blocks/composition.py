"""Composition: blocks one after another. A graph goes in and a graph comes out.

So blocks follow each other, and are repeated with shared or separate parameters
(Battaglia et al. 2018, section 4.3).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import haiku as hk

from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.features import changed_shape, features_of, with_all_features

Block = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Sequential:
    """One block after another.

    Args:
      blocks: functions from graph to graph.

    >>> import jax.numpy as jnp, relational as rl
    >>> from relational.blocks import Sequential
    >>> def add_one(graph):
    ...     return graph.with_features("node", graph.features("node") + 1)
    >>> graph = rl.Graph(nodes={"node": jnp.zeros([2, 1])})
    >>> Sequential([add_one, add_one])(graph).nodes["node"].tolist()
    [[2.0], [2.0]]
    """

    blocks: Sequence[Block]

    def __call__(self, graph: Any) -> Any:
        """Returns the graph after the last block."""
        for block in self.blocks:
            graph = block(graph)
        return graph


@dataclasses.dataclass(frozen=True)
class Repeat:
    """The same block several times, a step after another.

    Args:
      make_block: makes the block, for example `lambda: GraphNetwork(...)`; its modules
        are made inside.
      num_steps: how often it is applied.
      parameters: "shared" between all steps, as in a recurrent network; or "separate",
        in one loop (`hk.experimental.layer_stack`), so that depth costs no compile
        time. Separate steps must keep all shapes.

    Raises:
      ValueError: if a step with separate parameters changes a shape.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import GraphNetwork, Repeat
    >>> ring = rl.EdgeSet(senders="node", receivers="node",
    ...                   topology=rl.Edges([0, 1, 2], [1, 2, 0], 3))
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 4])}, edges={"edge": ring})
    >>> def make():
    ...     return GraphNetwork(update_edge=hk.Linear(4), edge_inputs=("sender",),
    ...                         update_node=hk.Linear(4), node_inputs=("received",),
    ...                         keeps_edges=False)
    >>> deep = hk.transform(lambda graph: Repeat(make, 8, "separate")(graph))
    >>> sum(leaf.size for leaf in jax.tree.leaves(deep.init(jax.random.key(0), graph)))
    320
    """

    make_block: Callable[[], Block]
    num_steps: int
    parameters: Literal["shared", "separate"] = "shared"

    def __post_init__(self) -> None:
        check_count("num_steps", self.num_steps, least=1, advice="It counts steps.")
        if self.parameters not in ("shared", "separate"):
            raise ValueError(
                "`parameters` must be 'shared' or 'separate'; got "
                f"{shown(self.parameters)}."
            )

    def __call__(self, graph: Any) -> Any:
        """Returns the graph after the last step."""
        if self.parameters == "shared":
            return Sequential([self.make_block()] * self.num_steps)(graph)
        whole, back = parts.as_graph(graph)

        def step(features: Any) -> Any:
            # Only features are carried: the edges stay known while tracing.
            before = with_all_features(whole, features)
            after = features_of(self.make_block()(before))
            change = changed_shape(features, after)
            if change is not None:
                raise ValueError(
                    "a step of `Repeat` with separate parameters must keep all shapes, "
                    f"since its steps are one loop; {change}. Encode first, or use "
                    "`Sequential`."
                )
            return after

        stack = hk.experimental.layer_stack(self.num_steps, name="steps")
        return back(with_all_features(whole, stack(step)(features_of(whole))))
