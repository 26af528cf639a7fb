"""The family of attentions, each against the formula of its paper, written out."""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import blocks
from relational.blocks.attention_rows import turned
from relational.topologies import Topology

LENGTH, WIDTH, HEADS, KEY = 6, 8, 4, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(2, LENGTH, WIDTH)).astype(np.float32)
PARSE = RANDOM.integers(-1, 4, (2, LENGTH, LENGTH))  # Of three labels, or of none.
AWAY = np.arange(LENGTH)[None] - np.arange(LENGTH)[:, None]  # Sender minus receiver.
SPAN = 2
DELTA = np.clip(-AWAY, -SPAN, SPAN - 1) + SPAN  # He et al. 2021, equation 3.


@dataclasses.dataclass(frozen=True)
class Case:
    """An attention, and the relations of its graph."""

    settings: dict
    topology: Topology = dataclasses.field(default_factory=rl.Causal)
    relations: dict = dataclasses.field(default_factory=dict)
    features: int | None = None


# Where a receiver's offset to its sender is -span or less, delta is 0: offsets in the
# papers are those of receivers, ours are those of senders.
DEBERTA = rl.Offset(clip=(1 - SPAN, SPAN))
CASES = {
    "grouped": Case({"num_key_heads": 2}),
    "multi-query": Case({"num_key_heads": 1}, rl.Complete()),
    "rotary": Case({"rotary": blocks.Rotary(base=100.0)}, rl.Complete()),
    "rotary halves, grouped": Case(
        {"num_key_heads": 2, "rotary": blocks.Rotary(width=2, layout="halves")}
    ),
    "deberta": Case(
        {
            "score": ["content", "offset"],
            "sender_score": ["offset"],
            "scale": "terms",
        },
        rl.Complete(),
        {"offset": DEBERTA},
        features=5,
    ),
    "own rows of both ends, grouped": Case(
        {
            "num_key_heads": 2,
            "rotary": blocks.Rotary(),
            "score": ["content", "offset"],
            "sender_score": ["offset"],
        },
        rl.Complete(),
        {"offset": rl.Offset(clip=2)},
    ),
    "labels, multi-query": Case(
        {
            "num_key_heads": 1,
            "score": ["content", "parse"],
            "message": ["content", "parse"],
            "biases": ["parse"],
        },
        rl.Complete(),
        {"parse": rl.Labels(PARSE, 3)},
    ),
}


def graph_of(case, x, table=None):
    relations = dict(case.relations)
    if case.features:
        relations["offset"] = relations["offset"].rows(features=table)
    edge_set = rl.EdgeSet(
        senders="word", receivers="word", topology=case.topology, relations=relations
    )
    return rl.Graph(nodes={"word": x}, edges={"self": edge_set}, batch_axes=1)


def block_of(case):
    def call(x, table):
        attention = blocks.Attention(
            over="self", num_heads=HEADS, head_width=KEY, **case.settings
        )
        return attention(graph_of(case, x, table)).features("word")

    return hk.without_apply_rng(hk.transform(call))


