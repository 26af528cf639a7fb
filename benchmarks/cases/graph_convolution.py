"""A graph convolution (Kipf and Welling 2017, equation 2): sums with fixed weights.

    out_i = sum_j w_ij (x_j W),  w_ij = 1 / sqrt(heard by j x heard from i)

The graphs are those of `graph_attention`, and one of the size of Cora with its width.
PyTorch Geometric multiplies with a sparse matrix (CSR), or scatters what it gathers.

N nodes, E edges, D width, F features.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs, torch_programs
from benchmarks.cases.graph_attention import power_law

_MOVING = ("nodes", "weight")


def inputs(*, nodes: int, edges: int, width: int, features: int) -> Arrays:
    random = np.random.default_rng(0)
    senders, receivers = power_law(random, nodes, edges)
    out_degree = np.bincount(senders, minlength=nodes)
    in_degree = np.bincount(receivers, minlength=nodes)
    share = (out_degree[senders] * in_degree[receivers]) ** -0.5

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    return {
        "nodes": normal(nodes, width),
        "weight": normal(width, features) / np.float32(width**0.5),
        "senders": senders,
        "receivers": receivers,
        "share": share.astype(np.float32),
        "cotangent": normal(nodes, features),
    }


def _edges(inputs: Arrays) -> tuple[Any, Any, Any]:
    """Takes senders, receivers and weights of the edges out of the inputs."""
    return tuple(inputs.pop(name) for name in ("senders", "receivers", "share"))  # type: ignore[return-value]


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    senders, receivers, share = _edges(inputs)
    edges = rl.Edges(senders, receivers, len(inputs["nodes"]))

    def layer(nodes: Any, weight: Any) -> Any:
        return rl.propagate(
            edges,
            aggregator=rl.Sum(),
            senders=nodes @ weight,
            edges=share,
            message=lambda sender, edge: sender * edge,
        )

    return jax_programs(layer, inputs, _MOVING)


def _jraph(inputs: Arrays) -> Programs:
    import jraph

    # Edges are arguments: XLA takes minutes to fold what is made of such constants.
    del inputs["share"]  # It derives the weights from degrees.
    count, num_edges = len(inputs["nodes"]), len(inputs["senders"])

    def layer(nodes: Any, weight: Any, senders: Any, receivers: Any) -> Any:
        convolve = jraph.GraphConvolution(
            update_node_fn=lambda each: each @ weight, symmetric_normalization=True
        )
        graph = jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            globals=None,
            senders=senders,
            receivers=receivers,
            n_node=np.array([count]),
            n_edge=np.array([num_edges]),
        )
        return convolve(graph).nodes

    return jax_programs(layer, inputs, _MOVING)


def _jax_segments(inputs: Arrays) -> Programs:
    import jax

    count = len(inputs["nodes"])

    def layer(nodes: Any, weight: Any, senders: Any, receivers: Any, share: Any) -> Any:
        said = share[:, None] * (nodes @ weight)[senders]
        return jax.ops.segment_sum(said, receivers, count)

    return jax_programs(layer, inputs, _MOVING)


def _geometric(is_sparse: bool) -> Any:
    def programs(inputs: Arrays) -> Programs:
        import torch
        from torch_geometric.nn import GCNConv
        from torch_geometric.utils import to_torch_csr_tensor

        senders, receivers, share = _edges(inputs)
        ends = np.stack([receivers, senders] if is_sparse else [senders, receivers])
        edges, share = torch.from_numpy(ends.astype(np.int64)), torch.from_numpy(share)
        graph: tuple[Any, ...] = edges, share
        if is_sparse:  # The transpose of what is heard, as its documentation wants it.
            count = len(inputs["nodes"])
            graph = (
                to_torch_csr_tensor(
                    edges, share, size=(count, count), is_coalesced=False
                ),
            )
        width, features = inputs["weight"].shape
        made = GCNConv(width, features, bias=False, normalize=False)

        def layer(nodes: Any, weight: Any) -> Any:
            parameters = {"lin.weight": weight.T}
            return torch.func.functional_call(made, parameters, (nodes, *graph))

        return torch_programs(layer, inputs, _MOVING)

    return programs


CASE = Case(
    title="Graph convolution",
    sizes=[
        {"nodes": 100_000, "edges": 1_000_000, "width": 64, "features": 64},
        {"nodes": 2_708, "edges": 13_264, "width": 1_433, "features": 64},
    ],
    tiny={"nodes": 40, "edges": 200, "width": 8, "features": 6},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX segments": _jax_segments,
        "jraph": _jraph,
        "PyTorch Geometric, CSR": _geometric(True),
        "PyTorch Geometric, scatter": _geometric(False),
    },
    tolerance=(2e-5, 5e-4),  # The hub of a power law adds up thousands of numbers.
)
