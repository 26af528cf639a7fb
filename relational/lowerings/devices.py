"""Devices: what computes here, and about how fast."""

import math

import jax

from relational.lowerings.problem import Problem

_PRODUCTS = {2: 300e12, 4: 30e12}  # Operations a second, by bytes of a number.
_MEMORY = 2e12  # Bytes a second.
_START = 10e-6  # Seconds until a kernel runs.
_LEAST_CAPABILITY = 8.0  # Ampere.


def backend() -> str:
    """Returns "cpu", "gpu" or "tpu": where arrays are by default."""
    return jax.default_backend()


def gpu_seconds(problem: Problem, pairs: int) -> float:
    """Returns how long a GPU takes over pairs at least: a roofline, not a measurement.

    A pair costs a product of features for each term; memory holds each node once.
    """
    features = max(16, math.prod(problem.message_shape))
    terms = len(problem.score) + len(problem.message)
    rate = _PRODUCTS.get(problem.dtype.itemsize, _PRODUCTS[4])
    nodes = problem.num_receivers + problem.num_senders
    moved = 2 * nodes * problem.num_graphs * features * problem.dtype.itemsize
    return max(2 * pairs * terms * features / rate, moved / _MEMORY) + _START


def cudnn_refuses() -> str | None:
    """Returns why cuDNN has no fused attention on the first GPU; None if it has."""
    device = jax.devices()[0]
    if "rocm" in getattr(device.client, "platform_version", ""):
        return "this is no NVIDIA GPU"
    capability = float(getattr(device, "compute_capability", 0) or 0)
    if capability < _LEAST_CAPABILITY:
        return f"this GPU is of compute capability {capability}; cuDNN needs 8.0"
    return None
