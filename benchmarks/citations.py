"""`python -m benchmarks.citations`: GCN and GAT on Cora and Citeseer, as the papers did.

Planetoid's public split, ten seeds. A training run is one compiled program: a loop over
epochs that ends by the paper's own rule of early stopping, which looks at validation
papers alone. Nothing was tuned: all numbers below are the papers'.

Shapes: N papers, D words, C classes.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Annotated, Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import typer

import relational.datasets as data
from benchmarks import kept
from benchmarks.machine import machine
from relational import blocks

_ROOT = pathlib.Path(__file__).parent.parent
_KEPT = _ROOT / "docs" / "results" / "citations.jsonl"
PUBLISHED = {
    ("cora", "gcn"): "81.5",
    ("cora", "gat"): "83.0 ± 0.7",
    ("citeseer", "gcn"): "70.3",
    ("citeseer", "gat"): "72.5 ± 0.7",
}


def main(
    sets: Annotated[
        list[str] | None, typer.Argument(help="cora, citeseer; both if not given.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="gcn, gat; both if not given.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many, from 0.")] = 10,
    out: Annotated[
        pathlib.Path, typer.Option(help="Where results are kept, a line a run.")
    ] = _KEPT,
) -> None:
    """Trains what has not been trained, and prints a table of what was kept."""
    print(machine())
    for name in sets or data.planetoid.SIZES:
        papers = data.load_planetoid(name)
        for kind in model or RECIPES:
            train = jax.jit(functools.partial(trained, RECIPES[kind], papers))
            for seed in range(seeds):
                run = {"set": name, "model": kind, "seed": seed}
                if not kept.holds(kept.rows(out), run):
                    kept.keep(out, {**run, **_timed(train, seed)})
                    print(kept.rows(out)[-1], flush=True)
    print(table(kept.rows(out)))


def _timed(train: Any, seed: int) -> kept.Row:
    began = time.perf_counter()
    found = jax.device_get(train(jnp.uint32(seed)))
    row = {name: value.item() for name, value in found.items()}
    return {**row, "seconds": round(time.perf_counter() - began, 2)}


def table(found: list[kept.Row]) -> str:
    """Returns mean and standard deviation over seeds, in Markdown."""
    titles = (
        "set",
        "model",
        "test accuracy, %",
        "published",
        "validation, %",
        "epochs",
        "seconds a run",
    )
    lines = kept.head(titles)
    for (name, model), published in PUBLISHED.items():
        rows = [row for row in found if (row["set"], row["model"]) == (name, model)]
        if rows:
            test, validation = (
                kept.spread((100 * row[part] for row in rows), 1)
                for part in ("test", "validation")
            )
            epochs = kept.spread((row["epochs"] for row in rows), 0)
            seconds = sorted(row["seconds"] for row in rows)[len(rows) // 2]
            lines.append(
                f"| {name} | {model.upper()} | {test} | {published} | {validation} | "
                f"{epochs} | {seconds:.0f} |"
            )
    return "\n".join(lines)


def gcn(graph: Any, num_classes: int, rate: float) -> Any:
    """Kipf and Welling 2017, equation 9. Inputs come with their dropout."""
    first = blocks.GraphConvolution(width=16, with_bias=False, name="first")
    second = blocks.GraphConvolution(width=num_classes, with_bias=False, name="second")
    graph = first(graph)
    graph = graph._replace(nodes=_dropped(jax.nn.relu(graph.nodes), rate))
    return second(graph).nodes


def gat(graph: Any, num_classes: int, rate: float) -> Any:
    """Velickovic et al. 2018, section 3.3. Inputs come with their dropout."""
    first = blocks.GraphAttention(num_heads=8, head_width=8, name="first")
    second = blocks.GraphAttention(num_heads=1, head_width=num_classes, name="second")
    graph = first(graph, dropout_rate=rate)
    graph = graph._replace(nodes=_dropped(jax.nn.elu(graph.nodes), rate))
    return second(graph, dropout_rate=rate).nodes


def _dropped(values: jax.Array, rate: float) -> jax.Array:
    return _without(hk.next_rng_key(), rate, values) if rate else values


@dataclasses.dataclass(frozen=True)
class Window:
    """Stops when the loss is above the mean of the ten before it; takes the last.

    That is the code of Kipf and Welling. State: the last ten losses.
    """

    most_epochs: int = 200
    size: int = 10

    def start(self, params: Any) -> Any:
        return {"losses": jnp.full(self.size, jnp.inf), "params": params}

    def after(self, state: Any, epoch: Any, params: Any, loss: Any, _: Any) -> Any:
        worse = (epoch > self.size) & (loss > state["losses"].mean())
        losses = jnp.append(state["losses"][1:], loss)
        return {"losses": losses, "params": params}, worse


@dataclasses.dataclass(frozen=True)
class Patience:
    """Stops when neither loss nor accuracy was as good as ever for 100 epochs.

    Takes the parameters of the last epoch in which both were, as the code of Velickovic
    et al. does.
    """

    most_epochs: int = 100_000
    epochs: int = 100

    def start(self, params: Any) -> Any:
        zero = jnp.int32(0)
        return {
            "loss": jnp.float32(jnp.inf),
            "accuracy": jnp.float32(0),
            "since": zero,
            "params": params,
        }

    def after(
        self, state: Any, epoch: Any, params: Any, loss: Any, accuracy: Any
    ) -> Any:
        del epoch
        lower, higher = loss <= state["loss"], accuracy >= state["accuracy"]
        chosen = jax.tree.map(
            lambda new, old: jnp.where(lower & higher, new, old),
            params,
            state["params"],
        )
        since = jnp.where(lower | higher, 0, state["since"] + 1)
        after = {
            "loss": jnp.minimum(loss, state["loss"]),
            "accuracy": jnp.maximum(accuracy, state["accuracy"]),
            "since": since,
            "params": chosen,
        }
        return after, since >= self.epochs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a paper trains its model."""

    model: Callable[..., Any]
    dropout: float
    rate: float
    decay: float  # Half of it times the squares of decayed parameters is in the loss.
    decays: Callable[[str], bool]  # Whether parameters of a module are.
    stopping: Any
    validation_has_decay: bool  # Of the loss that stopping looks at.


