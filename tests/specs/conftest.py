"""Draws of whole, valid specs, for hypothesis: `spec = data.draw(whole_specs)`."""

import functools
from typing import Any

import pytest
from hypothesis import strategies as st

from relational import specs

_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).map(
    lambda name: f"r_{name}"
)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_ATTRIBUTES = ["voice", "beat", "onset", "pitch"]


def _leaves() -> st.SearchStrategy[Any]:
    reach = st.integers(0, 300)
    return st.one_of(
        st.sampled_from([specs.CompleteSpec(), specs.CausalSpec(), specs.SelfSpec()]),
        st.builds(specs.BandSpec, before=reach, after=reach),
        st.builds(specs.BlocksSpec, size=st.integers(1, 300), before=reach),
        st.builds(specs.StridedSpec, stride=st.integers(1, 300)),
    )


def _combinations(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(specs.AndSpec, parts=several),
        st.builds(specs.OrSpec, parts=several),
        st.builds(specs.MinusSpec, parts=st.tuples(parts, parts)),
    )


TOPOLOGIES = st.recursive(_leaves(), _combinations, max_leaves=5)

_BOUNDS = st.one_of(
    st.fixed_dictionaries({"clip": st.integers(0, 600)}),
    st.fixed_dictionaries({"limit": st.integers(0, 600)}),
)
RELATIONS = st.one_of(
    st.builds(
        lambda bound, width: specs.OffsetSpec(width=width, **bound),
        _BOUNDS,
        st.none() | st.integers(1, 99),
    ),
    st.builds(
        lambda bound, name: specs.DifferenceSpec(difference=name, **bound),
        _BOUNDS,
        st.sampled_from(_ATTRIBUTES),
    ),
)

_PROBABILITIES = st.floats(0, 1, exclude_max=True)
_RATES = st.floats(1e-12, 10)

SCHEDULES = st.one_of(
    st.builds(specs.ConstantSpec, rate=_RATES),
    st.builds(
        specs.WarmupCosineSpec,
        peak=st.floats(1, 2),
        warmup=st.integers(0, 10),
        floor=st.floats(0, 1),
    ),
    st.builds(
        specs.WarmupRsqrtSpec,
        width=st.integers(1, 999),
        warmup=st.integers(1, 10),
        factor=_RATES,
    ),
)
OPTIMIZERS = st.one_of(
    st.builds(specs.AdamSpec, b1=_PROBABILITIES, eps=_RATES),
    st.builds(specs.AdamWSpec, b2=_PROBABILITIES, weight_decay=_PROBABILITIES),
    st.builds(specs.MuonSpec, beta=_PROBABILITIES, weight_decay=_PROBABILITIES),
)
TRAININGS = st.builds(
    specs.TrainingSpec,
    steps=st.integers(10, 10**9),
    batch_size=st.integers(1, 999),
    accumulate=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    precision=st.sampled_from(["float32", "bfloat16"]),
    optimizer=OPTIMIZERS,
    schedule=SCHEDULES,
    clip_norm=st.none() | _RATES,
    keep=st.integers(1, 9),
    patience=st.none() | st.integers(500, 999),
)
POSITIONS = st.one_of(
    st.just(specs.NoPositionsSpec()),
    st.builds(specs.SinusoidSpec, layout=st.sampled_from(["interleaved", "halves"])),
    st.builds(
        specs.SinusoidSpec,
        combine=st.just("concatenate"),
        width=st.none() | st.just(2),
    ),
)

EXPERTS = st.none() | st.builds(
    specs.ExpertsSpec,
    count=st.integers(4, 99),
    chosen=st.integers(2, 4),
    width=st.integers(1, 99),
    softmax=st.sampled_from([None, "chosen", "all"]),
    capacity=st.none() | _RATES,
    balance=_PROBABILITIES,
)


