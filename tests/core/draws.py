"""Structures drawn at random: topology x terms x relations x aggregator x axes x type.

What is drawn here is what `propagate` promises to serve, no more: extremes hear numbers
that every type holds exactly, since ties of rounding are not the same in any two orders
of evaluation.
"""

import dataclasses
from typing import Any

import hypothesis.strategies as st

import relational as rl
from tests.core import said
from tests.core.structures import Structure

L = rl.lowerings

BOUNDS = st.one_of(
    st.integers(0, 6),
    st.tuples(st.integers(-5, 3), st.integers(0, 5)).map(lambda p: (p[0], sum(p))),
)
RULES = st.one_of(
    st.sampled_from(["rl.Complete()", "rl.Causal()", "rl.Self()"]),
    st.builds("rl.Band(before={})".format, st.integers(0, 9)),
    st.builds("rl.Band(before={}, after={})".format, *[st.integers(0, 5)] * 2),
    st.builds("rl.Blocks(size={})".format, st.integers(1, 6)),
    st.builds("rl.Blocks(size={}, before={})".format, *[st.integers(1, 3)] * 2),
)
DATA = st.sampled_from(
    [
        "rl.Lengths(senders=speaking)",
        "rl.Lengths(receivers=hearing)",
        "rl.Lengths(receivers=hearing, senders=speaking)",
        "rl.SameSegment(receiver_ids, sender_ids)",
    ]
)
TURNED_DATA = st.sampled_from(
    [
        "rl.Lengths(receivers=speaking, senders=hearing).T",
        "rl.SameSegment(sender_ids, receiver_ids).T",
    ]
)
BUCKETS = (
    rl.Buckets(num_buckets=4, furthest=5),
    rl.Buckets(num_buckets=3, furthest=4, later=False),
)


def _composed(parts: Any, most: int) -> Any:
    return st.recursive(
        parts,
        lambda inner: st.one_of(
            st.builds("({} & {})".format, inner, inner),
            st.builds("({} | {})".format, inner, inner),
            st.builds("({} - {})".format, inner, inner),
        ),
        max_leaves=most,
    )


def _listed(receivers: int, senders: int) -> Any:
    """Edges one by one, here and now: some repeat, there may be none."""
    if not receivers or not senders:
        return st.just(f"rl.Edges([], [], {receivers}, {senders})")
    ends = st.tuples(st.integers(0, receivers - 1), st.integers(0, senders - 1))
    pairs = st.one_of(
        st.lists(ends, max_size=12), st.lists(ends, max_size=12, unique=True)
    )
    return pairs.map(
        lambda pairs: (
            f"rl.Edges({[s for _, s in pairs]}, {[r for r, _ in pairs]}, "
            f"{receivers}, {senders})"
        )
    )


def _traced(receivers: int, senders: int) -> str:
    return f"rl.Edges(edge_senders, edge_receivers, {receivers}, {senders})"


FAMILIES = ("rules", "algebra", "data", "lists", "grids")


@st.composite
def _neighbourhoods(draw: Any) -> tuple[str, Any]:
    """A neighbourhood as text, and a relation that fits its grids."""
    grid = draw(st.sampled_from([(9,), (3, 3), (2, 4), (4, 2), (2, 2, 2), (1, 5)]))
    sizes = {
        name: tuple(draw(st.integers(1, most)) for _ in grid)
        for name, most in (("size", 3), ("stride", 2), ("dilation", 2))
    }
    if draw(st.booleans()):
        stencil = rl.Stencil(grid=grid, **sizes)
        if draw(st.booleans()):
            return f"rl.{stencil}.T", stencil.tap.T
        return f"rl.{stencil}", stencil.tap
    fits = all(
        s * d <= n
        for n, s, d in zip(grid, sizes["size"], sizes["dilation"], strict=True)
    )
    border = draw(st.sampled_from(["cut", "shift"] if fits else ["cut"]))
    window = rl.Window(grid=grid, border=border, **sizes)
    bound = {draw(st.sampled_from(["clip", "limit"])): draw(st.integers(0, 2))}
    relations = [
        window.tap,
        rl.GridOffset(grid=grid, **bound),
        rl.GridOffset(grid=grid),
    ]
    return f"rl.{window}", draw(st.sampled_from(relations))


