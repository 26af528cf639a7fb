"""A graph attention layer on a large graph (Velickovic et al. 2018, equations 3 and 4).

    out_i = sum_j softmax_j(leaky_relu(a . h_i + b . h_j)) h_j,  h = x W, a head at a time

jraph and JAX compute it by segment sums over gathered edges, PyTorch Geometric by its
`GATConv`. Degrees follow a power law; every node hears itself too.

N nodes, E edges, H heads of F features.
"""

from typing import Any

import numpy as np

from benchmarks.case import (
    Arrays,
    Case,
    Programs,
    Sweep,
    jax_programs,
    torch_programs,
)

_MOVING = ("nodes", "weight", "to", "by")


def inputs(*, nodes: int, edges: int, width: int, heads: int, features: int) -> Arrays:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    senders, receivers = power_law(random, nodes, edges)
    return {
        "nodes": normal(nodes, width),
        "weight": normal(width, heads * features) / np.float32(width**0.5),
        "to": normal(heads, features),
        "by": normal(heads, features),
        "senders": senders,
        "receivers": receivers,
        "cotangent": normal(nodes, heads * features),
    }


def power_law(random: np.random.Generator, nodes: int, edges: int) -> tuple[Any, Any]:
    """Returns senders and receivers; degrees fall as a power of the node's rank."""
    weight = np.arange(1, nodes + 1) ** -0.6
    ends = random.choice(nodes, size=(2, edges - nodes), p=weight / weight.sum())
    ends = random.permutation(nodes)[ends]
    own = np.arange(nodes)
    senders, receivers = (np.concatenate([end, own]).astype(np.int32) for end in ends)
    return senders, receivers


def _edges(inputs: Arrays) -> tuple[Any, Any]:
    return inputs.pop("senders"), inputs.pop("receivers")


def _ours(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    import relational as rl

    edges = rl.Edges(*_edges(inputs), len(inputs["nodes"]))

    def layer(nodes: Any, weight: Any, to: Any, by: Any) -> Any:
        value = (nodes @ weight).reshape(len(nodes), *to.shape)
        value = jnp.moveaxis(value, 1, 0)
        heard = rl.propagate(
            edges,
            batch_axes=1,
            aggregator=rl.Softmax(),
            receivers={"logit": jnp.einsum("hnf,hf->hn", value, to)},
            senders={"logit": jnp.einsum("hnf,hf->hn", value, by), "value": value},
            score=lambda receiver, sender: jax.nn.leaky_relu(
                receiver.logit + sender.logit, 0.2
            ),
            message=lambda sender: sender.value,
        )
        return jnp.moveaxis(heard, 0, 1).reshape(len(nodes), -1)

    return jax_programs(layer, inputs, _MOVING)


def _jraph(inputs: Arrays) -> Programs:
    import jax
    import jraph

    senders, receivers = _edges(inputs)

    def layer(nodes: Any, weight: Any, to: Any, by: Any) -> Any:
        count = len(nodes)
        value = (nodes @ weight).reshape(count, *to.shape)
        logit = (value * to).sum(-1)[receivers] + (value * by).sum(-1)[senders]
        logit = jax.nn.leaky_relu(logit, 0.2)
        share = jraph.segment_softmax(logit, receivers, count)
        said = share[..., None] * value[senders]
        return jraph.segment_sum(said, receivers, count).reshape(count, -1)

    return jax_programs(layer, inputs, _MOVING)


def _geometric(inputs: Arrays) -> Programs:
    import torch
    from torch_geometric.nn import GATConv

    edges = torch.from_numpy(np.stack(_edges(inputs)).astype(np.int64))
    heads, features = inputs["to"].shape
    width = inputs["nodes"].shape[1]
    made = GATConv(width, features, heads, bias=False, add_self_loops=False)

    def layer(nodes: Any, weight: Any, to: Any, by: Any) -> Any:
        parameters = {
            "lin.weight": weight.T,
            "att_dst": to[None],
            "att_src": by[None],
        }
        return torch.func.functional_call(made, parameters, (nodes, edges))

    return torch_programs(layer, inputs, _MOVING)


def _size(nodes: int, edges: int) -> dict[str, int]:
    shape = {"width": 64, "heads": 4, "features": 16}
    return {"nodes": nodes, "edges": edges, **shape}


CASE = Case(
    title="Graph attention",
    sizes=[_size(100_000, 1_000_000), _size(2_708, 13_264)],
    tiny={"nodes": 40, "edges": 200, "width": 8, "heads": 2, "features": 4},
    inputs=inputs,
    peers={"relational": _ours, "jraph": _jraph, "PyTorch Geometric": _geometric},
    tolerance=(2e-5, 5e-4),  # The hub of a power law adds up thousands of gradients.
    sweep=Sweep(
        over="edges",
        sizes=[
            _size(edges // 10, edges)
            for edges in (10_000, 32_000, 100_000, 320_000, 1_000_000)
        ],
        peers=["jraph", "PyTorch Geometric"],
    ),
)
