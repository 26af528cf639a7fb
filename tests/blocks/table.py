"""One table of blocks, and the graphs on which every one of them obeys every law."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np

import relational as rl
from relational import blocks

WIDTH, EDGE_WIDTH, GLOBAL_WIDTH = 4, 3, 2
NAMES = ("edge", "node", "global")


def updates(width=4, names=NAMES):
    """A small network for each of some updates."""
    return {
        f"update_{name}": hk.nets.MLP([width], activate_final=True, name=f"{name}_mlp")
        for name in names
    }


def separate_steps():
    def make():
        return blocks.GraphNetwork(
            update_edge=hk.Linear(EDGE_WIDTH),
            update_node=hk.Linear(WIDTH),
            update_global=hk.Linear(GLOBAL_WIDTH),
        )

    return blocks.Repeat(make, 3, "separate")


def shared_steps():
    return blocks.Repeat(blocks.gated_graph_network, 3)


def encode_process_decode():
    def group(maker, prefix):
        return maker(
            **{
                f"update_{name}": hk.nets.MLP([4], name=f"{prefix}_{name}")
                for name in NAMES
            },
            name=prefix,
        )

    model = blocks.EncodeProcessDecode(
        encoder=group(blocks.Independent, "encoder"),
        core=group(blocks.GraphNetwork, "core"),
        decoder=group(blocks.Independent, "decoder"),
        num_steps=2,
    )
    return lambda graph: model(graph)[-1]


def recurrent():
    cells = {"edge": hk.LSTM(4), "node": hk.GRU(4), "global_": hk.VanillaRNN(4)}
    block = blocks.Recurrent(**cells)

    def run(graph):
        state = block.initial_state(graph)
        for _ in range(2):
            out, state = block(graph, state)
        return out

    return run


def edge_network():
    matrix = hk.Linear(5 * WIDTH, name="matrix")
    return blocks.message_passing_network(
        message=blocks.edge_network(matrix, 5), **updates(names=("node",))
    )


def comm_net():
    return blocks.comm_net(
        update_edge=hk.Linear(3), encode_node=hk.Linear(3), update_node=hk.Linear(4)
    )


def per_edge_set():
    return blocks.PerEdgeSet(
        {"edge": blocks.GraphSAGE(width=5)}, updates={"node": hk.Linear(4)}
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """A block; `fits` says whether it may hear by a rule, which has no edge features."""

    make: Callable
    fits_rules: bool = True


TABLE = {
    "graph_network": Row(lambda: blocks.GraphNetwork(**updates()), False),
    "graph_network_of_terms": Row(
        lambda: blocks.GraphNetwork(
            **updates(names=("edge", "node")),
            edge_inputs=("sender", "receiver", "globals"),
            edges_to_nodes=(rl.Mean(), rl.Max()),
            keeps_edges=False,
        )
    ),
    "graph_network_of_split_terms": Row(
        lambda: blocks.GraphNetwork(
            update_edge=blocks.SplitMLP([6, 4]),
            update_node=blocks.SplitMLP([6]),
            edge_inputs=("receiver", "sender", "globals"),
            keeps_edges=False,
        )
    ),
    "graph_network_that_sends_and_attends": Row(
        lambda: blocks.GraphNetwork(
            **updates(),
            score_edge=hk.Linear(2),
            node_inputs=("sent", "received", "node"),
            edges_to_nodes=(rl.Softmax(), rl.Sum()),
            edges_to_globals=rl.Mean(),
            nodes_to_globals=(rl.Max(), rl.Std()),
        ),
        False,
    ),
    "independent": Row(lambda: blocks.Independent(**updates()), False),
    "recurrent": Row(recurrent, False),
    "repeat_shared": Row(shared_steps),
    "repeat_separate": Row(separate_steps, False),
    "encode_process_decode": Row(encode_process_decode, False),
    "interaction_network": Row(
        lambda: blocks.interaction_network(**updates(names=("edge", "node"))), False
    ),
    "relation_network": Row(
        lambda: blocks.relation_network(**updates(names=("edge", "global")))
    ),
    "deep_sets": Row(lambda: blocks.deep_sets(**updates(names=("node", "global")))),
    "message_passing": Row(edge_network, False),
    "comm_net": Row(comm_net),
    "graph_convolution": Row(lambda: blocks.GraphConvolution(width=3)),
    "graph_convolution_of_weights": Row(
        lambda: by_largest(
            blocks.GraphConvolution(width=3, reads_weights=True), jnp.float32
        ),
        False,
    ),
    "graph_sage": Row(
        lambda: blocks.GraphSAGE(width=5, aggregator=rl.Max(), pool_width=6)
    ),
    "graph_isomorphism": Row(
        lambda: blocks.GraphIsomorphism(update=hk.Linear(3), epsilon="learned")
    ),
    "principal_aggregation": Row(
        lambda: blocks.PrincipalAggregation(
            width=3, average_log_degree=1.1, reads_edges=True
        ),
        False,
    ),
    "gat": Row(lambda: blocks.GraphAttention(num_heads=2, head_width=3)),
    "gatv2": Row(
        lambda: blocks.GraphAttention(
            num_heads=2, head_width=3, kind="gatv2", self_edges=False
        )
    ),
    "gat_of_edges": Row(
        lambda: blocks.GraphAttention(num_heads=2, head_width=3, reads_edges=True),
        False,
    ),
    "gatv2_of_edges": Row(
        lambda: blocks.GraphAttention(
            num_heads=2, head_width=3, kind="gatv2", reads_edges=True
        ),
        False,
    ),
    "non_local_gaussian": Row(lambda: blocks.NonLocal(kind="gaussian", width=4)),
    "non_local_embedded": Row(lambda: blocks.NonLocal()),
    "non_local_dot": Row(lambda: blocks.NonLocal(kind="dot")),
    "non_local_concatenation": Row(lambda: blocks.NonLocal(kind="concatenation")),
    "vain": Row(
        lambda: blocks.VAIN(
            attend=hk.Linear(2), say=hk.Linear(3), update_node=hk.Linear(4)
        )
    ),
    "edge_attention": Row(
        lambda: blocks.EdgeAttention(num_heads=2, head_width=3, reads_edges=True), False
    ),
    "graph_transformer": Row(
        lambda: blocks.GraphTransformer(num_heads=2, feed_forward_width=6)
    ),
    "graph_transformer_post": Row(
        lambda: blocks.GraphTransformer(
            num_heads=2, feed_forward_width=6, order="post", reads_edges=True
        ),
        False,
    ),
    "relational_convolution": Row(
        lambda: by_largest(
            blocks.RelationalConvolution(width=3, num_types=EDGE_WIDTH, num_bases=2)
        ),
        False,
    ),
    "per_edge_set": Row(per_edge_set),
}


def by_largest(block, dtype=jnp.int32):
    """Gives a block the place of the largest feature of an edge as its type.

    Or, in floats, one more than that as its weight.
    """

    def run(graph):
        place = jnp.argmax(graph.edges, -1).astype(dtype)
        if dtype == jnp.float32:
            place = place[:, None] + 1
        return block(graph._replace(edges=place))._replace(edges=graph.edges)

    return run


def transformed(name):
    """Returns (init, apply) of a block; parameters are random, also offsets."""
    block = hk.without_apply_rng(hk.transform(lambda graph: TABLE[name].make()(graph)))

    def init(graph):
        shapes = jax.eval_shape(block.init, jax.random.key(0), graph)
        rng = np.random.default_rng(0)
        return jax.tree.map(
            lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.5, leaf.dtype),
            shapes,
        )

    return init, block.apply


def graph(n_node, edges, seed=0):
    """Returns a graph tuple: `edges` are (sender, receiver), graph by graph."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(n_node)])
    pairs = [
        (sender + offset, receiver + offset)
        for offset, own in zip(offsets[:-1], edges, strict=True)
        for sender, receiver in own
    ]
    senders, receivers = np.array(pairs, np.int32).reshape(-1, 2).T

    def draw(rows, width):
        return jnp.asarray(rng.normal(size=(rows, width)), jnp.float32)

    return jraph.GraphsTuple(
        nodes=draw(sum(n_node), WIDTH),
        edges=draw(len(pairs), EDGE_WIDTH),
        globals=draw(len(n_node), GLOBAL_WIDTH),
        senders=jnp.asarray(senders),
        receivers=jnp.asarray(receivers),
        n_node=jnp.asarray(np.array(n_node, np.int32)),
        n_edge=jnp.asarray(np.array([len(own) for own in edges], np.int32)),
    )


# Node 4 of the first graph is isolated; there is a self-edge and a repeated edge.
EDGES = (
    [(0, 1), (1, 0), (2, 1), (3, 3), (0, 1), (2, 0)],
    [(0, 1), (1, 2), (2, 0)],
)
BATCH = graph([5, 3], EDGES)
