"""Every lowering computes what the definition computes: values and gradients.

The definition is the edge list, in float64; a loop over edges checks the definition.
Tolerances are relative to the largest number of the reference, or to 1. What the two
profiles draw, and what the deep one found, is told in `docs/equality.md`.
"""

import collections
import functools
import inspect

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational.aggregators import keep_scale
from relational.terms import as_record
from tests.core import said
from tests.core.draws import FAMILIES, structures
from tests.core.structures import STRUCTURES, Structure, loss

L = rl.lowerings
# For each family: 4 structures in the profile `ci`, 40 in the profile `deep`.
DRAWN = hypothesis.settings.default.max_examples // 25
DRAWS = 10 if DRAWN > 4 else 8  # Of values, for each structure.
# A gradient in bfloat16 passes through more roundings than the value: those of the
# cotangents and of their sums besides those of the terms.
TOLERANCES = {"float32": (2e-5, 1e-4), "bfloat16": (2e-2, 6e-2)}

largest: dict[tuple[str, str], float] = collections.defaultdict(float)


@functools.lru_cache(maxsize=100)
def compiled(structure: Structure, lowering):
    def both(moving, fixed):
        def objective(moving):
            result = structure.propagate(moving, fixed, lowering)
            return loss(result), result

        return jax.value_and_grad(objective, has_aux=True)(moving)

    return jax.jit(both)


def reference(structure: Structure, seed: int):
    with jax.enable_x64(True):
        arrays = structure.arrays(seed, "float64")
        (_, value), gradient = compiled(structure, L.Edges())(**arrays)
        return jax.tree.map(np.asarray, (value, gradient))


@functools.lru_cache(maxsize=100)
def lowerings(structure: Structure):
    """Returns the lowerings that can serve; those that cannot must have a reason."""
    arrays = structure.arrays(0)
    found: list[rl.lower] = []

    def run(moving, fixed):
        call = structure.call(moving, fixed)
        plan = rl.lower(call.pop("topology"), **call, aggregator=structure.aggregator)
        found.append({one.lowering.name: one.reasons for one in plan.candidates})
        return 0

    jax.eval_shape(run, **arrays)
    refused = {name for name, reasons in found[0].items() if reasons}
    may_repeat = "Edges" in structure.topology
    is_empty = not structure.receivers * structure.senders
    assert "edges" not in refused
    assert "dense" not in refused or may_repeat
    assert "tiles" not in refused or may_repeat or is_empty
    asked = {
        "edges": (L.Edges(),),
        "dense": (L.Dense(),),
        "tiles": structure.tiles,
        "window": (L.Window(loops=True), L.Window(loops=False)),
        "stencil": (L.Stencil(),),
        "sparse": (L.Sparse(),),
        "shifts": (L.Shifts(),),
        "slots": (L.Slots(),),
    }
    return [
        lowering
        for name, options in asked.items()
        if name not in refused
        for lowering in options
    ]


def error(found, wanted) -> float:
    """Returns the largest error of any leaf, relative to its largest number or 1."""
    errors = [0.0]
    for leaf, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
    ):
        assert leaf.shape == other.shape
        scale = max(1.0, np.abs(other).max(initial=0))
        difference = np.abs(np.asarray(leaf, np.float64) - other).max(initial=0)
        errors.append(float(np.nan_to_num(difference, nan=np.inf)) / scale)
    return max(errors)


def compare(structure: Structure, seed: int) -> None:
    """Asserts that every lowering agrees with the reference on one draw."""
    value, gradient = reference(structure, seed)
    arrays = structure.arrays(seed)
    reads_nothing = set(structure.message) == {said.constants}
    dtype = jnp.dtype("float32" if reads_nothing else structure.dtype)
    for lowering in lowerings(structure):
        (_, found), slope = compiled(structure, lowering)(**arrays)
        for leaf in jax.tree.leaves(found):
            assert leaf.dtype == dtype
        errors = {"value": error(found, value), "gradient": error(slope, gradient)}
        tolerances = TOLERANCES[structure.dtype]
        for (what, size), most in zip(errors.items(), tolerances, strict=True):
            kind = structure.dtype, what
            largest[kind] = max(largest[kind], size)
            assert size <= most, (lowering, what, size, seed)