@st.composite
def models(draw: st.DrawFn) -> specs.ModelSpec:
    """Draws a model of one node set whose edge sets are all used."""
    node = specs.NodeSpec(
        vocabulary=draw(st.integers(1, 999)),
        width=4 * draw(st.integers(1, 64)),
        embed=draw(st.dictionaries(st.sampled_from(_ATTRIBUTES), st.integers(4, 99))),
        positions=draw(POSITIONS),
    )
    end = draw(_NAMES)
    edges, blocks = {}, []
    for name in draw(st.lists(_NAMES, min_size=1, max_size=2, unique=True)):
        relations = draw(st.dictionaries(_NAMES, RELATIONS, max_size=2))
        edges[name] = specs.EdgeSetSpec(
            sender_set=end,
            receiver_set=end,
            topology=draw(TOPOLOGIES),
            relations=relations,
        )
        width = draw(st.none() | st.integers(1, 64))
        rotaries = st.builds(
            specs.RotarySpec,
            base=st.floats(2, 1e6),
            width=st.none() | st.just(2),
            layout=st.sampled_from(["interleaved", "halves"]),
        )
        attention = functools.partial(
            specs.AttentionSpec,
            over=name,
            heads=draw(st.sampled_from([1, 2, 4])),
            kv_heads=draw(st.sampled_from([None, 1])),
            head_width=width,
            sender_score=draw(st.sampled_from([(), tuple(relations)])),
            rotary=None if width is None or width % 2 else draw(st.none() | rotaries),
            scale=draw(st.sampled_from(["width", "terms"])),
            tables=draw(st.sampled_from(["per_head", "shared"])),
            bias=draw(st.booleans()),
            dropout=draw(st.none() | _PROBABILITIES),
        )
        terms = ("content", *relations)
        several = st.lists(
            st.sampled_from([attention(score=terms), attention(message=terms)]),
            min_size=1,
            max_size=2,
        )
        blocks += [
            specs.BlockSpec(attention=draw(several)),
            specs.BlockSpec(
                repeat=draw(st.integers(1, 9)), attention=attention(score=terms)
            ),
            specs.BlockSpec(
                attention=attention(message=terms),
                feed_forward=specs.FeedForwardSpec(
                    width=draw(st.integers(1, 99)),
                    activation=draw(st.sampled_from(["relu", "gelu", "silu"])),
                    gated=draw(st.booleans()),
                ),
                experts=draw(EXPERTS),
            ),
        ]
    return specs.ModelSpec(
        nodes={end: node},
        edges=edges,
        blocks=tuple(blocks),
        normalization=draw(st.sampled_from(["pre", "post"])),
        dropout=draw(_PROBABILITIES),
        read_out=specs.ReadOutSpec(node=end, tied=draw(st.booleans())),
    )


_WORDS = st.lists(st.sampled_from(["Bach's", "#1:", "a", "-", "Händel"]), min_size=30)

_SOURCES = st.none() | _TEXTS | _WORDS.map(" ".join)

_WIDTHS = st.integers(1, 99)
_MLPS = st.builds(
    specs.MLPSpec,
    widths=st.lists(_WIDTHS, min_size=1, max_size=2).map(tuple),
    activation=st.sampled_from(["relu", "elu", "sigmoid"]),
    activates_last=st.booleans(),
    norm=st.sampled_from([None, "layer"]),
)
_BLOCKS = st.one_of(
    st.builds(specs.IndependentSpec, update=_MLPS, globals=st.none() | _MLPS),
    st.builds(
        specs.GraphNetworkSpec,
        nodes=_MLPS,
        node_inputs=st.sampled_from([("received", "node"), ("node",)]),
        edges_to_nodes=st.sampled_from(["sum", "std"]),
    ),
    st.builds(specs.MessagePassingSpec, width=_WIDTHS, nodes=st.none() | _MLPS),
    st.builds(specs.GatedGraphNetworkSpec, reads_edges=st.booleans()),
    st.builds(
        specs.GraphConvolutionSpec,
        width=_WIDTHS,
        degrees=st.sampled_from(["own", "received", None]),
    ),
    st.builds(
        specs.GraphAttentionSpec, heads=_WIDTHS, width=_WIDTHS, dropout=_PROBABILITIES
    ),
    st.builds(specs.VAINSpec, attend=_MLPS, say=_MLPS, nodes=_MLPS),
    st.builds(specs.LaplacianPositionsSpec, width=st.integers(1, 256)),
    st.builds(
        specs.DegreesSpec,
        limit=st.integers(1, 256),
        edges=st.sampled_from(["received", "sent"]),
    ),
    st.just(specs.LayerNormSpec()),
    st.builds(specs.DropoutSpec, rate=_PROBABILITIES),
    st.builds(specs.ActivationSpec, function=st.sampled_from(["elu", "tanh"])),
    st.builds(specs.LinearSpec, nodes=_WIDTHS, edges=st.none() | _WIDTHS),
    st.builds(specs.PoolSpec, aggregator=st.sampled_from(["sum", "mean"])),
)


