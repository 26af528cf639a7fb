"""T5 as a graph: two node sets, buckets of distances in every softmax (Raffel et al. 2020).

Its scores are not divided by sqrt(K), so queries are multiplied by that. Its buckets are
shared by all layers of a stack; here every layer has a copy.
"""

import math

import numpy as np

from relational import specs
from relational.specs.activations import NodeActivation
from relational.weights.config import Config
from relational.weights.layers import (
    ACTIVATIONS,
    Params,
    linear,
    own_read_out,
    rms_norm,
)
from relational.weights.tensors import Tensors

PREFIX = ""

IGNORED = (
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)

_BUCKETS = "distance"


def spec_and_params(config: Config, tensors: Tensors) -> tuple[specs.ModelSpec, Params]:
    """Returns the model that a config describes, and its parameters."""
    width, vocabulary = config.count("d_model", 512), config.count("vocab_size", 32128)
    table = tensors.take("shared.weight", vocabulary, width)
    for stack in ("encoder", "decoder"):
        name = f"{stack}.embed_tokens.weight"
        tensors.take_same(name, table, "`shared.weight`")
    read_out = own_read_out(tensors, "lm_head.weight", table)
    spec = specs.ModelSpec(
        nodes={
            "source": specs.NodeSpec(vocabulary=vocabulary, width=width, scaled=False),
            "target": specs.NodeSpec(
                vocabulary=vocabulary, width=width, scaled=False, embedding="source"
            ),
        },
        edges=_edges(config),
        blocks=_blocks(config),
        norm=specs.RMSNormSpec(epsilon=config.number("layer_norm_epsilon", 1e-6)),
        dropout=config.number("dropout_rate", 0.1),
        read_out=specs.ReadOutSpec(
            node="target",
            tied=read_out is None,
            scaled=config.flag(
                "scale_decoder_outputs", config.flag("tie_word_embeddings", True)
            ),
            bias=False,
            start=config.token("decoder_start_token_id", 0),
            end=config.token("eos_token_id", 1),
        ),
    )
    params: Params = {"model/embed_source": {"table": table}}
    params |= _encoder(config, tensors)
    params |= _decoder(config, tensors)
    if read_out is not None:
        params["model/read_out"] = read_out
    return spec, params


def _edges(config: Config) -> dict[str, specs.EdgeSetSpec]:
    def edge_set(
        sender: str, receiver: str, topology: specs.TopologySpec, later: bool | None
    ) -> specs.EdgeSetSpec:
        relations: dict[str, specs.RelationSpec] = {}
        if later is not None:
            relations[_BUCKETS] = specs.BucketsSpec(
                buckets=config.count("relative_attention_num_buckets", 32),
                furthest=config.count("relative_attention_max_distance", 128),
                later=later,
            )
        return specs.EdgeSetSpec(
            sender_set=sender,
            receiver_set=receiver,
            topology=topology,
            relations=relations,
        )

    return {
        "source_self": edge_set("source", "source", specs.CompleteSpec(), later=True),
        "target_self": edge_set("target", "target", specs.CausalSpec(), later=False),
        "cross": edge_set("source", "target", specs.CompleteSpec(), later=None),
    }


def _blocks(config: Config) -> tuple[specs.BlockSpec, ...]:
    def attention(over: str, biases: tuple[str, ...] = ()) -> specs.AttentionSpec:
        return specs.AttentionSpec(
            over=over,
            heads=config.count("num_heads", 8),
            head_width=config.count("d_kv", 64),
            biases=biases,
        )

    is_gated, activation = _activation(config)
    feed_forward = specs.FeedForwardSpec(
        width=config.count("d_ff", 2048),
        activation=activation,
        gated=is_gated,
        bias=False,
    )
    own = (_BUCKETS,)
    return (
        specs.BlockSpec(
            repeat=_num_layers(config)[0],
            attention=attention("source_self", own),
            feed_forward=feed_forward,
        ),
        specs.BlockSpec(
            repeat=_num_layers(config)[1],
            attention=(attention("target_self", own), attention("cross")),
            feed_forward=feed_forward,
        ),
    )


