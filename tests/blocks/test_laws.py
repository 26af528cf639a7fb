"""Every block of the table obeys the laws of graphs."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

import relational as rl
from relational import blocks
from tests.blocks.table import BATCH, TABLE, graph, transformed

FIELDS = ("nodes", "edges", "globals")


@functools.cache
def compiled_once(name):
    """A block, compiled for one shape; smaller graphs are padded to it."""
    init, apply = transformed(name)
    return init(BATCH), apply, jax.jit(apply)


@pytest.fixture(params=TABLE)
def case(request):
    return compiled_once(request.param)


def padded(given, num_nodes=10, num_edges=24, num_graphs=4):
    return jraph.pad_with_graphs(given, num_nodes, num_edges, num_graphs)


def assert_close(found, wanted, atol=2e-5):
    for field in FIELDS:
        one, other = getattr(found, field), getattr(wanted, field)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=atol, err_msg=field)


def first(given, num_nodes, num_edges, num_graphs):
    """Returns the features of the first nodes, edges and graphs."""
    sizes = {"nodes": num_nodes, "edges": num_edges, "globals": num_graphs}
    return given._replace(
        **{field: getattr(given, field)[: sizes[field]] for field in FIELDS}
    )


def test_jit_is_eager_and_padding_is_invisible(case):
    params, apply, compiled = case
    eager = apply(params, BATCH)  # Edges are known here, and traced there.
    assert_close(first(compiled(params, padded(BATCH)), 8, 9, 2), eager)


def test_a_batch_of_graphs_is_one_graph_after_another(case):
    params, _, compiled = case
    both = compiled(params, padded(BATCH))
    before = {"nodes": 0, "edges": 0, "globals": 0}
    for one in jraph.unbatch_np(jax.tree.map(np.array, BATCH)):
        alone = compiled(params, padded(one))
        sizes = {"nodes": len(one.nodes), "edges": len(one.edges), "globals": 1}
        for field in FIELDS:
            span = slice(before[field], before[field] + sizes[field])
            np.testing.assert_allclose(
                getattr(both, field)[span],
                getattr(alone, field)[: sizes[field]],
                atol=2e-5,
            )
            before[field] += sizes[field]


def test_permuting_nodes_and_edges_permutes_the_result(case):
    params, _, compiled = case
    rng = np.random.default_rng(1)
    # Within each graph, since nodes of a graph stand together.
    nodes = np.concatenate([rng.permutation(5), 5 + rng.permutation(3)])
    edges = np.concatenate([rng.permutation(6), 6 + rng.permutation(3)])
    place = np.argsort(nodes).astype(np.int32)
    permuted = BATCH._replace(
        nodes=BATCH.nodes[nodes],
        edges=BATCH.edges[edges],
        senders=jnp.asarray(place)[BATCH.senders[edges]],
        receivers=jnp.asarray(place)[BATCH.receivers[edges]],
    )
    wanted = first(compiled(params, padded(BATCH)), 8, 9, 2)
    wanted = wanted._replace(nodes=wanted.nodes[nodes], edges=wanted.edges[edges])
    assert_close(first(compiled(params, padded(permuted)), 8, 9, 2), wanted)


def test_gradients_are_finite_with_isolated_nodes_without_edges_and_without_nodes(case):
    params, apply, _ = case

    def loss(params, features, given):
        out = apply(params, given._replace(**features))
        leaves = [getattr(out, field) for field in FIELDS]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves if leaf is not None)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    alone = graph([3], [[]])  # Three isolated nodes.
    nobody = graph([0], [[]])
    for given in (padded(BATCH), padded(alone), padded(nobody), nobody):
        features = {field: getattr(given, field) for field in FIELDS}
        for leaf in jax.tree.leaves(gradient(params, features, given)):
            assert np.isfinite(leaf).all()


def test_vmap_is_one_after_another(case):
    params, apply, compiled = case
    nodes = jnp.stack([BATCH.nodes, 2 * BATCH.nodes])

    def run(nodes):
        return apply(params, BATCH._replace(nodes=nodes))

    found = jax.jit(jax.vmap(run))(nodes)
    for at in range(2):
        wanted = compiled(params, padded(BATCH._replace(nodes=nodes[at])))
        one = jax.tree.map(lambda leaf, at=at: leaf[at], found)
        assert_close(one, first(wanted, 8, 9, 2))


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].fits_rules])
def test_a_rule_is_heard_as_its_edges_would_be(name):
    params, apply, compiled = compiled_once(name)
    ruled = blocks.over_topology(BATCH, rl.Band(before=1, after=1))
    pairs = [
        [(s, r) for r in range(n) for s in range(n) if abs(s - r) <= 1] for n in (5, 3)
    ]
    listed = graph([5, 3], pairs)._replace(nodes=BATCH.nodes, globals=BATCH.globals)
    found = jax.jit(lambda params: apply(params, ruled))(params)
    wanted = compiled(params, padded(listed))
    np.testing.assert_allclose(found.nodes["node"], wanted.nodes[:8], atol=2e-5)
    np.testing.assert_allclose(found.globals_, wanted.globals[:2], atol=2e-5)
