"""The kernel computes what the definition computes, interpreted; and lowers for a GPU.

No GPU is needed: Pallas interprets kernels on any device, and `jax.export` takes them as
far as Triton's language. What a GPU computes is not tested here.
"""

import contextlib
import warnings

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.lowerings import kernel as kernel_file
from tests.core import said
from tests.core.draws import topologies
from tests.core.structures import STRUCTURES, Structure
from tests.core.test_equality import (
    DRAWN,
    SEEDS,
    TOLERANCES,
    compiled,
    drawn_from,
    error,
    reference,
)

L = rl.lowerings
KERNEL = L.Kernel(block=16, interpret=True)
CLIPPED = rl.Offset(clip=5)


def refusals(structure: Structure, lowering) -> list[str]:
    """Returns why a lowering cannot serve a structure."""
    found = []

    def run(moving, fixed):
        call = structure.call(moving, fixed)
        plan = rl.lower(call.pop("topology"), **call, aggregator=structure.aggregator)
        found.extend(lowering.refuse(plan.problem))
        return 0

    jax.eval_shape(run, **structure.arrays(0))
    return found


def agree(structure: Structure, seed: int, lowering=KERNEL) -> None:
    value, gradient = reference(structure, seed)
    (_, found), slope = compiled(structure, lowering)(**structure.arrays(seed))
    errors = error(found, value), error(slope, gradient)
    assert errors[0] <= TOLERANCES[structure.dtype][0]
    assert errors[1] <= TOLERANCES[structure.dtype][1]


