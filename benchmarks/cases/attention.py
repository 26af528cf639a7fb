"""Attention over all nodes, or all nodes before: the Transformer's (Vaswani et al. 2017).

    out_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j,  j <= i where it is causal

G graphs (batch x heads), L length, K width of a head.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs, torch_programs

_MOVING = ("query", "key", "value")


def inputs(*, length: int, causal: int, heads: int, width: int, batch: int) -> Arrays:
    random = np.random.default_rng(0)
    made = {
        name: random.normal(size=(batch, heads, length, width)).astype(np.float32)
        for name in (*_MOVING, "cotangent")
    }
    return made | {"causal": np.bool_(causal)}


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    topology = rl.Causal() if inputs.pop("causal") else rl.Complete()

    def attend(query: Any, key: Any, value: Any) -> Any:
        return rl.propagate(
            topology,
            batch_axes=2,
            aggregator=rl.Softmax(),
            receivers={"query": query / np.sqrt(query.shape[-1]).astype(np.float32)},
            senders={"key": key, "value": value},
            score=lambda receiver, sender: rl.dot(receiver.query, sender.key),
            message=lambda sender: sender.value,
        )

    return jax_programs(attend, inputs, _MOVING)


def _jax_naive(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    is_causal = bool(inputs.pop("causal"))

    def attend(query: Any, key: Any, value: Any) -> Any:
        scale = np.float32(query.shape[-1] ** -0.5)
        score = jnp.einsum("bhqk,bhsk->bhqs", query, key) * scale
        if is_causal:
            length = query.shape[2]
            score = jnp.where(jnp.tri(length, dtype=bool), score, -jnp.inf)
        return jnp.einsum("bhqs,bhsk->bhqk", jax.nn.softmax(score, axis=-1), value)

    return jax_programs(attend, inputs, _MOVING)


def _jax_fused(inputs: Arrays) -> Programs:
    import jax

    is_causal = bool(inputs.pop("causal"))

    def attend(query: Any, key: Any, value: Any) -> Any:
        sides = (side.swapaxes(1, 2) for side in (query, key, value))
        out = jax.nn.dot_product_attention(*sides, is_causal=is_causal)
        return out.swapaxes(1, 2)

    return jax_programs(attend, inputs, _MOVING)


def _torch_fused(inputs: Arrays) -> Programs:
    import torch

    is_causal = bool(inputs.pop("causal"))

    def attend(query: Any, key: Any, value: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=is_causal
        )

    return torch_programs(attend, inputs, _MOVING)


CASE = Case(
    title="Full and causal attention",
    sizes=[
        {"length": length, "causal": causal, "heads": 8, "width": 64, "batch": 4}
        for length, causal in ((512, 0), (2048, 0), (2048, 1))
    ],
    tiny={"length": 32, "causal": 1, "heads": 2, "width": 8, "batch": 1},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX naive": _jax_naive,
        "JAX dot_product_attention": _jax_fused,
        "PyTorch SDPA": _torch_fused,
    },
)
