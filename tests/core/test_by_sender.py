"""Blocks of a sender: equal to the definition, and chosen where senders are matrices."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.topologies import Neighbours

L = rl.lowerings
RECEIVERS, SENDERS, CHOSEN, WIDTH = 11, 4, 3, 5
KINDS = {  # Leading axes, aggregator, type, which sides have no leading axes of their own.
    "sum": ((), rl.Sum(), "float32", ""),
    "softmax of several graphs": ((3,), rl.Softmax(), "float32", "sender"),
    "shared receivers": ((2, 1), rl.Mean(), "float32", "receiver"),
    "not a weighting": ((), rl.Max(), "float32", ""),
    "bfloat16": ((2,), rl.Sum(), "bfloat16", "sender"),
}


def _said(receiver, sender, edge, context):
    hidden = jnp.tanh(rl.dot(receiver.x, sender.first))
    second = rl.dot(hidden.astype(receiver.x.dtype), sender.second)
    return edge.astype(second.dtype) * second + context.astype(second.dtype)


def _arrays(kind, seed):
    lead, _, dtype, shared = KINDS[kind]
    rng = np.random.default_rng(seed)

    def some(*shape, of=""):
        own = tuple(1 for _ in lead) if of and of == shared else lead
        return jnp.asarray(rng.normal(size=(*own, *shape)), dtype)

    moving = {
        "x": some(RECEIVERS, WIDTH, of="receiver"),
        "first": some(SENDERS, WIDTH, 7, of="sender"),
        "second": some(SENDERS, 7, 3, of="sender"),
        "edge": some(RECEIVERS * CHOSEN),
        "context": some(),
    }
    order = rng.permuted(
        np.broadcast_to(np.arange(SENDERS), (*lead, RECEIVERS, SENDERS)), axis=-1
    )
    # Some senders are heard by many, some by nobody; some edges do not count.
    index = np.minimum(order[..., :CHOSEN], rng.integers(1, SENDERS))
    fixed = {
        "senders": jnp.asarray(index, jnp.int32),
        "valid": jnp.asarray(rng.random(index.shape) < rng.choice([0.0, 0.6, 1.0])),
        "kind": jnp.asarray(rng.integers(0, 9, (*lead, RECEIVERS))),
    }
    return moving, fixed


@functools.cache
def _both(kind, lowering):
    lead, aggregator, *_ = KINDS[kind]

    def loss(moving, fixed):
        heard = {
            "score": lambda receiver, sender: rl.dot(receiver.x, sender.first[:, 0])
        }
        found = rl.propagate(
            Neighbours(
                senders=fixed["senders"], num_senders=SENDERS, valid=fixed["valid"]
            ),
            batch_axes=len(lead),
            receivers={"x": moving["x"], "kind": fixed["kind"]},
            senders={"first": moving["first"], "second": moving["second"]},
            edges=moving["edge"],
            context=moving["context"],
            message=_said,
            aggregator=aggregator,
            lowering=lowering,
            **(heard if aggregator.hears_score else {}),
        )
        return jnp.sum(jnp.sin(found.astype(jnp.float32))), found

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


# How blocks are cut has nothing to do with the rest, so that one kind says it.
BLOCKS = [*((kind, None) for kind in KINDS), ("sum", 1), ("sum", 4)]


@pytest.mark.parametrize(("kind", "block"), BLOCKS)
@hypothesis.settings(max_examples=6, deadline=None, derandomize=True, database=None)
@hypothesis.given(seed=st.integers(0, 2**20))
def test_values_and_gradients_are_those_of_the_edges(kind, block, seed):
    arrays = _arrays(kind, seed)
    found, wanted = (
        _both(kind, lowering)(*arrays) for lowering in (L.BySender(block), L.Edges())
    )
    rounding = 5e-2 if KINDS[kind][2] == "bfloat16" else 2e-5
    for leaf, other in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        assert leaf.dtype == other.dtype
        leaf, other = (np.asarray(each, np.float64) for each in (leaf, other))
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(leaf / scale, other / scale, atol=rounding)


def test_no_edges_at_all_is_silence():
    chosen = rl.Edges(np.zeros(0, int), np.zeros(0, int), 3, 2)
    found = rl.propagate(
        chosen,
        receivers=jnp.ones([3, 2]),
        senders=jnp.ones([2, 2, 4]),
        message=lambda receiver, sender: rl.dot(receiver, sender),
        aggregator=rl.Sum(),
        lowering=L.BySender(),
    )
    np.testing.assert_array_equal(found, np.zeros([3, 4]))


def _lower(message, topology=None, lowering=None, width=64):
    if topology is None:
        index = jnp.zeros([512, 2], jnp.int32)
        topology = Neighbours(senders=index, num_senders=8)
    return rl.lower(
        topology,
        lowering=lowering,
        receivers=jax.ShapeDtypeStruct((512, width), "float32"),
        senders=jax.ShapeDtypeStruct((8, width, width), "float32"),
        message=message,
        aggregator=rl.Sum(),
        relations={"offset": rl.Offset()},
    )


def test_it_is_chosen_where_edges_would_gather_a_matrix_each():
    plan = _lower(lambda receiver, sender: rl.dot(receiver, sender))
    assert plan.lowering.name == "by_sender"
    text = str(plan)
    assert "a product with each sender's matrices" in text
    assert "Neighbours(2 of 8): 512 receivers x 8 senders, 1,024 edges" in text


@pytest.mark.parametrize(
    ("message", "topology", "words"),
    [
        (
            lambda receiver, sender: rl.dot(receiver, sender),
            rl.Complete(),
            "from a rule",
        ),
        (
            lambda receiver: receiver,  # Reads no sender at all.
            None,
            "no message multiplies by a matrix of its sender",
        ),
        (
            lambda receiver, sender, offset: (
                rl.dot(receiver, sender) * offset.astype("float32")
            ),
            None,
            "a message reads a relation",
        ),
    ],
)
def test_what_it_cannot_serve_it_refuses(message, topology, words):
    with pytest.raises(ValueError, match=words):
        _lower(message, topology, L.BySender())
