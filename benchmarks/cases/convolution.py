"""A convolution of 3 x 3, as every pixel hears its neighbours through a matrix a tap.

    out_i = sum_j x_j W_(j - i),  j among the 3 x 3 pixels around i

Ours compiles to the one convolution that JAX is given by hand.

B batch, N = side x side pixels in raster order, C channels.
"""

from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs, torch_programs

_MOVING = ("image", "kernel")


def inputs(*, side: int, channels: int, batch: int) -> Arrays:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    return {
        "image": normal(batch, side * side, channels),
        "kernel": normal(3, 3, channels, channels) / np.float32(3 * channels**0.5),
        "cotangent": normal(batch, side * side, channels),
    }


def _side(inputs: Arrays) -> int:
    return int(inputs["image"].shape[1] ** 0.5)


def _ours(inputs: Arrays) -> Programs:
    import relational as rl

    side = _side(inputs)
    stencil = rl.Stencil(grid=(side, side), size=3)

    def convolve(image: Any, kernel: Any) -> Any:
        rows = kernel.reshape(1, 9, *kernel.shape[2:])
        return rl.propagate(
            stencil,
            batch_axes=1,
            aggregator=rl.Sum(),
            senders={"pixel": image},
            relations={"tap": stencil.tap.rows(kernel=rows)},
            message=lambda sender, tap: rl.dot(sender.pixel, tap.kernel),
        )

    return jax_programs(convolve, inputs, _MOVING)


def _jax(inputs: Arrays) -> Programs:
    import jax

    side = _side(inputs)

    def convolve(image: Any, kernel: Any) -> Any:
        out = jax.lax.conv_general_dilated(
            image.reshape(-1, side, side, image.shape[-1]),
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return out.reshape(image.shape)

    return jax_programs(convolve, inputs, _MOVING)


def _torch(inputs: Arrays) -> Programs:
    import torch

    side = _side(inputs)

    def convolve(image: Any, kernel: Any) -> Any:
        pixels = image.view(-1, side, side, image.shape[-1]).permute(0, 3, 1, 2)
        out = torch.nn.functional.conv2d(pixels, kernel.permute(3, 2, 0, 1), padding=1)
        return out.permute(0, 2, 3, 1).reshape(image.shape)

    return torch_programs(convolve, inputs, _MOVING)


CASE = Case(
    title="A convolution as a stencil",
    sizes=[{"side": 64, "channels": 64, "batch": 8}],
    tiny={"side": 6, "channels": 3, "batch": 2},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX conv_general_dilated": _jax,
        "PyTorch conv2d": _torch,
    },
    tolerance=(2e-5, 5e-4),  # A tap's gradient adds up all pixels of the batch.
)
