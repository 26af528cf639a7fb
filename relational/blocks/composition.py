"""Composition: blocks that hold blocks. A graph goes in and a graph comes out.

So blocks follow each other, are repeated with shared or separate parameters, and stand
between an encoder and a decoder (Battaglia et al. 2018, section 4.3, figure 6).

Shapes: *lead leading axes of the graph, N nodes, E edges, D width.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.graph_network import Function, GraphNetwork
from relational.blocks.saying import with_edges
from relational.graphs import EDGE

Block = Callable[[Any], Any]
FIELDS = ("nodes", "edges", "globals")


class Independent(hk.Module):
    """Updates edges, nodes and globals each by itself: `GraphIndependent`.

    Args:
      update_edge, update_node, update_global: functions of [rows, D], or None to leave
        what was there.
      over: the edge set; nodes are those that its edges lead to.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import Independent
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: Independent(update_node=hk.Linear(5))(graph))
    >>> block.apply(block.init(jax.random.key(0), graph), None, graph).nodes.shape
    (3, 5)
    """

    def __init__(
        self,
        *,
        update_edge: Function = None,
        update_node: Function = None,
        update_global: Function = None,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.update_edge = update_edge
        self.update_node = update_node
        self.update_global = update_global
        self.over = over

    def __call__(self, graph: rl.Graph | jraph.GraphsTuple) -> Any:
        """Returns the graph with other features."""
        block = GraphNetwork(
            update_edge=self.update_edge,
            update_node=self.update_node,
            update_global=self.update_global,
            edge_inputs=("edge",),
            node_inputs=("node",),
            global_inputs=("globals",),
            over=self.over,
            name="map",
        )
        return block(graph)


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
            before = _with_features(whole, features)
            after = _features(self.make_block()(before))
            _check_kept(features, after)
            return after

        stack = hk.experimental.layer_stack(self.num_steps, name="steps")
        return back(_with_features(whole, stack(step)(_features(whole))))


def _features(graph: rl.Graph) -> Any:
    """Returns all that blocks update."""
    nodes = {name: graph.features(name) for name in graph.nodes}
    edges = {name: edge_set.features for name, edge_set in graph.edges.items()}
    return nodes, edges, graph.globals_


def _with_features(graph: rl.Graph, features: Any) -> rl.Graph:
    nodes, edges, globals_ = features
    for name, value in nodes.items():
        graph = graph.with_features(name, value)
    for name, value in edges.items():
        graph = with_edges(graph, name, value)
    return dataclasses.replace(graph, globals_=globals_)


def _check_kept(before: Any, after: Any) -> None:
    def shapes(tree: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            FIELDS[path[0].idx] + jax.tree_util.keystr(path[1:]): str(
                jax.typeof(leaf).str_short()
            )
            for path, leaf in leaves
        }

    was, became = shapes(before), shapes(after)
    changed = [name for name in was | became if was.get(name) != became.get(name)]
    if changed:
        name = changed[0]
        raise ValueError(
            "a step of `Repeat` with separate parameters must keep all shapes, since "
            f"its steps are one loop; `{name}` was {was.get(name)} and became "
            f"{became.get(name)}. Encode first, or use `Sequential`."
        )


class EncodeProcessDecode(hk.Module):
    """Encode, process several times, decode (Battaglia et al. 2018, figure 6c).

        latent_0 = encode(graph)
        latent_m = core(latent_0 beside latent_(m-1)),      m = 1 ... M
        output_m = decode(latent_m)

    The core is one block; its parameters are shared by all steps, and what was encoded
    comes into every step beside what the last one made, so that nothing is forgotten.

    Args:
      encoder, core, decoder: from graph to graph. The core sees twice the width of the
        encoder's features, and returns their width.
      num_steps: M, unless the call says otherwise.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import EncodeProcessDecode, GraphNetwork, Independent
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=jnp.ones([2, 1]), globals=jnp.ones([1, 1]),
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> def updates(width):
    ...     names = ("update_edge", "update_node", "update_global")
    ...     return {name: hk.nets.MLP([width], name=name) for name in names}
    >>> model = hk.transform(lambda graph: EncodeProcessDecode(
    ...     encoder=Independent(**updates(8)), core=GraphNetwork(**updates(8)),
    ...     decoder=Independent(**updates(2)), num_steps=4)(graph))
    >>> outputs = model.apply(model.init(jax.random.key(0), graph), None, graph)
    >>> len(outputs), outputs[-1].nodes.shape
    (4, (3, 2))
    """

    def __init__(
        self,
        *,
        encoder: Block,
        core: Block,
        decoder: Block,
        num_steps: int,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_steps", num_steps, least=1, advice="It counts steps.")
        self.encoder = encoder
        self.core = core
        self.decoder = decoder
        self.num_steps = num_steps

    def __call__(self, graph: Any, *, num_steps: int | None = None) -> list[Any]:
        """Returns the decoded graph of each processing step.

        Args:
          graph: an `rl.Graph` or a `jraph.GraphsTuple`.
          num_steps: M of this call.
        """
        latent_0 = latent = self.encoder(graph)
        outputs = []
        for _ in range(self.num_steps if num_steps is None else num_steps):
            latent = self.core(side_by_side(latent_0, latent))
            outputs.append(self.decoder(latent))
        return outputs


def side_by_side(*graphs: Any) -> Any:
    """Returns the first graph with the features of all, concatenated: skip connections.

    Args:
      *graphs: of one topology; what one of them lacks, all lack. That topologies are
        equal is not checked, but counts are.

    >>> import jax.numpy as jnp, relational as rl
    >>> from relational.blocks import side_by_side
    >>> graph = rl.Graph(nodes={"node": jnp.ones([2, 3])})
    >>> side_by_side(graph, graph).nodes["node"].shape
    (2, 6)
    """
    return _merged(graphs, "side_by_side", lambda each: jnp.concatenate(each, -1))


def added(*graphs: Any) -> Any:
    """Returns the first graph with the sum of the features of all: residual steps.

    Args:
      *graphs: of one topology and equal widths.

    >>> import jax.numpy as jnp, relational as rl
    >>> from relational.blocks import added
    >>> graph = rl.Graph(nodes={"node": jnp.ones([2, 1])})
    >>> added(graph, graph).nodes["node"].tolist()
    [[2.0], [2.0]]
    """
    return _merged(graphs, "added", sum)


def _merged(graphs: Sequence[Any], name: str, merge: Callable[[Any], Any]) -> Any:
    converted = [parts.as_graph(graph) for graph in graphs]
    if not converted:
        raise ValueError(f"`{name}` must be given a graph or more; got none.")
    whole, back = converted[0]
    flat = [jax.tree.flatten_with_path(_features(each)) for each, _ in converted]
    leaves, treedef = flat[0]
    for others, other_def in flat[1:]:
        if str(other_def) != str(treedef):
            raise ValueError(
                f"`{name}` needs graphs with the same features; got {treedef} and "
                f"{other_def}. Set those that one of them lacks, or None in all."
            )
        for (path, one), (_, other) in zip(leaves, others, strict=True):
            kept = None if name == "added" else -1  # Widths may differ side by side.
            if one.shape[:kept] != other.shape[:kept]:
                at = FIELDS[path[0].idx] + jax.tree_util.keystr(path[1:])
                raise ValueError(
                    f"`{name}` needs graphs of one topology; `{at}` is {one.shape} in "
                    f"one and {other.shape} in another."
                )
    each = zip(*([leaf for _, leaf in one] for one, _ in flat), strict=True)
    merged = [merge(list(same)) for same in each]
    return back(_with_features(whole, jax.tree.unflatten(treedef, merged)))
