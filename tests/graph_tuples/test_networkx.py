import sys

import jraph
import networkx
import numpy as np
import pytest
from hypothesis import given

from relational import graph_tuples as gt
from tests.graph_tuples.tuples import assert_equal, graph_lists


def city():
    graph = networkx.DiGraph(population=7)
    graph.add_node("Oslo", place=[1, 2], weight=0.5)
    graph.add_node("Bergen", place=[3, 4], weight=1.5)
    graph.add_node("Voss", place=[5, 6], weight=2.5)
    graph.add_edge("Voss", "Oslo", minutes=5.0)
    graph.add_edge("Oslo", "Bergen", minutes=7.0)
    graph.add_edge("Oslo", "Oslo", minutes=0.0)
    return graph


def test_nodes_edges_and_features_keep_the_order_of_networkx():
    named = gt.from_networkx(
        city(),
        node_features=["place", "weight"],
        edge_features="minutes",
        graph_features="population",
    )
    assert named.names == ("Oslo", "Bergen", "Voss")
    graph = named.graph
    np.testing.assert_array_equal(graph.nodes["place"], [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(graph.nodes["weight"], [0.5, 1.5, 2.5])
    assert graph.nodes["place"].dtype == graph.globals.dtype == np.int32
    ends = list(zip(graph.senders.tolist(), graph.receivers.tolist(), strict=True))
    assert ends == [(0, 1), (0, 0), (2, 0)]
    assert graph.edges.tolist() == [7, 0, 5]
    assert graph.globals.tolist() == [7]


def test_an_undirected_edge_leads_both_ways_and_a_loop_once():
    graph = networkx.Graph()
    graph.add_edge("a", "b", length=2)
    graph.add_edge("b", "b", length=3)
    found = gt.from_networkx(graph, edge_features="length").graph
    assert found.senders.tolist() == [0, 1, 1]
    assert found.receivers.tolist() == [1, 0, 1]
    assert found.edges.tolist() == [2, 2, 3]


@given(graph_lists(max_size=1))
def test_the_round_trip_keeps_everything(graphs):
    graph = graphs[0]._replace(
        nodes={"x": graphs[0].nodes["x"], "kind": graphs[0].nodes["kind"][0]},
        edges={"kind": np.arange(len(graphs[0].senders), dtype=np.float32)},
    )
    names = [f"node {i}" for i in range(int(graph.n_node[0]))]
    found = gt.to_networkx(graph, names=names)
    assert found.number_of_edges() == len(graph.senders)
    if not names or not len(graph.senders):
        return  # networkx has no rows from which to tell shapes.
    named = gt.from_networkx(
        found,
        node_features=["x", "kind"],
        edge_features=["kind"],
        graph_features="features",
        edge_order="index",
    )
    assert named.names == tuple(names)
    assert_equal(named.graph, graph)


def test_parallel_edges_stay_apart():
    graph = networkx.MultiDiGraph([(0, 1), (0, 1)])
    assert gt.from_networkx(graph).graph.senders.tolist() == [0, 0]


def test_an_empty_graph_becomes_an_empty_tuple():
    graph = gt.from_networkx(networkx.Graph(), node_features="x").graph
    assert graph.n_node.tolist() == graph.n_edge.tolist() == [0]
    assert gt.to_networkx(graph._replace(nodes=None)).number_of_nodes() == 0


def changed(**values):
    graph = city()
    graph.nodes["Bergen"].update(values)
    return graph


@pytest.mark.parametrize(
    ("graph", "features", "words"),
    [
        (
            city(),
            {"node_features": "height"},
            (
                "`node_features` must name attributes that all have; got `height`, which node "
                "'Oslo' lacks. It has `place`, `weight`"
            ),
        ),
        (
            city(),
            {"edge_features": ["minutes", "price"]},
            "`edge_features` must name .* got `price`, which edge 'Oslo' -> 'Bergen' lacks",
        ),
        (city(), {"graph_features": "x"}, "got `x`, which the graph lacks"),
        (
            changed(place=[1, 2, 3]),
            {"node_features": "place"},
            (
                r"`place` of node 'Bergen' must have shape \(2,\), as `place` of node 'Oslo' "
                r"has; got \(3,\)"
            ),
        ),
        (
            changed(place=[[1], [2, 3]]),
            {"node_features": "place"},
            "`place` of node 'Bergen' must be a number or an array",
        ),
        (
            changed(weight=float("nan")),
            {"node_features": "weight"},
            "`weight` of node 'Bergen' must be a number; got NaN. 1 of 3 rows",
        ),
        (
            changed(weight="heavy"),
            {"node_features": "weight"},
            "`weight` of node 'Bergen' must be a number or an array .* got 'heavy'",
        ),
        (
            changed(place=[0, 2**40]),
            {"node_features": "place"},
            r"`place` of node 'Bergen' must fit an int32; got \[0, 1099511627776\]",
        ),
        (
            city(),
            {"edge_order": "minute"},
            (
                "`edge_order` must name an attribute .* got `minute`, which is None for edge "
                "'Oslo' -> 'Bergen'"
            ),
        ),
    ],
)
def test_wrong_features_name_the_node_or_edge(graph, features, words):
    with pytest.raises(ValueError, match=words):
        gt.from_networkx(graph, **features)


def pair(**changes):
    fields = {
        "nodes": np.ones((2, 3)),
        "edges": None,
        "senders": np.array([0]),
        "receivers": np.array([1]),
        "globals": None,
        "n_node": np.array([2]),
        "n_edge": np.array([1]),
    }
    return jraph.GraphsTuple(**(fields | changes))


@pytest.mark.parametrize(
    ("graph", "names", "words"),
    [
        (
            pair(n_node=np.array([2, 0]), n_edge=np.array([1, 0])),
            None,
            "`graph` must hold one graph; got 2. Take a batch apart with `unbatch`",
        ),
        (
            pair(),
            ["a", "a"],
            "`names` must differ from each other; got 'a' twice, at 0",
        ),
        (pair(), ["a"], "`names` must have an entry a node, 2; got 1"),
        (pair(receivers=np.array([2])), None, r"`receivers\[0\]` must be from 0 to 1"),
    ],
)
def test_wrong_graphs_are_named(graph, names, words):
    with pytest.raises(ValueError, match=words):
        gt.to_networkx(graph, names=names)


def test_other_objects_are_named():
    with pytest.raises(TypeError, match="`graph` must be a graph of networkx; got 3"):
        gt.from_networkx(3)
    nested = pair(nodes={"a": {"b": np.ones(2)}})
    with pytest.raises(TypeError, match="`nodes` must be an array or a dict of arrays"):
        gt.to_networkx(nested)


def test_without_networkx_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ImportError, match=r"pip install 'relational-nets\[graphs\]'"):
        gt.to_networkx(pair())


def test_a_name_is_looked_up():
    named = gt.from_networkx(city())
    assert named.index("Voss") == 2
    with pytest.raises(
        ValueError, match=r"`name` must be one of the 3 names.*got 'Bodø'"
    ):
        named.index("Bodø")