def _num_layers(config: Config) -> tuple[int, int]:
    encoder = config.count("num_layers", 6)
    return encoder, config.count("num_decoder_layers", encoder)


def _activation(config: Config) -> tuple[bool, NodeActivation]:
    """Returns whether the layer is gated, and by which function: `gated-gelu`."""
    known = {name: (False, ours) for name, ours in ACTIVATIONS.items()}
    known |= {f"gated-{name}": (True, ours) for name, ours in ACTIVATIONS.items()}
    known["gated-gelu"] = (True, "gelu")  # Their own exception: the approximation.
    return config.one_of("feed_forward_proj", "relu", known)


def _encoder(config: Config, tensors: Tensors) -> Params:
    width = config.count("d_model", 512)
    params: Params = {}
    for index in range(_num_layers(config)[0]):
        ours, theirs = f"model/layer_{index}", f"encoder.block.{index}.layer"
        attention = f"{ours}_attention"
        params |= _attention(config, tensors, attention, f"{theirs}.0", "SelfAttention")
        params[attention] = {f"bias_{_BUCKETS}": _buckets(config, tensors, "encoder")}
        params |= _feed_forward(config, tensors, ours, f"{theirs}.1")
    name = "encoder.final_layer_norm"
    params["model/final_norm_source"] = rms_norm(tensors, name, width)
    return params


def _decoder(config: Config, tensors: Tensors) -> Params:
    width = config.count("d_model", 512)
    params: Params = {}
    before, count = _num_layers(config)
    for index in range(count):
        ours, theirs = f"model/layer_{before + index}", f"decoder.block.{index}.layer"
        own, cross = f"{ours}_attention_target_self", f"{ours}_attention_cross"
        params |= _attention(config, tensors, own, f"{theirs}.0", "SelfAttention")
        params[own] = {f"bias_{_BUCKETS}": _buckets(config, tensors, "decoder")}
        params |= _attention(config, tensors, cross, f"{theirs}.1", "EncDecAttention")
        params |= _feed_forward(config, tensors, ours, f"{theirs}.2")
    name = "decoder.final_layer_norm"
    params["model/final_norm"] = rms_norm(tensors, name, width)
    return params


def _attention(
    config: Config, tensors: Tensors, ours: str, theirs: str, kind: str
) -> Params:
    width, key_width = config.count("d_model", 512), config.count("d_kv", 64)
    inner = config.count("num_heads", 8) * key_width

    def projection(letter: str, inputs: int, outputs: int) -> np.ndarray:
        name = f"{theirs}.{kind}.{letter}"
        return linear(tensors, name, inputs, outputs, with_bias=False)["w"]

    root = np.float32(math.sqrt(key_width))
    return {
        f"{ours}/query": {"w": projection("q", width, inner) * root},
        f"{ours}/key": {"w": projection("k", width, inner)},
        f"{ours}/value": {"w": projection("v", width, inner)},
        f"{ours}/output": {"w": projection("o", inner, width)},
        f"{ours}_norm": rms_norm(tensors, f"{theirs}.layer_norm", width),
    }


def _buckets(config: Config, tensors: Tensors, stack: str) -> np.ndarray:
    """Returns the numbers of the buckets, [H, L], that the first layer holds for all."""
    name = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    count = config.count("relative_attention_num_buckets", 32)
    return tensors.take(name, count, config.count("num_heads", 8)).T


def _feed_forward(config: Config, tensors: Tensors, ours: str, theirs: str) -> Params:
    width, hidden = config.count("d_model", 512), config.count("d_ff", 2048)
    place, is_gated = f"{theirs}.DenseReluDense", _activation(config)[0]
    names = {"hidden": "wi_0", "gate": "wi_1"} if is_gated else {"hidden": "wi"}
    params = {
        f"{ours}_feed_forward/{name}": linear(
            tensors, f"{place}.{its}", width, hidden, with_bias=False
        )
        for name, its in names.items()
    }
    params[f"{ours}_feed_forward/output"] = linear(
        tensors, f"{place}.wo", hidden, width, with_bias=False
    )
    params[f"{ours}_feed_forward_norm"] = rms_norm(
        tensors, f"{theirs}.layer_norm", width
    )
    return params
