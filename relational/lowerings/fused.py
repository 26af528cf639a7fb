"""Plain attention: handed to the fused attention of JAX, on a GPU to that of cuDNN.

One score that is a product of receiver and sender, one message that is the sender's, a
softmax, and edges that are complete, causal or a band: that is what cuDNN knows, and
nobody beats it there. What it does not know is said in words, and other lowerings serve.

Shapes: *lead the leading axes, R receivers, S senders, D features; for the fused
function B batch, N heads, K heads of the senders, each for N / K heads.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from relational.aggregators import Softmax
from relational.lowerings.attention_terms import Attention, attention, factor
from relational.lowerings.devices import backend, cudnn_refuses, gpu_seconds
from relational.lowerings.problem import Operands, Problem
from relational.topologies.base import Topology
from relational.topologies.intervals import Band, Causal, Complete

_MOST_WIDTH = 128  # Of a head, on every GPU that has fused attention.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fused:
    """Asks for JAX's fused attention: `lowering=rl.lowerings.Fused()`, on a GPU.

    Attributes:
      implementation: "cudnn", or "xla", which runs anywhere and stores all pairs.

    >>> import jax, jax.numpy as jnp, relational as rl
    >>> query, key, value = jax.random.normal(jax.random.key(0), [3, 2, 5, 8])
    >>> heard = [rl.propagate(
    ...     rl.Causal(), batch_axes=1, receivers=query,
    ...     senders={"key": key, "value": value}, aggregator=rl.Softmax(),
    ...     score=lambda receiver, sender: rl.dot(receiver, sender.key),
    ...     message=lambda sender: sender.value, lowering=lowering)
    ...     for lowering in (rl.lowerings.Fused(implementation="xla"),
    ...                      rl.lowerings.Edges())]
    >>> bool(jnp.allclose(*heard, atol=1e-5))
    True
    """

    implementation: Literal["cudnn", "xla"] = "cudnn"

    name = "fused"

    def __post_init__(self) -> None:
        if self.implementation not in ("cudnn", "xla"):
            raise ValueError(
                "`Fused.implementation` must be 'cudnn' or 'xla'; got "
                f"{self.implementation!r}. 'cudnn' needs an NVIDIA GPU."
            )

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        if self.implementation == "cudnn" and backend() != "gpu":
            return ["cuDNN runs on NVIDIA GPUs"]
        reasons = _unfit_structure(problem)
        found = None if reasons else attention(problem)
        if not reasons and found is None:
            reasons.append("the score is not proven a product of receiver and sender")
        if found is not None:
            reasons += _unfit_shapes(found, problem)
            if self.implementation == "cudnn":
                reasons += _unfit_for_cudnn(found, problem)
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        if self.implementation == "xla":
            pairs = problem.size * problem.num_graphs
            return pairs * 12e-9, pairs * 16.0
        pairs = problem.num_edges * problem.num_graphs
        # Half the roofline of our own kernel, which holds smaller tiles.
        return gpu_seconds(problem, pairs) / 2, 8.0 * problem.num_graphs

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""
        found = attention(problem)
        assert found is not None
        query = operands.receiver.leaves[found.query]
        key = operands.sender.leaves[found.key]
        value = operands.sender.leaves[found.value]
        scale, dynamic = factor(found, operands.shared.score[0])
        if dynamic is not None:
            query = (query * dynamic.astype(query.dtype)).astype(query.dtype)
        heads = _Heads.of(problem.lead, (key, value))
        heard = jax.nn.dot_product_attention(
            heads.of_receivers(query),
            heads.of_senders(key),
            heads.of_senders(value),
            scale=scale,
            implementation=self.implementation,
            **_mask_arguments(problem.topology),
        )  # [B, R, N, D]
        return [jnp.moveaxis(heard, 1, 2).reshape(*problem.lead, *heard.shape[1::2])]


class _Heads(NamedTuple):
    """How leading axes become batch and heads: trailing axes that senders share.

    A head of the senders serves all receivers' heads along the last axes in which keys
    and values have size 1; the axis before tells heads of senders apart.
    """

    lead: tuple[int, ...]
    shared_axes: int

    @classmethod
    def of(cls, lead: tuple[int, ...], sides: tuple[Any, ...]) -> "_Heads":
        shared = 0
        while shared < len(lead) and all(
            side.shape[len(lead) - 1 - shared] == 1 for side in sides
        ):
            shared += 1
        return cls(lead, shared)

    @property
    def split(self) -> int:
        """How many leading axes are batch."""
        return max(0, len(self.lead) - self.shared_axes - 1)

    def of_receivers(self, leaf: Any) -> Any:  # [B, R, N, D]
        whole = jnp.broadcast_to(leaf, (*self.lead, *leaf.shape[-2:]))
        return self._flat(whole, self.lead)

    def of_senders(self, leaf: Any) -> Any:  # [B, S, K, D]
        stop = len(self.lead) - self.shared_axes
        lead = self.lead[:stop] + (1,) * self.shared_axes
        return self._flat(jnp.broadcast_to(leaf, (*lead, *leaf.shape[-2:])), lead)

    def _flat(self, leaf: Any, lead: tuple[int, ...]) -> Any:
        batch, heads = math.prod(lead[: self.split]), math.prod(lead[self.split :])
        return jnp.moveaxis(leaf.reshape(batch, heads, *leaf.shape[-2:]), 1, 2)


def _unfit_structure(problem: Problem) -> list[str]:
    reasons = []
    if tuple(map(type, problem.aggregators)) != (Softmax,):
        reasons.append("fused attention is a softmax, alone")
    if len(problem.score) != 1 or len(problem.message) != 1:
        reasons.append("fused attention has one score and one message")
    if problem.dropout_rate:
        reasons.append("weights are dropped")
    if problem.partial_terms:
        reasons.append("terms are partial: they may not be evaluated off the edges")
    if _mask_arguments(problem.topology) is None:
        reasons.append("fused attention knows complete, causal and banded edges alone")
    elif not isinstance(problem.topology, Complete) and (
        problem.num_receivers != problem.num_senders
    ):
        reasons.append("there are not as many senders as receivers")
    if not problem.size or not problem.num_graphs:
        reasons.append("a side is empty")
    return reasons


def _unfit_shapes(attention: Attention, problem: Problem) -> list[str]:
    reasons = []
    if len(set(attention.shapes)) != 1 or len(attention.shapes[0]) != 1:
        reasons.append("keys and values are not vectors of one width")
    if len(set(attention.dtypes)) != 1 or attention.dtypes[0] != problem.dtype:
        reasons.append("queries, keys and values are not of one type")
    return reasons


def _unfit_for_cudnn(attention: Attention, problem: Problem) -> list[str]:
    reasons = []
    if problem.dtype not in (jnp.float16, jnp.bfloat16):
        reasons.append(f"cuDNN takes float16 and bfloat16, not {problem.dtype}")
    width = math.prod(attention.shapes[0])
    if width % 8 or width > _MOST_WIDTH:
        reasons.append(
            f"cuDNN takes heads of a multiple of 8 up to {_MOST_WIDTH}, not {width}"
        )
    if isinstance(problem.topology, Band) and problem.topology.after:
        reasons.append("a band of cuDNN lies before its receiver")
    found = cudnn_refuses()
    return reasons if found is None else [*reasons, found]


def _mask_arguments(topology: Topology) -> Any:
    """Returns what says the edges to the fused function; None where nothing does."""
    match topology:
        case Complete():
            return {}
        case Causal():
            return {"is_causal": True}
        case Band(before=before, after=0):
            return {"is_causal": True, "local_window_size": (before, 0)}
        case Band(before=before, after=after):
            return {"local_window_size": (before, after)}
    return None
