"""What is asked of graph networks: losses by hand, measures, and data in batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import relational as rl
from relational import datasets, graph_tuples, specs, training
from relational.models import citations, graph_batches, graph_sets, tasks
from relational.models.graph_batches import graph_of, label_of
from relational.models.typical import typical_batch
from relational.training.steps import initial_state, update

_SMALL = [
    "training.batch_size=4",
    "training.optimizer=adam",
    "training.schedule={constant: {rate: 0.01}}",
]


def small(name, *settings):
    """A shipped spec with few graphs, narrow layers and a large rate."""
    return specs.override(specs.load(name), [*_SMALL, *settings])


PATHS = small(
    "shortest_path",
    "data={shortest_path: {nodes: [3, 5], larger: [6, 7], held_out: 10}}",
    "model.process.steps=2",
)


@pytest.fixture(scope="module")
def cora():
    """Eight papers in a ring, of two fields, in place of Cora."""
    ring = np.arange(8)
    graph = datasets.graph_pairs.graph(
        nodes=np.eye(8),
        edges=None,
        senders=np.concatenate([ring, np.roll(ring, 1)]),
        receivers=np.concatenate([np.roll(ring, 1), ring]),
        num_nodes=8,
    )
    return datasets.Citations(
        graph=graph,
        labels=np.array([0, 0, 0, 0, 1, 1, 1, -1], np.int32),
        train=ring < 2,
        validation=(ring >= 2) & (ring < 6),
        test=ring == 6,
        num_classes=7,
    )


@pytest.fixture(scope="module")
def molecules():
    """Twenty chains of carbon, whose number is their length."""

    def chain(size):
        atoms = np.tile([6, 2, 0, 2, 0, 0, 0], [size, 1])
        bonds = np.stack([np.arange(size - 1), np.arange(1, size)], axis=1)
        return datasets.molecules.molecule_graph(atoms, bonds, np.ones(size - 1, int))

    counts = [2 + index % 5 for index in range(20)]
    return datasets.Molecules(
        graphs=tuple(map(chain, counts)),
        targets=np.array(counts, np.float32),
        unit="kcal/mol",
    )


@pytest.fixture
def made(cora, molecules, monkeypatch):
    """Data of the test's own in place of those that are downloaded."""
    monkeypatch.setattr(citations, "_citations", lambda *_: cora)
    monkeypatch.setattr(graph_sets, "_molecules", lambda *_: molecules)


def test_the_loss_of_answers_is_the_mean_surprise_of_nodes_and_of_edges():
    task, data = tasks.from_spec(PATHS)
    batch = next(iter(data.evaluation("test")))
    params = task.init(jax.random.key(0), batch)
    outcome = jax.jit(task.outcome, static_argnames="is_training")
    found = outcome(params, jax.random.key(1), batch, is_training=False)
    trained = outcome(params, jax.random.key(1), batch, is_training=True)
    apply = jax.jit(task.network.apply, static_argnames="is_training")
    outputs = apply(params, None, graph_of(batch), is_training=False)
    wanted = []
    for graph in outputs:
        true = graph._replace(
            nodes=label_of(batch, "nodes"), edges=label_of(batch, "edges")
        )
        each = zip(
            graph_tuples.unbatch(graph_tuples.unpad(graph)),
            graph_tuples.unbatch(graph_tuples.unpad(true)),
            strict=True,
        )
        wanted.append([_surprise(one, other) for one, other in each])
    num = len(wanted[0])
    np.testing.assert_allclose(found.loss[0, :num], wanted[-1], rtol=1e-4)
    np.testing.assert_allclose(
        trained.loss[0, :num], np.mean(wanted, axis=0), rtol=1e-4
    )
    np.testing.assert_array_equal(found.weight[0], np.arange(5) < num)
    assert not trained.measures
    answers = datasets.answers(outputs[-1], true_of(batch), found.weight[0] == 1)
    for name, share in (
        ("nodes right", answers.node_share),
        ("edges right", answers.edge_share),
        ("graphs solved", answers.solved),
    ):
        measure = found.measures[name]
        assert float(measure.total.sum() / measure.size.sum()) == pytest.approx(
            float(share)
        ), name


