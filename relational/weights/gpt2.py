"""GPT-2 as a graph: tokens that hear those before them (Radford et al. 2019)."""

import numpy as np

from relational import specs
from relational.weights.config import Config
from relational.weights.layers import (
    ACTIVATIONS,
    Leaves,
    Params,
    layer_norm,
    own_read_out,
)
from relational.weights.tensors import Tensors

PREFIX = "transformer."

IGNORED = (r"h\.\d+\.attn\.(bias|masked_bias)",)  # Masks, of old versions.


def spec_and_params(config: Config, tensors: Tensors) -> tuple[specs.ModelSpec, Params]:
    """Returns the model that a config describes, and its parameters."""
    config.must_be(
        add_cross_attention=False,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
    )
    width, vocabulary = config.count("n_embd", 768), config.count("vocab_size", 50257)
    hidden = config.count("n_inner", 4 * width)
    table = tensors.take("wte.weight", vocabulary, width)
    read_out = own_read_out(tensors, "lm_head.weight", table)
    spec = specs.ModelSpec(
        nodes={
            "token": specs.NodeSpec(
                vocabulary=vocabulary,
                width=width,
                scaled=False,
                positions=specs.LearnedPositionsSpec(
                    length=config.count("n_positions", 1024)
                ),
            )
        },
        edges={
            "self": specs.EdgeSetSpec(
                sender_set="token", receiver_set="token", topology=specs.CausalSpec()
            )
        },
        blocks=(
            specs.BlockSpec(
                repeat=config.count("n_layer", 12),
                attention=specs.AttentionSpec(
                    over="self",
                    heads=config.count("n_head", 12),
                    bias=True,
                    dropout=config.number("attn_pdrop", 0.1),
                ),
                feed_forward=specs.FeedForwardSpec(
                    width=hidden,
                    activation=config.one_of(
                        "activation_function", "gelu_new", ACTIVATIONS
                    ),
                ),
            ),
        ),
        norm=specs.MeanNormSpec(epsilon=config.number("layer_norm_epsilon", 1e-5)),
        dropout=config.number("resid_pdrop", 0.1),
        read_out=specs.ReadOutSpec(node="token", tied=read_out is None, bias=False),
    )
    params: Params = {
        "model/embed_token": {"table": table},
        "model/positions_token": {
            "table": tensors.take(
                "wpe.weight", config.count("n_positions", 1024), width
            )
        },
        "model/final_norm": layer_norm(tensors, "ln_f", width),
    }
    for index in range(config.count("n_layer", 12)):
        params |= _layer(tensors, index, width, hidden)
    if read_out is not None:
        params["model/read_out"] = read_out
    return spec, params


def _layer(tensors: Tensors, index: int, width: int, hidden: int) -> Params:
    ours, theirs = f"model/layer_{index}", f"h.{index}"
    joined = _conv(tensors, f"{theirs}.attn.c_attn", width, 3 * width)
    parts = {name: np.split(leaf, 3, axis=-1) for name, leaf in joined.items()}
    projections = {
        f"{ours}_attention/{role}": {name: parts[name][place] for name in parts}
        for place, role in enumerate(("query", "key", "value"))
    }
    return projections | {
        f"{ours}_attention/output": _conv(
            tensors, f"{theirs}.attn.c_proj", width, width
        ),
        f"{ours}_attention_norm": layer_norm(tensors, f"{theirs}.ln_1", width),
        f"{ours}_feed_forward/hidden": _conv(
            tensors, f"{theirs}.mlp.c_fc", width, hidden
        ),
        f"{ours}_feed_forward/output": _conv(
            tensors, f"{theirs}.mlp.c_proj", hidden, width
        ),
        f"{ours}_feed_forward_norm": layer_norm(tensors, f"{theirs}.ln_2", width),
    }


def _conv(tensors: Tensors, name: str, inputs: int, outputs: int) -> Leaves:
    """Returns a dense layer that is stored as ours are, [inputs, outputs]."""
    return {
        "w": tensors.take(f"{name}.weight", inputs, outputs),
        "b": tensors.take(f"{name}.bias", outputs),
    }
