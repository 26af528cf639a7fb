"""How our blocks are those of PyTorch Geometric: settings, and weights by name."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np

import relational as rl
from relational import blocks


@dataclasses.dataclass(frozen=True)
class Twin:
    """A block of ours and, for each parameter, the weight of theirs.

    Attributes:
      make: makes the block.
      weights: module, parameter -> their weights.
      reads: which features of edges it reads.
    """

    make: Callable
    weights: Callable
    reads: str | None = None


def _matrix(name):
    return lambda theirs: theirs[name].T


def _plain(name):
    return lambda theirs: theirs[name]


def _heads(name):
    return lambda theirs: theirs[name][0]


def _dense(ours, theirs, *, with_bias=True):
    found = {(ours, "w"): _matrix(f"{theirs}.weight")}
    if with_bias:
        found[ours, "b"] = _plain(f"{theirs}.bias")
    return found


_GCN = {
    ("graph_convolution/linear", "w"): _matrix("lin.weight"),
    ("graph_convolution", "b"): _plain("bias"),
}
_GAT = {
    ("graph_attention/sender", "w"): _matrix("lin.weight"),
    ("graph_attention", "sender_score"): _heads("att_src"),
    ("graph_attention", "receiver_score"): _heads("att_dst"),
    ("graph_attention", "b"): _plain("bias"),
}
_GATV2 = {
    **_dense("graph_attention/sender", "lin_l"),
    **_dense("graph_attention/receiver", "lin_r"),
    ("graph_attention", "score"): _heads("att"),
    ("graph_attention", "b"): _plain("bias"),
}
_SAGE = {  # Their offset stands with what is heard, ours with the node; they add up.
    ("graph_sage/heard", "w"): _matrix("lin_l.weight"),
    ("graph_sage/own", "w"): _matrix("lin_r.weight"),
    ("graph_sage/own", "b"): _plain("lin_l.bias"),
}
_RGCN = {
    ("relational_convolution", "w"): _plain("weight"),
    ("relational_convolution/root", "w"): _plain("root"),
    ("relational_convolution", "b"): _plain("bias"),
}
_TRANSFORMER = {
    **_dense("edge_attention/query", "lin_query"),
    **_dense("edge_attention/key", "lin_key"),
    **_dense("edge_attention/value", "lin_value"),
    **_dense("edge_attention/skip", "lin_skip"),
}

_GAT_EDGES = {
    **_GAT,
    ("graph_attention/edge", "w"): _matrix("lin_edge.weight"),
    ("graph_attention", "edge_score"): _heads("att_edge"),
}
_GATV2_EDGES = {**_GATV2, ("graph_attention/edge", "w"): _matrix("lin_edge.weight")}
_DEGREES = [1, 2, 3, 4, 2]  # Nodes by degree, as in `make_geometric.py`.


def _principal(towers, *, splits):
    """Theirs is a matrix a tower on receiver, sender and encoded edge, side by side."""

    def each(make, join):
        return lambda theirs: join([make(theirs, at) for at in range(towers)])

    def part(which):
        def matrix(theirs, at):
            whole = theirs[f"pre_nns.{at}.0.weight"]
            width = len(whole)
            return whole[:, which * width : (which + 1) * width]

        return matrix

    def offset(theirs, at):
        encoded = part(2)(theirs, at) @ theirs["edge_encoder.bias"]
        return theirs[f"pre_nns.{at}.0.bias"] + encoded

    def edge(theirs, at):
        return (part(2)(theirs, at) @ theirs["edge_encoder.weight"]).T

    def side(which):
        join = np.stack if splits else np.hstack
        return each(lambda theirs, at: part(which)(theirs, at).T, join)

    block = "principal_aggregation"
    return {
        (f"{block}/receiver", "w"): side(0),
        (f"{block}/receiver", "b"): each(offset, np.hstack),
        (f"{block}/sender", "w"): side(1),
        (f"{block}/edge", "w"): each(edge, np.hstack),
        (f"{block}/output", "w"): each(
            lambda theirs, at: theirs[f"post_nns.{at}.0.weight"].T, np.stack
        ),
        (f"{block}/output", "b"): each(
            lambda theirs, at: theirs[f"post_nns.{at}.0.bias"], np.hstack
        ),
        **_dense(f"{block}/mix", "lin"),
    }


def _aggregation(width, towers, *, splits):
    logarithms = np.log(np.arange(len(_DEGREES)) + 1)
    return blocks.PrincipalAggregation(
        width=width,
        average_log_degree=np.average(logarithms, weights=_DEGREES),
        reads_edges=True,
        num_towers=towers,
        splits_nodes=splits,
    )


TWINS = {
    "gcn": Twin(lambda: blocks.GraphConvolution(width=7, degrees="received"), _GCN),
    "gcn_bare": Twin(
        lambda: blocks.GraphConvolution(
            width=4, degrees="received", self_edges=False, with_bias=False
        ),
        dict([*_GCN.items()][:1]),
    ),
    "gat": Twin(lambda: blocks.GraphAttention(num_heads=3, head_width=4), _GAT),
    "gat_mean": Twin(
        lambda: blocks.GraphAttention(num_heads=3, head_width=4, heads="mean"), _GAT
    ),
    "gatv2": Twin(
        lambda: blocks.GraphAttention(num_heads=3, head_width=4, kind="gatv2"), _GATV2
    ),
    "gatv2_shared": Twin(
        lambda: blocks.GraphAttention(
            num_heads=2, head_width=4, kind="gatv2", shares_weights=True
        ),
        {key: value for key, value in _GATV2.items() if "receiver" not in key[0]},
    ),
    "sage_mean": Twin(lambda: blocks.GraphSAGE(width=6), _SAGE),
    "sage_max": Twin(lambda: blocks.GraphSAGE(width=6, aggregator=rl.Max()), _SAGE),
    "sage_pool": Twin(
        lambda: blocks.GraphSAGE(
            width=6, aggregator=rl.Max(), pool_width=5, normalises=True
        ),
        {**_SAGE, **_dense("graph_sage/pool", "lin")},
    ),
    "gin": Twin(
        lambda: blocks.GraphIsomorphism(
            update=hk.nets.MLP([8, 6], name="mlp"), epsilon="learned"
        ),
        {
            ("graph_isomorphism", "epsilon"): lambda theirs: theirs["eps"].reshape(()),
            **_dense("mlp/~/linear_0", "nn.0"),
            **_dense("mlp/~/linear_1", "nn.2"),
        },
    ),
    "rgcn": Twin(
        lambda: blocks.RelationalConvolution(width=6, num_types=4), _RGCN, "types"
    ),
    "rgcn_bases": Twin(
        lambda: blocks.RelationalConvolution(width=6, num_types=4, num_bases=2),
        {**_RGCN, ("relational_convolution", "shares"): _plain("comp")},
        "types",
    ),
    "transformer": Twin(
        lambda: blocks.EdgeAttention(num_heads=3, head_width=4), _TRANSFORMER
    ),
    "transformer_edges": Twin(
        lambda: blocks.EdgeAttention(num_heads=3, head_width=4, reads_edges=True),
        {**_TRANSFORMER, **_dense("edge_attention/edge", "lin_edge", with_bias=False)},
        "edges",
    ),
    "gcn_weights": Twin(
        lambda: blocks.GraphConvolution(
            width=7, degrees="received", reads_weights=True
        ),
        _GCN,
        "weights",
    ),
    "gcn_weights_bare": Twin(
        lambda: blocks.GraphConvolution(
            width=4, degrees="received", self_edges=False, reads_weights=True
        ),
        _GCN,
        "weights",
    ),
    "gat_edges": Twin(
        lambda: blocks.GraphAttention(num_heads=3, head_width=4, reads_edges=True),
        _GAT_EDGES,
        "edges",
    ),
    "gatv2_edges": Twin(
        lambda: blocks.GraphAttention(
            num_heads=3, head_width=4, kind="gatv2", reads_edges=True
        ),
        _GATV2_EDGES,
        "edges",
    ),
    "gatv2_edges_bare": Twin(
        lambda: blocks.GraphAttention(
            num_heads=3,
            head_width=4,
            kind="gatv2",
            self_edges=False,
            reads_edges=True,
        ),
        _GATV2_EDGES,
        "edges",
    ),
    "pna_towers": Twin(
        lambda: _aggregation(6, 2, splits=False), _principal(2, splits=False), "edges"
    ),
    "pna_split": Twin(
        lambda: _aggregation(10, 5, splits=True), _principal(5, splits=True), "edges"
    ),
}


def graph_of(recorded, reads):
    """Returns a recorded graph as a tuple."""
    return jraph.GraphsTuple(
        nodes=jnp.asarray(recorded["nodes"]),
        edges=None if reads is None else jnp.asarray(recorded[reads]),
        globals=None,
        senders=jnp.asarray(recorded["senders"]),
        receivers=jnp.asarray(recorded["receivers"]),
        n_node=jnp.array([len(recorded["nodes"])]),
        n_edge=jnp.array([len(recorded["senders"])]),
    )


def carried_over(name, recorded):
    """Returns the block, its parameters with their weights, and the graph."""
    twin = TWINS[name]
    graph = graph_of(recorded, twin.reads)
    block = hk.without_apply_rng(hk.transform(lambda graph: twin.make()(graph)))
    params = jax.eval_shape(block.init, jax.random.key(0), graph)
    names = {(module, key) for module in params for key in params[module]}
    assert names == set(twin.weights)
    theirs = {
        key.removeprefix("weights."): recorded[key]
        for key in recorded
        if key.startswith("weights.")
    }
    for (module, key), weight in twin.weights.items():
        value = jnp.asarray(weight(theirs))
        assert value.shape == params[module][key].shape
        params[module][key] = value
    return block, params, graph
