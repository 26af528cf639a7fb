"""A mixture of experts: each token hears 2 of 8 feed-forward layers.

    out_n = sum over the chosen e of w_ne relu(x_n W_e) U_e

The router has chosen before: which experts are heard, and how much, are inputs. Expert e
is chosen with a chance that falls as 1 / (e + 4), so that the first has more than twice the
tokens of the last, as those of a trained router may. Nothing is dropped: forms with
a capacity are given one that is large enough, a promise which costs ours nothing and them
padding.

N tokens of width D, E experts of width F, K chosen.
"""

from typing import Any

import numpy as np

from benchmarks.case import (
    Arrays,
    Case,
    Programs,
    check_memory,
    jax_programs,
    torch_programs,
)

_MOVING = ("nodes", "weights", "inner", "outer")


def inputs(
    *, tokens: int, experts: int, chosen: int, width: int, hidden: int
) -> Arrays:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    liking = -np.log(np.arange(experts) + 4)
    order = np.argsort(-(liking + random.gumbel(size=(tokens, experts))), axis=-1)
    weights = np.exp(normal(tokens, chosen))
    return {
        "nodes": normal(tokens, width),
        "inner": normal(experts, width, hidden) / np.float32(width**0.5),
        "outer": normal(experts, hidden, width) / np.float32(hidden**0.5),
        "index": order[:, :chosen].astype(np.int32),
        "weights": weights / weights.sum(-1, keepdims=True),
        "cotangent": normal(tokens, width),
    }


def _capacity(inputs: Arrays) -> int:
    """Returns how many tokens the busiest expert has."""
    return int(np.bincount(inputs["index"].reshape(-1)).max())


def _ours(inputs: Arrays) -> Programs:
    import jax

    import relational as rl
    from relational.topologies import Neighbours

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        def said(receiver: Any, sender: Any, edge: Any) -> Any:
            hidden = jax.nn.relu(rl.dot(receiver, sender.inner))
            return edge * rl.dot(hidden, sender.outer)

        return rl.propagate(
            Neighbours(senders=index, num_senders=len(inner)),
            receivers=nodes,
            senders={"inner": inner, "outer": outer},
            edges=weights.reshape(-1),
            message=said,
            aggregator=rl.Sum(),
        )

    return jax_programs(layer, inputs, _MOVING)


def _jax_dense(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        spread = jax.nn.one_hot(index, len(inner)) * weights[..., None]
        hidden = jax.nn.relu(jnp.einsum("nd,edf->enf", nodes, inner))
        hidden = hidden * spread.sum(1).T[..., None]
        return jnp.einsum("enf,efd->nd", hidden, outer)

    return jax_programs(layer, inputs, _MOVING)


def _jax_one_hot(inputs: Arrays) -> Programs:
    """Mesh TensorFlow's form: dispatch and combine are products with ones and zeros."""
    import jax
    import jax.numpy as jnp

    capacity = _capacity(inputs)
    tokens, experts = len(inputs["nodes"]), len(inputs["inner"])
    check_memory(4 * 4 * tokens * experts * capacity, "dispatch and combine")

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        choice = jax.nn.one_hot(index, experts)  # [N, K, E]
        flat = choice.swapaxes(0, 1).reshape(-1, experts)
        place = (jnp.cumsum(flat, axis=0) - flat).reshape(-1, tokens, experts)
        place = (place.swapaxes(0, 1) * choice).sum(-1)  # [N, K]
        slot = jax.nn.one_hot(place.astype(jnp.int32), capacity)  # [N, K, C]
        dispatch = jnp.einsum("nke,nkc->nec", choice, slot)
        combine = jnp.einsum("nke,nkc,nk->nec", choice, slot, weights)
        taken = jnp.einsum("nec,nd->ecd", dispatch, nodes)
        hidden = jax.nn.relu(jnp.einsum("ecd,edf->ecf", taken, inner))
        said = jnp.einsum("ecf,efd->ecd", hidden, outer)
        return jnp.einsum("nec,ecd->nd", combine, said)

    return jax_programs(layer, inputs, _MOVING)


def _jax_gathered(inputs: Arrays) -> Programs:
    """The padded groups of the form before, filled by a scatter and read by a gather."""
    import jax
    import jax.numpy as jnp

    capacity = _capacity(inputs)
    tokens, experts = len(inputs["nodes"]), len(inputs["inner"])

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        queue = index.reshape(-1)
        choice = jax.nn.one_hot(queue, experts, dtype=jnp.int32)
        rank = jnp.cumsum(choice, axis=0) - 1
        rank = jnp.take_along_axis(rank, queue[:, None], axis=-1)[:, 0]
        place = queue * capacity + rank
        sources = jnp.arange(queue.size, dtype=jnp.int32) // index.shape[1]
        holder = jnp.zeros(experts * capacity, jnp.int32).at[place].set(sources)
        taken = nodes[holder].reshape(experts, capacity, -1)
        hidden = jax.nn.relu(jnp.einsum("ecd,edf->ecf", taken, inner))
        said = jnp.einsum("ecf,efd->ecd", hidden, outer)
        heard = said.reshape(experts * capacity, -1)[place]
        heard = heard.reshape(tokens, -1, nodes.shape[-1])
        return (heard * weights[..., None]).sum(1)

    return jax_programs(layer, inputs, _MOVING)


def _jax_ragged(inputs: Arrays) -> Programs:
    import jax
    import jax.numpy as jnp

    experts = len(inputs["inner"])

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        queue = index.reshape(-1)
        order = jnp.argsort(queue)
        sizes = jnp.bincount(queue, length=experts).astype(jnp.int32)
        taken = nodes[order // index.shape[1]]
        hidden = jax.nn.relu(jax.lax.ragged_dot(taken, inner, sizes))
        said = jax.lax.ragged_dot(hidden, outer, sizes)
        heard = said * weights.reshape(-1)[order][:, None]
        return jnp.zeros_like(nodes).at[order // index.shape[1]].add(heard)

    return jax_programs(layer, inputs, _MOVING)


def _torch_loop(inputs: Arrays) -> Programs:
    """A loop over experts, each on the tokens that chose it, as in Mixtral's code."""
    import torch

    def layer(nodes: Any, weights: Any, inner: Any, outer: Any, index: Any) -> Any:
        out = torch.zeros_like(nodes)
        for expert in range(len(inner)):
            tokens, place = torch.where(index == expert)
            hidden = torch.relu(nodes[tokens] @ inner[expert])
            said = hidden @ outer[expert]
            out = out.index_add(0, tokens, said * weights[tokens, place, None])
        return out

    return torch_programs(layer, inputs, _MOVING)


CASE = Case(
    title="Mixture of experts, 2 of 8",
    sizes=[{"tokens": 2_048, "experts": 8, "chosen": 2, "width": 256, "hidden": 1_024}],
    tiny={"tokens": 40, "experts": 4, "chosen": 2, "width": 8, "hidden": 12},
    inputs=inputs,
    peers={
        "relational": _ours,
        "JAX, all experts": _jax_dense,
        "JAX, padded groups": _jax_gathered,
        "JAX, one-hot products": _jax_one_hot,
        "JAX, ragged_dot": _jax_ragged,
        "PyTorch, loop over experts": _torch_loop,
    },
)
