"""The structures on which lowerings are compared: one row, one compiled program.

A structure fixes what must be static: topology, relations, terms, aggregator, sizes.
Values are drawn from a seed, so that many draws share a compile.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.terms import accumulator


def content(receiver, sender):
    return rl.dot(receiver.query, sender.key)


def offset_key(receiver, offset):
    return rl.dot(receiver.query, offset.key)


def offset_bias(offset):
    return offset.bias


def pitch_key(receiver, pitch):
    return rl.dot(receiver.query, pitch.key)


def curved_offset(receiver, offset):
    return jnp.cos(rl.dot(receiver.query, offset.key))  # Not zero where the row is.


def curved_pitch(receiver, pitch):
    return jnp.cos(rl.dot(receiver.query, pitch.key))


def curved_pitch_value(pitch):
    return jnp.cos(pitch.key[:3])


def curved_offset_value(offset):
    return jnp.cos(offset.value)


def label_key(receiver, label):
    return rl.dot(receiver.query, label.key)


def sender_label(sender, offset):
    return rl.dot(sender.key, offset.key)


def slope(offset, context):
    return -context.slope * jnp.abs(offset).astype(jnp.result_type(context.slope))


def tanh_pair(receiver, sender):
    return jnp.tanh(receiver.query + sender.key).sum()


def value(sender):
    return sender.value


def gated(receiver, sender):
    return receiver.gate * sender.value


def own(receiver):
    return receiver.gate


def offset_value(offset):
    return offset.value


def label_value(label):
    return label.value


def everything(receiver, sender, offset):
    return jnp.tanh(receiver.gate * sender.value + offset.value)


@dataclasses.dataclass(frozen=True)
class Structure:
    """One compiled comparison."""

    name: str
    topology: Callable[[np.random.Generator], rl.Causal]
    score: tuple[Callable[..., Any], ...] = (content,)
    message: tuple[Callable[..., Any], ...] = (value,)
    aggregator: Any = dataclasses.field(default_factory=rl.Softmax)
    relations: tuple[str, ...] = ()
    offset: rl.Offset = dataclasses.field(default_factory=lambda: rl.Offset(clip=3))
    receivers: int = 13
    senders: int = 13
    lead: tuple[int, int] = (2, 2)
    heads_share_tables: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    has_context: bool = False

    def arrays(self, seed: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns the differentiable and the integer arrays of one draw."""
        rng = np.random.default_rng(seed)
        batch, heads = self.lead

        def normal(*shape: int) -> Any:
            drawn = rng.standard_normal(shape)
            # Round, so that every type holds the same numbers and maxima tie.
            return jnp.asarray(np.round(drawn * 4) / 4, dtype or self.dtype)

        rows = self.offset.num_labels or 1
        table_heads = 1 if self.heads_share_tables else heads
        moving = {
            "query": normal(batch, heads, self.receivers, 4),
            "gate": normal(batch, heads, self.receivers, 3),
            "key": normal(batch, 1, self.senders, 4),  # One key head for all.
            "value": normal(batch, heads, self.senders, 3),
            "slope": normal(1, heads),
            "offset_key": normal(1, table_heads, rows, 4),
            "offset_value": normal(1, table_heads, rows, 3),
            "offset_bias": normal(1, table_heads, rows),
            "pitch_key": normal(1, heads, 7, 4),
            "label_key": normal(1, 1, 5, 4),
            "label_value": normal(1, 1, 5, 3),
        }
        fixed = {
            "receiver_pitch": jnp.asarray(
                rng.integers(0, 9, (batch, 1, self.receivers))
            ),
            "sender_pitch": jnp.asarray(rng.integers(0, 9, (batch, 1, self.senders))),
            "labels": jnp.asarray(
                rng.integers(-1, 6, (batch, 1, self.receivers, self.senders))
            ),
            "segments": jnp.asarray(
                np.sort(rng.integers(0, 4, (batch, 1, self.senders)))
            ),
            "length": jnp.asarray(rng.integers(0, self.senders + 1, (batch, 1))),
            "key": jax.random.key(seed),
        }
        return {"moving": moving, "fixed": fixed}

    def propagate(self, moving: Any, fixed: Any, lowering: Any) -> Any:
        """Calls `rl.propagate` on one draw."""
        relations = {}
        if "offset" in self.relations:
            if self.offset.num_labels is None:
                relations["offset"] = self.offset
            else:
                relations["offset"] = self.offset.rows(
                    key=moving["offset_key"],
                    value=moving["offset_value"],
                    bias=moving["offset_bias"],
                )
        if "pitch" in self.relations:
            pitch = rl.Difference("pitch", limit=3)
            relations["pitch"] = pitch.rows(key=moving["pitch_key"])
        if "label" in self.relations:
            labels = rl.Labels(fixed["labels"], count=5)
            relations["label"] = labels.rows(
                key=moving["label_key"], value=moving["label_value"]
            )
        receivers = {"query": moving["query"], "gate": moving["gate"]}
        senders = {"key": moving["key"], "value": moving["value"]}
        if "pitch" in self.relations:
            receivers["pitch"] = fixed["receiver_pitch"]
            senders["pitch"] = fixed["sender_pitch"]
        return rl.propagate(
            self.topology(fixed),
            batch_axes=2,
            receivers=receivers,
            senders=senders,
            relations=relations,
            context={"slope": moving["slope"]} if self.has_context else None,
            score=self.score or None,
            message=self.message,
            aggregator=self.aggregator,
            dropout=rl.Dropout(self.dropout, fixed["key"]) if self.dropout else None,
            lowering=lowering,
        )


