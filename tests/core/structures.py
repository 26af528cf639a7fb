"""The structures on which lowerings are compared: one row, one compiled program.

A structure fixes what must be static: topology, relations, terms, aggregator, sizes.
Values are drawn from a seed, so that many draws share a compile. A structure prints as
the call that makes it, to be pasted into `STRUCTURES`.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl
from relational.terms import accumulator
from tests.core import said

L = rl.lowerings
_TRACED = 11  # Edges whose ends are arrays.


@dataclasses.dataclass(frozen=True, repr=False)
class Structure:
    """One compiled comparison.

    Attributes:
      topology: an expression over `rl` and the integer arrays of `Structure.fixed`.
      score, message: functions of `tests/core/said.py`; the relations, the context and
        the edge features that they name are passed.
      offset, pitch: the relations with tables of rows.
      distance, interval: those whose terms receive the number itself.
      labelled: how labels are given, "by pair" or "by edge".
      lead: the leading axes.
      shared: for each leading axis, the groups of arrays that have size 1 there.
      tiles: the options with which `tiles` is compared.
    """

    name: str
    topology: str
    score: tuple[Callable[..., Any], ...] = (said.content,)
    message: tuple[Callable[..., Any], ...] = (said.value,)
    aggregator: Any = rl.Softmax()  # noqa: RUF009  # Frozen.
    offset: Any = rl.Offset(clip=3)  # noqa: RUF009
    pitch: rl.Difference = rl.Difference("pitch", limit=3)  # noqa: RUF009
    distance: rl.Offset = rl.Offset()  # noqa: RUF009
    interval: rl.Difference = rl.Difference("pitch")  # noqa: RUF009
    labelled: str = "by pair"
    receivers: int = 13
    senders: int = 13
    lead: tuple[int, ...] = (2, 2)
    shared: tuple[str, ...] = ("context offset pitch label", "key label data")
    dropout: float = 0.0
    dtype: str = "float32"
    tiles: tuple[L.Tiles, ...] = (
        L.Tiles(block=6, graphs=1),
        L.Tiles(block=8, senders=9, graphs=4),
    )

    def __repr__(self) -> str:
        shown = []
        for field in dataclasses.fields(self):
            own = getattr(self, field.name)
            if own != field.default:
                shown.append(f"{field.name}={_written(own)}")
        return f"Structure({', '.join(shown)})"

    @functools.cached_property
    def needs(self) -> frozenset[str]:
        """The argument names of all terms."""
        terms = (*self.score, *self.message)
        inner = [term(_NOTHING_HELD) if said.is_made(term) else term for term in terms]
        names = (inspect.signature(term).parameters for term in inner)
        return frozenset().union(*names)

    @property
    def has_extremes(self) -> bool:
        listed = jax.tree.leaves(self.aggregator, is_leaf=_is_aggregator)
        return any(isinstance(each, rl.Max | rl.Min) for each in listed)

    def leading(self, group: str) -> tuple[int, ...]:
        """Returns the leading axes of a group of arrays, each full or 1."""
        axes = zip(self.lead, self.shared, strict=True)
        return tuple(1 if group in names.split() else size for size, names in axes)

    def arrays(self, seed: int, dtype: str | None = None) -> dict[str, Any]:
        """Returns the differentiable and the integer arrays of one draw."""
        rng = np.random.default_rng(seed)
        fixed = self.fixed(rng) | {"key": jax.random.key(seed)}
        # Round, so that every type holds the same numbers; coarsely, so that maxima tie.
        grain = 1 if self.has_extremes else 4

        def normal(group: str, *shape: int) -> Any:
            drawn = rng.standard_normal((*self.leading(group), *shape))
            return jnp.asarray(np.round(drawn * grain) / grain, dtype or self.dtype)

        offsets = self.offset.num_labels or 1
        pitches = self.pitch.num_labels or 1
        moving = {
            "query": normal("query", self.receivers, 4),
            "gate": normal("gate", self.receivers, 3),
            "key": normal("key", self.senders, 4),
            "value": normal("value", self.senders, 3),
            "slope": normal("context"),
            "tilt": normal("context", 3),
            "offset_key": normal("offset", offsets, 4),
            "offset_value": normal("offset", offsets, 3),
            "offset_bias": normal("offset", offsets),
            "pitch_key": normal("pitch", pitches, 4),
            "pitch_value": normal("pitch", pitches, 3),
            "pitch_bias": normal("pitch", pitches),
            "label_key": normal("label", 5, 4),
            "label_value": normal("label", 5, 3),
            "label_bias": normal("label", 5),
            "held": jnp.asarray(
                np.round(4 * rng.standard_normal((3, 3))) / 4, dtype or self.dtype
            ),
        }
        if "edge" in self.needs:
            count = self.num_edges(fixed)
            moving["edge_bias"] = normal("edge", count)
            moving["edge_value"] = normal("edge", count, 3)
        if "label" in self.needs:
            shape = (self.receivers, self.senders)
            if self.labelled == "by edge":
                shape = (self.num_edges(fixed),)
            labels = rng.integers(-1, 6, (*self.leading("data"), *shape))
            fixed["labels"] = jnp.asarray(labels)
        return {"moving": moving, "fixed": fixed}

    def fixed(self, rng: np.random.Generator) -> dict[str, Any]:
        """Returns the integer arrays that topologies and relations read."""
        lead, sides = self.leading("data"), (self.receivers, self.senders)

        def whole(low: int, high: int, *shape: int) -> Any:
            return rng.integers(low, high, (*lead, *shape))

        return {
            name: jnp.asarray(drawn)
            for name, drawn in {
                "receiver_pitch": whole(0, 9, sides[0]),
                "sender_pitch": whole(0, 9, sides[1]),
                "receiver_ids": np.sort(whole(0, 4, sides[0])),
                "sender_ids": np.sort(whole(0, 4, sides[1])),
                "hearing": whole(0, sides[0] + 2),
                "speaking": whole(0, sides[1] + 2),
                "edge_receivers": whole(-1, sides[0] + 1, _TRACED),  # Some nowhere.
                "edge_senders": whole(-1, sides[1] + 1, _TRACED),
            }.items()
        }

    def build_topology(self, fixed: Any) -> Any:
        return eval(self.topology, {"rl": rl, **fixed})  # Written in this folder.

    def num_edges(self, fixed: Any) -> int:
        if "edge_senders" in self.topology:
            return _TRACED
        topology = self.build_topology(fixed)
        listed = topology.listed(self.receivers, self.senders)
        if listed is not None:
            return listed.senders.shape[-1]
        degrees = topology.skeleton().degrees(self.receivers, self.senders)
        return int(degrees.sum())

    def call(self, moving: Any, fixed: Any) -> dict[str, Any]:
        """Returns the arguments of `rl.propagate` but the aggregator."""
        held = said.Held(moving["held"], jnp.arange(3), fixed["key"])

        def made(terms: Any) -> Any:
            return [term(held) if said.is_made(term) else term for term in terms]

        def rows(name: str) -> dict[str, Any]:
            return {leaf: moving[f"{name}_{leaf}"] for leaf in ("key", "value", "bias")}

        kinds: dict[str, Callable[[], Any]] = {
            "offset": lambda: self.offset.rows(**rows("offset")),
            "pitch": lambda: self.pitch.rows(**rows("pitch")),
            "distance": lambda: self.distance,
            "interval": lambda: self.interval,
            "label": lambda: rl.Labels(fixed["labels"], count=5).rows(**rows("label")),
        }
        call = {
            "topology": self.build_topology(fixed),
            "batch_axes": len(self.lead),
            "receivers": {name: moving[name] for name in ("query", "gate")},
            "senders": {name: moving[name] for name in ("key", "value")},
            "relations": {
                name: make() for name, make in kinds.items() if name in self.needs
            },
            "message": made(self.message),
        }
        if self.score:
            call["score"] = made(self.score)
        if self.needs & {"pitch", "interval"}:
            call["receivers"]["pitch"] = fixed["receiver_pitch"]
            call["senders"]["pitch"] = fixed["sender_pitch"]
        if "context" in self.needs:
            call["context"] = {"slope": moving["slope"], "tilt": moving["tilt"]}
        if "edge" in self.needs:
            call["edges"] = {
                "bias": moving["edge_bias"],
                "value": moving["edge_value"],
            }
        if self.dropout:
            call["dropout"] = rl.Dropout(self.dropout, fixed["key"])
        return call

    def propagate(self, moving: Any, fixed: Any, lowering: Any) -> Any:
        """Calls `rl.propagate` on one draw."""
        call = self.call(moving, fixed)
        return rl.propagate(
            call.pop("topology"), **call, aggregator=self.aggregator, lowering=lowering
        )


_NOTHING_HELD = said.Held(None, None, None)


def _is_aggregator(node: Any) -> bool:
    return not isinstance(node, tuple)


def _written(own: Any) -> str:
    if isinstance(own, tuple):
        return f"({', '.join(map(_written, own))}{',' if len(own) == 1 else ''})"
    if callable(own):
        return f"said.{own.__name__}"
    if not dataclasses.is_dataclass(own):
        return repr(own)
    module = "rl.lowerings" if isinstance(own, L.Tiles) else "rl"
    shown = [
        f"{field.name}={getattr(own, field.name)!r}"
        for field in dataclasses.fields(own)
        if getattr(own, field.name) != field.default
    ]
    return f"{module}.{type(own).__name__}({', '.join(shown)})"


def loss(result: Any) -> Any:
    """One number that depends on every entry in its own way."""
    total = 0.0
    for leaf in jax.tree.leaves(result):
        wide = leaf.astype(accumulator(leaf.dtype))
        weights = jnp.cos(jnp.arange(wide.size, dtype=wide.dtype)).reshape(wide.shape)
        total = total + (weights * wide).sum() / math.sqrt(max(1, wide.size))
    return total


_SENDER_ONLY: dict[str, Any] = {"score": (), "message": (said.value,)}

STRUCTURES = (
    Structure("attention over a complete graph", "rl.Complete()"),
    Structure(
        "shaw, causal",
        "rl.Causal()",
        score=(said.content, said.offset_key),
        message=(said.value, said.offset_value),
        shared=("context offset", "key offset data"),
    ),
    Structure(
        "music transformer with dropout",
        "rl.Causal()",
        score=(said.content, said.offset_key),
        offset=rl.Offset(limit=(-5, 0)),
        dropout=0.4,
    ),
    Structure(
        "relations on offset and pitch, in blocks",
        "rl.Blocks(size=4) & rl.Causal()",
        score=(
            said.content,
            said.offset_key,
            said.pitch_key,
            said.curved_offset,
            said.curved_pitch,
        ),
        message=(said.value, said.curved_offset_value, said.curved_pitch_value),
        offset=rl.Offset(limit=(-2, 1)),
    ),
    Structure(
        "given labels, bipartite, with lengths",
        "rl.Complete() & rl.Lengths(senders=speaking)",
        score=(said.content, said.label_key),
        message=(said.value, said.label_value),
        receivers=7,
    ),
    Structure(
        "packed segments in a band",
        "rl.Band(before=5, after=2) & rl.SameSegment(sender_ids)",
        score=(said.content, said.offset_bias),
    ),
    Structure(
        "linear biases without tables",
        "rl.Causal()",
        score=(said.content, said.slope),
    ),
    Structure(
        "bias of sender and relation",
        "rl.Band(before=3, after=3)",
        score=(said.content, said.sender_offset),
    ),
    Structure(
        "general terms, softmax",
        "rl.Causal() - rl.Self()",
        score=(said.tanh_pair,),
        message=(said.gated, said.own, said.everything),
    ),
    Structure("sum of senders", "rl.Causal()", aggregator=rl.Sum(), **_SENDER_ONLY),
    Structure(
        "mean, gated, transposed band",
        "rl.Band(before=4).T",
        aggregator=rl.Mean(),
        score=(),
        message=(said.gated, said.offset_value),
    ),
    Structure(
        "largest and smallest of few distinct numbers",
        "rl.Causal() - rl.Self()",
        aggregator=(rl.Max(), rl.Min()),
        score=(),
        message=(said.value, said.own),
    ),
    Structure(
        "deviation and log-sum-exp",
        "rl.Complete() & rl.Lengths(senders=speaking)",
        aggregator=(rl.Std(), rl.LogSumExp()),
        score=(),
        message=(said.everything,),
    ),
    Structure(
        "softmax beside mean and maximum",
        "rl.Band(before=2) | rl.Blocks(size=3, before=0)",
        aggregator=(rl.Softmax(), rl.Mean(), rl.Max()),
    ),
    Structure(
        "one node",
        "rl.Causal()",
        score=(said.content, said.offset_key),
        receivers=1,
        senders=1,
    ),
    Structure(
        "bfloat16, beside terms of float32",
        "rl.Causal()",
        score=(said.content, said.offset_key, said.offset_bias),
        message=(said.value, said.offset_value, said.own),
        dtype="bfloat16",
    ),
    Structure(
        "one graph, long rows",
        "rl.Complete()",
        score=(said.content, said.offset_key),
        message=(said.value, said.offset_value),
        receivers=5,
        senders=70,
        lead=(1, 1),
    ),
    Structure("nobody hears", "rl.Causal() - rl.Causal()", lead=(1, 2)),
    Structure(
        "nobody is there to hear",
        "rl.Causal()",
        score=(said.content, said.offset_key),
        receivers=0,
        senders=5,
    ),
    Structure(
        "numbers under a context, and one message for all edges",
        "rl.Causal()",
        score=(said.content, said.temperature),
        message=(said.whole_interval, said.tilt, said.constants),
        interval=rl.Difference("pitch", clip=3),
        dropout=0.3,
    ),
)