GRAPH_RELATIONS = st.dictionaries(
    _NAMES,
    st.one_of(
        st.builds(specs.HopsSpec, hops=st.integers(1, 256)),
        st.builds(specs.EdgeTypesSpec, edge_types=st.integers(1, 256)),
        st.builds(specs.OffsetSpec, limit=st.integers(0, 600)),
    ),
    max_size=2,
)


def _with_biases(topology: Any, relations: dict[str, Any]) -> specs.OverSpec:
    """Returns attention over a rule that uses all its relations."""
    attention = specs.EdgeAttentionSpec(heads=1, width=4, biases=tuple(relations))
    return specs.OverSpec(topology=topology, relations=relations, layers=(attention,))


def _layers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(parts, min_size=1, max_size=2).map(tuple)
    return st.one_of(
        st.builds(specs.ResidualSpec, layers=several),
        st.builds(specs.RepeatSpec, steps=_WIDTHS, layers=several),
        st.builds(specs.OverSpec, topology=TOPOLOGIES, layers=several),
        st.builds(_with_biases, TOPOLOGIES, GRAPH_RELATIONS),
        st.builds(specs.VirtualNodeSpec, layers=several),
        st.builds(specs.GraphNodesSpec, layers=several),
        st.builds(specs.PerEdgeSetSpec, edge=several, update_graph=st.none() | _MLPS),
    )


LAYERS = st.lists(
    st.recursive(_BLOCKS, _layers, max_leaves=3), min_size=1, max_size=3
).map(tuple)

NETWORKS = st.one_of(
    st.builds(specs.StackSpec, layers=LAYERS),
    st.builds(
        specs.EncodeProcessDecodeSpec,
        encode=LAYERS,
        process=st.builds(
            specs.ProcessSpec,
            steps=_WIDTHS,
            core=LAYERS,
            memory=st.sampled_from([None, "gru", "lstm"]),
        ),
        decode=LAYERS,
    ),
)

GRAPH_DATA = st.one_of(
    st.builds(specs.ShortestPathSpec, nodes=st.just((2, 9)), held_out=_WIDTHS),
    st.just(specs.SortingSpec()),
    st.builds(specs.SpringsSpec, larger=st.just((4, 4))),
    st.builds(
        specs.MoleculesSpec,
        name=st.sampled_from(["esol", "freesolv"]),
        split=st.integers(0, 9),
    ),
)

GRAPH_SPECS = st.builds(
    specs.Spec,
    name=_NAMES,
    source=_SOURCES,
    model=NETWORKS,
    data=GRAPH_DATA,
    training=TRAININGS,
)

TOKEN_SPECS = st.builds(
    specs.Spec,
    name=_NAMES,
    source=_SOURCES,
    model=models(),
    data=st.builds(
        specs.ChoralesSpec,
        source=st.sampled_from(["music21", "jsb"]),
        window=st.integers(1, 512).map(lambda steps: 4 * steps),
        transpose=st.integers(0, 12),
    ),
    training=TRAININGS,
)

SPECS = TOKEN_SPECS | GRAPH_SPECS


@pytest.fixture(scope="session")
def whole_specs() -> st.SearchStrategy[specs.Spec]:
    return SPECS
