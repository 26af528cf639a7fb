"""Fields of models of tokens, each against a formula in NumPy.

The models have no attention, so that each node is alone: it is embedded, goes through a
feed-forward layer, and is read out.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from relational import blocks, models, specs

VOCABULARY, WIDTH, LENGTH = 270, 6, 5

SPEC = """
name: tiny
model:
  nodes: {token: {vocabulary: 270, width: 6}}
  edges: {}
  blocks: [{feed_forward: {width: 4}}]
  read_out: {node: token}
data:
  plain_text: {train: [a], validation: [b], window: 8, vocabulary: 270}
training: {steps: 1, batch_size: 1}
"""
TOKEN, PART, OUT = "model.nodes.token", "model.blocks[0].feed_forward", "model.read_out"
RMS, WIDE = "model.norm={rms: {epsilon: 0.3}}", "model.norm={layer: {epsilon: 0.3}}"
POST = "model.normalization=post"

CASES = {
    "nothing": [],
    "rows as they are": [f"{TOKEN}.scaled=false"],
    "learned positions": [f"{TOKEN}.positions={{learned: {{length: 5}}}}"],
    "learned positions as they are": [
        f"{TOKEN}.positions={{learned: {{length: 9}}}}",
        f"{TOKEN}.scaled=false",
    ],
    "split sinusoids": [f"{TOKEN}.positions={{sinusoid: {{layout: split}}}}"],
    "norm of embeddings": [f"{TOKEN}.norm=true", WIDE, POST],
    "layer, epsilon": [WIDE],
    "rms": [RMS],
    "rms, post": [RMS, POST, f"{TOKEN}.norm=true"],
    "no biases": [f"{PART}.bias=false"],
    "no biases, gated": [f"{PART}.bias=false", f"{PART}.gated=true"],
    "gelu": [f"{PART}.activation=gelu"],
    "gelu, exact": [f"{PART}.activation=gelu_exact"],
    "silu": [f"{PART}.activation=silu"],
    "scaled read-out": [f"{OUT}.scaled=true"],
    "tied, with a bias": [f"{OUT}.bias=true"],
    "own": [f"{OUT}.tied=false"],
    "own, bare and scaled": [
        f"{OUT}.tied=false",
        f"{OUT}.bias=false",
        f"{OUT}.scaled=true",
    ],
    "hidden": [f"{OUT}.hidden={{activation: silu}}", f"{OUT}.bias=true", WIDE],
}


def spec_of(name):
    return specs.override(specs.loads(SPEC), CASES[name]).model


def params_of(model, inputs):
    """Random numbers everywhere: biases and norms begin as 0 and 1."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32)), shapes
    )


def activation(name, x):
    if name == "gelu":
        root = math.sqrt(2 / math.pi)
        return x / 2 * (1 + np.tanh(root * (x + 0.044715 * x**3)))
    if name == "gelu_exact":
        return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return x / (1 + np.exp(-x)) if name == "silu" else np.maximum(x, 0)


