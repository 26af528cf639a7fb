"""The cases on which choices are checked: drawn from a seed, by family of topology.

A case is a few words, from which its arrays and its call of `propagate` are made. Each
has at least two lowerings that can serve.

Shapes: B batch, H heads, N nodes, E edges, D width.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import relational as rl

_SEED = 0
_MOST_PAIRS = 2**24  # Receivers x senders x graphs of one case.
_DENSITIES = (0.1, 0.5, 1, 2, 3, 5, 10)  # Per cent, around the crossover.


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of `propagate`.

    Attributes:
      topology: an expression over `rl`, `random_edges`, `power_law` and `ids`.
      lead: graphs and heads.
      terms: a name among `_TERMS`.
      aggregator: the name of an aggregator.
    """

    topology: str
    num_nodes: int
    lead: tuple[int, int]
    width: int
    terms: str
    aggregator: str

    @property
    def name(self) -> str:
        batch, heads = self.lead
        return (
            f"{self.topology}, {self.num_nodes} nodes, {batch} x {heads}, "
            f"width {self.width}, {self.terms}, {self.aggregator}"
        )

    @functools.cached_property
    def built(self) -> Any:
        """The topology; of segments, an example."""
        names = {"rl": rl, "random_edges": random_edges, "power_law": power_law}
        return eval(self.topology, {**names, "ids": self._ids()})  # From `cases`.

    def _ids(self) -> np.ndarray:
        return (np.arange(self.num_nodes) // max(1, self.num_nodes // 6))[None, None]

    def call(self, moving: Any, ids: Any, lowering: Any = None) -> Any:
        """Calls `propagate`; what moves is differentiated."""
        topology = self.built
        if "ids" in self.topology:
            names = {"rl": rl, "ids": ids}
            topology = eval(self.topology, names)  # With traced segments.
        said = _TERMS[self.terms]
        relations = {}
        if "rows" in moving:
            relations = {"place": self._relation().rows(**moving["rows"])}
        return rl.propagate(
            topology,
            batch_axes=2,
            receivers=moving["receivers"],
            senders=moving["senders"],
            relations=relations,
            score=said.score or None,
            message=said.message,
            aggregator=getattr(rl, self.aggregator)(),
            num_receivers=self.num_receivers,
            lowering=lowering,
        )

    @property
    def num_receivers(self) -> int:
        grid = getattr(self.built, "receiver_grid", None)
        return self.num_nodes if grid is None else math.prod(grid)

    def _relation(self) -> Any:
        topology = self.built
        if "tap" in self.terms:
            return topology.tap
        if hasattr(topology, "receiver_grid"):
            return rl.GridOffset(grid=topology.grid, clip=8)
        return rl.Offset(clip=min(self.num_nodes, 256))

    def shapes(self) -> Any:
        """Returns what moves, and the segments, as `jax.ShapeDtypeStruct`."""
        heads, width = self.lead[1], self.width
        said, moving = _TERMS[self.terms], {}
        for side, count in (
            ("receivers", self.num_receivers),
            ("senders", self.num_nodes),
        ):
            names = getattr(said, side)
            moving[side] = {
                name: (*self.lead, count, *((width,) if is_wide else ()))
                for name, is_wide in names.items()
            } or None
        if said.rows:
            labels = self._relation().num_labels
            moving["rows"] = {
                name: (1, heads, labels, *(width for _ in range(axes)))
                for name, axes in said.rows.items()
            }
        shapes = jax.tree.map(
            lambda shape: jax.ShapeDtypeStruct(shape, "float32"),
            moving,
            is_leaf=lambda leaf: isinstance(leaf, tuple),
        )
        return shapes, jax.ShapeDtypeStruct((1, 1, self.num_nodes), "int32")

    def arrays(self) -> Any:
        """Returns what moves, and the segments."""
        rng = np.random.default_rng(_SEED)
        moving, _ = self.shapes()

        def draw(leaf: Any) -> Any:
            return jnp.asarray(rng.standard_normal(leaf.shape, np.float32))

        return jax.tree.map(draw, moving), jnp.asarray(self._ids(), jnp.int32)


@dataclasses.dataclass(frozen=True)
class _Said:
    """Terms, and the arrays that they read: node leaves and whether they are wide."""

    message: list[Callable[..., Any]]
    score: list[Callable[..., Any]] = dataclasses.field(default_factory=list)
    receivers: dict[str, bool] = dataclasses.field(default_factory=dict)
    senders: dict[str, bool] = dataclasses.field(default_factory=lambda: {"value": 1})
    rows: dict[str, int] = dataclasses.field(default_factory=dict)


def _content(receiver, sender):
    return 0.1 * rl.dot(receiver.query, sender.key)


def _place_score(receiver, place):
    return 0.1 * rl.dot(receiver.query, place.key)


def _logit(receiver, sender):
    return jax.nn.leaky_relu(receiver.logit + sender.logit, 0.2)


def _value(sender):
    return sender.value


def _place_value(place):
    return place.value


def _pair(receiver, sender):
    return jax.nn.relu(receiver.hidden + sender.hidden)


def _perceptron(receiver, sender):
    hidden = jax.nn.relu(receiver.hidden + sender.hidden)
    weight = jnp.sin(jnp.arange(hidden.size**2, dtype=jnp.float32))
    return rl.dot(hidden, weight.reshape(hidden.size, hidden.size))


def _tap(sender, place):
    return rl.dot(sender.value, place.kernel)


def _depthwise_tap(sender, place):
    return sender.value * place.kernel


_QUERIED = {"receivers": {"query": True}, "senders": {"key": True, "value": True}}
_HIDDEN = {"receivers": {"hidden": True}, "senders": {"hidden": True}}
_TERMS = {
    "sender": _Said([_value]),
    "dot": _Said([_value], [_content], **_QUERIED),
    "dot + offset": _Said(
        [_value], [_content, _place_score], **_QUERIED, rows={"key": 1}
    ),
    "Shaw": _Said(
        [_value, _place_value],
        [_content, _place_score],
        **_QUERIED,
        rows={"key": 1, "value": 1},
    ),
    "GAT": _Said(
        [_value],
        [_logit],
        receivers={"logit": False},
        senders={"logit": False, "value": True},
    ),
    "pair": _Said([_pair], **_HIDDEN),
    "perceptron": _Said([_perceptron], **_HIDDEN),
    "tap": _Said([_tap], rows={"kernel": 2}),
    "depthwise tap": _Said([_depthwise_tap], rows={"kernel": 1}),
}
_SCORED = ("dot", "dot + offset", "Shaw", "GAT")


def random_edges(num_nodes: int, per_cent: float) -> rl.Edges:
    """Returns as many distinct pairs as are asked for, drawn evenly."""
    rng = np.random.default_rng(_SEED)
    count = max(1, round(num_nodes**2 * per_cent / 100))
    pairs = np.sort(rng.choice(num_nodes**2, count, replace=False))
    return rl.Edges(pairs % num_nodes, pairs // num_nodes, num_nodes)


def power_law(num_nodes: int, num_edges: int) -> rl.Edges:
    """Returns distinct pairs whose ends are drawn by a power of their rank."""
    rng = np.random.default_rng(_SEED)
    share = np.arange(1, num_nodes + 1) ** -0.8
    ends = rng.choice(num_nodes, (2, 2 * num_edges), p=share / share.sum())
    pairs = np.unique(ends[0] * num_nodes + ends[1])
    pairs = np.sort(rng.permutation(pairs)[:num_edges])
    return rl.Edges(pairs % num_nodes, pairs // num_nodes, num_nodes)


def cases() -> list[Case]:
    """Returns all cases, always the same, in an order that mixes the families."""
    found = dict.fromkeys([*_crossover(), *_models()])
    for at, (family, count) in enumerate(_FAMILIES.items()):
        rng = np.random.default_rng([_SEED, at])
        wanted = len(found) + count
        while len(found) < wanted:
            found[family(rng)] = None
    order = np.random.default_rng(_SEED).permutation(len(found))
    listed = list(found)
    return [listed[at] for at in order]


def _crossover() -> Iterator[Case]:
    for per_cent in _DENSITIES:
        for terms, aggregator in (("sender", "Sum"), ("GAT", "Softmax"), ("dot",) * 2):
            topology = f"random_edges(1024, {per_cent})"
            aggregator = "Softmax" if terms == "dot" else aggregator
            yield Case(topology, 1024, (1, 2), 64, terms, aggregator)


def _models() -> Iterator[Case]:
    """Yields calls as large as those of models, which the draws seldom are."""
    plane = "rl.Window(grid=(64, 64), size=7)"
    yield Case("rl.Causal()", 2048, (1, 8), 64, "dot + offset", "Softmax")
    yield Case("rl.Complete()", 512, (4, 8), 64, "dot", "Softmax")
    yield Case("rl.Band(before=255)", 4096, (1, 8), 64, "dot", "Softmax")
    yield Case(plane, 4096, (4, 4), 16, "dot", "Softmax")
    yield Case(plane, 4096, (4, 4), 16, "dot + offset", "Softmax")
    yield Case("power_law(100000, 1000000)", 100000, (1, 4), 16, "GAT", "Softmax")
    smaller = "rl.Window(grid=(32, 32), size=7)"
    yield Case(smaller, 1024, (2, 4), 32, "dot + offset", "Softmax")


def _sequence(write: Callable[[Any, int], str]) -> Callable[[Any], Case]:
    def draw(rng: Any) -> Case:
        num_nodes = _size(rng, 16, 4096)
        terms = ("dot", "dot", "dot + offset", "Shaw", "GAT", "sender", "pair")
        return _case(rng, write(rng, num_nodes), num_nodes, [*terms, "perceptron"])

    return draw


def _case(rng: Any, topology: str, num_nodes: int, terms: Any) -> Case:
    said = str(rng.choice(terms))
    batch, heads = int(rng.choice([1, 1, 2, 4])), int(rng.choice([1, 2, 4, 8]))
    width = int(rng.choice([8, 16, 32, 64, 64, 128]))
    most = _MOST_PAIRS if said in (*_SCORED, "sender") else _MOST_PAIRS // width
    while num_nodes**2 * batch * heads > 4 * most and batch * heads > 1:
        batch, heads = (batch // 2, heads) if batch > 1 else (1, heads // 2)
    aggregators = ["Sum", "Mean", "Mean", "Max", "Std"]
    aggregator = "Softmax" if said in _SCORED else str(rng.choice(aggregators))
    if "tap" in said:
        aggregator = str(rng.choice(["Sum", "Sum", "Mean"]))
    return Case(topology, num_nodes, (batch, heads), width, said, aggregator)


def _size(rng: Any, low: int, high: int) -> int:
    exact = math.exp(rng.uniform(math.log(low), math.log(high)))
    return min(high, max(low, round(exact / 8) * 8))


def _band(rng: Any, num_nodes: int) -> str:
    before = min(int(rng.choice([4, 16, 64, 128, 256])), num_nodes)
    after = int(rng.choice([0, before]))
    return f"rl.Band(before={before}, after={after})"


def _blocks(rng: Any, num_nodes: int) -> str:
    size = min(int(rng.choice([8, 32, 64, 128, 256])), num_nodes)
    return f"rl.Blocks(size={size}, before={int(rng.choice([0, 1]))})"


def _strided(rng: Any, num_nodes: int) -> str:
    stride = f"rl.Strided({int(rng.choice([4, 16, 64]))})"
    return str(rng.choice([f"rl.Causal() & {stride}", stride]))


def _segments(rng: Any, num_nodes: int) -> str:
    return str(
        rng.choice(
            ["rl.Complete() & rl.SameSegment(ids)", "rl.Causal() & rl.SameSegment(ids)"]
        )
    )


def _algebra(rng: Any, num_nodes: int) -> str:
    band = _band(rng, num_nodes)
    return str(
        rng.choice(
            [
                "rl.Complete() - rl.Self()",
                f"{band} - rl.Self()",
                f"{band} & {_blocks(rng, num_nodes)}",
                f"(rl.Causal() & rl.Strided(32)) | {band}",
                "rl.Causal().T",
            ]
        )
    )


def _line(rng: Any) -> Case:
    num_nodes = _size(rng, 32, 4096)
    size = min(int(rng.choice([3, 7, 15, 33, 65, 129])), num_nodes)
    border = str(rng.choice(["cut", "shift"]))
    topology = f"rl.Window(grid=({num_nodes},), size={size}, border={border!r})"
    return _case(rng, topology, num_nodes, ["dot", "dot + offset", "sender", "pair"])


def _plane(rng: Any) -> Case:
    side = int(rng.choice([8, 12, 16, 24, 32, 48, 64]))
    size = min(int(rng.choice([3, 5, 7, 11])), side)
    topology = f"rl.Window(grid=({side}, {side}), size={size})"
    terms = ["dot", "dot", "dot + offset", "sender", "pair"]
    return _case(rng, topology, side**2, terms)


def _stencil(rng: Any) -> Case:
    side = int(rng.choice([8, 16, 24, 32, 48, 64]))
    size, stride = int(rng.choice([3, 3, 5])), int(rng.choice([1, 1, 2]))
    topology = f"rl.Stencil(grid=({side}, {side}), size={size}, stride={stride})"
    terms = ["tap", "depthwise tap", "sender", "pair"]
    return _case(rng, topology, side**2, terms)


def _convolution(rng: Any) -> Case:
    case = _stencil(rng)
    terms = str(rng.choice(["tap", "depthwise tap"]))
    width = min(case.width, 64)
    return dataclasses.replace(
        case, terms=terms, aggregator="Sum", width=width, lead=(case.lead[0], 1)
    )


def _listed(rng: Any) -> Case:
    num_nodes = _size(rng, 16, 2048)
    per_cent = float(rng.choice([0.2, 1, 2, 4, 8, 15, 30, 50]))
    topology = f"random_edges({num_nodes}, {per_cent:g})"
    terms = ["sender", "sender", "GAT", "GAT", "dot", "pair", "perceptron"]
    return _case(rng, topology, num_nodes, terms)


def _power_law(rng: Any) -> Case:
    num_nodes = _size(rng, 64, 20000)
    num_edges = min(num_nodes * int(rng.choice([3, 10])), 100_000)
    topology = f"power_law({num_nodes}, {num_edges})"
    case = _case(rng, topology, num_nodes, ["sender", "GAT", "GAT", "dot", "pair"])
    return dataclasses.replace(case, lead=(1, min(case.lead[1], 4)))


def _large(rng: Any) -> Case:
    num_nodes = _size(rng, 2000, 20000)
    num_edges = int(rng.choice([50_000, 100_000]))
    terms = ["sender", "GAT", "dot", "pair", "perceptron"]
    case = _case(rng, f"power_law({num_nodes}, {num_edges})", num_nodes, terms)
    width = min(case.width, 64)
    return dataclasses.replace(case, lead=(1, min(case.lead[1], 2)), width=width)


_FAMILIES: dict[Callable[[Any], Case], int] = {
    _sequence(lambda rng, num_nodes: "rl.Complete()"): 22,
    _sequence(lambda rng, num_nodes: "rl.Causal()"): 24,
    _sequence(_band): 26,
    _sequence(_blocks): 12,
    _sequence(_strided): 6,
    _sequence(_segments): 8,
    _sequence(_algebra): 12,
    _line: 12,
    _plane: 16,
    _stencil: 14,
    _listed: 16,
    _power_law: 11,
    _convolution: 10,
    _large: 8,
}