def true_of(batch):
    graph = graph_of(batch)
    return graph._replace(
        nodes=label_of(batch, "nodes"), edges=label_of(batch, "edges"), globals=None
    )


def _surprise(logits, true):
    return sum(
        float(-(other * jax.nn.log_softmax(one)).sum(-1).mean())
        for one, other in ((logits.nodes, true.nodes), (logits.edges, true.edges))
    )


def test_batches_have_few_shapes_and_can_be_taken_up_again():
    _, data = tasks.from_spec(PATHS)
    walk = data.training(3)
    first = [next(walk) for _ in range(4)]
    place = walk.get_state()
    later = [next(walk) for _ in range(3)]
    again = data.training(3)
    again.set_state(place)
    for batch in later:
        jax.tree.map(np.testing.assert_array_equal, dict(next(again)), dict(batch))
    shapes = {batch["nodes.features"].shape for batch in first + later}
    assert len(shapes) <= 4
    other = next(data.training(4))
    assert any(
        leaf.shape != first[0][name].shape or not np.array_equal(leaf, first[0][name])
        for name, leaf in other.items()
    )


def test_batches_of_one_step_have_one_shape():
    spec = specs.override(PATHS, ["training.accumulate=2"])
    _, data = tasks.from_spec(spec)
    walk = data.training(0)
    assert len({next(walk)["senders"].shape for _ in range(12)}) == 1


def test_splits_are_other_graphs_and_the_larger_ones_are_larger():
    _, data = tasks.from_spec(PATHS)

    def counts(split):
        batches = data.evaluation(split)
        return np.concatenate(
            [graph_tuples.unpad(graph_of(batch)).n_node for batch in batches]
        )

    assert len(counts("test")) == 10
    assert counts("test").max() <= 5
    assert counts("larger").min() >= 6
    assert counts("test").tolist() != counts("validation").tolist()
    with pytest.raises(ValueError, match="`split` must be one of `validation`, `test`"):
        data.evaluation("train")


def test_papers_that_do_not_count_change_nothing(made):
    task, data = tasks.from_spec(specs.load("cora_gcn"))
    (batch,) = data.evaluation("validation")
    params = task.init(jax.random.key(0), batch)
    found = task.outcome(params, jax.random.key(0), batch, is_training=False)
    (graph,) = task.network.apply(params, None, task.graph(batch), is_training=False)
    logits = jax.nn.log_softmax(graph.nodes)
    wanted = [-float(logits[i, label]) for i, label in ((2, 0), (3, 0), (4, 1), (5, 1))]
    np.testing.assert_allclose(found.loss[0, 2:6], wanted, rtol=1e-5)
    assert float(found.weight.sum()) == 4
    assert float(jnp.abs(found.loss).sum()) == pytest.approx(sum(wanted), rel=1e-5)


@pytest.mark.parametrize("name", ["cora_gcn", "cora_gat"])
def test_edges_that_are_known_change_no_loss_and_allow_more_lowerings(made, name):
    task, data = tasks.from_spec(specs.load(name))
    (batch,) = data.evaluation("validation")
    assert not {"senders", "n_node"} & set(batch)
    traced = tasks.GraphTask(task.spec, task.aim)
    edges = {key: getattr(task.edges.graph, key)[None] for key in graph_batches._EDGES}
    params = task.init(jax.random.key(0), batch)

    def loss(task, batch):
        def total(params, batch):
            key = jax.random.key(1)
            found = task.outcome(params, key, batch, is_training=True)
            return found.loss.sum()

        return jax.jit(jax.value_and_grad(total))(params, dict(batch))

    (found, gradient), (wanted, other) = loss(task, batch), loss(traced, batch | edges)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)

    def refusals(task, batch):
        def total(params, batch):
            key = jax.random.key(1)
            return task.outcome(params, key, batch, is_training=False).loss.sum()

        plans = rl.explain(total, params, dict(batch)).plans
        reasons = [
            reason
            for plan in plans
            for candidate in plan.candidates
            for reason in candidate.reasons
        ]
        return [reason for reason in reasons if "traced" in reason]

    assert refusals(traced, batch | edges)
    assert not refusals(task, batch)