drawn_from = {
    "deadline": None,
    "phases": [hypothesis.Phase.generate],  # A smaller structure costs a compile.
    "suppress_health_check": list(hypothesis.HealthCheck),
}
SEEDS = st.integers(0, 2**20)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: each.name)
@hypothesis.settings(max_examples=DRAWS, **drawn_from)
@hypothesis.given(seed=SEEDS)
def test_lowerings_agree_with_the_definition(structure, seed):
    compare(structure, seed)


@pytest.mark.parametrize("family", FAMILIES)
def test_lowerings_agree_on_drawn_structures(family):
    @hypothesis.settings(max_examples=DRAWN, **drawn_from)
    @hypothesis.given(structures(family), SEEDS)
    def agree(structure, seed):
        for draw in range(seed, seed + DRAWS):
            compare(structure, draw)

    agree()


def test_the_usual_run_makes_three_hundred_draws_of_forty_structures():
    ours = 4 * len(FAMILIES) + len(STRUCTURES)
    assert ours <= 40
    assert ours * 8 >= 300


def row(bounds, difference: int, table):
    """Returns what a term receives for a difference, from a table or as a number."""
    bound = bounds.limit if bounds.clip is None else bounds.clip
    if bound is None:
        return np.int32(difference)
    low, high = bound if isinstance(bound, tuple) else (-bound, bound)
    inside = min(max(difference, low), high)
    is_beyond = bounds.clip is None and inside != difference
    if table is None:
        return np.int32(0 if is_beyond else inside)
    return {
        name: rows[inside - low] * (0 if is_beyond else 1)
        for name, rows in table.items()
    }


def one_edge(structure, call, fixed, receiver: int, sender: int):
    """Returns what terms receive on one edge of one graph, by name."""
    relations = call["relations"]
    tables = {name: getattr(rows, "tables", None) for name, rows in relations.items()}
    steps = {"offset": sender - receiver, "distance": sender - receiver}
    if "pitch" in call["receivers"]:
        interval = call["senders"]["pitch"][sender]
        interval = int(interval - call["receivers"]["pitch"][receiver])
        steps |= {"pitch": interval, "interval": interval}
    given = {
        "receiver": {name: leaf[receiver] for name, leaf in call["receivers"].items()},
        "sender": {name: leaf[sender] for name, leaf in call["senders"].items()},
        "context": call.get("context"),
    }
    for name, table in tables.items():
        if name == "label":
            label = int(fixed["labels"][receiver, sender])
            inside = 0 <= label < 5
            given[name] = {
                leaf: rows[max(0, min(label, 4))] * inside
                for leaf, rows in table.items()
            }
        else:
            given[name] = row(getattr(structure, name), steps[name], table)
    return {name: as_record(tree) for name, tree in given.items()}


def listen(aggregator, scores, messages, keep):
    """How a node listens, as the formula of each aggregator says."""
    if not len(messages):
        return np.zeros(messages.shape[1:])
    spread = keep.reshape(-1, *(1,) * (messages.ndim - 1))
    match aggregator:
        case rl.Sum():
            return (spread * messages).sum(0)
        case rl.Mean():
            return (spread * messages).sum(0) / len(messages)
        case rl.Softmax():
            weights = np.exp(scores - scores.max())
            return np.tensordot(keep * weights / weights.sum(), messages, 1)
        case rl.LogSumExp():
            return np.log(np.exp(messages).sum(0))
    return {rl.Max: np.max, rl.Min: np.min, rl.Std: np.std}[type(aggregator)](
        messages, axis=0
    )


def of_one_graph(structure, tree):
    """Cuts the leading axes off: the last graph."""

    def last(leaf):
        return np.asarray(leaf)[(-1,) * len(structure.lead)]

    return jax.tree.map(last, tree)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda each: each.name)
