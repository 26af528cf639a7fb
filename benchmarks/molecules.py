"""`python -m benchmarks.molecules`: ESOL and FreeSolv, ten random splits.

A message-passing network, which hears along bonds, and a graph transformer, in which
all atoms of a molecule hear each other and know how far apart they are; beside them the
mean, and a linear model of how many atoms and bonds of each kind there are. 80 % of the
molecules are learned from; after each epoch 10 % are looked at, and the parameters of
the epoch in which these were best are tested on the last 10 %.

Shapes: B molecules of a batch, N atoms of the largest of them, M molecules, D features.
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import jraph
import numpy as np
import optax
import typer

import relational as rl
import relational.datasets as data
from benchmarks import kept
from benchmarks.machine import machine
from relational import blocks, graph_tuples

_ROOT = pathlib.Path(__file__).parent.parent
_KEPT = _ROOT / "docs" / "results" / "molecules.jsonl"
Errors = Callable[[int], kept.Row]  # Of the split of a seed.
_LIMIT = 8  # Distances in bonds have labels of their own up to here.
_MULTIPLE = 8  # Padded numbers of atoms.


def main(
    sets: Annotated[
        list[str] | None, typer.Argument(help="esol, freesolv; both if not given.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Some of the models; all if not given.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many splits, from 0.")] = 10,
    out: Annotated[
        pathlib.Path, typer.Option(help="Where results are kept, a line a run.")
    ] = _KEPT,
) -> None:
    """Trains what has not been trained, and prints a table of what was kept."""
    print(machine())
    made = {}
    for seed in range(seeds):
        for name, kind in itertools.product(
            sets or data.molecules.UNITS, model or MODELS
        ):
            run = {"set": name, "model": kind, "seed": seed}
            if kept.holds(kept.rows(out), run):
                continue
            if (name, kind) not in made:  # Compiled once, for all seeds.
                made[name, kind] = MODELS[kind].over(data.load_molecules(name))
            began = time.perf_counter()
            found = made[name, kind](seed)
            seconds = round(time.perf_counter() - began, 2)
            kept.keep(out, {**run, **found, "seconds": seconds})
            print(kept.rows(out)[-1], flush=True)
    print(table(kept.rows(out)))


def table(found: list[kept.Row]) -> str:
    """Returns mean and standard deviation over splits, in Markdown."""
    titles = (
        "set",
        "model",
        "splits",
        "test RMSE",
        "validation RMSE",
        "training RMSE",
        "parameters",
        "seconds a run",
    )
    lines = kept.head(titles)
    for name in data.molecules.UNITS:
        for model in MODELS:
            rows = [row for row in found if (row["set"], row["model"]) == (name, model)]
            if rows:
                test, validation, train = (
                    kept.spread((row[part] for row in rows), 2)
                    for part in ("test", "validation", "train")
                )
                seconds = sorted(row["seconds"] for row in rows)[len(rows) // 2]
                lines.append(
                    f"| {name} | {model} | {len(rows)} | {test} | {validation} | "
                    f"{train} | "
                    f"{rows[0]['parameters']:,} | {seconds:.0f} |"
                )
    return "\n".join(lines)


class Mean:
    """Says the mean of the training targets, whatever the molecule."""

    def over(self, molecules: data.Molecules) -> Errors:
        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            mean = molecules.targets[split.train].mean()
            said = np.full_like(molecules.targets, mean)
            return {**_errors(said, molecules.targets, split), "parameters": 1}

        return errors


class Linear:
    """Ridge regression on how many atoms and bonds of each kind there are.

    Of several strengths of the ridge the one that is best on validation is taken.
    """

    def over(self, molecules: data.Molecules) -> Errors:
        counts = [
            np.concatenate([graph.nodes.sum(0), graph.edges.sum(0) / 2])
            for graph in molecules.graphs
        ]
        counted = np.stack(counts).astype(np.float64)

        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            known = counted[split.train]
            rows = (counted - known.mean(0)) / np.maximum(known.std(0), 1e-6)
            known, mean = rows[split.train], molecules.targets[split.train].mean()
            found = []
            for ridge in 10.0 ** np.arange(-3, 4):
                square = known.T @ known + ridge * np.eye(known.shape[1])
                wanted = molecules.targets[split.train] - mean
                said = mean + rows @ np.linalg.solve(square, known.T @ wanted)
                found.append(_errors(said, molecules.targets, split))
            best = min(found, key=lambda errors: errors["validation"])
            return {**best, "parameters": rows.shape[1] + 1}

        return errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A network, how its batches are made, and how it is trained."""

    network: Any  # From a batch to [B], of targets with mean 0 and variance 1.
    batches: Any  # A class: of graphs and targets, whose `batches` are drawn.
    width: int = 64
    steps: int
    epochs: int
    batch_size: int = 32
    rate: float
    decay: float = 1e-2
    dropout: float = 0.1

    def over(self, molecules: data.Molecules) -> Errors:
        """Returns the errors by seed; all of them run the same compiled programs."""
        made = self.batches(molecules.graphs, molecules.targets, self.batch_size)
        model = hk.transform(
            lambda batch, rate: self.network(
                batch, width=self.width, steps=self.steps, rate=rate
            )
        )
        first = next(made.batches(np.arange(len(molecules.targets)), None))
        optimizer = self._optimizer(len(molecules.targets))

        @jax.jit
        def start(key: jax.Array) -> Any:
            params = model.init(key, first, 0.0)
            return params, optimizer.init(params), key

        @jax.jit
        def step(state: Any, batch: Any, mean: Any, std: Any) -> Any:
            params, optimizer_state, key = state
            key, own = jax.random.split(key)

            def loss(params: Any) -> jax.Array:
                said = model.apply(params, own, batch, self.dropout)
                targets, real = made.targets(batch)
                square = (said - (targets - mean) / std) ** 2
                # A batch of few molecules counts for few.
                return jnp.sum(square, where=real) / self.batch_size

            updates, optimizer_state = optimizer.update(
                jax.grad(loss)(params), optimizer_state, params
            )
            return optax.apply_updates(params, updates), optimizer_state, key

        @jax.jit
        def squares(params: Any, batch: Any, mean: Any, std: Any) -> Any:
            said = model.apply(params, None, batch, 0.0) * std + mean
            targets, real = made.targets(batch)
            return jnp.sum((said - targets) ** 2, where=real), real.sum()

        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            scale = data.scale_of(molecules.targets[split.train])
            rng = np.random.default_rng(seed)

            def error(params: Any, part: np.ndarray) -> float:
                batches = made.batches(part, None)
                found = [squares(params, b, scale.mean, scale.std) for b in batches]
                total, count = np.sum(jax.device_get(found), axis=0)
                return float(np.sqrt(total / count))

            state = start(jax.random.key(seed))
            best, chosen, best_epoch = np.inf, state[0], 0
            for epoch in range(self.epochs):
                for batch in made.batches(split.train, rng):
                    state = step(state, batch, scale.mean, scale.std)
                found = error(state[0], split.validation)
                if found < best:
                    best, chosen, best_epoch = found, state[0], epoch + 1
            return {
                "train": error(chosen, split.train),
                "validation": best,
                "test": error(chosen, split.test),
                "epoch": best_epoch,
                "epochs": self.epochs,
                "parameters": sum(leaf.size for leaf in jax.tree.leaves(chosen)),
            }

        return errors

    def _optimizer(self, num_molecules: int) -> Any:
        num_steps = self.epochs * (num_molecules * 8 // 10 // self.batch_size)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, self.rate, num_steps // 20, num_steps
        )
        return optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(schedule, weight_decay=self.decay),
        )


