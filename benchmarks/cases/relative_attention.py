"""Relative causal attention: query . (key + row of the distance), as in Huang et al.

    out_i = sum_j softmax_j(q_i . (k_j + e_(j - i)) / sqrt(K)) v_j,  j <= i

PyTorch and JAX both compute it in three forms: `pairwise` gathers a row for every pair
(Shaw et al. 2018), `skewed` shifts the product of queries and rows into place (Huang et
al. 2018, section 3.4.1), and `skew as mask` hands what was skewed to fused attention.

H heads, L length, K width of a head; `rows` are [H, L, K], the farthest sender's first,
the node's own last, as in the paper.
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

_MOVING = ("query", "key", "value", "rows")


def inputs(*, length: int, heads: int, width: int) -> Arrays:
    random = np.random.default_rng(0)
    names = (*_MOVING, "cotangent")
    made = {
        name: random.normal(size=(heads, length, width)).astype(np.float32)
        for name in names
    }
    made["rows"] *= np.float32(0.3)
    return made


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    length = inputs["query"].shape[1]

    def attend(query: Any, key: Any, value: Any, rows: Any) -> Any:
        return rl.propagate(
            rl.Causal(),
            batch_axes=1,
            aggregator=rl.Softmax(),
            receivers={"query": query / np.sqrt(query.shape[-1]).astype(np.float32)},
            senders={"key": key, "value": value},
            relations={"offset": rl.Offset(limit=(1 - length, 0)).rows(key=rows)},
            score=[
                lambda receiver, sender: rl.dot(receiver.query, sender.key),
                lambda receiver, offset: rl.dot(receiver.query, offset.key),
            ],
            message=lambda sender: sender.value,
        )

    return jax_programs(attend, inputs, _MOVING)


def _jax(form: str) -> Any:
    def programs(inputs: Arrays) -> Programs:
        import jax
        import jax.numpy as jnp

        length, width = inputs["query"].shape[1:]

        def skew(product: Any) -> Any:
            padded = jnp.pad(product, ((0, 0), (0, 0), (1, 0)))
            return padded.reshape(-1, length + 1, length)[:, 1:]  # By sender.

        def attend(query: Any, key: Any, value: Any, rows: Any) -> Any:
            scale = np.float32(width**-0.5)
            offset = jnp.arange(length) - jnp.arange(length)[:, None]
            causal, label = offset <= 0, jnp.minimum(offset, 0) + length - 1
            if form == "pairwise":
                each = rows[:, label]  # [H, L, L, K]
                relative = jnp.einsum("hqk,hqsk->hqs", query, each) * scale
            else:
                relative = skew(jnp.einsum("hqk,hdk->hqd", query, rows)) * scale
            if form == "skew as mask":
                out = jax.nn.dot_product_attention(
                    *(jnp.swapaxes(side, 0, 1) for side in (query, key, value)),
                    bias=relative,
                    mask=causal[None],
                )
                return jnp.swapaxes(out, 0, 1)
            score = jnp.einsum("hqk,hsk->hqs", query, key) * scale + relative
            score = jnp.where(causal, score, -jnp.inf)
            return jnp.einsum("hqs,hsk->hqk", jax.nn.softmax(score, axis=-1), value)

        return jax_programs(attend, inputs, _MOVING)

    return programs


def _torch(form: str) -> Any:
    def programs(inputs: Arrays) -> Programs:
        import torch

        length, width = inputs["query"].shape[1:]
        copies = 8 + (2 * width if form == "pairwise" else 0)
        check_memory(4 * len(inputs["query"]) * length**2 * copies, "arrays of pairs")
        offset = torch.arange(length) - torch.arange(length)[:, None]
        causal, label = offset <= 0, offset.clamp(max=0) + length - 1

        def skew(product: Any) -> Any:
            padded = torch.nn.functional.pad(product, (1, 0))
            return padded.reshape(-1, length + 1, length)[:, 1:]

        def attend(query: Any, key: Any, value: Any, rows: Any) -> Any:
            if form == "pairwise":
                each = rows[:, label]
                relative = torch.einsum("hqk,hqsk->hqs", query, each)
            else:
                relative = skew(query @ rows.transpose(1, 2))
            relative = relative * width**-0.5
            if form == "skew as mask":
                mask = relative.masked_fill(~causal, float("-inf"))
                return torch.nn.functional.scaled_dot_product_attention(
                    query[None], key[None], value[None], attn_mask=mask[None]
                )[0]
            score = (query @ key.transpose(1, 2)) * width**-0.5 + relative
            score = score.masked_fill(~causal, float("-inf"))
            return score.softmax(-1) @ value

        return torch_programs(attend, inputs, _MOVING)

    return programs


def _size(length: int) -> dict[str, int]:
    return {"length": length, "heads": 8, "width": 64}


FORMS = ("skewed", "skew as mask", "pairwise")
CASE = Case(
    title="Relative causal attention",
    sizes=[_size(2048), _size(512)],
    tiny={"length": 32, "heads": 2, "width": 8},
    inputs=inputs,
    peers={"relational": _ours}
    | {f"JAX {form}": _jax(form) for form in FORMS}
    | {f"PyTorch {form}": _torch(form) for form in FORMS},
    sweep=Sweep(
        over="length",
        sizes=[_size(2**power) for power in range(8, 14)],
        peers=["JAX skewed", "JAX pairwise", "PyTorch skewed", "PyTorch skew as mask"],
    ),
)
