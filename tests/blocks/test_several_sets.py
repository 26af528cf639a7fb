"""A block for each edge set, and graphs that are nodes."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import blocks
from tests.blocks.table import BATCH


def edge_set(senders, receivers, topology):
    return rl.EdgeSet(senders=senders, receivers=receivers, topology=topology)


def papers(seed=0):
    rng = np.random.default_rng(seed)
    return rl.Graph(
        nodes={
            "paper": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
            "author": jnp.asarray(rng.normal(size=(2, 4)), jnp.float32),
        },
        edges={
            "cites": edge_set("paper", "paper", rl.Edges([0, 1, 2], [1, 2, 1], 3)),
            "writes": edge_set("author", "paper", rl.Edges([0, 1, 1], [0, 0, 2], 3, 2)),
            "written": edge_set("paper", "author", rl.Edges([0, 2], [0, 1], 2, 3)),
        },
    )


def total(over):
    return blocks.GraphIsomorphism(update=lambda x: x, epsilon=-1.0, over=over)


@pytest.mark.parametrize("combine", ["sum", "mean", "concatenate"])
def test_node_sets_hear_all_edge_sets_that_lead_to_them(combine):
    graph = papers()
    block = hk.transform(
        lambda graph: blocks.PerEdgeSet(
            {name: total(name) for name in graph.edges},
            combine=combine,
            updates={"paper": blocks.ByName(lambda heard, node: heard - node[:, :1])},
        )(graph)
    )
    found = block.apply({}, None, graph)
    paper, author = (np.asarray(graph.nodes[name]) for name in ("paper", "author"))
    cites = np.stack([0 * paper[0], paper[0] + paper[2], paper[1]])
    writes = np.stack([author[0] + author[1], 0 * paper[0], author[1]])
    wanted = {
        "sum": cites + writes,
        "mean": (cites + writes) / 2,
        "concatenate": np.concatenate([cites, writes], -1),
    }[combine]
    np.testing.assert_allclose(found.nodes["paper"], wanted - paper[:, :1], atol=1e-6)
    np.testing.assert_allclose(found.nodes["author"], paper[[0, 2]], atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda over: blocks.GraphAttention(
            num_heads=2, head_width=3, self_edges=False, over=over
        ),
        lambda over: blocks.GraphAttention(
            num_heads=2, head_width=3, kind="gatv2", self_edges=False, over=over
        ),
        lambda over: blocks.GraphConvolution(width=6, self_edges=False, over=over),
        lambda over: blocks.GraphSAGE(width=6, over=over),
        lambda over: blocks.EdgeAttention(num_heads=2, head_width=3, over=over),
        lambda over: blocks.PrincipalAggregation(
            width=6, average_log_degree=1.0, over=over
        ),
        lambda over: blocks.GraphNetwork(
            update_edge=hk.Linear(5),
            edge_inputs=("receiver", "sender"),
            update_node=hk.Linear(6),
            node_inputs=("received", "node"),
            over=over,
        ),
    ],
)
def test_blocks_lead_from_one_node_set_to_another(make):
    # A row of the result depends on its own node and on those that speak to it.
    graph = papers()

    def apply(features):
        return make("writes")(graph.with_features("author", features)).nodes["paper"]

    block = hk.without_apply_rng(hk.transform(apply))
    params = jax.jit(block.init)(jax.random.key(0), graph.nodes["author"])
    slope = jax.jit(jax.jacobian(block.apply, argnums=1))(params, graph.nodes["author"])
    heard = np.abs(np.asarray(slope)).sum((1, 3)) > 0
    assert slope.shape[:2] == (3, 6)
    assert heard.tolist() == [[True, True], [False, False], [False, True]]


def test_a_graph_is_a_node_that_hears_its_nodes():
    graph = blocks.with_graph_nodes(BATCH)

    def mean(over):
        return blocks.GraphNetwork(
            update_edge=lambda x: x,
            edge_inputs=("sender",),
            update_node=lambda x: x,
            node_inputs=("received",),
            edges_to_nodes=rl.Mean(),
            keeps_edges=False,
            over=over,
        )

    pool = hk.transform(
        lambda graph: blocks.PerEdgeSet({"node to graph": mean("node to graph")})(graph)
    )
    pooled = pool.apply({}, None, graph).features("graph")
    nodes = np.asarray(BATCH.nodes)
    np.testing.assert_allclose(
        pooled, [nodes[:5].mean(0), nodes[5:].mean(0)], atol=1e-6
    )
    # It is what the global update of a graph network hears.
    direct = hk.transform(
        lambda graph: blocks.GraphNetwork(
            update_global=lambda x: x,
            global_inputs=("nodes",),
            nodes_to_globals=rl.Mean(),
        )(graph)
    )
    np.testing.assert_allclose(pooled, direct.apply({}, None, BATCH).globals, atol=1e-6)
    # And the other way round, nodes hear their graph.
    spread = blocks.with_graph_nodes(BATCH).edge_set("graph to node").topology
    assert spread.receivers.tolist() == list(range(8))
    assert spread.senders.tolist() == [0] * 5 + [1] * 3


def test_graphs_of_a_batch_are_nodes_too():
    graph = rl.Graph(
        nodes={"node": jnp.ones([2, 5, 3])},
        edges={"edge": edge_set("node", "node", rl.Complete())},
        globals_=jnp.ones([2, 4]),
        batch_axes=1,
    )
    whole = blocks.with_graph_nodes(graph)
    assert whole.features("graph").shape == (2, 1, 4)
    block = hk.transform(
        lambda graph: blocks.EdgeAttention(
            num_heads=2, head_width=3, over="node to graph"
        )(graph)
    )
    params = block.init(jax.random.key(0), whole)
    assert block.apply(params, None, whole).features("graph").shape == (2, 1, 6)


def too_wide():
    def widen(graph):
        return graph.with_features("paper", jnp.ones([3, 7]))

    return blocks.Sequential([total("writes"), widen])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: blocks.PerEdgeSet({}), "`blocks` must be a mapping of edge sets"),
        (
            lambda: blocks.PerEdgeSet(
                {"cites": total("cites")}, updates={"author": lambda x: x}
            ),
            "`updates` has `author`, to which none of the edge sets leads: cites",
        ),
        (
            lambda: blocks.PerEdgeSet({"cites": total("cites"), "writes": too_wide()}),
            r"needs results of one width for the node set `paper`; got \[4, 7\]",
        ),
    ],
)
def test_mistakes_with_several_sets_are_named(make, words):
    block = hk.transform(lambda graph: make()(graph))
    with pytest.raises(ValueError, match=words):
        block.apply({}, None, papers())


def test_a_node_set_for_graphs_needs_a_new_name():
    with pytest.raises(ValueError, match="`node_set` must be a new name; got `paper`"):
        blocks.with_graph_nodes(papers(), node_set="paper")


def test_what_needs_one_node_set_says_so():
    graph = papers()

    def sends():
        return blocks.GraphNetwork(
            update_edge=lambda x: x,
            edge_inputs=("sender",),
            update_node=lambda x: x,
            node_inputs=("sent",),
            over="writes",
        )

    def hears_itself():
        return blocks.GraphConvolution(width=2, over="writes")

    words = {
        sends: "`node_inputs` may have `sent` where an edge set leads",
        hears_itself: "`self_edges` need an edge set from a node set to itself",
    }
    for make, match in words.items():
        block = hk.transform(lambda graph, make=make: make()(graph))
        with pytest.raises(ValueError, match=match):
            block.init(jax.random.key(0), graph)