def rotation(position, rotary):
    """The matrix R of Su et al. 2021, equation 15, at one position."""
    width, matrix = rotary.width or KEY, np.eye(KEY)
    for pair in range(width // 2):
        angle = position * rotary.base ** (-2 * pair / width)
        one = 2 * pair if rotary.layout == "interleaved" else pair
        other = one + (1 if rotary.layout == "interleaved" else width // 2)
        matrix[one, one] = matrix[other, other] = np.cos(angle)
        matrix[other, one], matrix[one, other] = np.sin(angle), -np.sin(angle)
    return matrix


def heads_of(params, name, rows):
    """Returns [heads, N, K] of rows [N, D]; fewer heads of keys are repeated."""
    split = (rows @ params[f"attention/{name}"]["w"]).reshape(len(rows), -1, KEY)
    return jnp.repeat(split.swapaxes(0, 1), HEADS // split.shape[1], axis=0)


def by_hand(case, params, table, x, parse):
    """One sequence, [N, D], as the papers write it."""
    own, settings = params.get("attention", {}), case.settings
    query, key, value = (
        heads_of(params, name, x) for name in ("query", "key", "value")
    )
    turn = np.stack([np.eye(KEY, dtype=np.float32)] * LENGTH)
    if "rotary" in settings:
        turns = [rotation(m, settings["rotary"]) for m in range(LENGTH)]
        turn = np.stack(turns).astype(np.float32)
    score = jnp.einsum("mab,hmb,nac,hnc->hmn", turn, query, turn, key)
    if case.features:  # He et al. 2021, equation 4; our rows begin at the far end.
        rows = table[::-1]
        to = heads_of(params, "score_offset", rows)[:, DELTA]  # [h, m, n, K]
        of = heads_of(params, "sender_score_offset", rows)[:, DELTA.T]
        score += jnp.einsum("hmk,hmnk->hmn", query, to)
        score += jnp.einsum("hnk,hmnk->hmn", key, of)
        score /= np.sqrt(3 * KEY)
    else:
        label = np.clip(AWAY, -2, 2) + 2
        if "sender_score" in settings:  # Shaw et al. 2018, equation 4, from both ends.
            to, of = (
                own[f"{name}_offset"][:, label] for name in ("score", "sender_score")
            )
            score += jnp.einsum("hmk,hmnk->hmn", query, to)
            score += jnp.einsum("hnk,hmnk->hmn", key, of)
        if "parse" in case.relations:
            known = ((parse >= 0) & (parse < 3))[None, :, :, None]
            to, said = (
                own[f"{name}_parse"][:, np.clip(parse, 0, 2)] * known
                for name in ("score", "message")
            )
            score += jnp.einsum("hmk,hmnk->hmn", query, to)
        score /= np.sqrt(KEY)
        if "parse" in case.relations:
            score += own["bias_parse"][:, np.clip(parse, 0, 2)] * known[..., 0]
    mask = case.topology.mask(LENGTH, LENGTH)[None]
    weights = jax.nn.softmax(jnp.where(mask, score, -jnp.inf))
    heard = weights @ value
    if "parse" in case.relations:  # Shaw et al. 2018, equation 3.
        heard += jnp.einsum("hmn,hmnk->hmk", weights, said)
    joined = heard.swapaxes(0, 1).reshape(LENGTH, -1)
    return joined @ params["attention/output"]["w"]


@functools.cache
def made(name):
    case = CASES[name]
    table = None
    if case.features:
        shape = case.relations["offset"].num_labels, case.features
        table = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    shapes = jax.eval_shape(block_of(case).init, jax.random.key(0), X, table)
    noise = np.random.default_rng(2)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(noise.normal(0, 0.5, leaf.shape), jnp.float32), shapes
    )
    return case, params, table


@pytest.mark.parametrize("name", CASES)
def test_attentions_are_the_formulas_of_their_papers(name):
    case, params, table = made(name)

    def ours(params, table, x):
        return block_of(case).apply(params, x, table)

    def formula(params, table, x):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            rows = [
                by_hand(case, params, table, *each)
                for each in zip(x, PARSE, strict=True)
            ]
        return jnp.stack(rows)

    def both(*arguments):
        found = []
        for function in (ours, formula):
            result, pull = jax.vjp(function, *arguments)
            found.append((result, pull(jnp.cos(result))))
        return found

    (found, slopes), (wanted, by) = jax.jit(both)(params, table, jnp.asarray(X))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.abs(wanted).max() > 0.1
    for one, other in zip(*map(jax.tree.leaves, (slopes, by)), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(by))


@pytest.mark.parametrize(("heads", "kept"), [(4, (4,)), (2, (2, 1)), (1, (1,))])
def test_a_cache_keeps_the_heads_of_keys_alone(heads, kept):
    case = Case({"num_key_heads": heads})

    def start(x):
        attention = blocks.Attention(
            over="self", num_heads=HEADS, head_width=KEY, **case.settings
        )
        return attention.start(graph_of(case, x), length=9)

    block = hk.without_apply_rng(hk.transform(start))
    params = jax.eval_shape(block.init, jax.random.key(0), X)
    cache = jax.eval_shape(block.apply, params, X)
    shapes = {name: leaf.shape for name, leaf in cache.senders.items()}
    assert shapes == dict.fromkeys(("key", "value"), (2, *kept, 9, KEY))


def equations(jaxpr):
    """Yields the equations of a jaxpr, and of those within it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda each: hasattr(each, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("heads", [2, 1])
def test_tiles_never_repeat_keys_for_the_heads_that_share_them(heads):
    long = jax.ShapeDtypeStruct((2, 1024, WIDTH), "float32")
    block = block_of(Case({"num_key_heads": heads}))
    params = jax.eval_shape(block.init, jax.random.key(0), long, None)
    explained = rl.explain(lambda p, x: block.apply(p, x, None), params, long)
    assert [plan.lowering.name for plan in explained.plans] == ["tiles"]
    traced = jax.make_jaxpr(lambda p, x: block.apply(p, x, None))
    found = list(equations(traced(params, long).jaxpr))
    assert "dot_general" in {eqn.primitive.name for eqn in found}
    for eqn in found:
        if eqn.primitive.name in ("broadcast_in_dim", "gather"):
            before, after = eqn.invars[0].aval, eqn.outvars[0].aval
            is_repeated = 0 < before.size * (HEADS // heads) <= after.size
            are_keys = before.shape[-1:] == after.shape[-1:] == (KEY,)
            assert not (are_keys and is_repeated), eqn


def test_positions_of_nodes_are_where_they_say():
    case, params, _ = made("rotary")
    graph = graph_of(case, jnp.asarray(X))
    moved = jnp.asarray(np.arange(LENGTH)[None] * 3 + [[5], [0]])
    settings = {"num_heads": HEADS, "head_width": KEY, **case.settings}

    def call(x, positions):
        whole = dataclasses.replace(
            graph, nodes={"word": {"features": x, "position": positions}}
        )
        return blocks.Attention(over="self", **settings)(whole).features("word")

    apply = jax.jit(hk.without_apply_rng(hk.transform(call)).apply)
    found = apply(params, jnp.asarray(X), moved)
    # The product of two turned vectors depends on how far apart they stand alone.
    again = apply(params, jnp.asarray(X), moved + 7)
    np.testing.assert_allclose(found, again, atol=1e-5)
    plain = jax.jit(block_of(case).apply)(params, jnp.asarray(X), None)
    assert np.abs(found - plain).max() > 1e-2


@pytest.mark.parametrize(
    "relation",
    [
        rl.Offset(clip=(-1, 3)),
        rl.Offset(limit=(-3, 1)),
        rl.Buckets(num_buckets=8, furthest=20),
        rl.Difference("pitch", clip=2),
    ],
    ids=str,
)
def test_a_turned_relation_has_the_rows_of_the_edge_the_other_way(relation):
    back, order = turned(relation)
    away = np.arange(-25, 26)
    rows = np.append(np.arange(1, 1 + relation.num_labels), 0)  # Beyond, 0.
    theirs = rows[relation.label(-away)]
    ours = np.append(rows[order], 0)[back.label(away)]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            Case({"num_key_heads": 3}),
            "`num_key_heads` must divide `num_heads`, 4; got 3",
        ),
        (
            Case({"rotary": blocks.Rotary(width=6)}),
            "`Rotary.width` must be even, and at most the width of a head, 4; got 6",
        ),
        (
            Case({"sender_score": ["offset"]}),
            "`biases` name relations of the edge set `self`, none; got `offset`",
        ),
        (Case({"scale": "none"}), "`scale` must be 'width' or 'terms'; got 'none'"),
        (
            Case(
                {"sender_score": ["offset"]},
                relations={"offset": rl.Labels(PARSE, 3)},
                features=2,
            ),
            "`sender_score` cannot look up .* lead one way only",
        ),
        (
            Case(
                {"sender_score": ["offset"]},
                relations={"offset": rl.Buckets(later=False)},
                features=2,
            ),
            "`sender_score` needs buckets on both sides",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(case, words):
    table = None
    if case.features:
        table = np.zeros((case.relations["offset"].num_labels, 2), np.float32)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(block_of(case).init, jax.random.key(0), X, table)


def test_features_of_labels_are_rows_of_the_relation():
    relations = {"offset": rl.Offset(clip=2).rows(other=np.zeros((5, 3), np.float32))}
    case = Case({"score": ["offset"]}, relations=relations)
    with pytest.raises(
        ValueError, match=r"bare, or with one table `features`, \[5, D\]"
    ):
        jax.eval_shape(block_of(case).init, jax.random.key(0), X, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"base": 1}, "`Rotary.base` must be more than 1; got 1"),
        ({"base": "wide"}, "`Rotary.base` must be more than 1; got 'wide'"),
        ({"width": 1}, "`Rotary.width` must be 2 or more; got 1"),
        ({"width": 3}, "`Rotary.width` must be even; got 3"),
        ({"layout": "thirds"}, "`Rotary.layout` must be 'interleaved' or 'halves'"),
    ],
)
def test_rotary_positions_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        blocks.Rotary(**arguments)


def test_positions_reach_the_attention_of_a_graph_tuple():
    listed = rl.Edges([0, 1, 2, 2, 4], [1, 2, 0, 1, 1], LENGTH)
    edge_set = rl.EdgeSet(senders="node", receivers="node", topology=listed)
    graph = rl.Graph(nodes={"node": X[0]}, edges={"edge": edge_set})

    def heard(graph, positions):
        block = blocks.Attention(over="edge", num_heads=2, rotary=blocks.Rotary())
        return block(graph, positions=positions)

    attend = hk.without_apply_rng(hk.transform(heard))
    far = jnp.array([0, 50, 7, 3, 4, 5])
    params = attend.init(jax.random.key(0), graph, far)
    found = attend.apply(params, graph.to_graphs_tuple(), far).nodes
    wanted = attend.apply(params, graph, far).features("node")
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_float64_is_turned_in_float64(layout):
    rotary = blocks.Rotary(base=100.0, layout=layout)
    with jax.enable_x64(True):
        channels = np.random.default_rng(0).normal(size=KEY)
        found = rotary.turned(jnp.asarray(channels)[None], jnp.array([1000]))
        assert found.dtype == jnp.float64
    np.testing.assert_allclose(found[0], rotation(1000, rotary) @ channels, rtol=1e-12)
