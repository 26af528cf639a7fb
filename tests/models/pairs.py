"""Tiny encoder-decoders, and pairs of sequences to feed them."""

import dataclasses

import numpy as np

from relational import specs
from relational.specs import (
    AttentionSpec,
    BandSpec,
    BlockSpec,
    CausalSpec,
    CompleteSpec,
    EdgeSetSpec,
    FeedForwardSpec,
    ModelSpec,
    NodeSpec,
    OffsetSpec,
    ReadOutSpec,
    SinusoidSpec,
)

VOCABULARY = 14


def absolute(*, width=16, layers=1, **changes):
    """Source and target share a table and hear sinusoids."""
    node = NodeSpec(vocabulary=VOCABULARY, width=width, positions=SinusoidSpec())
    heard = {
        "source_self": ("source", "source", CompleteSpec()),
        "target_self": ("target", "target", CausalSpec()),
        "cross": ("source", "target", CompleteSpec()),
    }
    own, listen, cross = (AttentionSpec(over=name, heads=2) for name in heard)
    alone = FeedForwardSpec(width=2 * width)
    spec = ModelSpec(
        nodes={
            "source": node,
            "target": dataclasses.replace(node, embedding="source"),
        },
        edges={
            name: EdgeSetSpec(sender_set=s, receiver_set=r, topology=topology)
            for name, (s, r, topology) in heard.items()
        },
        blocks=(
            BlockSpec(repeat=layers, attention=own, feed_forward=alone),
            BlockSpec(repeat=layers, attention=(listen, cross), feed_forward=alone),
        ),
        read_out=ReadOutSpec(node="target"),
    )
    return dataclasses.replace(spec, **changes)


def relative():
    """No positions, but offsets on keys and values; the target hears a window."""
    spec = absolute(normalization="post")
    nodes = {
        name: dataclasses.replace(node, positions=specs.NoPositionsSpec())
        for name, node in spec.nodes.items()
    }
    offsets = {"offset": OffsetSpec(clip=3)}
    edges = {
        name: dataclasses.replace(edge_set, relations=offsets)
        for name, edge_set in spec.edges.items()
    }
    edges["target_self"] = dataclasses.replace(
        edges["target_self"], topology=BandSpec(before=3)
    )
    terms = ("content", "offset")

    def with_offsets(attention):
        return dataclasses.replace(attention, score=terms, message=terms)

    blocks = tuple(
        dataclasses.replace(block, attention=tuple(map(with_offsets, block.attentions)))
        for block in spec.blocks
    )
    return dataclasses.replace(spec, nodes=nodes, edges=edges, blocks=blocks)


def reversals(size, *, length=8, seed=0, shortest=2):
    """Rows of random tokens and the same backwards; the last row only fills up."""
    rng = np.random.default_rng(seed)
    count = rng.integers(shortest, length, size)
    batch = {name: np.zeros((size, length), np.int32) for name in ("source", "target")}
    for row, num in enumerate(count[:-1]):
        tokens = rng.integers(2, VOCABULARY, num)
        batch["source"][row, : num + 1] = [*tokens, 1]
        batch["target"][row, : num + 1] = [*tokens[::-1], 1]
    lengths = np.append(count[:-1] + 1, 0).astype(np.int32)
    return {**batch, "source_length": lengths, "target_length": lengths}
