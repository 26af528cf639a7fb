"""From a spec to what the training loop asks for: a task and its data.

Models import no data set; this file is where a spec's two halves meet, so it imports
data sets inside its functions only.

Shapes: B batch, T tokens of a window, V vocabulary.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational import specs
from relational.models.array_data import TokenArrays, check_read
from relational.models.citations import CitationData
from relational.models.edge_sets import (
    OF_SETS,
    POSITION,
    Inputs,
    attributes_read,
    given_labels,
)
from relational.models.graph_data import GraphData
from relational.models.graph_model import Model, known_model
from relational.models.graph_sets import Generated, MoleculeSet
from relational.models.graph_tasks import (
    Answers,
    GraphNumber,
    GraphTask,
    NodeClasses,
    NodeVectors,
)
from relational.models.plain_text import PlainText
from relational.models.surprise import surprise
from relational.models.text_data import ParallelData, kept_vocabulary
from relational.models.translation import Translation, ends_of
from relational.models.typical import typical_batch, typical_edges
from relational.specs.data import DATA_SETS
from relational.training.tasks import Batch, Batches, Outcome, Params

_ATTRIBUTES = ("voice", "beat", "onset", "pitch")


@dataclasses.dataclass(frozen=True)
class NextToken:
    """Predicts each token from those before it: the loss is its surprise in nats.

    Attributes:
      spec: the model.
      label_smoothing: of the loss in training; see `surprise`.
    """

    spec: specs.ModelSpec
    label_smoothing: float = 0.0

    @property
    def model(self) -> Model:
        """The model's pure functions."""
        return known_model(self.spec)

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Returns float32 parameters for batches like this one."""
        inputs = self.inputs(batch)
        return jax.jit(self.model.init)(key, inputs)

    def inputs(self, batch: Mapping[str, Any]) -> Inputs:
        """Returns what nodes are given: they hear the token before theirs."""
        read_out = self.spec.read_out.node
        read = {*_ATTRIBUTES, *attributes_read(self.spec), *OF_SETS, POSITION}
        nodes = {name: batch[name] for name in sorted(read) if name in batch}
        labels = given_labels(self.spec, batch)
        return {**labels, read_out: {"token": batch["previous"], **nodes}}

    def outcome(
        self, params: Params, key: jax.Array, batch: Batch, *, is_training: bool
    ) -> Outcome:
        """Returns the summed surprise of each example, and its number of tokens."""
        logits = self.model.apply(
            params, key, self.inputs(batch), is_training=is_training
        )
        # Start tokens are heard and never spoken, so they get no probability.
        smoothing = self.label_smoothing if is_training else 0.0
        nats = surprise(logits, jnp.asarray(batch["token"]), smoothing)
        weight = jnp.asarray(batch["weight"], jnp.float32)
        return Outcome(loss=(nats * weight).sum(axis=-1), weight=weight.sum(axis=-1))


@dataclasses.dataclass(frozen=True)
class Chorales:
    """The chorales of a spec, as the training loop reads them."""

    spec: specs.ChoralesSpec
    batch_size: int
    data_source: str | None = None

    def pieces(self, split: str) -> Any:
        """Returns the pieces of `train`, `validation` or `test`."""
        return _pieces(self.spec.source, split, self.data_source)

    @property
    def fingerprint(self) -> str:
        """A digest of the pieces that are trained on, and of those that judge it."""
        digest = hashlib.sha256()
        for split in ("train", "validation"):
            for piece in self.pieces(split):
                digest.update(np.ascontiguousarray(piece["pitch"]).tobytes())
        return f"{self.spec.source}-{digest.hexdigest()[:16]}"

    def training(self, seed: int) -> Batches:
        """Returns an endless walk over random windows."""
        from relational.datasets import pipelines

        walk: Batches = pipelines.training(
            self.pieces("train"),
            window=self.spec.window,
            batch_size=self.batch_size,
            transpose=self.spec.transpose,
            seed=seed,
        )
        return walk

    def evaluation(self, split: str) -> Iterable[Batch]:
        """Returns every token of a split once."""
        from relational.datasets import pipelines

        walk: Iterable[Batch] = pipelines.evaluation(
            self.pieces(split), window=self.spec.window, batch_size=self.batch_size
        )
        return walk


@functools.lru_cache(maxsize=8)
def _pieces(source: Any, split: Any, data_source: str | None) -> Any:
    from relational.datasets import chorales

    return chorales.load(source, split, data_source=data_source)


AnyTask = NextToken | Translation | GraphTask
AnyData = Chorales | ParallelData | PlainText | TokenArrays | GraphData | CitationData


def from_spec(
    spec: specs.Spec,
    *,
    data_source: str | os.PathLike[str] | None = None,
    run: Path | None = None,
) -> tuple[AnyTask, AnyData]:
    """Returns the task and the data of a spec.

    Args:
      spec: what to train.
      data_source: a file or folder to read instead of the data set's address.
      run: the folder of a run, if there is one: text is cut into its subwords.

    Raises:
      ValueError: if the data cannot feed the model, or the model does not give what they
        ask for; all reasons, each with its path.
    """
    source = None if data_source is None else os.fspath(data_source)
    batch_size = spec.training.batch_size
    model, data = spec.model, spec.data
    if isinstance(model, specs.ModelSpec):
        smoothing = spec.training.label_smoothing
        if isinstance(data, specs.TextSpec):
            ends_of(model)  # There are two, or it says what is wrong.
            vocabulary = None if run is None else kept_vocabulary(run)
            accumulate = spec.training.accumulate
            pairs = ParallelData(data, batch_size, accumulate, source, vocabulary)
            return Translation(model, smoothing), pairs
        if isinstance(data, specs.PlainTextSpec):
            _check_alone(model)
            vocabulary = None if run is None else kept_vocabulary(run)
            text = PlainText(data, batch_size, source, vocabulary)
            return NextToken(model, smoothing), text
        if isinstance(data, specs.TokenArraysSpec):
            arrays = TokenArrays(data, batch_size, source)
            check_read(model, arrays)
            is_alone = len(model.nodes) == 1
            task = NextToken if is_alone else Translation
            return task(model, smoothing), arrays
        assert isinstance(data, specs.ChoralesSpec)
        _check_fed(model)
        return NextToken(model, smoothing), Chorales(data, batch_size, source)
    texts = specs.TextSpec | specs.PlainTextSpec | specs.TokenArraysSpec
    assert not isinstance(data, texts)
    _check_given(spec)
    if isinstance(data, specs.PlanetoidSpec):
        citations = CitationData(data, model, source)
        return GraphTask(model, NodeClasses(), citations.edges), citations
    # Batches of one step are stacked, and so must have one shape.
    buckets = {"num_buckets": 1} if spec.training.accumulate > 1 else {}
    if isinstance(data, specs.MoleculesSpec):
        known = MoleculeSet(data, model, source)
        aim = GraphNumber(std=known.std, unit=known.unit)
        return GraphTask(model, aim), GraphData(known, batch_size, **buckets)
    assert not isinstance(data, specs.ChoralesSpec)
    answers = NodeVectors("m/s") if isinstance(data, specs.SpringsSpec) else Answers()
    graphs = GraphData(Generated(data, model), batch_size, **buckets)
    return GraphTask(model, answers), graphs


def _check_given(spec: specs.Spec) -> None:
    """Refuses a network that does not give what the data ask for."""
    assert not isinstance(spec.model, specs.ModelSpec)
    model = spec.model
    if isinstance(model, specs.EncodeProcessDecodeSpec):  # One step says all.
        process = dataclasses.replace(model.process, steps=1)
        model = dataclasses.replace(model, process=process)
    task = GraphTask(model, NodeClasses(), typical_edges(spec))
    batch = typical_batch(spec)

    def last(key: jax.Array, batch: Batch) -> Any:
        graph, network = task.graph(batch), task.network
        params = network.init(key, graph)
        return network.apply(params, None, graph, is_training=False)[-1]

    key = jax.eval_shape(lambda: jax.random.key(0))
    found = jax.eval_shape(last, key, batch)
    name = _data_name(spec.data)
    problems = []
    for part, width in _asked_of(spec.data).items():
        shape = getattr(getattr(found, part), "shape", (0,))
        if shape[-1] != width:
            problems.append(
                f"{_last_layers(spec.model)}: must give {part} of width {width}, which "
                f"`{name}` asks for; they have {shape[-1]}. Add a layer such as "
                f"`linear: {{{part}: {width}}}` at the end."
            )
    if problems:
        raise ValueError("\n".join(problems))


def _asked_of(data: Any) -> dict[str, int]:
    """Returns the widths of what is read from the graph that a network gives."""
    if isinstance(data, specs.PlanetoidSpec):
        from relational.datasets import planetoid

        return {"nodes": planetoid.SIZES[data.name].num_classes}
    if isinstance(data, specs.MoleculesSpec):
        return {"globals": 1}
    if isinstance(data, specs.SpringsSpec):
        return {"nodes": 2}
    return {"nodes": 2, "edges": 2}


def _data_name(data: Any) -> str:
    return next(name for name, kind in DATA_SETS.items() if type(data) is kind)


def _last_layers(model: specs.NetworkSpec) -> str:
    return "model.layers" if isinstance(model, specs.StackSpec) else "model.decode"


def _check_alone(model: specs.ModelSpec) -> None:
    """Refuses a model with a node set that a single text does not fill."""
    others = [name for name in model.nodes if name != model.read_out.node]
    if others:
        raise ValueError(
            f"model.nodes.{others[0]}: a text has one node set, which is read out "
            f"(`{model.read_out.node}`); nothing fills another. Remove it."
        )


def _check_fed(model: specs.ModelSpec) -> None:
    """Refuses a model that asks for nodes, or for rows, that the data do not have."""
    from relational.datasets import serialisation as chorale

    read_out = model.read_out.node
    problems = [
        f"model.nodes.{name}: the chorales have one node set, which is read out "
        f"(`{read_out}`); nothing fills another. Remove it."
        for name in model.nodes
        if name != read_out
    ]
    node = model.nodes[read_out]
    counts = {
        "vocabulary": (node.vocabulary, chorale.VOCABULARY_SIZE),
        "embed.voice": (node.embed.get("voice"), chorale.NUM_VOICES),
        "embed.beat": (node.embed.get("beat"), chorale.NUM_BEATS),
        "embed.pitch": (node.embed.get("pitch"), 128),  # MIDI's.
    }
    problems += [
        f"model.nodes.{read_out}.{name}: must be {wanted} or more, as many as the "
        f"chorales have; got {count}."
        for name, (count, wanted) in counts.items()
        if count is not None and count < wanted
    ]
    if problems:
        raise ValueError("\n".join(problems))