def test_equal_edges_are_one_task(made):
    one, other = (tasks.from_spec(specs.load("cora_gcn"))[0] for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    ring = one.edges.graph
    turned = ring._replace(senders=ring.senders[::-1])
    assert graph_batches.KnownEdges.of(turned) != one.edges


def test_numbers_are_learned_normalised_and_told_in_their_unit(made, molecules):
    spec = small("freesolv_mpnn", "training.batch_size=3")
    task, data = tasks.from_spec(spec)
    split = datasets.random_split(20, 0)
    scale = datasets.scale_of(molecules.targets[split.train])
    true = np.concatenate(
        [
            np.asarray(label_of(batch, "globals"))[:, 0][
                np.asarray(graph_tuples.graph_mask(graph_of(batch)))
            ]
            for batch in data.evaluation("test")
        ]
    )
    targets = molecules.targets[split.test]
    np.testing.assert_allclose(true, scale.normalised(targets), rtol=1e-5)
    evaluation = training.Evaluation(
        split="test", loss=0.25, standard_error=0.1, tokens=2, pieces=2
    )
    words = task.judged(evaluation)
    assert words["RMSE in kcal/mol"] == f"{0.5 * scale.std:.4f}"
    assert words["standard error"] == f"{0.1 * scale.std:.4f}"


_TRAINED = {
    "shortest_path": PATHS,
    "springs": small("springs", "data={springs: {masses: [3, 4], held_out: 4}}"),
    "cora_gat": specs.override(specs.load("cora_gcn"), _SMALL[1:]),
    "freesolv_mpnn": small(
        "freesolv_mpnn",
        "model.layers=[{linear: {nodes: 6}}, {message_passing: {width: 6}}, pool, "
        "{linear: {globals: 1}}]",
    ),
}


@pytest.mark.parametrize("name", _TRAINED)
def test_training_lowers_the_loss(name, made):
    spec = _TRAINED[name]
    task, data = tasks.from_spec(spec)
    batch = next(data.training(0))
    state = initial_state(task, spec.training, batch)
    batches = {key: leaf[None] for key, leaf in batch.items()}
    losses = []
    for _ in range(40):
        state, report = update(state, batches, task=task, training=spec.training)
        numbers = report.numbers()
        losses.append(numbers["loss"] / numbers["tokens"])
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (
            "cora_gat",
            ["model.layers[4].graph_attention.width=6"],
            r"^model.layers: must give nodes of width 7, .* `planetoid` asks for; .* 6",
        ),
        (
            "esol_mpnn",
            ["model.layers[4].linear.globals=2"],
            r"^model.layers: must give globals of width 1, .* they have 2. Add a layer",
        ),
        (
            "sorting",
            ["model.decode[1].linear={nodes: 3}"],
            r"^model.decode: must give nodes of width 2, .*\nmodel.decode: must give edges",
        ),
        (
            "cora_gat",
            ["model.layers[1]={edge_attention: {heads: 1, width: 8}}"],
            r"^model.layers\[1\].edge_attention: `edges\['edge'\].features` must have",
        ),
    ],
)
def test_a_network_that_does_not_give_what_is_asked_is_refused(name, settings, words):
    spec = specs.override(specs.load(name), settings)
    with pytest.raises(ValueError, match=words):
        tasks.from_spec(spec)


@pytest.mark.parametrize("name", ["cora_gcn", "freesolv_graph_transformer"])
def test_typical_batches_have_the_arrays_of_real_ones(name, made):
    spec = specs.load(name)
    _, data = tasks.from_spec(spec)
    real, typical = next(data.training(0)), typical_batch(spec)
    assert set(real) == set(typical)
    for key, leaf in real.items():
        assert (leaf.ndim, leaf.dtype) == (typical[key].ndim, typical[key].dtype), key
        if name != "cora_gcn":
            assert leaf.shape[2:] == typical[key].shape[2:], key
