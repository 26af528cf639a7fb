"""Whatever an attention of a spec is made of goes together, and obeys every law.

Edges that are causal and nothing else are those of `test_laws`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import models, specs
from tests.models.covering import covering, pairs_of

LENGTH, PRIME = 10, 4

OPTIONS = {
    "topology": (
        "{band: {before: 3}}",
        "{or: [causal, prefix]}",
        "{or: [{band: {before: 2}}, prefix]}",
    ),
    "kv_heads": ("4", "2", "1"),
    "rotary": ("null", "{width: 2, layout: halves, base: 50}"),
    "offset": ("{clip: 3}", "{clip: 3, width: 5}"),
    "parse": ("unused", "used"),
    "near": ("unused", "used"),
    "slopes": ("false", "true"),
    "gated": ("false", "true"),
    "normalization": ("pre", "post"),
}
CASES = covering(OPTIONS)

MODEL = """\
name: one
model:
  nodes: {{token: {{vocabulary: 11, width: 8, embed: {{beat: 4}}}}}}
  edges:
    self:
      from: token
      to: token
      topology: {topology}
      relations:
        offset: {offset}
        parse: {{labels: 3}}
        near: {{buckets: 4, furthest: 3}}
  blocks:
    - attention:
        over: self
        heads: 4
        kv_heads: {kv_heads}
        head_width: 4
        score: [content, offset{parse}]
        message: [content{parse}]
        sender_score: [offset]
        biases: [near, parse]
        slopes: {slopes}
        rotary: {rotary}
        scale: terms
      feed_forward: {{width: 8, gated: {gated}}}
  normalization: {normalization}
  dropout: 0.1
  read_out: {{node: token}}
