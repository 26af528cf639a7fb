"""Marian's translators as a graph: the Transformer as printed, with biases everywhere.

Junczys-Dowmunt et al. 2018, "Marian: fast neural machine translation in C++". Its
sinusoids are those of Vaswani et al. 2017, with all sines before all cosines.
"""

import jax.numpy as jnp
import numpy as np

from relational import blocks, specs
from relational.weights.config import Config
from relational.weights.layers import ACTIVATIONS, Params, layer_norm, linear
from relational.weights.tensors import Tensors

PREFIX = ""

IGNORED = ()

_EPSILON = 1e-5  # PyTorch's; configs do not say it.


def spec_and_params(config: Config, tensors: Tensors) -> tuple[specs.ModelSpec, Params]:
    """Returns the model that a config describes, and its parameters."""
    vocabulary, width = config.count("vocab_size", 58101), config.count("d_model", 1024)
    config.must_be(
        share_encoder_decoder_embeddings=True,
        decoder_vocab_size=vocabulary,
        tie_word_embeddings=True,
        normalize_before=False,
        normalize_embedding=False,
        add_final_layer_norm=False,
        static_position_embeddings=True,
    )
    table = tensors.take("model.shared.weight", vocabulary, width)
    _take_copies(config, tensors, table)
    sinusoid = specs.SinusoidSpec(layout="split")
    is_scaled = config.flag("scale_embedding", False)
    spec = specs.ModelSpec(
        nodes={
            "source": specs.NodeSpec(
                vocabulary=vocabulary,
                width=width,
                scaled=is_scaled,
                positions=sinusoid,
            ),
            "target": specs.NodeSpec(
                vocabulary=vocabulary,
                width=width,
                scaled=is_scaled,
                positions=sinusoid,
                embedding="source",
            ),
        },
        edges={
            "source_self": _edge_set("source", "source", specs.CompleteSpec()),
            "target_self": _edge_set("target", "target", specs.CausalSpec()),
            "cross": _edge_set("source", "target", specs.CompleteSpec()),
        },
        blocks=(
            _block(config, "encoder", ("source_self",)),
            _block(config, "decoder", ("target_self", "cross")),
        ),
        normalization="post",
        norm=specs.MeanNormSpec(epsilon=_EPSILON),
        dropout=config.number("dropout", 0.1),
        read_out=specs.ReadOutSpec(
            node="target",
            bias=True,
            start=config.token("decoder_start_token_id", vocabulary - 1),
            end=config.token("eos_token_id", 0),
        ),
    )
    params: Params = {
        "model/embed_source": {"table": table},
        "model": {"read_out_bias": tensors.take("final_logits_bias", 1, vocabulary)[0]},
    }
    before = config.count("encoder_layers", 12)
    for index in range(before):
        params |= _layer(config, tensors, "encoder", index, index)
    for index in range(config.count("decoder_layers", 12)):
        params |= _layer(config, tensors, "decoder", index, before + index)
    return spec, params


def _take_copies(config: Config, tensors: Tensors, table: np.ndarray) -> None:
    """Takes what files may hold besides: copies of the table, and sinusoids."""
    for name in ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
        tensors.take_same(f"{name}.weight", table, "`model.shared.weight`")
    length = config.count("max_position_embeddings", 1024)
    waves = np.asarray(blocks.sinusoids(jnp.arange(length), table.shape[1], "split"))
    for stack in ("encoder", "decoder"):
        name = f"model.{stack}.embed_positions.weight"
        tensors.take_same(name, waves, "the sinusoids of Vaswani et al. 2017")


def _edge_set(
    sender: str, receiver: str, topology: specs.TopologySpec
) -> specs.EdgeSetSpec:
    return specs.EdgeSetSpec(
        sender_set=sender, receiver_set=receiver, topology=topology
    )


def _block(config: Config, stack: str, over: tuple[str, ...]) -> specs.BlockSpec:
    return specs.BlockSpec(
        repeat=config.count(f"{stack}_layers", 12),
        attention=tuple(
            specs.AttentionSpec(
                over=each,
                heads=config.count(f"{stack}_attention_heads", 16),
                bias=True,
                dropout=config.number("attention_dropout", 0.0),
            )
            for each in over
        ),
        feed_forward=specs.FeedForwardSpec(
            width=config.count(f"{stack}_ffn_dim", 4096),
            activation=config.one_of("activation_function", "gelu", ACTIVATIONS),
        ),
    )


def _layer(
    config: Config, tensors: Tensors, stack: str, index: int, place: int
) -> Params:
    width, hidden = (
        config.count("d_model", 1024),
        config.count(f"{stack}_ffn_dim", 4096),
    )
    ours, theirs = f"model/layer_{place}", f"model.{stack}.layers.{index}"
    parts = {"self_attn": "attention"}
    if stack == "decoder":
        parts = {
            "self_attn": "attention_target_self",
            "encoder_attn": "attention_cross",
        }
    params: Params = {}
    for its, name in parts.items():
        for letter, role in (("q", "query"), ("k", "key"), ("v", "value")):
            params[f"{ours}_{name}/{role}"] = linear(
                tensors, f"{theirs}.{its}.{letter}_proj", width, width
            )
        params[f"{ours}_{name}/output"] = linear(
            tensors, f"{theirs}.{its}.out_proj", width, width
        )
        params[f"{ours}_{name}_norm"] = layer_norm(
            tensors, f"{theirs}.{its}_layer_norm", width
        )
    return params | {
        f"{ours}_feed_forward/hidden": linear(tensors, f"{theirs}.fc1", width, hidden),
        f"{ours}_feed_forward/output": linear(tensors, f"{theirs}.fc2", hidden, width),
        f"{ours}_feed_forward_norm": layer_norm(
            tensors, f"{theirs}.final_layer_norm", width
        ),
    }