def test_the_definition_is_a_loop_over_edges(structure):
    with jax.enable_x64(True):
        arrays = structure.arrays(0, "float64")
        moving, fixed = arrays["moving"], arrays["fixed"]
        (_, found), _ = compiled(structure, L.Edges())(**arrays)
        call = structure.call(moving, fixed)
        heard = of_one_graph(structure, found)
        mask = call["topology"].mask(structure.receivers, structure.senders)
        mask = mask[(-1,) * (mask.ndim - 2)]
        arrays_of_one = ("receivers", "senders", "relations", "context")
        one = call | {
            name: of_one_graph(structure, call[name])
            for name in arrays_of_one
            if name in call
        }
        labels = {"labels": of_one_graph(structure, fixed.get("labels"))}
        seed = jax.random.key_data(fixed["key"])
        shape = jax.eval_shape(lambda: jax.tree.leaves(found)[0]).shape
        for receiver in range(structure.receivers):
            scores, messages, keep = [], [], []
            for sender in np.flatnonzero(mask[receiver]):
                given = one_edge(structure, one, labels, receiver, int(sender))

                def say(terms, given=given):
                    needed = [inspect.signature(term).parameters for term in terms]
                    return sum(
                        np.asarray(term(**{name: given[name] for name in names}))
                        for term, names in zip(terms, needed, strict=True)
                    )

                scores.append(say(one.get("score", ())))
                messages.append(say(one["message"]))
                index = jnp.uint32(np.prod(structure.lead) - 1)
                keep.append(
                    keep_scale(structure.dropout, seed, index, receiver, sender)
                    if structure.dropout
                    else 1.0
                )
            messages = np.reshape(messages, (-1, *shape[len(structure.lead) + 1 :]))
            wanted = jax.tree.map(
                lambda aggregator, parts=(scores, messages, keep): listen(
                    aggregator, *map(np.asarray, parts)
                ),
                structure.aggregator,
                is_leaf=lambda node: isinstance(node, rl.aggregators.Aggregator),
            )
            here = jax.tree.map(lambda leaf: leaf[receiver], heard)  # noqa: B023
            assert error(here, wanted) < 1e-5


HUNDREDS = {  # Of edges that read one number each: what is added up, and by whom.
    "sender": (lambda sender: sender, {}),
    "offset": (lambda row: row.bias, {"row": rl.Offset(clip=0)}),
    "label": (
        lambda row: row.bias,
        {"row": rl.Labels(np.zeros((600, 1), int), count=1)},
    ),
}


@pytest.mark.parametrize("name", HUNDREDS)
@pytest.mark.parametrize(
    "lowering",
    [L.Edges(), L.Dense(), L.Tiles(block=8, graphs=1), L.Tiles(block=8, graphs=2)],
    ids=str,
)
def test_gradients_in_bfloat16_are_summed_in_float32(lowering, name):
    message, relations = HUNDREDS[name]

    @jax.jit
    @jax.grad
    def slope(one):
        heard = rl.propagate(
            rl.Complete(),
            num_receivers=600,
            senders=one,
            relations={key: each.rows(bias=one) for key, each in relations.items()},
            message=message,
            aggregator=rl.Sum(),
            lowering=lowering,
        )
        return heard.astype(jnp.float32).sum()

    # Ones that are added in bfloat16 stay at 256.
    assert float(slope(jnp.ones(1, jnp.bfloat16))[0]) == 600


def test_largest_messages_tie():
    structure = next(each for each in STRUCTURES if each.has_extremes)
    counts = collections.Counter()
    for seed in range(5):
        arrays = structure.arrays(seed)
        call = structure.call(**arrays)
        call.pop("batch_axes")
        value = np.asarray(call["senders"]["value"])
        mask = call["topology"].mask(structure.receivers, structure.senders)
        for row_of in mask[mask.sum(axis=1) > 2]:
            heard = value[:, :, row_of]
            ties = (heard == heard.max(axis=2, keepdims=True)).sum(axis=2)
            counts.update((ties > 1).reshape(-1).tolist())
    assert counts[True] > 0.25 * counts.total()


@pytest.fixture(scope="module", autouse=True)
def largest_errors():
    yield
    for kind, size in sorted(largest.items()):
        print(f"largest error of {' '.join(kind)}: {size:.1e}")