@st.composite
def _grids(draw: Any) -> tuple[str, Any]:
    """A neighbourhood or a sparse pattern, perhaps composed, and a relation or None."""
    patterns = st.sampled_from(
        [
            "rl.Strided(3)",
            "rl.Where(lambda receiver, sender: (receiver * sender) % 3 != 1)",
            "rl.RasterBlocks2D(grid=(2, 4), block=(2, 2), above=1, beside=1)",
            "rl.Causal() & (rl.Band(before=1) | rl.Strided(3))",
        ]
    )
    text, relation = draw(
        st.one_of(_neighbourhoods(), _neighbourhoods(), st.tuples(patterns, st.none()))
    )
    joined = draw(
        st.sampled_from(
            [
                "",
                "",
                " & rl.Causal()",
                " - rl.Self()",
                " & rl.Lengths(senders=speaking)",
            ]
        )
    )
    return text + joined, relation


@st.composite
def topologies(draw: Any, family: str, receivers: int, senders: int) -> str:
    rules = st.one_of(RULES, RULES.map(lambda rule: f"{rule}.T"))
    if family == "rules":
        return draw(rules)
    if family == "algebra":
        return draw(_composed(rules, 3).filter(lambda text: text.startswith("(")))
    data = st.one_of(DATA, TURNED_DATA)
    if family == "data":
        operator = draw(st.sampled_from("&-|"))
        sides = draw(st.permutations([draw(_composed(rules, 2)), draw(data)]))
        if draw(st.booleans()):
            return f"({sides[0]} {operator} {sides[1]}) & {draw(data)}"
        return f"{sides[0]} {operator} {sides[1]}"
    listed = _listed(receivers, senders)
    turned = _listed(senders, receivers).map("{}.T".format)
    return draw(
        st.one_of(
            listed,
            st.just(_traced(receivers, senders)),
            st.just(_traced(receivers, senders) + " & rl.Causal()"),
            st.builds("{} {} {}".format, listed, st.sampled_from("&|-"), rules),
            st.builds("{} {} {}".format, rules, st.sampled_from("&|-"), listed),
            st.builds("{} {} {}".format, listed, st.sampled_from("&-"), DATA),
            st.builds("{} {} {}".format, turned, st.sampled_from("&|-"), listed),
        )
    )


SCORES = [
    said.content,
    said.tanh_pair,
    said.own_bias,
    said.sender_bias,
    said.constant,
    said.temperature,
    said.tempered,
    said.offset_bias,
    said.offset_key,
    said.curved_offset,
    said.sender_offset,
    said.pair_offset,
    said.pitch_bias,
    said.pitch_key,
    said.curved_pitch,
    said.sender_pitch,
    said.offset_and_pitch,
    said.receiver_offset_and_pitch,
    said.label_bias,
    said.label_key,
    said.slope,
    said.far,
    said.own_interval,
    said.held_bias,
    said.held_noise,
]
EXACT = [  # Sums and products of few small numbers.
    said.value,
    said.own,
    said.gated,
    said.tilt,
    said.constants,
    said.offset_value,
    said.gated_offset,
    said.sender_offset_value,
    said.pitch_value,
    said.gated_pitch,
    said.offset_and_pitch_value,
    said.label_value,
    said.gated_label,
]
CURVED = [
    said.curved_offset_value,
    said.curved_pitch_value,
    said.faded,
    said.whole_interval,
    said.everything,
    said.held_value,
]
SCALARS = [said.content, said.offset_bias, said.pitch_bias, said.label_bias, said.first]
MATRICES = [said.outer, said.outer_value, said.outer_offset]
OF_EDGES = {
    "score": [said.edge_bias, said.edge_gate],
    "message": [said.edge_value, said.edge_product],
}

