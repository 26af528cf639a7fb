"""What layers want to know of each graph beforehand: spectra, walks, degrees, distances.

They are made of the edges on the host, once a graph, before graphs are joined to batches;
they come with the nodes, a row a node, so that joining and padding are as ever.

Shapes: N nodes, M the most nodes of a graph.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jraph
import numpy as np

from relational import blocks, graph_tuples, specs
from relational._checks import check_count

Asked = (
    specs.LaplacianPositionsSpec
    | specs.RandomWalkPositionsSpec
    | specs.DegreesSpec
    | specs.HopsSpec
)
"""The parts of a spec that are made beforehand."""


def prepare(
    model: specs.NetworkSpec, graph: jraph.GraphsTuple, *, most_nodes: int | None = None
) -> jraph.GraphsTuple:
    """Returns a graph tuple whose nodes bring what the layers of a model ask for.

    Features of nodes become a mapping of `features` and of what is asked for, each
    [N, ...]. If nothing is, the tuple is returned as it is. Of several graphs in one
    tuple, each is looked at by itself.

    Args:
      model: the layers.
      graph: with known edges, not under `jit`.
      most_nodes: M, for distances: the most nodes of all graphs that are batched
        together; the largest of these if not given.

    >>> import jraph, numpy as np
    >>> from relational import models, specs
    >>> path = jraph.GraphsTuple(
    ...     nodes=np.ones([3, 2]), edges=None, globals=None,
    ...     senders=np.array([0, 1]), receivers=np.array([1, 2]),
    ...     n_node=np.array([3]), n_edge=np.array([2]))
    >>> model = specs.StackSpec(layers=(specs.DegreesSpec(limit=8),))
    >>> models.prepare(model, path).nodes["received_degrees_8"]
    array([0, 1, 1], dtype=int32)

    Reference: Dwivedi and Bresson 2021; Dwivedi et al. 2022; Ying et al. 2021.
    """
    asked = asked_of(model)
    if not asked:
        return graph
    most = int(np.max(graph.n_node)) if most_nodes is None else most_nodes
    check_count("most_nodes", most, least=int(np.max(graph.n_node)), advice="Or None.")
    if len(graph.n_node) == 1:
        return _with_positions(asked, graph, most)
    parts = graph_tuples.unbatch(graph)
    return graph_tuples.batch([_with_positions(asked, part, most) for part in parts])


@functools.lru_cache(maxsize=32)
def asked_of(model: specs.NetworkSpec) -> tuple[Asked, ...]:
    """Returns what the layers of a model want to be made beforehand, each once."""
    return tuple({attribute(part): part for part in _parts(model)}.values())


@functools.singledispatch
def attribute(spec: Any) -> str:
    """Returns the name of the nodes' attribute in which something comes."""
    raise TypeError(f"nothing is made beforehand for {spec}.")


@attribute.register
def _(spec: specs.LaplacianPositionsSpec) -> str:
    return f"laplacian_positions_{spec.width}"


@attribute.register
def _(spec: specs.RandomWalkPositionsSpec) -> str:
    return f"random_walk_positions_{spec.width}"


@attribute.register
def _(spec: specs.DegreesSpec) -> str:
    return f"{spec.edges}_degrees_{spec.limit}"


@attribute.register
def _(spec: specs.HopsSpec) -> str:
    return f"hops_{spec.hops}"


def empty(spec: Asked, num_nodes: int, most_nodes: int) -> np.ndarray:
    """Returns an array like what comes for so many nodes, which takes no memory."""
    none = np.zeros([0], np.int32)
    row = _made(spec, none, none, 1, most_nodes)
    return np.broadcast_to(row[:1], (num_nodes, *row.shape[1:]))


@functools.singledispatch
def _made(
    spec: Any, senders: np.ndarray, receivers: np.ndarray, num_nodes: int, most: int
) -> np.ndarray:
    raise TypeError(f"nothing is made beforehand for {spec}.")


@_made.register
def _(
    spec: specs.LaplacianPositionsSpec,
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    most: int,
) -> np.ndarray:
    return blocks.laplacian_positions(senders, receivers, num_nodes, width=spec.width)


@_made.register
def _(
    spec: specs.RandomWalkPositionsSpec,
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    most: int,
) -> np.ndarray:
    return blocks.random_walk_positions(senders, receivers, num_nodes, width=spec.width)


@_made.register
def _(
    spec: specs.DegreesSpec,
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    most: int,
) -> np.ndarray:
    counted = receivers if spec.edges == "received" else senders
    return blocks.degree_labels(counted, num_nodes, limit=spec.limit)


@_made.register
def _(
    spec: specs.HopsSpec,
    senders: np.ndarray,
    receivers: np.ndarray,
    num_nodes: int,
    most: int,
) -> np.ndarray:
    # Beyond the graph's own nodes 0 remains, so labels of pairs begin at 1.
    found = np.zeros([num_nodes, most], np.int32)
    known = blocks.shortest_path_distances(
        senders, receivers, num_nodes, limit=spec.hops
    )
    found[:, :num_nodes] = 1 + known.labels
    return found


def _with_positions(
    asked: tuple[Asked, ...], graph: jraph.GraphsTuple, most: int
) -> jraph.GraphsTuple:
    none = np.zeros([0], np.int32)
    senders, receivers = (
        none if side is None else np.asarray(side)
        for side in (graph.senders, graph.receivers)
    )
    num_nodes = int(np.sum(graph.n_node))
    nodes = graph.nodes if isinstance(graph.nodes, dict) else {"features": graph.nodes}
    if nodes.get("features") is None:
        nodes = {**nodes, "features": np.zeros([num_nodes, 0], np.float32)}
    made = {
        attribute(spec): _made(spec, senders, receivers, num_nodes, most)
        for spec in asked
    }
    return graph._replace(nodes={**nodes, **made})


def _parts(spec: Any) -> Iterator[Asked]:
    """Yields all parts of a spec that are made beforehand."""
    if isinstance(spec, Asked):
        yield spec
    elif isinstance(spec, tuple):
        for part in spec:
            yield from _parts(part)
    elif isinstance(spec, dict):
        for part in spec.values():
            yield from _parts(part)
    elif dataclasses.is_dataclass(spec):
        for field in dataclasses.fields(spec):
            yield from _parts(getattr(spec, field.name))
