"""Activations as data: functions of one number."""

from typing import Literal, TypeAlias

NodeActivation: TypeAlias = Literal["relu", "gelu", "gelu_exact", "silu"]
"""What stands between two dense layers at a node of tokens: `gelu` is its approximation
by a tanh, `gelu_exact` the function itself (Hendrycks and Gimpel 2016, section 2)."""