WEIGHTINGS = [rl.Softmax(), rl.Sum(), rl.Mean()]
OTHERS = [rl.Max(), rl.Min(), rl.LogSumExp(), rl.LogSumExp(unreached=-2.0), rl.Std()]


@st.composite
def structures(draw: Any, family: str) -> Structure:
    """Draws a structure whose topology is of one of `FAMILIES`."""
    place = None
    if family == "grids":
        topology, place = draw(_grids())
        rule = eval(topology.split(" & rl.Lengths")[0], {"rl": rl})  # Ours, from above.
        receivers, senders = (count or 8 for count in rule.counts())
    else:
        sizes = st.sampled_from([7, 9, 5, 8, 7, 9, 1, 2, 0])
        receivers = draw(sizes)
        senders = draw(st.one_of(st.just(receivers), sizes))
        topology = draw(topologies(family, receivers, senders))
    aggregator: Any = draw(
        st.one_of(
            st.just(rl.Softmax()),
            st.sampled_from(WEIGHTINGS + OTHERS),
            st.lists(st.sampled_from(WEIGHTINGS + OTHERS), min_size=1, max_size=3).map(
                tuple
            ),
        )
    )
    listed = aggregator if isinstance(aggregator, tuple) else (aggregator,)
    exact = any(isinstance(each, rl.Max | rl.Min) for each in listed)
    has_edges = family == "lists" and draw(st.booleans())

    def some(terms: list[Any], role: str) -> tuple[Any, ...]:
        more = OF_EDGES.get(role, []) if has_edges else []
        chosen = st.lists(
            st.sampled_from(terms + more), min_size=1, max_size=3, unique=True
        )
        return tuple(draw(chosen))

    messages = draw(
        st.sampled_from([EXACT if exact else EXACT + CURVED] * 4 + [SCALARS, MATRICES])
    )
    is_vector = messages not in (SCALARS, MATRICES)
    lead = tuple(draw(st.lists(st.sampled_from([2, 1, 3]), max_size=3)))
    groups = [
        "query",
        "gate",
        "key",
        "value",
        "context",
        "offset",
        "pitch",
        "label",
        "edge",
        "data",
    ]
    shared = tuple(
        " ".join(name for name in groups if draw(st.booleans())) for _ in lead
    )
    ranges = [("clip", "limit")] * 2
    offset, pitch, distance, interval = (
        {draw(st.sampled_from(names)): draw(BOUNDS)} for names in ranges * 2
    )
    is_bare = draw(st.booleans())
    by_edge = has_edges and draw(st.booleans())
    hears_score = any(each.hears_score for each in listed)
    has_weights = any(isinstance(each, rl.aggregators.Weighting) for each in listed)
    drawn = Structure(
        "drawn",
        topology,
        score=some(SCORES, "score") if hears_score else (),
        message=some(messages, "message" if is_vector else ""),
        aggregator=aggregator,
        receivers=receivers,
        senders=senders,
        lead=lead,
        shared=shared,
        dropout=draw(st.sampled_from([0.0, 0.0, 0.0, 0.3])) if has_weights else 0.0,
        dtype=draw(st.sampled_from(["float32", "float32", "bfloat16"])),
        tiles=(
            L.Tiles(
                block=draw(st.sampled_from([4, 3, 5, 16])),
                senders=draw(st.sampled_from([8192, 5, 4])),
                graphs=draw(st.sampled_from([1, 2, 3, 100])),
            ),
        ),
    )
    if place is None:
        place = draw(st.sampled_from([rl.Offset(**offset), *BUCKETS]))
    kinds = {
        "offset": place,
        "pitch": rl.Difference("pitch", **pitch),
        "distance": rl.Offset() if is_bare else rl.Offset(**distance),
        "interval": rl.Difference("pitch", **({} if is_bare else interval)),
        "label": "by edge" if by_edge else "by pair",
    }
    used = {name: kind for name, kind in kinds.items() if name in drawn.needs}
    if "label" in used:
        used["labelled"] = used.pop("label")
    return dataclasses.replace(drawn, **used)
