"""The scripts behind `docs/graph_accuracy.md` do what the page says."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import citations, kept, sampled_training
from benchmarks.molecules.models import MODELS
from relational import datasets
from relational.datasets import graph_pairs
from relational.datasets.molecules import molecule_graph
from relational.graph_tuples import Adjacency


def run_rule(rule, losses, accuracies):
    """Returns how many epochs a rule lets run, and which it chooses, from 0."""
    state = rule.start(jnp.int32(-1))
    after = jax.jit(rule.after)
    for epoch, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        loss, accuracy = jnp.float32(loss), jnp.float32(accuracy)
        state, stops = after(state, jnp.int32(epoch), jnp.int32(epoch), loss, accuracy)
        if stops:
            break
    return epoch + 1, int(state["params"])


def test_gcn_stops_when_the_loss_is_above_the_mean_of_ten():
    rng = np.random.default_rng(0)
    for _ in range(6):
        losses = np.linspace(2, 1, 60) + rng.normal(size=60).cumsum() * 0.02
        wanted = next(
            (i + 1 for i in range(11, 60) if losses[i] > losses[i - 10 : i].mean()), 60
        )
        found = run_rule(citations.Window(), losses, np.zeros(60))
        assert found == (wanted, wanted - 1)


def test_gat_waits_for_patience_and_takes_an_epoch_in_which_both_were_best():
    rng = np.random.default_rng(0)
    rule = dataclasses.replace(citations.Patience(), epochs=5)
    for _ in range(6):
        losses, accuracies = rng.random(60), rng.integers(0, 20, 60) / 20
        least, most, since, chosen = np.inf, 0.0, 0, -1
        for epoch in range(60):  # As their code goes.
            loss, accuracy = losses[epoch], accuracies[epoch]
            if accuracy >= most or loss <= least:
                if accuracy >= most and loss <= least:
                    chosen = epoch
                most, least, since = max(most, accuracy), min(least, loss), 0
            else:
                since += 1
                if since == 5:
                    break
        assert run_rule(rule, losses, accuracies) == (epoch + 1, chosen)


@pytest.fixture(scope="module")
def papers():
    """Two fields of 60 papers, which cite their own, and hold two words of their own."""
    rng = np.random.default_rng(0)
    labels = np.arange(120, dtype=np.int32) % 2
    senders = rng.integers(60, size=400) * 2
    receivers = rng.integers(60, size=400) * 2
    words = np.eye(40, dtype=np.float32)[rng.integers(20, size=120) * 2 + labels]
    part = rng.integers(3, size=120)
    return datasets.Citations(
        graph=graph_pairs.graph(
            nodes=words,
            edges=None,
            senders=np.concatenate([senders, senders + 1]),
            receivers=np.concatenate([receivers, receivers + 1]),
            num_nodes=120,
        ),
        labels=labels,
        train=part == 0,
        validation=part == 1,
        test=part == 2,
        num_classes=2,
    )


@pytest.mark.parametrize("kind", list(citations.RECIPES))
def test_recipes_learn_what_can_be_learned(papers, kind):
    recipe = citations.RECIPES[kind]
    stopping = dataclasses.replace(recipe.stopping, most_epochs=60)
    recipe = dataclasses.replace(recipe, stopping=stopping)
    train = jax.jit(lambda seed: citations.trained(recipe, papers, seed))
    with jax.numpy_dtype_promotion("standard"):  # As optax is written.
        found = train(jnp.uint32(0))
    assert found["test"] > 0.9
    assert 0 < found["epochs"] <= 60


def test_the_networks_have_the_sizes_of_the_papers():
    one = graph_pairs.graph(
        nodes=np.ones([1, 1433], np.float32),
        edges=None,
        senders=np.zeros(1, np.int32),
        receivers=np.zeros(1, np.int32),
        num_nodes=1,
    )
    sizes = {}
    for kind, recipe in citations.RECIPES.items():
        model = hk.transform(lambda graph, recipe=recipe: recipe.model(graph, 7, 0.0))
        shapes = jax.eval_shape(model.init, jax.random.key(0), one)
        sizes[kind] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    gat = 1433 * 64 + 2 * 64 + 64 + 64 * 7 + 2 * 7 + 7
    assert sizes == {"gcn": 1433 * 16 + 16 * 7, "gat": gat}


def chain(length, seed=0):
    """A molecule of carbons in a row, with an oxygen at a random place."""
    rng = np.random.default_rng(seed)
    atoms = np.tile([6, 2, 0, 2, 0, 0, 0], (length, 1))
    atoms[rng.integers(length), 0] = 8
    bonds = np.stack([np.arange(length - 1), np.arange(1, length)], 1)
    return molecule_graph(atoms, bonds, np.ones(length - 1, np.int32))


def test_baselines_are_the_mean_and_what_is_linear_in_counts():
    graphs = tuple(chain(length, length) for length in range(3, 43))
    targets = np.array([2.0 * len(graph.nodes) - 5 for graph in graphs], np.float32)
    known = datasets.Molecules(graphs=graphs, targets=targets, unit="m")
    linear, mean = (MODELS[name].over(known)(0) for name in ("linear", "mean"))
    assert linear["test"] < 0.01
    split = datasets.random_split(40, 0)
    gap = targets[split.test] - targets[split.train].mean()
    np.testing.assert_allclose(mean["test"], np.sqrt((gap**2).mean()), rtol=1e-5)


@pytest.mark.parametrize("kind", ["message passing", "transformer"])
def test_batches_hold_each_molecule_once_and_padding_is_not_heard(kind):
    recipe = MODELS[kind]
    graphs = [chain(length) for length in (3, 5, 9, 4, 10)]
    targets = np.arange(5.0, dtype=np.float32)
    model = hk.without_apply_rng(
        hk.transform(lambda batch: recipe.network(batch, width=8, steps=2, rate=0.0))
    )

    apply = jax.jit(model.apply)

    def example(leaf):
        waves = np.cos(np.arange(leaf.size)).reshape(leaf.shape)
        return np.asarray(0.3 * waves, np.float32)

    def said(chosen, size):
        made = recipe.batches([graphs[at] for at in chosen], targets[chosen], size)
        found = {}
        for batch in made.batches(np.arange(len(chosen)), None):
            shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
            outputs = np.asarray(apply(jax.tree.map(example, shapes), batch))
            wanted, real = (np.asarray(each) for each in made.targets(batch))
            for target, output in zip(wanted[real], outputs[real], strict=True):
                assert float(target) not in found
                found[float(target)] = float(output)
        return found

    together = said(np.arange(5), 4)
    assert sorted(together) == targets.tolist()
    assert np.std(list(together.values())) > 1e-3
    alone = said(np.array([2]), 1)
    np.testing.assert_allclose(alone[2.0], together[2.0], rtol=1e-4)


def test_four_of_five_planted_edges_stay_within_a_community(tmp_path):
    sampled_training.save_graph(tmp_path, 20_000, seed=0)
    adjacency = Adjacency.open(tmp_path)
    labels = np.load(tmp_path / "labels.npy")
    assert (adjacency.num_nodes, adjacency.num_edges) == (2000, 20_000)
    hearers = np.repeat(np.arange(2000), adjacency.degrees)
    stays = labels[adjacency.senders] == labels[hearers]
    # One in ten of the others has the same community by chance.
    assert abs(stays.mean() - 0.82) < 0.02
    assert np.load(tmp_path / "features.npy").shape == (2000, 64)


def test_rows_are_kept_and_found_again(tmp_path):
    path = tmp_path / "kept.jsonl"
    assert kept.rows(path) == []
    kept.keep(path, {"model": "gcn", "seed": 0, "test": 0.8})
    kept.keep(path, {"model": "gcn", "seed": 1, "test": 0.9})
    found = kept.rows(path)
    assert kept.holds(found, {"model": "gcn", "seed": 1})
    assert not kept.holds(found, {"model": "gat", "seed": 1})
    assert kept.spread((100 * row["test"] for row in found), 1) == "85.0 ± 7.1"