class Packed:
    """Batches as graph tuples, padded to one shape; the target is the graph's globals."""

    def __init__(self, graphs: Sequence[jraph.GraphsTuple], targets: Any, size: int):
        self.graphs = [
            graph._replace(globals=np.full([1, 1], target, np.float32))
            for graph, target in zip(graphs, targets, strict=True)
        ]
        self.buckets = graph_tuples.Buckets.fit(graphs, batch_size=size, num_buckets=1)

    def batches(
        self, chosen: np.ndarray, rng: np.random.Generator | None
    ) -> Iterator[jraph.GraphsTuple]:
        order = chosen if rng is None else rng.permutation(chosen)
        yield from graph_tuples.pack([self.graphs[at] for at in order], self.buckets)

    def targets(self, batch: jraph.GraphsTuple) -> tuple[jax.Array, jax.Array]:
        return batch.globals[:, 0], graph_tuples.graph_mask(batch)


def message_passing(
    batch: jraph.GraphsTuple, *, width: int, steps: int, rate: float
) -> jax.Array:
    """Gilmer et al. 2017: messages along bonds, a GRU an atom, one sum a molecule."""

    def step() -> Any:
        return blocks.message_passing_network(
            message=hk.nets.MLP([width, width], name="message"),
            update_node=blocks.ByName(blocks.GatedUpdate()),
        )

    encode = blocks.Independent(update_node=hk.nets.MLP([width], name="encode"))
    graph = blocks.Repeat(step, steps)(encode(batch))
    graph = graph._replace(nodes=_dropped(graph.nodes, rate))
    read = blocks.deep_sets(
        update_node=hk.nets.MLP([width, width], name="atom"),
        update_global=hk.nets.MLP([width, 1], name="molecule"),
        node_inputs=("node",),
        aggregator=(rl.Sum(), rl.Max()),
    )
    return read(graph).globals[:, 0]


class Atoms(NamedTuple):
    """Molecules side by side, each padded to N atoms."""

    nodes: Any  # [B, N, D]
    counts: Any  # [B], atoms that there are.
    distance: Any  # [B, N, N], labels.
    bond: Any  # [B, N, N], labels: 0 for none, then the types.
    targets: Any  # [B]
    real: Any  # [B], whether a molecule counts.


