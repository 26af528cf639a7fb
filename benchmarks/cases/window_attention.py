"""Causal attention within a window: every node hears itself and those shortly before it.

    out_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j,  i - window < j <= i

By hand it is written in blocks: a block of receivers hears its own senders and those of
the window before its first, one product a block, with one mask that all blocks share.

H heads, L length, K width of a head, B receivers of a block, C = B + window senders.
"""

from typing import Any

import numpy as np

from benchmarks.case import (
    Arrays,
    Case,
    Programs,
    Sweep,
    check_memory,
    jax_programs,
    torch_programs,
)

_MOVING = ("query", "key", "value")
_BLOCK = 128  # Receivers of a block where it is written by hand.


def inputs(*, length: int, window: int, heads: int, width: int) -> Arrays:
    random = np.random.default_rng(0)
    made = {
        name: random.normal(size=(heads, length, width)).astype(np.float32)
        for name in (*_MOVING, "cotangent")
    }
    return made | {"window": np.int32(window)}


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    topology = rl.Band(before=int(inputs.pop("window")) - 1)

    def attend(query: Any, key: Any, value: Any) -> Any:
        return rl.propagate(
            topology,
            batch_axes=1,
            aggregator=rl.Softmax(),
            receivers={"query": query / np.sqrt(query.shape[-1]).astype(np.float32)},
            senders={"key": key, "value": value},
            score=lambda receiver, sender: rl.dot(receiver.query, sender.key),
            message=lambda sender: sender.value,
        )

    return jax_programs(attend, inputs, _MOVING)


def _blocks(inputs: Arrays) -> tuple[int, int, Any]:
    """Returns receivers of a block, the window, and who is heard: [blocks, B, C]."""
    length, window = inputs["query"].shape[1], int(inputs.pop("window"))
    size = min(_BLOCK, length)
    receiver = np.arange(length).reshape(-1, size)[:, :, None]
    first = np.arange(0, length, size)[:, None, None] - window
    sender = first + np.arange(size + window)
    heard = (sender >= 0) & (sender <= receiver) & (sender > receiver - window)
    return size, window, heard


def _jax_blocks(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    size, window, heard = _blocks(inputs)

    def attend(query: Any, key: Any, value: Any) -> Any:
        heads, length, width = query.shape

        def halo(side: Any) -> Any:
            padded = jnp.pad(side, ((0, 0), (window, 0), (0, 0)))
            parts = [
                padded[:, at : at + size + window] for at in range(0, length, size)
            ]
            return jnp.stack(parts, axis=1)  # [H, L / B, C, K]

        query = query.reshape(heads, -1, size, width)
        score = jnp.einsum("hnqk,hnsk->hnqs", query, halo(key))
        score = jnp.where(heard, score * np.float32(width**-0.5), -jnp.inf)
        weight = jax.nn.softmax(score, axis=-1)
        out = jnp.einsum("hnqs,hnsk->hnqk", weight, halo(value))
        return out.reshape(heads, length, width)

    return jax_programs(attend, inputs, _MOVING)


def _jax_fused(inputs: Arrays) -> Programs:
    import jax

    window = int(inputs.pop("window"))

    def attend(query: Any, key: Any, value: Any) -> Any:
        sides = (side.swapaxes(0, 1) for side in (query, key, value))
        out = jax.nn.dot_product_attention(*sides, local_window_size=(window - 1, 0))
        return out.swapaxes(0, 1)

    return jax_programs(attend, inputs, _MOVING)


def _torch_blocks(inputs: Arrays) -> Programs:
    import torch

    size, window, heard = _blocks(inputs)
    mask = torch.from_numpy(heard)

    def attend(query: Any, key: Any, value: Any) -> Any:
        heads, length, width = query.shape

        def halo(side: Any) -> Any:
            padded = torch.nn.functional.pad(side, (0, 0, window, 0))
            return padded.unfold(1, size + window, size).transpose(2, 3)

        out = torch.nn.functional.scaled_dot_product_attention(
            query.view(heads, -1, size, width), halo(key), halo(value), attn_mask=mask
        )
        return out.reshape(heads, length, width)

    return torch_programs(attend, inputs, _MOVING)


def _torch_masked(inputs: Arrays) -> Programs:
    import torch

    heads, length, _ = inputs["query"].shape
    check_memory(6 * 4 * heads * length**2, "arrays of pairs")
    at = torch.arange(length)
    distance = at[:, None] - at
    mask = (distance >= 0) & (distance < int(inputs.pop("window")))

    def attend(query: Any, key: Any, value: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=mask[None, None]
        )[0]

    return torch_programs(attend, inputs, _MOVING)


def _torch_flex(inputs: Arrays) -> Programs:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    length, window = inputs["query"].shape[1], int(inputs.pop("window"))

    def is_near(_batch: Any, _head: Any, at: Any, other: Any) -> Any:
        return (other <= at) & (at - other < window)

    mask = create_block_mask(is_near, None, None, length, length, device="cpu")
    compiled = torch.compile(flex_attention)

    def attend(query: Any, key: Any, value: Any) -> Any:
        return compiled(query[None], key[None], value[None], block_mask=mask)[0]

    # On a CPU it has no backward pass.
    return torch_programs(attend, inputs, _MOVING, has_backward=False)


def _size(length: int) -> dict[str, int]:
    return {"length": length, "window": 256, "heads": 8, "width": 64}


CASE = Case(
    title="Attention within a window",
    sizes=[_size(4096), _size(16_384)],
    tiny={"length": 256, "window": 24, "heads": 2, "width": 8},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX blocks": _jax_blocks,
        "JAX dot_product_attention": _jax_fused,
        "PyTorch blocks, SDPA": _torch_blocks,
        "PyTorch SDPA with a mask": _torch_masked,
        "PyTorch flex": _torch_flex,
    },
    sweep=Sweep(
        over="length",
        sizes=[_size(2**power) for power in range(10, 16)],
        peers=["JAX blocks", "PyTorch blocks, SDPA", "PyTorch flex"],
    ),
)
