"""Graph tuples from networkx, and back.

networkx is imported where it is used: the extra `graphs` installs it.

Shapes: N nodes, E edges.
"""

from collections.abc import Hashable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jraph
import numpy as np

from relational._checks import is_whole, shown
from relational.graph_tuples.checking import FEATURES, checked
from relational.graph_tuples.features import Attributes, attributes
from relational.graph_tuples.naming import Named, numbers_of

if TYPE_CHECKING:
    import networkx

_ORDER = "index"  # The attribute in which `to_networkx` keeps the order of edges.
_Edge = tuple[Hashable, Hashable, dict[str, Any]]


def from_networkx(
    graph: "networkx.Graph",
    *,
    node_features: Attributes = None,
    edge_features: Attributes = None,
    graph_features: Attributes = None,
    edge_order: str | None = None,
) -> Named:
    """A graph tuple of one graph, with the names of its nodes.

    Nodes keep the order of `graph.nodes`, edges that of `graph.edges`. An edge (u, v) of
    a directed graph leads from sender u to receiver v. An edge of an undirected graph
    becomes two, from u to v and at once back, with the same features; a self-loop becomes
    one.

    Args:
      graph: any graph of networkx, directed or not, with parallel edges or without.
      node_features: the attribute of nodes that becomes `nodes`, or several, which become
        a dict of arrays; None for none.
      edge_features, graph_features: likewise for edges, and for `graph.graph`.
      edge_order: an attribute of edges by which they are sorted, as `to_networkx` gives
        it; by default they stay as they come.

    Returns:
      The graph and the names of its nodes. Floats become float32, integers int32.

    Raises:
      ImportError: if networkx is absent.
      ValueError: if an attribute is missing, no number, NaN, or of another shape than on
        the first node or edge; the message names the node or edge.

    >>> import networkx
    >>> path = networkx.DiGraph()
    >>> path.add_node("a", height=1.0)
    >>> path.add_node("b", height=2.5)
    >>> path.add_edge("b", "a", length=3)
    >>> named = from_networkx(path, node_features="height", edge_features=["length"])
    >>> named.names, named.graph.nodes, named.graph.edges
    (('a', 'b'), array([1. , 2.5], dtype=float32), {'length': array([3], dtype=int32)})
    >>> named.graph.senders, named.graph.receivers
    (array([1], dtype=int32), array([0], dtype=int32))
    """
    networkx = _networkx()
    if not isinstance(graph, networkx.Graph):
        raise TypeError(f"`graph` must be a graph of networkx; got {shown(graph)}.")
    numbers = numbers_of(graph.nodes)
    edges = _edges(graph, edge_order)
    ends = [(numbers[sender], numbers[receiver]) for sender, receiver, _ in edges]
    senders, receivers = np.array(ends, np.int32).reshape(-1, 2).T  # [E] each
    node_rows = [(f"node {name!r}", values) for name, values in graph.nodes.items()]
    edge_rows = [
        (f"edge {sender!r} -> {receiver!r}", values)
        for sender, receiver, values in edges
    ]
    converted = jraph.GraphsTuple(
        nodes=attributes(node_rows, node_features, "node_features"),
        edges=attributes(edge_rows, edge_features, "edge_features"),
        globals=attributes(
            [("the graph", graph.graph)], graph_features, "graph_features"
        ),
        senders=senders.copy(),
        receivers=receivers.copy(),
        n_node=np.array([len(numbers)], np.int32),
        n_edge=np.array([len(edges)], np.int32),
    )
    return Named(graph=converted, names=tuple(numbers))


def to_networkx(
    graph: jraph.GraphsTuple, *, names: Sequence[Hashable] | None = None
) -> "networkx.MultiDiGraph":
    """A directed graph of networkx, which may have parallel edges.

    A dict of features becomes an attribute for each of its keys; other features become
    the attribute `features`. Values are rows of NumPy arrays, numbers where rows are
    numbers. Each edge keeps its number as the attribute `index`, since networkx sorts
    edges by their senders.

    Args:
      graph: a tuple of one graph; take batches apart with `unbatch`.
      names: the names of its nodes, by default 0 to N - 1.

    Raises:
      ImportError: if networkx is absent.
      ValueError: if there are several graphs, or names do not fit.
      TypeError: if features are nested deeper than one dict.

    >>> import numpy as np
    >>> loop = jraph.GraphsTuple(
    ...     nodes={"height": np.array([1.0, 2.5])}, edges=None, globals=None,
    ...     senders=np.array([1]), receivers=np.array([0]),
    ...     n_node=np.array([2]), n_edge=np.array([1]))
    >>> found = to_networkx(loop, names=["a", "b"])
    >>> found.nodes["b"], list(found.edges(data=True))
    ({'height': 2.5}, [('b', 'a', {'index': 0})])
    """
    networkx = _networkx()
    graph = checked(graph)
    if graph.n_node.shape[0] != 1:
        raise ValueError(
            f"`graph` must hold one graph; got {graph.n_node.shape[0]}. Take a batch apart "
            "with `unbatch`."
        )
    num_nodes = int(graph.n_node[0])
    named = Named(
        graph=graph, names=tuple(range(num_nodes) if names is None else names)
    )
    nodes, edges, globals_ = (_dicts(graph, field) for field in FEATURES)
    found = networkx.MultiDiGraph()
    found.graph.update(globals_(0))
    for number, name in enumerate(named.names):
        found.add_node(name, **nodes(number))
    if graph.senders is not None:
        ends = zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True)
        for number, (sender, receiver) in enumerate(ends):
            values = {**edges(number), _ORDER: number}
            found.add_edge(named.names[sender], named.names[receiver], **values)
    return found


def _networkx() -> ModuleType:
    try:
        import networkx
    except ImportError as error:
        raise ImportError(
            "conversions from and to networkx need the package networkx: `pip install "
            "'relational-nets[graphs]'`."
        ) from error
    module: ModuleType = networkx
    return module


def _edges(graph: Any, edge_order: str | None) -> list[_Edge]:
    edges: list[_Edge] = []
    for sender, receiver, values in graph.edges(data=True):
        edges.append((sender, receiver, values))
        if not graph.is_directed() and sender != receiver:
            edges.append((receiver, sender, values))
    if edge_order is None:
        return edges
    for sender, receiver, values in edges:
        place = values.get(edge_order)
        if not is_whole(place):
            raise ValueError(
                f"`edge_order` must name an attribute with the number of each edge; got "
                f"`{edge_order}`, which is {shown(place)} for edge {sender!r} -> "
                f"{receiver!r}."
            )
    return sorted(edges, key=lambda edge: edge[2][edge_order])


def _dicts(graph: jraph.GraphsTuple, field: str) -> Any:
    """Returns a function from a row of features to attributes by name."""
    features = getattr(graph, field)
    if not isinstance(features, dict):
        features = {} if features is None else {"features": features}
    for key, leaf in features.items():
        if not isinstance(leaf, jax.Array | np.ndarray) or not isinstance(key, str):
            raise TypeError(
                f"`{field}` must be an array or a dict of arrays by name; got "
                f"{shown(leaf)} at {key!r}. Flatten it first."
            )
    arrays = {key: np.asarray(leaf) for key, leaf in features.items()}

    def row(number: int) -> dict[str, Any]:
        return {
            key: array[number].item() if array.ndim == 1 else array[number]
            for key, array in arrays.items()
        }

    return row
