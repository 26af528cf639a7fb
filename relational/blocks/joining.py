"""Graphs joined field by field: skip connections and residual steps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from relational.blocks import parts
from relational.blocks.features import features_of, path_of, with_all_features


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
    flat = [jax.tree.flatten_with_path(features_of(each)) for each, _ in converted]
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
                at = path_of(path)
                raise ValueError(
                    f"`{name}` needs graphs of one topology; `{at}` is {one.shape} in "
                    f"one and {other.shape} in another."
                )
    each = zip(*([leaf for _, leaf in one] for one, _ in flat), strict=True)
    merged = [merge(list(same)) for same in each]
    return back(with_all_features(whole, jax.tree.unflatten(treedef, merged)))
