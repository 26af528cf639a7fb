"""The Transformer of a spec, made of PyTorch's own layers, with our weights.

`torch.nn.TransformerEncoderLayer` and `TransformerDecoderLayer`, normalised before each
part. Their defaults differ from our block in three places, which are set: attention has a
rate of dropout of its own and projections without biases, and nothing is dropped between
the dense layers.

Shapes: B batch, S source tokens, T target tokens, D width, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from relational import blocks, specs

_EPSILON = 1e-6  # Of our layer norms; PyTorch's default is 1e-5.
_LONGEST = 1024  # Tokens that positions are computed for.


def check_is_plain(model: specs.ModelSpec) -> None:
    """Refuses what PyTorch's layers cannot say.

    Raises:
      ValueError: the model is no encoder and decoder with sinusoids, normalised before.
    """
    found = [attention for block in model.blocks for attention in block.attentions]
    needs = {
        "`normalization` must be `pre`": model.normalization == "pre",
        "no edge set may have relations": not any(
            edges.relations for edges in model.edges.values()
        ),
        "attention must have neither biases nor slopes": not any(
            own.bias or own.biases or own.slopes for own in found
        ),
        "positions must be sinusoids that are added": all(
            isinstance(node.positions, specs.SinusoidSpec)
            and node.positions.combine == "add"
            for node in model.nodes.values()
        ),
        "both node sets must share a table": len(model.nodes) == 2
        and sum(node.embedding is None for node in model.nodes.values()) == 1,
        "it must be two blocks that are repeated": len(model.blocks) == 2,
        "feed-forward parts must be plain": all(
            block.feed_forward is not None
            and block.feed_forward.activation == "relu"
            and not block.feed_forward.gated
            for block in model.blocks
        ),
    }
    wrong = [need for need, is_met in needs.items() if not is_met]
    if wrong:
        raise ValueError(f"the model cannot be made of PyTorch's layers: {wrong}.")


class Transformer(nn.Module):
    """An encoder and a decoder of PyTorch's layers, with one table of tokens."""

    def __init__(self, model: specs.ModelSpec) -> None:
        super().__init__()
        check_is_plain(model)
        (source,) = (name for name in model.nodes if name != model.read_out.node)
        node = model.nodes[source]
        self.width, self.rate, self.source = node.width, model.dropout, source
        self.table = nn.Parameter(torch.zeros(node.vocabulary, node.width))
        self.drop = nn.Dropout(model.dropout)
        encoder, decoder = model.blocks
        self.encoder = nn.TransformerEncoder(
            _layer(nn.TransformerEncoderLayer, encoder, node.width, model.dropout),
            encoder.repeat,
            norm=nn.LayerNorm(node.width, eps=_EPSILON),
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            _layer(nn.TransformerDecoderLayer, decoder, node.width, model.dropout),
            decoder.repeat,
            norm=nn.LayerNorm(node.width, eps=_EPSILON),
        )
        assert isinstance(node.positions, specs.SinusoidSpec)
        waves = blocks.sinusoids(
            jnp.arange(_LONGEST), node.width, node.positions.layout
        )
        self.register_buffer("waves", torch.from_numpy(np.array(waves)))
        above = torch.triu(torch.ones(_LONGEST, _LONGEST, dtype=torch.bool), 1)
        self.register_buffer("above", above)
        self.names = [name for name, _ in self._parts(model)]
        self._places = [place for _, place in self._parts(model)]

    def forward(
        self, source: torch.Tensor, length: torch.Tensor, before: torch.Tensor
    ) -> torch.Tensor:
        """Returns logits [B, T, V], from the target's tokens before each."""
        place = torch.arange(source.shape[1])[None]
        is_padding = place >= length[:, None]  # [B, S]
        heard = self.encoder(self._embed(source), src_key_padding_mask=is_padding)
        size = before.shape[1]
        # No mask for the target's padding: it comes after all that counts.
        said = self.decoder(
            self._embed(before),
            heard,
            tgt_mask=self.above[:size, :size],
            tgt_is_causal=True,
            memory_key_padding_mask=is_padding,
        )
        return said @ self.table.T

    def _embed(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = nn.functional.embedding(tokens, self.table) * math.sqrt(self.width)
        return self.drop(rows + self.waves[: tokens.shape[1]])

    def take(self, params: Mapping[str, Mapping[str, Any]]) -> None:
        """Takes our parameters."""
        with torch.no_grad():
            for (module, leaf), place in zip(self.names, self._places, strict=True):
                ours = torch.from_numpy(np.array(params[module][leaf]))
                place.of(self).copy_(ours.T if place.is_turned else ours)

    def params(self) -> dict[str, dict[str, np.ndarray]]:
        """Returns the weights under our names."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for (module, leaf), place in zip(self.names, self._places, strict=True):
            weights = place.of(self).detach().numpy()
            weights = weights.T if place.is_turned else weights
            found.setdefault(module, {})[leaf] = np.array(weights, order="C")
        return found

    def _parts(
        self, model: specs.ModelSpec
    ) -> Iterator[tuple[tuple[str, str], "_Place"]]:
        """Yields our name of each weight, and where it is here."""
        yield (f"model/embed_{self.source}", "table"), _Place("table")
        yield from _norm("encoder.norm", f"model/final_norm_{self.source}")
        yield from _norm("decoder.norm", "model/final_norm")
        number = 0
        for stack, block in zip(("encoder", "decoder"), model.blocks, strict=True):
            for index in range(block.repeat):
                here, ours = f"{stack}.layers.{index}", f"model/layer_{number}"
                names = [f"{ours}_attention"]
                if len(block.attentions) > 1:
                    names = [f"{names[0]}_{own.over}" for own in block.attentions]
                parts = ("self_attn", "multihead_attn")
                for norm, (name, part) in enumerate(
                    zip(names, parts, strict=False), start=1
                ):
                    yield from _attention(f"{here}.{part}", name, self.width)
                    yield from _norm(f"{here}.norm{norm}", f"{name}_norm")
                name = f"{ours}_feed_forward"
                for layer, part in (("hidden", "linear1"), ("output", "linear2")):
                    yield (
                        (f"{name}/{layer}", "w"),
                        _Place(f"{here}.{part}.weight", is_turned=True),
                    )
                    yield (f"{name}/{layer}", "b"), _Place(f"{here}.{part}.bias")
                yield from _norm(f"{here}.norm{len(names) + 1}", f"{name}_norm")
                number += 1


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a weight of ours is in PyTorch's module."""

    path: str
    is_turned: bool = False
    rows: tuple[int | None, int | None] = (None, None)

    def of(self, module: nn.Module) -> torch.Tensor:
        return module.get_parameter(self.path)[slice(*self.rows)]


def _norm(path: str, name: str) -> Iterator[tuple[tuple[str, str], _Place]]:
    yield (name, "scale"), _Place(f"{path}.weight")
    yield (name, "offset"), _Place(f"{path}.bias")


def _attention(
    path: str, name: str, width: int
) -> Iterator[tuple[tuple[str, str], _Place]]:
    for index, part in enumerate(("query", "key", "value")):
        rows = (index * width, (index + 1) * width)
        place = _Place(f"{path}.in_proj_weight", is_turned=True, rows=rows)
        yield (f"{name}/{part}", "w"), place
    yield (f"{name}/output", "w"), _Place(f"{path}.out_proj.weight", is_turned=True)


def _layer(kind: Any, block: specs.BlockSpec, width: int, rate: float) -> nn.Module:
    assert block.feed_forward is not None
    layer = kind(
        width,
        block.attentions[0].heads,
        block.feed_forward.width,
        rate,
        "relu",
        layer_norm_eps=_EPSILON,
        batch_first=True,
        norm_first=True,
    )
    layer.dropout.p = 0.0  # Between the dense layers.
    for own, name in zip(
        block.attentions, ("self_attn", "multihead_attn"), strict=False
    ):
        own_rate = rate if own.dropout is None else own.dropout
        attention = nn.MultiheadAttention(
            width, own.heads, dropout=own_rate, bias=False, batch_first=True
        )
        setattr(layer, name, attention)
    return layer
