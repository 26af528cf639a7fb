"""Parts that the models share: tensors of a layer, as parameters of ours.

PyTorch's `Linear` holds [outputs, inputs] and ours [inputs, outputs].
"""

from collections.abc import Mapping

import numpy as np

from relational.specs.activations import NodeActivation
from relational.weights.tensors import Tensors

Leaves = dict[str, np.ndarray]
Params = dict[str, Leaves]

ACTIVATIONS: Mapping[str, NodeActivation] = {
    "relu": "relu",
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "gelu_fast": "gelu",
    "silu": "silu",
    "swish": "silu",
}
"""Activations by the names that configs have."""


def linear(
    tensors: Tensors, name: str, inputs: int, outputs: int, *, with_bias: bool = True
) -> Leaves:
    """Returns the matrix, and maybe the bias, of a dense layer."""
    leaves = {"w": tensors.take(f"{name}.weight", outputs, inputs).T}
    if with_bias:
        leaves["b"] = tensors.take(f"{name}.bias", outputs)
    return leaves


def layer_norm(tensors: Tensors, name: str, width: int) -> Leaves:
    """Returns the scale and offset of a norm, by their old names or their new ones."""
    has_old = f"{name}.gamma" in tensors
    scale, offset = ("gamma", "beta") if has_old else ("weight", "bias")
    return {
        "scale": tensors.take(f"{name}.{scale}", width),
        "offset": tensors.take(f"{name}.{offset}", width),
    }


def rms_norm(tensors: Tensors, name: str, width: int) -> Leaves:
    """Returns the scale of a norm that has no offset."""
    return {"scale": tensors.take(f"{name}.weight", width)}


def own_read_out(tensors: Tensors, name: str, table: np.ndarray) -> Leaves | None:
    """Returns the matrix of a read-out that has its own, None if it is the table's."""
    if name not in tensors:
        return None
    matrix = tensors.take(name, *table.shape)
    return None if np.array_equal(matrix, table) else {"w": matrix.T}
