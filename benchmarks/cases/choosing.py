"""Choosing the nearest of many codes, the E step of vector quantisation.

The result is the squared distance of each latent to its code, which is the same where
two codes are as near as makes no difference. There is no backward pass.

N latents, K codes of width D.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs, torch_programs

_BLOCK = 4096  # Latents that the peers take at a time.


def inputs(*, latents: int, codes: int, width: int) -> Arrays:
    random = np.random.default_rng(0)
    return {
        "latents": random.normal(size=(latents, width)).astype(np.float32),
        "codes": random.normal(size=(codes, width)).astype(np.float32),
        "cotangent": np.zeros(latents, np.float32),
    }


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    def choose(latents: Any, codes: Any) -> Any:
        nearest = rl.select(
            rl.Complete(),
            k=1,
            receivers=latents,
            senders=codes,
            score=[
                lambda receiver, sender: 2 * rl.dot(receiver, sender),
                lambda sender: -rl.dot(sender, sender),
            ],
        )
        return ((latents - codes[nearest.senders[:, 0]]) ** 2).sum(-1)

    return jax_programs(choose, inputs, (), has_backward=False)


def _jax_blocks(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    def choose(latents: Any, codes: Any) -> Any:
        norms = (codes**2).sum(-1)

        def block(some: Any) -> Any:
            return jnp.argmin(norms - 2 * some @ codes.T, axis=-1)

        index = jax.lax.map(
            block, latents.reshape(-1, min(_BLOCK, len(latents)), latents.shape[-1])
        )
        return ((latents - codes[index.reshape(-1)]) ** 2).sum(-1)

    return jax_programs(choose, inputs, (), has_backward=False)


def _torch_blocks(inputs: Arrays) -> Programs:
    import torch

    def choose(latents: Any, codes: Any) -> Any:
        parts = latents.split(_BLOCK)
        index = torch.cat([torch.cdist(part, codes).argmin(-1) for part in parts])
        return ((latents - codes[index]) ** 2).sum(-1)

    return torch_programs(choose, inputs, (), has_backward=False)


CASE = Case(
    title="Choosing the nearest code",
    sizes=[{"latents": 65_536, "codes": 4_096, "width": 64}],
    tiny={"latents": 64, "codes": 10, "width": 8},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX in blocks": _jax_blocks,
        "PyTorch in blocks": _torch_blocks,
    },
    tolerance=(1e-4, 1e-4),  # PyTorch's distances are rounded before they are compared.
)