class Padded:
    """Batches of molecules of about one size, so that there is little padding."""

    def __init__(self, graphs: Sequence[jraph.GraphsTuple], targets: Any, size: int):
        self.size = size
        counts = np.array([len(graph.nodes) for graph in graphs])
        tops = np.unique(-(-np.quantile(counts, [0.5, 0.8, 1]) // _MULTIPLE))
        tops = (tops * _MULTIPLE).astype(int)
        self.group = np.searchsorted(tops, counts)
        self.atoms = [
            _atoms(graph, tops[group], target)
            for graph, group, target in zip(graphs, self.group, targets, strict=True)
        ]

    def batches(
        self, chosen: np.ndarray, rng: np.random.Generator | None
    ) -> Iterator[Atoms]:
        order = chosen if rng is None else rng.permutation(chosen)
        made = []
        for group in np.unique(self.group):
            members = order[self.group[order] == group]
            made += [
                members[begin : begin + self.size]
                for begin in range(0, len(members), self.size)
            ]
        for at in range(len(made)) if rng is None else rng.permutation(len(made)):
            yield self._batch(made[at])

    def _batch(self, members: np.ndarray) -> Atoms:
        filled = np.resize(members, self.size)  # The first ones again.
        batch = Atoms(
            *map(np.stack, zip(*(self.atoms[i] for i in filled), strict=True))
        )
        return batch._replace(real=np.arange(self.size) < len(members))

    def targets(self, batch: Atoms) -> tuple[jax.Array, jax.Array]:
        return batch.targets, batch.real


def _atoms(graph: jraph.GraphsTuple, size: int, target: float) -> Atoms:
    count = len(graph.nodes)
    distance = np.full([size, size], _LIMIT + 1, np.int32)
    known = blocks.shortest_path_distances(
        graph.senders, graph.receivers, count, limit=_LIMIT
    )
    distance[:count, :count] = known.labels
    bond = np.zeros([size, size], np.int32)
    bond[graph.receivers, graph.senders] = 1 + graph.edges.argmax(-1)
    nodes = np.zeros([size, graph.nodes.shape[-1]], np.float32)
    nodes[:count] = graph.nodes
    return Atoms(nodes, np.int32(count), distance, bond, np.float32(target), True)


def transformer(batch: Atoms, *, width: int, steps: int, rate: float) -> jax.Array:
    """Ying et al. 2021: all atoms hear all, with biases of distance and bond."""
    everyone = rl.Complete() & rl.Lengths(senders=batch.counts)
    graph = rl.Graph(
        nodes={"atom": _linear(batch.nodes, width)},
        edges={
            "hears": rl.EdgeSet(
                senders="atom",
                receivers="atom",
                topology=everyone,
                relations={
                    "distance": rl.Labels(batch.distance, _LIMIT + 2),
                    "bond": rl.Labels(batch.bond, len(data.molecules.BOND_TYPES) + 1),
                },
            )
        },
        batch_axes=1,
    )

    def layer() -> Any:
        block = blocks.GraphTransformer(
            num_heads=4,
            feed_forward_width=2 * width,
            biases=["distance", "bond"],
            over="hears",
        )
        return functools.partial(block, dropout_rate=rate)

    graph = blocks.Repeat(layer, steps, "separate")(graph)
    said = jax.nn.relu(_linear(_normed(graph.features("atom")), width))
    total, largest = rl.propagate(
        everyone,
        batch_axes=1,
        senders=said,
        num_receivers=1,
        message=lambda sender: sender,
        aggregator=(rl.Sum(), rl.Max()),
    )
    heard = jnp.concatenate([total, largest], -1)[:, 0]
    read = hk.nets.MLP([width, 1], name="molecule")
    return read(heard)[:, 0]


def _linear(values: jax.Array, width: int) -> jax.Array:
    flat = values.reshape(-1, values.shape[-1])
    return hk.Linear(width)(flat).reshape(*values.shape[:-1], width)


def _normed(values: jax.Array) -> jax.Array:
    return hk.LayerNorm(-1, create_scale=True, create_offset=True)(values)


def _dropped(values: jax.Array, rate: float) -> jax.Array:
    if not rate:
        return values
    kept_ones = jax.random.bernoulli(hk.next_rng_key(), 1 - rate, values.shape)
    return jnp.where(kept_ones, values / (1 - rate), 0)


def _errors(said: np.ndarray, targets: np.ndarray, split: data.Split) -> kept.Row:
    """Returns the root of the mean squared error on each part, in the unit."""
    square = (said - targets) ** 2
    return {
        part: float(np.sqrt(square[getattr(split, part)].mean()))
        for part in ("train", "validation", "test")
    }


MODELS = {
    "mean": Mean(),
    "linear": Linear(),
    "message passing": Trained(
        network=message_passing,
        batches=Packed,
        steps=3,
        epochs=40,
        rate=2e-3,
    ),
    "transformer": Trained(
        network=transformer,
        batches=Padded,
        steps=2,
        epochs=40,
        rate=3e-3,
    ),
}


if __name__ == "__main__":
    typer.run(main)
