"""Fused attention: the right leaves, axes and edges, in JAX's own implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.lowerings import fused as fused_file
from tests.core.test_equality import error

L = rl.lowerings
XLA = L.Fused(implementation="xla")
TOPOLOGIES = {
    "complete": rl.Complete(),
    "causal": rl.Causal(),
    "before": rl.Band(before=3),
    "around": rl.Band(before=3, after=2),
}
AXES = {  # Leading axes of query, key and value.
    "none": ((), (), ()),
    "one head for all": ((3,), (1,), (1,)),
    "groups of heads": ((2, 3, 2), (2, 3, 1), (1, 3, 1)),
    "values of each head": ((2, 4), (1, 4), (2, 4)),
}


def attend(query, key, value, scale, *, topology, lowering, score=None):
    def scaled(receiver, sender):
        return rl.dot(receiver / 2, sender.key) * scale

    return rl.propagate(
        topology,
        batch_axes=query.ndim - 2,
        receivers=query,
        senders={"value": value, "key": key},
        score=score or scaled,
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
        lowering=lowering,
    )


def arrays(leads=((2,), (2,), (2,)), nodes=9, width=8, dtype="float32"):
    keys = jax.random.split(jax.random.key(0), 3)
    return [
        jax.random.normal(key, (*lead, nodes, width), dtype)
        for key, lead in zip(keys, leads, strict=True)
    ]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_fused_attention_agrees_with_the_definition(axes, name):
    moving = [*arrays(AXES[axes]), jnp.float32(0.7)]

    def both(lowering):
        def loss(*moving):
            heard = attend(*moving, topology=TOPOLOGIES[name], lowering=lowering)
            return jnp.sin(jnp.arange(heard.size)) @ heard.reshape(-1), heard

        return jax.jit(jax.value_and_grad(loss, argnums=range(4), has_aux=True))(
            *moving
        )

    (_, found), gradient = both(XLA)
    (_, wanted), slopes = both(L.Edges())
    assert error(found, np.asarray(wanted)) < 2e-5
    assert error(gradient, jax.tree.map(np.asarray, slopes)) < 1e-4


@pytest.mark.parametrize(
    "score",
    [
        lambda receiver, sender: -rl.dot(receiver, sender.key) / 4,
        lambda receiver, sender: np.float32(3) * rl.dot(receiver, -sender.key),
    ],
)
def test_factors_of_a_score_are_found(score):
    call = {"topology": rl.Causal(), "score": score}
    found = attend(*arrays(), 1.0, **call, lowering=XLA)
    wanted = attend(*arrays(), 1.0, **call, lowering=L.Edges())
    assert error(found, np.asarray(wanted)) < 2e-5


@pytest.mark.parametrize(
    "score",
    [
        lambda receiver, sender: 1 / rl.dot(receiver, sender.key),
        lambda receiver, sender: rl.dot(receiver, sender.key) ** 2,
        lambda receiver, sender: rl.dot(receiver, sender.key) * sender.key[0],
        lambda receiver, sender: rl.dot(receiver * jnp.arange(8.0), sender.key),
        lambda sender: rl.dot(sender.key, sender.value),
        lambda receiver, sender: rl.dot(receiver, sender.key) + 1,
    ],
)
def test_other_scores_are_not_taken_for_attention(score):
    with pytest.raises(ValueError, match="not proven a product"):
        attend(*arrays(), 1.0, topology=rl.Causal(), score=score, lowering=XLA)


@pytest.mark.parametrize(
    "topology", [rl.Self(), rl.Causal() & rl.Band(before=2), rl.Causal().T]
)
def test_other_edges_are_refused(topology):
    with pytest.raises(ValueError, match="complete, causal and banded edges alone"):
        attend(*arrays(), 1.0, topology=topology, lowering=XLA)


def test_cudnn_needs_a_gpu():
    with pytest.raises(ValueError, match="cuDNN runs on NVIDIA GPUs"):
        attend(*arrays(), 1.0, topology=rl.Causal(), lowering=L.Fused())


def test_an_unknown_implementation_is_refused():
    with pytest.raises(ValueError, match="must be 'cudnn' or 'xla'; got 'flash'"):
        L.Fused(implementation="flash")


@pytest.mark.parametrize(
    ("width", "dtype", "topology", "reason"),
    [
        (64, "bfloat16", rl.Causal(), None),
        (64, "float16", rl.Band(before=100), None),
        (64, "float32", rl.Causal(), "float16 and bfloat16, not float32"),
        (60, "bfloat16", rl.Causal(), "a multiple of 8 up to 128, not 60"),
        (256, "bfloat16", rl.Causal(), "a multiple of 8 up to 128, not 256"),
        (64, "bfloat16", rl.Band(before=2, after=2), "lies before its receiver"),
    ],
)
def test_on_a_gpu_cudnn_takes_what_it_can(width, dtype, topology, reason, monkeypatch):
    monkeypatch.setattr(fused_file, "backend", lambda: "gpu")
    monkeypatch.setattr(fused_file, "cudnn_refuses", lambda: None)
    asked = []

    def fused(query, key, value, *, implementation, **mask):
        asked.append(implementation)
        return query  # JAX's own looks for cuDNN when it traces.

    monkeypatch.setattr(jax.nn, "dot_product_attention", fused)
    nodes = jax.ShapeDtypeStruct((8, 4096, width), dtype)
    plan = rl.lower(
        topology,
        batch_axes=1,
        receivers=nodes,
        senders={"key": nodes, "value": nodes},
        score=lambda receiver, sender: rl.dot(receiver, sender.key),
        message=lambda sender: sender.value,
        aggregator=rl.Softmax(),
    )
    if reason is None:
        assert plan.lowering.name == "fused"
        assert asked == ["cudnn"]
    else:
        assert plan.lowering.name != "fused"
        assert reason in str(plan)