NAMES = (
    "shaw, causal",
    "music transformer with dropout",
    "packed segments in a band",
    "linear biases without tables",
    "bias of sender and relation",
    "sum of senders",
    "bfloat16, beside terms of float32",
    "nobody hears",
    "one node",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_agrees_with_the_definition(name):
    structure = next(each for each in STRUCTURES if each.name == name)
    assert refusals(structure, KERNEL) == []
    for seed in range(2):
        agree(structure, seed)


def own_sum(receiver):
    return receiver.gate.sum()


def sender_interval(sender, interval):
    return sender.value.sum() * jnp.cos(interval.astype(sender.value.dtype))


def held_sum(held):
    return lambda sender: rl.dot(sender.value, held.matrix).sum()


SCORES = [
    said.content,
    said.tempered,
    own_sum,
    said.temperature,
    said.offset_bias,
    said.curved_offset,
    said.sender_offset,
    said.slope,
    sender_interval,
    held_sum,
]
MESSAGES = [
    said.value,
    said.own,
    said.tilt,
    said.constants,
    said.offset_value,
    said.curved_offset_value,
]


@st.composite
def served_structures(draw, family: str) -> Structure:
    """Draws a structure that a kernel must serve."""
    receivers, senders = draw(st.tuples(*[st.sampled_from([7, 19, 33])] * 2))

    def some(terms):
        return tuple(draw(st.lists(st.sampled_from(terms), min_size=1, max_size=3)))

    aggregator = draw(
        st.sampled_from([rl.Softmax(), rl.Mean(), (rl.Softmax(), rl.Sum())])
    )
    return Structure(
        "drawn",
        draw(topologies(family, receivers, senders)),
        score=() if aggregator == rl.Mean() else some(SCORES),
        message=some(MESSAGES),
        aggregator=aggregator,
        offset=rl.Offset(limit=draw(st.sampled_from([2, (-9, 0)]))),
        receivers=receivers,
        senders=senders,
        dropout=draw(st.sampled_from([0.0, 0.3])),
        dtype=draw(st.sampled_from(["float32", "bfloat16"])),
    )


@pytest.mark.parametrize("family", ["algebra", "data"])
def test_the_kernel_agrees_on_drawn_structures(family):
    @hypothesis.settings(max_examples=max(2, DRAWN // 4), **drawn_from)
    @hypothesis.given(served_structures(family), SEEDS)
    def check(structure, seed):
        assert refusals(structure, KERNEL) == []
        agree(structure, seed)

    check()


def relative(topology, *, length=40, width=16, dtype="float32", **changes):
    """Relative attention over several blocks; two heads share tables and keys."""
    query, value, cotangent = jax.random.normal(
        jax.random.key(0), (3, 2, length, width)
    )
    key = jax.random.normal(jax.random.key(1), (1, length, width))
    rows = jax.random.normal(jax.random.key(2), (2, 1, CLIPPED.num_labels, width))
    moving = (query / 4, key, value, *rows)
    moving = [each.astype(dtype) for each in moving]

    def attend(lowering, moving):
        query, key, value, key_rows, value_rows = moving
        return rl.propagate(
            topology,
            batch_axes=1,
            receivers=query,
            senders={"key": key, "value": value},
            relations={"offset": CLIPPED.rows(key=key_rows, value=value_rows)},
            score=[
                lambda receiver, sender: rl.dot(receiver, sender.key),
                lambda receiver, offset: rl.dot(receiver, offset.key),
            ],
            message=[lambda sender: sender.value, lambda offset: offset.value],
            aggregator=rl.Softmax(),
            lowering=lowering,
            **changes,
        )

    def both(lowering, moving):
        def loss(moving):
            heard = attend(lowering, moving)
            return (heard.astype(jnp.float32) * cotangent).sum(), heard

        return jax.value_and_grad(loss, has_aux=True)(moving)

    return jax.jit(both, static_argnums=0), moving


IDS = np.sort(np.random.default_rng(0).integers(0, 4, (2, 40)))
TOPOLOGIES = {
    "causal": rl.Causal(),
    "band with lengths": rl.Band(before=20, after=3)
    & rl.Lengths(senders=np.array([23, 0])),
    "segments in blocks": rl.Blocks(size=7) & rl.SameSegment(IDS),
    "nobody hears at the start": rl.Causal() - rl.Band(before=17),
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_relative_attention_over_several_blocks(name):
    both, moving = relative(TOPOLOGIES[name])
    (_, wanted), slopes = both(L.Edges(), moving)
    for _ in range(2):  # The second time from the cache of compiled programs.
        (_, found), gradient = both(KERNEL, moving)
        assert error(found, np.asarray(wanted)) < 2e-5
        assert error(gradient, jax.tree.map(np.asarray, slopes)) < 1e-4
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_bfloat16_differs_by_roundings_alone():
    both, moving = relative(rl.Causal(), dtype="bfloat16")
    wide = [each.astype("float32") for each in moving]
    (_, wanted), slopes = both(L.Edges(), wide)
    (_, found), gradient = both(KERNEL, moving)
    assert found.dtype == jnp.bfloat16
    assert error(found, np.asarray(wanted)) < 2e-2
    assert error(gradient, jax.tree.map(np.asarray, slopes)) < 6e-2


def test_dropped_edges_are_those_of_the_definition():
    both, moving = relative(
        rl.Causal(), length=33, dropout=rl.Dropout(0.3, jax.random.key(3))
    )
    (_, wanted), slopes = both(L.Edges(), moving)
    (_, found), gradient = both(KERNEL, moving)
    assert error(found, np.asarray(wanted)) < 2e-5
    assert error(gradient, jax.tree.map(np.asarray, slopes)) < 1e-4


def test_a_batch_of_calls_is_the_calls_one_by_one():
    both, moving = relative(rl.Causal(), length=20)
    stacked = [jnp.stack([each, each[..., ::-1]]) for each in moving]
    (_, found), gradient = jax.vmap(lambda moving: both(KERNEL, moving))(stacked)
    for at, one in enumerate((moving, [each[..., ::-1] for each in moving])):
        (_, wanted), slopes = both(KERNEL, one)
        assert error(found[at], np.asarray(wanted)) < 1e-5
        taken = [leaf[at] for leaf in gradient]
        assert error(taken, jax.tree.map(np.asarray, slopes)) < 1e-5


def served(score, message, **changes):
    nodes = jnp.ones([4, 16])
    return rl.propagate(
        rl.Causal(),
        receivers={"query": nodes, "pitch": jnp.arange(4)},
        senders={"key": nodes, "pitch": jnp.arange(4)},
        relations={
            "offset": CLIPPED.rows(key=jnp.ones([11, 16])),
            "pitch": rl.Difference("pitch", clip=3).rows(key=jnp.ones([7, 16])),
        },
        score=score,
        message=message,
        **({"aggregator": rl.Softmax(), "lowering": KERNEL} | changes),
    )


def dot(receiver, sender):
    return rl.dot(receiver.query, sender.key)


def own(sender):
    return sender.key


@pytest.mark.parametrize(
    ("score", "message", "words"),
    [
        (lambda receiver, sender: jnp.tanh(receiver.query + sender.key).sum(), own,
         r"makes an array of shape \[16\] for each pair"),
        (lambda receiver, pitch: rl.dot(receiver.query, pitch.key), own,
         "rows of `pitch` do not lie along the diagonals"),
        (lambda receiver, sender, offset: rl.dot(receiver.query, sender.key)
         * offset.key.sum(), own, "reads both ends and a row of a table"),
        (dot, lambda receiver, sender: receiver.query * sender.key,
         "says a vector for each pair"),
        (dot, lambda sender: sender.key[:, None] * sender.key[None], "says a matrix"),
        (lambda sender: jnp.sort(sender.key).max(), own, "computes `sort`"),
    ],
    ids=lambda each: None if callable(each) else each,
)  # fmt: skip
def test_what_a_kernel_cannot_do_is_said_in_words(score, message, words):
    with pytest.raises(ValueError, match=words):
        served(score, message)


def test_a_kernel_adds_weighted_messages_alone():
    with pytest.raises(ValueError, match="`Max` hears whole messages"):
        served(dot, own, aggregator=(rl.Softmax(), rl.Max()))


def test_without_a_gpu_a_kernel_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="run on GPUs; `interpret=True` interprets"):
        served(dot, own, lowering=L.Kernel())


def test_more_numbers_than_triton_counts_are_refused():
    nodes = jax.ShapeDtypeStruct((2**15, 1024, 16), "float32")
    with pytest.raises(ValueError, match=r"8,589,934,592 numbers; Triton counts to"):
        rl.lower(
            rl.Causal(),
            batch_axes=1,
            senders=nodes,
            message=lambda sender: sender,
            aggregator=rl.Sum(),
            lowering=L.Kernel(interpret=True),
        )


def test_a_block_is_a_power_of_two():
    with pytest.raises(ValueError, match="a power of two from 16 on; got 24"):
        L.Kernel(block=24)


def with_a_gpu():
    """Lets JAX lower for a GPU that is not there."""
    try:
        from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

        device = AbstractDevice("NVIDIA H200", None, "gpu")
        return use_abstract_mesh(AbstractMesh((), (), abstract_device=device))
    except (ImportError, TypeError):  # Older JAX takes a GPU for granted.
        return contextlib.nullcontext()


def test_a_kernel_lowers_to_triton_for_a_gpu(monkeypatch):
    pytest.importorskip("jax.experimental.pallas.triton")
    monkeypatch.setattr(kernel_file, "backend", lambda: "gpu")
    topology = rl.Causal() & rl.SameSegment(np.sort(IDS.repeat(5, 1)))
    both, moving = relative(
        topology,
        length=200,
        dtype="bfloat16",
        dropout=rl.Dropout(0.1, jax.random.key(0)),
    )
    calls = ("__gpu$xla.gpu.triton", "xla.gpu.triton")
    checks = [jax.export.DisabledSafetyCheck.custom_call(name) for name in calls]
    with with_a_gpu(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Pallas Triton backend is deprecated")
        exported = jax.export.export(both, platforms=["cuda"], disabled_checks=checks)(
            L.Kernel(), moving
        )
    text = exported.mlir_module()
    # One kernel forward; backward by receivers, by senders and by diagonals.
    assert text.count("custom_call") >= 4
    for kernel in ("receivers_forward", "receivers_backward", "senders", "diagonals"):
        assert f"relational_{kernel}" in text


def test_on_a_gpu_a_long_piece_takes_the_kernel(monkeypatch):
    monkeypatch.setattr(kernel_file, "backend", lambda: "gpu")
    nodes = jax.ShapeDtypeStruct((8, 4096, 64), "bfloat16")
    rows = jax.ShapeDtypeStruct((8, 11, 64), "bfloat16")

    def attend(nodes, rows):
        return rl.propagate(
            rl.Causal(),
            batch_axes=1,
            receivers=nodes,
            senders=nodes,
            relations={"offset": CLIPPED.rows(key=rows)},
            score=[
                lambda receiver, sender: rl.dot(receiver, sender),
                lambda receiver, offset: rl.dot(receiver, offset.key),
            ],
            message=lambda sender: sender,
            aggregator=rl.Softmax(),
        )

    assert rl.explain(attend, nodes, rows).plans[0].lowering.name == "kernel"
    narrow = jax.ShapeDtypeStruct((8, 4096, 48), "bfloat16")
    plan = rl.explain(attend, narrow, jax.ShapeDtypeStruct((8, 11, 48), "bfloat16"))
    assert plan.plans[0].lowering.name == "tiles"
    assert "Triton takes powers of two from 16 on" in str(plan)
