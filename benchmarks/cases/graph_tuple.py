"""Attention on a complete graph that comes as a `jraph.GraphsTuple`, edge by edge.

    out_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j,  every head of every node

A graph library gathers both ends of all N x N edges. Ours reads from the list that the
graph is complete; "relational, Complete" is told so.

N nodes, H heads, K width of a head.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs

_MOVING = ("query", "key", "value")


def inputs(*, nodes: int, heads: int, width: int) -> Arrays:
    random = np.random.default_rng(0)
    return {
        name: random.normal(size=(nodes, heads, width)).astype(np.float32)
        for name in (*_MOVING, "cotangent")
    }


def _graph(nodes: dict[str, Any]) -> Any:
    """Returns the complete graph on some nodes."""
    import jraph

    count = nodes["query"].shape[0]
    receivers, senders = np.divmod(np.arange(count**2), count)
    return jraph.GraphsTuple(
        nodes=nodes,
        edges=None,
        globals=None,
        senders=senders,
        receivers=receivers,
        n_node=np.array([count]),
        n_edge=np.array([count**2]),
    )


def _ours(is_told: bool) -> Any:
    def programs(inputs: Arrays) -> Programs:
        import jax.numpy as jnp

        import relational as rl

        def attend(query: Any, key: Any, value: Any) -> Any:
            graph = _graph({"query": query, "key": key, "value": value})
            sides = {k: jnp.moveaxis(v, 1, 0) for k, v in graph.nodes.items()}
            scale = np.sqrt(query.shape[-1]).astype(np.float32)
            heard = rl.propagate(
                rl.Complete() if is_told else rl.Edges.of(graph),
                batch_axes=1,
                aggregator=rl.Softmax(),
                receivers={"query": sides["query"] / scale},
                senders=sides,
                score=lambda receiver, sender: rl.dot(receiver.query, sender.key),
                message=lambda sender: sender.value,
            )
            return jnp.moveaxis(heard, 0, 1)

        return jax_programs(attend, inputs, _MOVING)

    return programs


def _jraph(inputs: Arrays) -> Programs:
    import jraph

    scale = np.float32(inputs["query"].shape[-1] ** -0.5)
    network = jraph.GraphNetwork(
        update_edge_fn=lambda edges, sent, received, globals_: sent["value"],
        update_node_fn=lambda nodes, sent, received, globals_: received,
        attention_logit_fn=lambda edges, sent, received, globals_: (
            (sent["key"] * received["query"]).sum(-1) * scale
        ),
        attention_reduce_fn=lambda edges, weights: edges * weights[..., None],
    )

    def attend(query: Any, key: Any, value: Any) -> Any:
        return network(_graph({"query": query, "key": key, "value": value})).nodes

    return jax_programs(attend, inputs, _MOVING)


def _jax_dense(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    def attend(query: Any, key: Any, value: Any) -> Any:
        scale = np.float32(query.shape[-1] ** -0.5)
        score = jnp.einsum("qhk,shk->hqs", query, key) * scale
        return jnp.einsum("hqs,shk->qhk", jax.nn.softmax(score, axis=-1), value)

    return jax_programs(attend, inputs, _MOVING)


CASE = Case(
    title="A complete graph as a graph tuple",
    sizes=[{"nodes": 512, "heads": 4, "width": 32}],
    tiny={"nodes": 12, "heads": 2, "width": 4},
    inputs=inputs,
    peers={
        "relational": _ours(False),
        "jraph GraphNetwork": _jraph,
        "relational, Complete": _ours(True),
        "JAX dense, by hand": _jax_dense,
    },
)