data: {{token_arrays: {{train: [a.npz], validation: [b.npz]}}}}
training: {{steps: 2, batch_size: 2}}
"""


def spec_of(case):
    """Returns the spec of a combination; what it does not use is not there."""
    uses = {name: case[name] == "used" for name in ("parse", "near")}
    text = MODEL.format(**case | {"parse": ", parse" if uses["parse"] else ""})
    biases = [name for name, is_used in uses.items() if is_used]
    text = text.replace("[near, parse]", f"[{', '.join(biases)}]")
    for name, is_used in uses.items():
        if not is_used:
            text = "\n".join(
                line for line in text.splitlines() if f"        {name}: {{" not in line
            )
    return specs.loads(text).model


@functools.cache
def made(index):
    """Returns a model, its parameters and two compiled functions of it."""
    model = models.build(spec_of(CASES[index]))
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs_of(padded()))
    noise = np.random.default_rng(1)
    params = jax.tree.map(  # Biases would begin at 0, and prove nothing.
        lambda leaf: jnp.asarray(noise.normal(0, 0.5, leaf.shape), leaf.dtype), shapes
    )
    apply = jax.jit(lambda p, inputs: model.apply(p, None, inputs, is_training=False))

    def decode(params, inputs, lengths):
        """Returns logits of the prime, and of the nodes after it, one by one."""
        token, labels = inputs["token"], inputs["self"]["parse"]
        first = {"token": {name: leaf[:, :1] for name, leaf in token.items()}}
        caches = model.start(params, without(first, "prefix"), LENGTH)
        prime = {name: leaf[:, :PRIME] for name, leaf in token.items()}
        prime["prefix"] = token["prefix"][:, 0]
        prime = {"token": prime, "self": {"parse": labels[:, :PRIME, :PRIME]}}
        logits, caches = model.prefill(params, caches, prime, lengths)

        def step(caches, ahead):
            at = lengths + ahead
            here = [
                jnp.take_along_axis(leaf, at[:, None], 1) for leaf in token.values()
            ]
            node = dict(zip(token, here, strict=True))
            row = jnp.take_along_axis(labels, at[:, None, None], 1)
            inputs = {"token": node, "self": {"parse": row}}
            said, caches = model.step(params, caches, without(inputs, "prefix"), at)
            return caches, said[:, 0]

        _, later = jax.lax.scan(step, caches, jnp.arange(LENGTH - PRIME))
        return logits, jnp.moveaxis(later, 0, 1)

    return params, apply, jax.jit(decode)


def without(inputs, name):
    token = {key: leaf for key, leaf in inputs["token"].items() if key != name}
    return {**inputs, "token": token}


def padded(seed=0):
    """Two sequences, of 4 and of 6 nodes, with prefixes of 2 and 3."""
    rng = np.random.default_rng(seed)
    return {
        "token": rng.integers(0, 11, (2, LENGTH)),
        "beat": rng.integers(0, 4, (2, LENGTH)),
        "parse": rng.integers(-1, 4, (2, LENGTH, LENGTH)),
        "length": np.array([4, 6]),
        "segment": np.zeros((2, LENGTH), int),
        "prefix": np.repeat([[2], [3]], LENGTH, axis=1),
    }


def packed(arrays):
    """The two sequences behind each other, in both orders, each a row."""
    rows = []
    for order in ([0, 1], [1, 0]):
        row = {"parse": np.full((LENGTH, LENGTH), 2), "length": LENGTH}
        lengths = arrays["length"][order]
        for name in ("token", "beat", "prefix"):
            spans = [arrays[name][i, : arrays["length"][i]] for i in order]
            row[name] = np.concatenate(spans)
        row["segment"] = np.repeat([5, 7], lengths)
        at = 0
        for i, length in zip(order, lengths, strict=True):
            span = slice(at, at + length)
            row["parse"][span, span] = arrays["parse"][i, :length, :length]
            at += length
        rows.append(row)
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def inputs_of(arrays):
    leaves = {name: jnp.asarray(leaf, jnp.int32) for name, leaf in arrays.items()}
    return {"self": {"parse": leaves.pop("parse")}, "token": leaves}


each_case = pytest.mark.parametrize(
    "index", range(len(CASES)), ids=[" ".join(case.values()) for case in CASES]
)


def test_every_two_choices_meet():
    wanted = {
        tuple(sorted((one, other)))
        for (a, first), (b, second) in itertools.combinations(OPTIONS.items(), 2)
        for one in itertools.product([a], first)
        for other in itertools.product([b], second)
    }
    assert wanted == set().union(*map(pairs_of, CASES))


@each_case
def test_packed_sequences_do_not_hear_each_other(index):
    params, apply, _ = made(index)
    alone = apply(params, inputs_of(padded()))
    both = apply(params, inputs_of(packed(padded())))
    np.testing.assert_allclose(both[0, :4], alone[0, :4], atol=2e-5)
    np.testing.assert_allclose(both[0, 4:], alone[1, :6], atol=2e-5)
    np.testing.assert_allclose(both[1, :6], alone[1, :6], atol=2e-5)
    np.testing.assert_allclose(both[1, 6:], alone[0, :4], atol=2e-5)


@each_case
def test_padding_is_invisible(index):
    params, apply, _ = made(index)
    arrays, noise = padded(), padded(seed=9)
    other = {name: leaf.copy() for name, leaf in arrays.items()}
    for row, length in enumerate(arrays["length"]):
        for name in ("token", "beat"):
            other[name][row, length:] = noise[name][row, length:]
        other["parse"][row, length:] = noise["parse"][row, length:]
        other["parse"][row, :, length:] = noise["parse"][row, :, length:]
    before, after = (apply(params, inputs_of(each)) for each in (arrays, other))
    for row, length in enumerate(arrays["length"]):
        np.testing.assert_allclose(after[row, :length], before[row, :length], atol=2e-5)
    assert np.isfinite(after).all()


@each_case
def test_a_node_hears_later_ones_in_its_prefix_alone(index):
    params, apply, _ = made(index)
    arrays = padded() | {"length": np.array([LENGTH, LENGTH])}
    before = apply(params, inputs_of(arrays))
    for at, is_heard in ((1, "prefix" in CASES[index]["topology"]), (6, False)):
        other = arrays | {"token": arrays["token"].copy()}
        other["token"][:, at] = (other["token"][:, at] + 1) % 11
        after = apply(params, inputs_of(other))
        moved = np.abs(after[:, :at] - before[:, :at]).max()
        assert (moved > 1e-4) == is_heard, moved


@each_case
def test_stepping_equals_the_parallel_pass(index):
    params, apply, decode = made(index)
    arrays = padded() | {"length": np.array([LENGTH, LENGTH])}
    whole = apply(params, inputs_of(arrays))
    lengths = np.array([PRIME, PRIME - 1])  # Both primes hold their prefixes.
    inputs = without(without(inputs_of(arrays), "length"), "segment")
    logits, later = decode(params, inputs, jnp.asarray(lengths, jnp.int32))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(logits[row, :length], whole[row, :length], atol=5e-5)
        wanted = whole[row, length : length + LENGTH - PRIME]
        np.testing.assert_allclose(later[row], wanted, atol=5e-5)


def test_labels_of_edges_one_by_one_are_those_of_their_pairs():
    text = MODEL.format(**CASES[0] | {"topology": "causal", "parse": ", parse"})
    model = models.build(specs.loads(text).model)
    arrays = padded()
    inputs = inputs_of(arrays)
    inputs["token"] = {name: inputs["token"][name] for name in ("token", "beat")}
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    noise = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(noise.normal(0, 0.5, leaf.shape), leaf.dtype), shapes
    )
    receivers, senders = np.tril_indices(
        LENGTH
    )  # In the order of the topology's edges.
    listed = {"parse": jnp.asarray(arrays["parse"][:, receivers, senders])}

    @jax.jit
    def both(params):
        return [
            model.apply(params, None, {**inputs, "self": labels}, is_training=False)
            for labels in (inputs["self"], listed)
        ]

    np.testing.assert_allclose(*both(params), atol=2e-5)


def test_what_the_data_must_give_is_asked_for():
    model = models.build(spec_of(dict(CASES[0], topology="{or: [causal, prefix]}")))
    inputs = inputs_of(padded())
    with pytest.raises(ValueError, match=r"`inputs\['token'\]` must hold `prefix`"):
        jax.eval_shape(model.init, jax.random.key(0), without(inputs, "prefix"))
    used = next(case for case in CASES if case["parse"] == "used")
    model = models.build(spec_of(used))
    with pytest.raises(
        ValueError, match=r"`inputs\['self'\]` must hold `parse`, .* noth"
    ):
        jax.eval_shape(model.init, jax.random.key(0), {"token": inputs["token"]})
