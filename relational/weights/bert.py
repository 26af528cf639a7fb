"""BERT as a graph: every token hears every other one (Devlin et al. 2019).

What is read out are logits of the tokens that were masked.
"""

from relational import specs
from relational.weights.config import Config
from relational.weights.layers import ACTIVATIONS, Params, layer_norm, linear
from relational.weights.tensors import Tensors

PREFIX = "bert."

IGNORED = (  # The heads of other tasks, and a buffer of old versions.
    r"pooler\..*",
    r"cls\.seq_relationship\..*",
    r"embeddings\.position_ids",
)

TOKEN_TYPE = "token_type"
"""The attribute of nodes that says in which of two sentences they are, 0 or 1."""

_HEAD = "cls.predictions"


def spec_and_params(config: Config, tensors: Tensors) -> tuple[specs.ModelSpec, Params]:
    """Returns the model that a config describes, and its parameters."""
    config.must_be(
        is_decoder=False,
        add_cross_attention=False,
        position_embedding_type="absolute",
        tie_word_embeddings=True,
    )
    width, length = config.count("hidden_size", 768), _length(config)
    vocabulary = config.count("vocab_size", 30522)
    num_types = config.count("type_vocab_size", 2)
    activation = config.one_of("hidden_act", "gelu", ACTIVATIONS)
    spec = specs.ModelSpec(
        nodes={
            "token": specs.NodeSpec(
                vocabulary=vocabulary,
                width=width,
                embed={TOKEN_TYPE: num_types},
                positions=specs.LearnedPositionsSpec(length=length),
                scaled=False,
                norm=True,
            )
        },
        edges={
            "self": specs.EdgeSetSpec(
                sender_set="token", receiver_set="token", topology=specs.CompleteSpec()
            )
        },
        blocks=(
            specs.BlockSpec(
                repeat=config.count("num_hidden_layers", 12),
                attention=specs.AttentionSpec(
                    over="self",
                    heads=config.count("num_attention_heads", 12),
                    bias=True,
                    dropout=config.number("attention_probs_dropout_prob", 0.1),
                ),
                feed_forward=specs.FeedForwardSpec(
                    width=config.count("intermediate_size", 3072), activation=activation
                ),
            ),
        ),
        normalization="post",
        norm=specs.MeanNormSpec(epsilon=config.number("layer_norm_eps", 1e-12)),
        dropout=config.number("hidden_dropout_prob", 0.1),
        read_out=specs.ReadOutSpec(
            node="token", bias=True, hidden=specs.HiddenSpec(activation=activation)
        ),
    )
    place = "embeddings"
    tables = {
        "model/embed_token": ("word", vocabulary),
        "model/positions_token": ("position", length),
        f"model/embed_token_{TOKEN_TYPE}": ("token_type", num_types),
    }
    params: Params = {
        ours: {"table": tensors.take(f"{place}.{its}_embeddings.weight", count, width)}
        for ours, (its, count) in tables.items()
    }
    norm = layer_norm(tensors, f"{place}.LayerNorm", width)
    params["model/embed_token_norm"] = norm
    for index in range(config.count("num_hidden_layers", 12)):
        params |= _layer(config, tensors, index)
    return spec, params | _head(tensors, params, vocabulary, width)


def _length(config: Config) -> int:
    return config.count("max_position_embeddings", 512)


def _layer(config: Config, tensors: Tensors, index: int) -> Params:
    width, hidden = (
        config.count("hidden_size", 768),
        config.count("intermediate_size", 3072),
    )
    ours, theirs = f"model/layer_{index}", f"encoder.layer.{index}"
    params: Params = {
        f"{ours}_attention/{role}": linear(
            tensors, f"{theirs}.attention.self.{role}", width, width
        )
        for role in ("query", "key", "value")
    }
    return params | {
        f"{ours}_attention/output": linear(
            tensors, f"{theirs}.attention.output.dense", width, width
        ),
        f"{ours}_attention_norm": layer_norm(
            tensors, f"{theirs}.attention.output.LayerNorm", width
        ),
        f"{ours}_feed_forward/hidden": linear(
            tensors, f"{theirs}.intermediate.dense", width, hidden
        ),
        f"{ours}_feed_forward/output": linear(
            tensors, f"{theirs}.output.dense", hidden, width
        ),
        f"{ours}_feed_forward_norm": layer_norm(
            tensors, f"{theirs}.output.LayerNorm", width
        ),
    }


def _head(tensors: Tensors, params: Params, vocabulary: int, width: int) -> Params:
    """Returns what stands between the last block and the logits."""
    bias = tensors.take(f"{_HEAD}.bias", vocabulary)
    tensors.take_same(f"{_HEAD}.decoder.bias", bias, f"`{_HEAD}.bias`")
    table = params["model/embed_token"]["table"]
    tensors.take_same(f"{_HEAD}.decoder.weight", table, "the table of words")
    place = f"{_HEAD}.transform"
    return {
        "model/read_out_hidden": linear(tensors, f"{place}.dense", width, width),
        "model/read_out_hidden_norm": layer_norm(tensors, f"{place}.LayerNorm", width),
        "model": {"read_out_bias": bias},
    }