RECIPES = {
    "gcn": Recipe(
        model=gcn,
        dropout=0.5,
        rate=0.01,
        decay=5e-4,
        decays=lambda module: module.startswith("first"),
        stopping=Window(),
        validation_has_decay=True,
    ),
    "gat": Recipe(
        model=gat,
        dropout=0.6,
        rate=0.005,
        decay=5e-4,
        decays=lambda module: True,
        stopping=Patience(),
        validation_has_decay=False,
    ),
}


def trained(recipe: Recipe, papers: Any, seed: jax.Array) -> dict[str, jax.Array]:
    """Trains with one seed. Returns accuracies and how many epochs it took."""
    labels = jnp.asarray(papers.labels)
    graph, rows, columns = papers.graph, *np.nonzero(papers.graph.nodes)
    words = jnp.asarray(graph.nodes[rows, columns])

    def inputs(key: jax.Array) -> jax.Array:
        """Words after dropout: of zeros there is nothing to drop."""
        dropped = _without(key, recipe.dropout, words)
        zeros = jnp.zeros(graph.nodes.shape)
        place = zeros.at[rows, columns]
        return place.set(dropped, indices_are_sorted=True, unique_indices=True)

    def outputs(nodes: jax.Array, rate: float) -> jax.Array:
        return recipe.model(graph._replace(nodes=nodes), papers.num_classes, rate)

    model = hk.transform(outputs)

    def decay(params: Any) -> jax.Array:
        leaves = [
            leaf
            for module, names in params.items()
            if recipe.decays(module)
            for leaf in names.values()
        ]
        return recipe.decay / 2 * sum(jnp.sum(leaf**2) for leaf in leaves)

    def training_loss(params: Any, key: jax.Array) -> jax.Array:
        for_words, for_model = jax.random.split(key)
        logits = model.apply(params, for_model, inputs(for_words), recipe.dropout)
        return _cross_entropy(logits, labels, papers.train) + decay(params)

    def validation(params: Any) -> tuple[jax.Array, jax.Array]:
        logits = model.apply(params, None, jnp.asarray(graph.nodes), 0.0)
        loss = _cross_entropy(logits, labels, papers.validation)
        if recipe.validation_has_decay:
            loss = loss + decay(params)
        return loss, _accuracy(logits, labels, papers.validation)

    optimizer = optax.adam(recipe.rate)

    def epoch(state: Any) -> Any:
        number, key, params, optimizer_state, stopping, _ = state
        key, own = jax.random.split(key)
        gradient = jax.grad(training_loss)(params, own)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state)
        params = optax.apply_updates(params, updates)
        stopping, stops = recipe.stopping.after(
            stopping, number, params, *validation(params)
        )
        return number + 1, key, params, optimizer_state, stopping, stops

    def goes_on(state: Any) -> jax.Array:
        return (state[0] < recipe.stopping.most_epochs) & ~state[-1]

    key, first = jax.random.split(jax.random.key(seed))
    params = model.init(first, jnp.asarray(graph.nodes), recipe.dropout)
    state = (jnp.int32(0), key, params, optimizer.init(params))
    state = (*state, recipe.stopping.start(params), jnp.bool(False))
    number, *_, stopping, _ = jax.lax.while_loop(goes_on, epoch, state)
    logits = model.apply(stopping["params"], None, jnp.asarray(graph.nodes), 0.0)
    return {
        "test": _accuracy(logits, labels, papers.test),
        "validation": _accuracy(logits, labels, papers.validation),
        "epochs": number,
    }


def _without(key: jax.Array, rate: float, values: jax.Array) -> jax.Array:
    return jnp.where(
        jax.random.bernoulli(key, 1 - rate, values.shape), values / (1 - rate), 0
    )


def _cross_entropy(logits: jax.Array, labels: jax.Array, part: Any) -> jax.Array:
    """Returns the mean over a part; papers without a label are in none."""
    (chosen,) = np.nonzero(part)
    losses = optax.softmax_cross_entropy_with_integer_labels(
        logits[chosen], labels[chosen]
    )
    return losses.mean()


def _accuracy(logits: jax.Array, labels: jax.Array, part: Any) -> jax.Array:
    (chosen,) = np.nonzero(part)
    return jnp.mean(logits[chosen].argmax(-1) == labels[chosen])


if __name__ == "__main__":
    typer.run(main)