def loss(result: Any) -> Any:
    """One number that depends on every entry in its own way."""
    total = 0.0
    for leaf in jax.tree.leaves(result):
        wide = leaf.astype(accumulator(leaf.dtype))
        weights = jnp.cos(jnp.arange(wide.size, dtype=wide.dtype)).reshape(wide.shape)
        total = total + (weights * wide).sum() / math.sqrt(wide.size)
    return total


_SENDER_ONLY = {"score": (), "message": (value,)}

STRUCTURES = (
    Structure("attention over a complete graph", lambda _: rl.Complete()),
    Structure(
        "shaw, causal",
        lambda _: rl.Causal(),
        score=(content, offset_key),
        message=(value, offset_value),
        relations=("offset",),
        heads_share_tables=True,
    ),
    Structure(
        "music transformer with dropout",
        lambda _: rl.Causal(),
        score=(content, offset_key),
        relations=("offset",),
        offset=rl.Offset(limit=(-5, 0)),
        dropout=0.4,
    ),
    Structure(
        "relations on offset and pitch, in blocks",
        lambda _: rl.Blocks(size=4) & rl.Causal(),
        score=(content, offset_key, pitch_key, curved_offset, curved_pitch),
        message=(value, curved_offset_value, curved_pitch_value),
        relations=("offset", "pitch"),
        offset=rl.Offset(limit=(-2, 1)),
    ),
    Structure(
        "given labels, bipartite, with lengths",
        lambda fixed: rl.Complete() & rl.Lengths(senders=fixed["length"]),
        score=(content, label_key),
        message=(value, label_value),
        relations=("label",),
        receivers=7,
    ),
    Structure(
        "packed segments in a band",
        lambda fixed: rl.Band(before=5, after=2) & rl.SameSegment(fixed["segments"]),
        score=(content, offset_bias),
        relations=("offset",),
    ),
    Structure(
        "linear biases without tables",
        lambda _: rl.Causal(),
        score=(content, slope),
        relations=("offset",),
        offset=rl.Offset(),
        has_context=True,
    ),
    Structure(
        "bias of sender and relation",
        lambda _: rl.Band(before=3, after=3),
        score=(content, sender_label),
        relations=("offset",),
    ),
    Structure(
        "general terms, softmax",
        lambda _: rl.Causal() - rl.Self(),
        score=(tanh_pair,),
        message=(gated, own, everything),
        relations=("offset",),
    ),
    Structure(
        "sum of senders", lambda _: rl.Causal(), aggregator=rl.Sum(), **_SENDER_ONLY
    ),
    Structure(
        "mean, gated, transposed band",
        lambda _: rl.Band(before=4).T,
        aggregator=rl.Mean(),
        score=(),
        message=(gated, offset_value),
        relations=("offset",),
    ),
    Structure(
        "largest and smallest of few distinct numbers",
        lambda _: rl.Causal() - rl.Self(),
        aggregator=(rl.Max(), rl.Min()),
        score=(),
        message=(value, own),
    ),
    Structure(
        "deviation and log-sum-exp",
        lambda fixed: rl.Complete() & rl.Lengths(senders=fixed["length"]),
        aggregator=(rl.Std(), rl.LogSumExp()),
        score=(),
        message=(everything,),
        relations=("offset",),
    ),
    Structure(
        "softmax beside mean and maximum",
        lambda _: rl.Band(before=2) | rl.Blocks(size=3, before=0),
        aggregator=(rl.Softmax(), rl.Mean(), rl.Max()),
    ),
    Structure(
        "one node",
        lambda _: rl.Causal(),
        score=(content, offset_key),
        relations=("offset",),
        receivers=1,
        senders=1,
    ),
    Structure(
        "bfloat16",
        lambda _: rl.Causal(),
        score=(content, offset_key),
        message=(value, offset_value),
        relations=("offset",),
        dtype="bfloat16",
    ),
    Structure(
        "one graph, long rows",
        lambda _: rl.Complete(),
        score=(content, offset_key),
        message=(value, offset_value),
        relations=("offset",),
        receivers=5,
        senders=70,
        lead=(1, 1),
    ),
    Structure(
        "nobody hears",
        lambda _: rl.Causal() - rl.Causal(),
        score=(content,),
        lead=(1, 2),
    ),
)