class Formula:
    """The model in NumPy, one sequence, of what the spec says and the parameters."""

    def __init__(self, spec, params):
        self.spec = spec
        self.params = {
            name: {key: np.asarray(leaf, np.float64) for key, leaf in its.items()}
            for name, its in params.items()
        }
        self.used = set()

    def get(self, name, leaf):
        self.used.add((name, leaf))
        return self.params[name][leaf]

    def norm(self, x, name):
        scale, epsilon = self.get(name, "scale"), self.spec.norm.epsilon
        if isinstance(self.spec.norm, specs.RMSNormSpec):
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale
        centred = x - x.mean(-1, keepdims=True)
        root = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return centred / root * scale + self.get(name, "offset")

    def dense(self, x, name, with_bias):
        y = x @ self.get(name, "w")
        return y + self.get(name, "b") if with_bias else y

    def embedded(self, tokens):
        node = self.spec.nodes["token"]
        x = self.get("model/embed_token", "table")[tokens]
        places = np.arange(len(tokens))
        if isinstance(node.positions, specs.LearnedPositionsSpec):
            x = x + self.get("model/positions_token", "table")[places]
        x = x * math.sqrt(WIDTH) if node.scaled else x
        if isinstance(node.positions, specs.SinusoidSpec):
            angles = places[:, None] / 10_000 ** (np.arange(WIDTH // 2) * 2 / WIDTH)
            x = x + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        return self.norm(x, "model/embed_token_norm") if node.norm else x

    def part(self, x):
        part, place = self.spec.blocks[0].feed_forward, "model/layer_0_feed_forward"
        hidden = self.dense(x, f"{place}/hidden", part.bias)
        hidden = activation(part.activation, hidden)
        if part.gated:
            hidden = hidden * self.dense(x, f"{place}/gate", part.bias)
        return self.dense(hidden, f"{place}/output", part.bias)

    def read_out(self, x):
        how = self.spec.read_out
        if how.hidden is not None:
            x = self.dense(x, "model/read_out_hidden", with_bias=True)
            x = activation(how.hidden.activation, x)
            x = self.norm(x, "model/read_out_hidden_norm")
        x = x / math.sqrt(WIDTH) if how.scaled else x
        if not how.tied:
            return self.dense(x, "model/read_out", how.bias is not False)
        logits = x @ self.get("model/embed_token", "table").T
        return logits + self.get("model", "read_out_bias") if how.bias else logits

    def __call__(self, tokens):
        x, name = self.embedded(tokens), "model/layer_0_feed_forward_norm"
        if self.spec.normalization == "post":
            return self.read_out(self.norm(x + self.part(x), name))
        x = x + self.part(self.norm(x, name))
        return self.read_out(self.norm(x, "model/final_norm"))


@pytest.mark.parametrize("name", list(CASES))
def test_a_model_is_what_its_fields_say(name):
    spec = spec_of(name)
    model, tokens = models.build(spec), np.array([[3, 269, 0, 5, 3]])
    inputs = {"token": {"token": tokens}}
    params = params_of(model, inputs)
    formula = Formula(spec, params)
    wanted = formula(tokens[0])
    found = model.apply(params, None, inputs, is_training=False)[0]
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
    held = {(name, leaf) for name, its in params.items() for leaf in its}
    assert formula.used == held  # No parameter is there for nothing.


def test_every_case_is_another_model():
    known = {spec_of(name) for name in CASES}
    assert len(known) == len(CASES)


def test_more_nodes_than_learned_positions_are_refused():
    spec = spec_of("learned positions")
    model, words = (
        models.build(spec),
        "must be at most 5 nodes of `token`, which has so",
    )
    inputs = {"token": {"token": jnp.zeros((1, 6), int)}}
    with pytest.raises(ValueError, match=f"`inputs` {words} many learned"):
        jax.eval_shape(model.init, jax.random.key(0), inputs)
    with pytest.raises(ValueError, match=f"`length` {words}.*; got 6"):
        jax.eval_shape(lambda: model.start({}, {"token": {"token": tokens()}}, 6))


def tokens():
    return jnp.zeros((1, 1), int)


def test_packed_sequences_begin_anew_with_their_positions():
    model = models.build(spec_of("learned positions"))
    packed = {"token": jnp.array([[4, 4, 4]]), "segment": jnp.array([[1, 1, 2]])}
    params = params_of(model, {"token": packed})
    logits = model.apply(params, None, {"token": packed}, is_training=False)[0]
    np.testing.assert_array_equal(logits[0], logits[2])
    assert not np.allclose(logits[0], logits[1])


def test_an_attribute_that_is_embedded_must_be_given():
    spec = specs.override(specs.load("demo"), []).model
    model = models.build(spec)
    words = r"`inputs\['token'\]` must hold `voice`, integers .* from 0 to 3.*got token"
    with pytest.raises(ValueError, match=words):
        model.init(jax.random.key(0), {"token": {"token": tokens()}})


def test_split_sinusoids_are_the_published_ones_in_another_order():
    places = jnp.arange(9)
    turns = np.asarray(blocks.sinusoids(places, 8, "interleaved"))
    split = np.asarray(blocks.sinusoids(places, 8, "split"))
    np.testing.assert_array_equal(
        split, np.concatenate([turns[:, ::2], turns[:, 1::2]], 1)
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("start=270", "model.read_out.start: must be a token, 0 to 269; got 270."),
        ("end=300", "model.read_out.end: must be a token, 0 to 269; got 300."),
        ("end=0", "must be another token than `start`; got 0 for both."),
    ],
)
def test_tokens_that_cannot_begin_or_end_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        specs.override(specs.loads(SPEC), [f"{OUT}.{setting}"])


def test_a_norm_says_what_it_must_be():
    with pytest.raises(ValueError, match=r"`Norm.kind` must be 'layer' or 'rms'"):
        blocks.Norm(kind="batch")
    with pytest.raises(ValueError, match=r"`Norm.epsilon` must be above 0; got 0"):
        blocks.Norm(epsilon=0)
