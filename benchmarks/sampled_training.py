"""One process of `benchmarks.sampling`: a generated graph, and training on it.

`python -m benchmarks.sampled_training FOLDER sampled|whole STEPS` prints, as JSON, what
it took and what was reached.

Shapes: N nodes, E edges, D features, C communities.
"""

import functools
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax

from relational import blocks
from relational.graph_tuples import Adjacency, NeighbourSampler

COMMUNITIES = 10
_DEGREE = 10
_WIDTH = 64
_WITHIN = 0.8  # The share of edges whose ends are of one community.
_SIGNAL = 0.12  # Of a community's mean, a feature; noise has 1.
_FAN_OUTS = (10, 5)
_BATCH = 128


def save_graph(folder: pathlib.Path, num_edges: int, seed: int) -> None:
    """Writes a graph with planted communities, its features and its labels."""
    rng = np.random.default_rng(seed)
    num_nodes = num_edges // _DEGREE
    labels = np.arange(num_nodes) % COMMUNITIES  # So node i + C is of i's community.
    receivers = rng.integers(num_nodes, size=num_edges)
    strangers = rng.integers(num_nodes, size=num_edges)
    friends = strangers - strangers % COMMUNITIES + labels[receivers]
    stays = rng.random(num_edges) < _WITHIN
    adjacency = Adjacency.of(
        senders=np.where(stays, friends, strangers),
        receivers=receivers,
        num_nodes=num_nodes,
    )
    adjacency.save(folder)
    centres = _SIGNAL * rng.normal(size=[COMMUNITIES, _WIDTH])
    features = rng.normal(size=[num_nodes, _WIDTH]) + centres[labels]
    np.save(folder / "features.npy", features.astype(np.float32))
    np.save(folder / "labels.npy", labels.astype(np.int32))
    np.save(folder / "centres.npy", centres.astype(np.float32))


def one(folder: pathlib.Path, how: str, steps: int) -> None:
    """Trains on a saved graph in this process, and prints what it took, as JSON."""
    adjacency = Adjacency(
        **{
            name: np.load(folder / f"{name}.npy")
            for name in ("starts", "senders", "edges")
        }
    )
    features, labels = (
        np.load(folder / f"{name}.npy") for name in ("features", "labels")
    )
    order = np.random.default_rng(1).permutation(adjacency.num_nodes)
    train, test = np.split(order, [len(order) // 2])
    kept_arrays = (
        adjacency.starts,
        adjacency.senders,
        adjacency.edges,
        features,
        labels,
    )
    _warm_up()
    before = memory_mib("VmRSS")
    run = _sampled if how == "sampled" else _whole
    seconds, accuracy, peak = run(adjacency, features, labels, train, test, steps)
    row = {
        "nodes": adjacency.num_nodes,
        "graph_mib": sum(array.nbytes for array in kept_arrays) / 2**20,
        "before_mib": before,
        "peak_mib": peak,
        "milliseconds": 1e3 * statistics.median(seconds),
        "test": accuracy,
        "alone": _by_features_alone(folder, features, labels),
    }
    print(json.dumps(row))


def _by_features_alone(folder: pathlib.Path, features: Any, labels: Any) -> float:
    """Returns how often the nearest centre is right: the best without the edges."""
    centres = np.load(folder / "centres.npy")
    score = features @ centres.T - (centres**2).sum(-1) / 2
    return float((score.argmax(-1) == labels).mean())


def memory_mib(field: str) -> float:
    """Returns a figure of this process: VmRSS, resident now, or VmHWM, at its most."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(found) / 2**10


def _warm_up() -> None:
    """Lets JAX and grain take what they take for anything at all."""
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jnp.ones([8, 8])))
    import grain

    grain.MapDataset.source([0])[0]


def network(graph: jraph.GraphsTuple) -> jax.Array:
    """Hamilton et al. 2017, two layers of means: [N, C]."""
    graph = blocks.GraphSAGE(width=_WIDTH, name="first")(graph)
    graph = graph._replace(nodes=jax.nn.relu(graph.nodes))
    return blocks.GraphSAGE(width=COMMUNITIES, name="second")(graph).nodes


def _training() -> tuple[Any, Any, Any]:
    """Returns the model, its first state, and a step on some rows of a graph."""
    model = hk.without_apply_rng(hk.transform(network))
    optimizer = optax.adam(1e-2)

    def start(graph: jraph.GraphsTuple) -> Any:
        params = model.init(jax.random.key(0), graph)
        return params, optimizer.init(params)

    def step(state: Any, graph: jraph.GraphsTuple, rows: Any, labels: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = model.apply(params, graph)[rows]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean()

        params, optimizer_state = state
        updates, optimizer_state = optimizer.update(
            jax.grad(loss)(params), optimizer_state
        )
        return optax.apply_updates(params, updates), optimizer_state

    return model, start, step


def _sampled(
    adjacency: Adjacency, features: Any, labels: Any, train: Any, test: Any, steps: int
) -> tuple[list[float], float, float]:
    """Learns from samples around 128 nodes, and tests on samples around others."""
    sampler = NeighbourSampler(
        adjacency=adjacency, fan_outs=_FAN_OUTS, batch_size=_BATCH, nodes=features
    )
    batches, tests = sampler.dataset(train), sampler.dataset(test)
    model, start, step = _training()
    step = jax.jit(step, donate_argnums=0)
    state, seconds = start(batches[0].graph), []
    for at in range(steps):
        began = time.perf_counter()
        sample = batches[at]
        wanted = labels[sample.node_ids[sample.seed_rows]]
        state = jax.block_until_ready(
            step(state, sample.graph, sample.seed_rows, wanted)
        )
        seconds.append(time.perf_counter() - began)
    logits_of = jax.jit(lambda graph, rows: model.apply(state[0], graph)[rows])
    right = []
    for at in range(min(40, len(test) // _BATCH)):
        sample = tests[at]
        wanted = labels[sample.node_ids[sample.seed_rows]]
        right.append(logits_of(sample.graph, sample.seed_rows).argmax(-1) == wanted)
    return seconds, float(np.mean(right)), memory_mib("VmHWM")


def _whole(
    adjacency: Adjacency, features: Any, labels: Any, train: Any, test: Any, steps: int
) -> tuple[list[float], float, float]:
    """Learns from all nodes and edges in each step."""
    receivers = np.repeat(np.arange(adjacency.num_nodes), adjacency.degrees)
    graph = jraph.GraphsTuple(
        nodes=None,
        edges=None,
        globals=None,
        senders=adjacency.senders,
        receivers=receivers.astype(np.int32),
        n_node=np.array([adjacency.num_nodes]),
        n_edge=np.array([adjacency.num_edges]),
    )
    model, start, step = _training()

    @functools.partial(jax.jit, donate_argnums=0)
    def whole_step(state: Any, nodes: Any) -> Any:
        return step(state, graph._replace(nodes=nodes), train, labels[train])

    nodes = jnp.asarray(features)
    state, seconds = start(graph._replace(nodes=nodes)), []
    for _ in range(steps):
        began = time.perf_counter()
        state = jax.block_until_ready(whole_step(state, nodes))
        seconds.append(time.perf_counter() - began)
    logits = jax.jit(lambda params: model.apply(params, graph._replace(nodes=nodes)))
    right = logits(state[0])[test].argmax(-1) == labels[test]
    return seconds, float(right.mean()), memory_mib("VmHWM")


if __name__ == "__main__":
    one(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
