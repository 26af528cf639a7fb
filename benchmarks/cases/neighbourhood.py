"""Neighbourhood attention: every pixel listens to the window around it.

    out_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j,  j in the window around i

PyTorch has it as fused attention with a mask, and as `flex_attention` compiled for a
block mask (on a CPU without a backward pass); JAX as all pairs with a mask.

G graphs (batch x heads), N = side x side pixels in raster order, K width of a head.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs, torch_programs

_MOVING = ("query", "key", "value")


def inputs(*, side: int, window: int, heads: int, width: int, batch: int) -> Arrays:
    random = np.random.default_rng(0)
    shape = batch, heads, side * side, width
    made = {
        name: random.normal(size=shape).astype(np.float32)
        for name in (*_MOVING, "cotangent")
    }
    return made | {"window": np.int32(window)}


def _mask(side: int, window: int) -> Any:
    row, column = np.divmod(np.arange(side * side), side)
    reach = window // 2
    near = np.abs(np.subtract.outer(row, row)) <= reach
    return near & (np.abs(np.subtract.outer(column, column)) <= reach)


def _sizes(inputs: Arrays) -> tuple[int, int]:
    return int(inputs["query"].shape[2] ** 0.5), int(inputs.pop("window"))


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    side, window = _sizes(inputs)

    def attend(query: Any, key: Any, value: Any) -> Any:
        return rl.propagate(
            rl.Window(grid=(side, side), size=(window, window)),
            batch_axes=2,
            aggregator=rl.Softmax(),
            receivers={"query": query / np.sqrt(query.shape[-1]).astype(np.float32)},
            senders={"key": key, "value": value},
            score=lambda receiver, sender: rl.dot(receiver.query, sender.key),
            message=lambda sender: sender.value,
        )

    return jax_programs(attend, inputs, _MOVING)


def _jax_masked(inputs: Arrays) -> Programs:
    import jax

    mask = _mask(*_sizes(inputs))

    def attend(query: Any, key: Any, value: Any) -> Any:
        sides = (side.swapaxes(1, 2) for side in (query, key, value))
        return jax.nn.dot_product_attention(*sides, mask=mask[None, None]).swapaxes(
            1, 2
        )

    return jax_programs(attend, inputs, _MOVING)


def _torch_masked(inputs: Arrays) -> Programs:
    import torch

    mask = torch.from_numpy(_mask(*_sizes(inputs)))

    def attend(query: Any, key: Any, value: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask
        )

    return torch_programs(attend, inputs, _MOVING)


def _torch_flex(inputs: Arrays) -> Programs:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    side, window = _sizes(inputs)
    reach = window // 2

    def is_near(_batch: Any, _head: Any, at: Any, other: Any) -> Any:
        rows = (at // side - other // side).abs() <= reach
        return rows & ((at % side - other % side).abs() <= reach)

    count = side * side
    mask = create_block_mask(is_near, None, None, count, count, device="cpu")
    compiled = torch.compile(flex_attention)

    def attend(query: Any, key: Any, value: Any) -> Any:
        return compiled(query, key, value, block_mask=mask)

    return torch_programs(attend, inputs, _MOVING, has_backward=False)


CASE = Case(
    title="Neighbourhood attention",
    sizes=[
        {"side": 64, "window": window, "heads": 4, "width": 16, "batch": 4}
        for window in (7, 11)
    ],
    tiny={"side": 9, "window": 3, "heads": 2, "width": 4, "batch": 1},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX with a mask": _jax_masked,
        "PyTorch with a mask": _torch_masked,
        "PyTorch flex": _torch_flex,
    },
)
