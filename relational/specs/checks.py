"""What must hold between the fields of a spec, beyond the type of each.

A claim says where something is wrong, and which other places it was concluded from: the
reader leaves it out where one of these could not be read.
"""

import dataclasses
import keyword
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationInfo

from relational.specs.attention_checks import CONTENT, TERMS, attention_claims
from relational.specs.claims import Claim, known_claims
from relational.specs.data import ChoralesSpec, NoDataSpec
from relational.specs.graph_data import PlanetoidSpec
from relational.specs.kinds import PARTS
from relational.specs.layers import LAYERS, OverSpec, module_name
from relational.specs.network import (
    EncodeProcessDecodeSpec,
    ProcessSpec,
    StackSpec,
)
from relational.specs.positions import SinusoidSpec
from relational.specs.problems import (
    Place,
    SpecError,
    dotted,
    nearest,
)
from relational.specs.read_out import ReadOutSpec
from relational.specs.relation import DifferenceSpec, LabelsSpec, OffsetSpec
from relational.specs.schedule import WarmupCosineSpec, WarmupRsqrtSpec
from relational.specs.text_data import (
    Multi30kSpec,
    ParallelTextSpec,
    PlainTextSpec,
    TFDSTextSpec,
)
from relational.specs.token_arrays import TokenArraysSpec
from relational.specs.topology import reads_prefix

if TYPE_CHECKING:  # These modules call the checks.
    from relational.specs.model import (
        AttentionSpec,
        BlockSpec,
        EdgeSetSpec,
        ModelSpec,
        NodeSpec,
    )
    from relational.specs.spec import Spec
    from relational.specs.training import TrainingSpec

GATHERING = object()
"""The validation context of the reader, which makes the claims itself, all at once."""

_TERM_ARGUMENTS = ("content", "receiver", "sender", "edge", "context")
"""Names that a relation cannot have, since the terms of a model use them."""

_ATTRIBUTES = {"voice": 4, "beat": 1, "onset": 1, "pitch": 1}
"""The node attributes of chorales; the number of values that each has at the least."""


_NETWORKS = (StackSpec, EncodeProcessDecodeSpec)
_TEXTS = {
    Multi30kSpec: "multi30k",
    ParallelTextSpec: "parallel_text",
    TFDSTextSpec: "tfds_text",
    PlainTextSpec: "plain_text",
}
_LAYER_NAMES = {kind: name for name, kind in LAYERS.items()}

_ENDS = ReadOutSpec(node="any")
"""The tokens that begin and end what is written, where nothing else is said."""

_NODES: Place = ("model", "nodes")
_EDGES: Place = ("model", "edges")
_BLOCKS: Place = ("model", "blocks")


def refuse(claims: Iterable[Claim], info: ValidationInfo) -> None:
    """Raises what is wrong with a part of a spec, unless the reader gathers it."""
    if info.context is GATHERING:
        return
    problems = [claim.problem for claim in claims]
    if problems:
        raise SpecError(problems)


def spec_claims(spec: "Spec") -> Iterator[Claim]:
    """Yields all that is wrong with a spec."""
    if not isinstance(spec.model, _NETWORKS):
        yield from model_claims(spec.model)
    yield from data_claims(spec)
    yield from training_claims(spec.training)


def model_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields what is wrong within the model."""
    for name, node in model.nodes.items():
        yield from _position_claims(node, (*_NODES, name))
        yield from _embedding_claims(name, node, model)
    for name, edge_set in model.edges.items():
        yield from _edge_claims(edge_set, (*_EDGES, name), model)
    for index, block in enumerate(model.blocks):
        for attention, place in _attentions(block, index):
            yield from attention_claims(attention, place, model)
        yield from _one_end_claims(block, index, model)
    here = ("model", "read_out", "node")
    yield from known_claims(model.read_out.node, "node set", here, model.nodes, _NODES)
    yield from _end_claims(model)
    yield from _unused_claims(model)


def data_claims(spec: "Spec") -> Iterator[Claim]:
    """Yields what the parts of a spec ask of each other and do not have."""
    is_network = isinstance(spec.model, _NETWORKS)
    if isinstance(spec.data, NoDataSpec):
        if is_network:
            yield Claim(
                place=("data",),
                message="must be graphs, which the model reads; got `none`, with which "
                "only a model of tokens can stand.",
                rests_on=(("model",),),
            )
    elif is_network == isinstance(spec.data, (ChoralesSpec, TokenArraysSpec, *_TEXTS)):
        given = "sequences of tokens" if is_network else "graphs"
        asked = "`nodes`, `edges` and `blocks`"
        if not is_network:
            asked = "`layers`, or with `encode`, `process` and `decode`"
        yield Claim(
            place=("data",),
            message=f"must be what the model reads; got {given}, which only a model with "
            f"{asked} reads. Change one of the two.",
            rests_on=(("model",),),
        )
    elif is_network:
        yield from network_claims(spec)
    elif isinstance(spec.data, TokenArraysSpec):
        yield from _array_claims(spec.model)  # type: ignore[arg-type]  # Of tokens.
    elif isinstance(spec.data, tuple(_TEXTS)):
        yield from _text_claims(spec)
        yield from _given_claims(spec.model)  # type: ignore[arg-type]  # Of tokens.
    else:
        yield from _given_claims(spec.model)  # type: ignore[arg-type]  # Of tokens.
        yield from _attribute_claims(spec.model)  # type: ignore[arg-type]  # Of tokens.


def _given_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields what only data of one's own give: labels, and lengths of prefixes."""
    for name, edge_set in model.edges.items():
        given: list[Place] = [
            ("relations", key)
            for key, relation in edge_set.relations.items()
            if isinstance(relation, LabelsSpec)
        ]
        if reads_prefix(edge_set.topology):
            given.append(("topology",))
        for place in given:
            what = "labels" if place[0] == "relations" else "prefix"
            yield Claim(
                place=(*_EDGES, name, *place),
                message=f"these data give no {what}. Take `token_arrays`, which has what "
                "you put into it.",
                rests_on=(("data",),),
            )


def _array_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields what arrays of two node sets do not give: attributes, and prefixes."""
    if len(model.nodes) == 1:
        return
    message = (
        "must be left out: `token_arrays` give attributes of one node set alone, and the "
        "model has several."
    )
    for name, node in model.nodes.items():
        for attribute in node.embed:
            place: Place = (*_NODES, name, "embed", attribute)
            yield Claim(place=place, message=message)
    for name, edge_set in model.edges.items():
        for key, relation in edge_set.relations.items():
            if isinstance(relation, DifferenceSpec):
                yield Claim(place=(*_EDGES, name, "relations", key), message=message)
        if reads_prefix(edge_set.topology):
            yield Claim(
                place=(*_EDGES, name, "topology"),
                message="must have no `prefix`: `token_arrays` give it to models of one "
                "node set alone, and this one has several.",
            )


def network_claims(spec: "Spec") -> Iterator[Claim]:
    """Yields what the training of a graph network asks and the rest does not have."""
    training, place = spec.training, ("training", "optimizer", "adam", "l2_within")
    if isinstance(spec.data, PlanetoidSpec) and training.batch_size != 1:
        yield Claim(
            place=("training", "batch_size"),
            message=f"must be 1, since {spec.data.name} is one graph; got "
            f"{training.batch_size}.",
            rests_on=(("data",),),
        )
    if training.label_smoothing:
        yield Claim(
            place=("training", "label_smoothing"),
            message="must be left out: a graph network predicts no tokens; got "
            f"{training.label_smoothing:g}.",
            rests_on=(("model",),),
        )
    yield from _bias_claims(spec.model, ("model",), ("model",), ())
    within = getattr(training.optimizer, "l2_within", None)
    if within is not None:
        names = tuple(_module_names(spec.model))
        yield from known_claims(within, "layer of the model", place, names, ("model",))


def _text_claims(spec: "Spec") -> Iterator[Claim]:
    """Yields what text asks of a model of tokens, and two languages of each other."""
    data, model = spec.data, spec.model
    assert isinstance(
        data, Multi30kSpec | ParallelTextSpec | TFDSTextSpec | PlainTextSpec
    )
    assert not isinstance(model, StackSpec | EncodeProcessDecodeSpec)
    kind: Place = ("data", _TEXTS[type(data)])
    if isinstance(data, Multi30kSpec) and data.source == data.target:
        yield Claim(
            place=(*kind, "target"),
            message=f"must be another language than `source`; got `{data.target}` twice.",
            rests_on=((*kind, "source"),),
        )
    for name, node in model.nodes.items():
        if node.vocabulary < data.vocabulary:
            yield Claim(
                place=(*_NODES, name, "vocabulary"),
                message=f"must be {data.vocabulary} or more, as many subwords as "
                f"`{dotted(kind)}` has; got {node.vocabulary}.",
                rests_on=((*kind, "vocabulary"),),
            )
        for attribute in node.embed:
            yield Claim(
                place=(*_NODES, name, "embed", attribute),
                message="words have no attributes. Remove it.",
            )
    for name, edge_set in model.edges.items():
        for label, relation in edge_set.relations.items():
            if isinstance(relation, DifferenceSpec):
                yield Claim(
                    place=(*_EDGES, name, "relations", label),
                    message="words have no attributes. Take an offset of positions.",
                )


def _bias_claims(
    part: Any, place: Place, around: Place, known: tuple[str, ...]
) -> Iterator[Claim]:
    """Yields biases that no relation around them has, and relations that none names.

    `known` are the relations of the `over` around, which stand at `around`.
    """
    if isinstance(part, OverSpec):
        around, known = (*place, "relations"), tuple(part.relations)
        used = {_meant(name, known) for name in _biases(part)}
        for name, relation in part.relations.items():
            if isinstance(relation, OffsetSpec) and relation.width is not None:
                yield Claim(
                    place=(*around, name, "width"),
                    message="must be left out: `biases` are numbers, not rows; got "
                    f"{relation.width}.",
                )
            if name not in used:
                yield Claim(
                    place=(*around, name),
                    message="no `biases` of the layers have it. Use it or remove it.",
                    rests_on=((*place, "layers"),),
                )
    for index, name in enumerate(getattr(part, "biases", ())):
        here = (*place, "biases", index)
        yield from known_claims(
            name, "relation of an `over` around it", here, known, around
        )
    for at, layer in _inner_layers(part):
        yield from _bias_claims(layer, (*place, *at), around, known)


def _biases(part: Any) -> Iterator[str]:
    """Yields the biases within an `over`, but for those of another one inside."""
    yield from getattr(part, "biases", ())
    for _, layer in _inner_layers(part):
        if not isinstance(layer, OverSpec):
            yield from _biases(layer)


def _inner_layers(part: Any) -> Iterator[tuple[Place, Any]]:
    """Yields the layers right within a part of a network, with their places in it."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, ProcessSpec):
            for at, layer in _inner_layers(value):
                yield (field.name, *at), layer
        follows = getattr(field.default, "validation_alias", None) == PARTS
        for index, layer in enumerate(value if isinstance(value, tuple) else ()):
            name = _LAYER_NAMES.get(type(layer))
            if name is not None:
                here: Place = (index, name)
                yield (here if follows else (field.name, *here)), layer


def _module_names(spec: Any) -> Iterator[str]:
    """Yields the names of all layers within a part of a model, each once at a place."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        for index, part in enumerate(value if isinstance(value, tuple) else [value]):
            if type(part) in LAYERS.values():
                yield module_name(part, index)
            if dataclasses.is_dataclass(part):
                yield from _module_names(part)


def _attribute_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields the attributes that a model of tokens has and the chorales have not."""
    known = tuple(_ATTRIBUTES)
    for set_name, node in model.nodes.items():
        for name, size in node.embed.items():
            place = (*_NODES, set_name, "embed", name)
            yield from known_claims(name, "attribute of chorales", place, known)
            if size < _ATTRIBUTES.get(name, 1):
                yield Claim(
                    place=place,
                    message=f"must be the number of values of `{name}`, at least "
                    f"{_ATTRIBUTES[name]}; got {size}.",
                )
    for set_name, edge_set in model.edges.items():
        for name, relation in edge_set.relations.items():
            if isinstance(relation, DifferenceSpec):
                yield from known_claims(
                    relation.difference,
                    "attribute of chorales",
                    (*_EDGES, set_name, "relations", name, "difference"),
                    known,
                )


def training_claims(training: "TrainingSpec") -> Iterator[Claim]:
    """Yields what is wrong within the training."""
    if training.patience is not None and training.patience < training.evaluate_every:
        yield Claim(
            place=("training", "patience"),
            message="must be `evaluate_every` or more, "
            f"{training.evaluate_every}, since nothing is seen in between; got "
            f"{training.patience}.",
            rests_on=(("training", "evaluate_every"),),
        )
    schedule = training.schedule
    if isinstance(schedule, WarmupCosineSpec):
        place: Place = ("training", "schedule", "warmup_cosine")
        if schedule.floor > schedule.peak:
            yield Claim(
                place=(*place, "floor"),
                message=f"must be at most `peak`, {schedule.peak:g}; got "
                f"{schedule.floor:g}. The rate falls from `peak` to `floor`.",
                rests_on=((*place, "peak"),),
            )
    elif isinstance(schedule, WarmupRsqrtSpec):
        place = ("training", "schedule", "warmup_rsqrt")
    else:
        return
    if schedule.warmup > training.steps:
        yield Claim(
            place=(*place, "warmup"),
            message=f"must be at most `training.steps`; got {schedule.warmup} of "
            f"{training.steps} steps. Shorten the warm-up or train longer.",
            rests_on=(("training", "steps"),),
        )


def _position_claims(node: "NodeSpec", place: Place) -> Iterator[Claim]:
    if not isinstance(node.positions, SinusoidSpec):
        return
    sinusoid = node.positions
    here = (*place, "positions", "sinusoid", "width")
    rests_on = ((*place, "width"), (*here[:-1], "combine"))
    if sinusoid.combine == "add" and sinusoid.width is not None:
        yield Claim(
            place=here,
            message=f"must be left out with `combine: add`; got {sinusoid.width}. "
            "Sinusoids that are added are as wide as the node.",
            rests_on=rests_on,
        )
        return
    if sinusoid.combine == "add":
        width = node.width
    else:
        width = sinusoid.width or node.width // 2
    if sinusoid.combine == "concatenate" and not 0 < width < node.width:
        yield Claim(
            place=here,
            message=f"must leave channels for the embedding; got {width} of "
            f"{node.width}. Take fewer, for example {node.width // 2}.",
            rests_on=rests_on,
        )
    if width % 2:
        yield Claim(
            place=here,
            message=f"must be even, a sine and a cosine each; got {width}. Take "
            f"{width + 1}"
            + (" as `width` of the node." if sinusoid.combine == "add" else "."),
            rests_on=rests_on,
        )


def table_width(node: "NodeSpec") -> int:
    """Returns the width of a node's table: positions may stand beside the embedding."""
    positions = node.positions
    if isinstance(positions, SinusoidSpec) and positions.combine == "concatenate":
        beside = node.width // 2 if positions.width is None else positions.width
        return node.width - beside
    return node.width


def _embedding_claims(
    name: str, node: "NodeSpec", model: "ModelSpec"
) -> Iterator[Claim]:
    """Yields why a node set cannot use the table of another."""
    if node.embedding is None:
        return
    here = (*_NODES, name, "embedding")
    owners = tuple(
        other
        for other, its in model.nodes.items()
        if other != name and its.embedding is None
    )
    yield from known_claims(
        node.embedding, "other node set with a table of its own", here, owners, _NODES
    )
    if node.embedding not in owners:
        return
    owner = model.nodes[node.embedding]
    if owner.vocabulary != node.vocabulary:
        yield Claim(
            place=(*_NODES, name, "vocabulary"),
            message=f"must be that of `{node.embedding}`, whose table is used, "
            f"{owner.vocabulary}; got {node.vocabulary}.",
            rests_on=(here, (*_NODES, node.embedding, "vocabulary")),
        )
    if table_width(owner) != table_width(node):
        yield Claim(
            place=(*_NODES, name, "width"),
            message=f"must leave {table_width(owner)} channels for the embedding, as "
            f"many as the table of `{node.embedding}` has; got {table_width(node)}.",
            rests_on=(here, (*_NODES, node.embedding), (*_NODES, name, "positions")),
        )


def _attentions(
    block: "BlockSpec", index: int
) -> Iterator[tuple["AttentionSpec", Place]]:
    """Yields the attentions of a block, each with its place."""
    place = (*_BLOCKS, index, "attention")
    for number, attention in enumerate(block.attentions):
        is_listed = isinstance(block.attention, tuple)
        yield attention, (*place, number) if is_listed else place


def _one_end_claims(
    block: "BlockSpec", index: int, model: "ModelSpec"
) -> Iterator[Claim]:
    """Yields a claim where the attentions of a block update several node sets."""
    ends: list[str] = []
    for attention, place in _attentions(block, index):
        if attention.over in model.edges:
            ends.append(model.edges[attention.over].receiver_set)
            if ends[-1] != ends[0]:
                yield Claim(
                    place=(*place, "over"),
                    message=f"must be an edge set that ends in `{ends[0]}`, as that of "
                    f"the first attention does; `{attention.over}` ends in "
                    f"`{ends[-1]}`. Make it a block of its own.",
                    rests_on=((*_BLOCKS, index, "attention", 0, "over"), _EDGES),
                )


def _end_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields why tokens cannot begin and end what is written."""
    read_out, node = model.read_out, model.nodes.get(model.read_out.node)
    place: Place = ("model", "read_out")
    rests_on = ((*place, "node"), (*_NODES, read_out.node, "vocabulary"))
    for name in ("start", "end"):
        token, default = getattr(read_out, name), getattr(_ENDS, name)
        if node is not None and token >= node.vocabulary and token != default:
            yield Claim(
                place=(*place, name),
                message=f"must be a token, 0 to {node.vocabulary - 1}; got {token}.",
                rests_on=rests_on,
            )
    if read_out.start == read_out.end:
        yield Claim(
            place=(*place, "end"),
            message=f"must be another token than `start`; got {read_out.end} for both.",
            rests_on=((*place, "start"),),
        )


def _edge_claims(
    edge_set: "EdgeSetSpec", place: Place, model: "ModelSpec"
) -> Iterator[Claim]:
    for end, name in (("from", edge_set.sender_set), ("to", edge_set.receiver_set)):
        yield from known_claims(name, "node set", (*place, end), model.nodes, _NODES)
    for name, relation in edge_set.relations.items():
        if isinstance(relation, LabelsSpec) and place[-1] in model.nodes:
            yield Claim(
                place=(*place, "relations", name),
                message=f"labels come under the name of the edge set, `{place[-1]}`, "
                "which a node set has as well. Rename the edge set.",
                rests_on=(_NODES,),
            )
        if name in _TERM_ARGUMENTS or keyword.iskeyword(name):
            yield Claim(
                place=(*place, "relations", name),
                message=f"must not be called `{name}`, which has another meaning. "
                f"Rename it, for example `{name}_relation`.",
            )


def _unused_claims(model: "ModelSpec") -> Iterator[Claim]:
    """Yields what no block uses; a mistyped name uses the one nearest to it."""
    used: dict[str, set[str]] = {}
    for block in model.blocks:
        for attention in block.attentions:
            over = _meant(attention.over, model.edges)
            terms = [term for field in TERMS for term in getattr(attention, field)]
            relations = model.edges[over].relations if over in model.edges else ()
            used.setdefault(over, set()).update(
                _meant(term, (CONTENT, *relations)) for term in terms
            )
    node_sets = {_meant(model.read_out.node, model.nodes)}
    for set_name, edge_set in model.edges.items():
        ends = (edge_set.sender_set, edge_set.receiver_set)
        node_sets.update(_meant(end, model.nodes) for end in ends)
        place = (*_EDGES, set_name)
        if set_name not in used:
            yield Claim(
                place=place,
                message="no block's attention is over it. Use it or remove it.",
                rests_on=(_BLOCKS,),
            )
            continue
        for name in edge_set.relations:
            if name not in used[set_name]:
                yield Claim(
                    place=(*place, "relations", name),
                    message="no `score`, `message`, `sender_score` or `biases` has it. Use it or remove it.",
                    rests_on=(_BLOCKS,),
                )
    for name in model.nodes:
        if name not in node_sets:
            yield Claim(
                place=(*_NODES, name),
                message="no edge set begins or ends in it. Use it or remove it.",
                rests_on=(_EDGES, ("model", "read_out", "node")),
            )


def _meant(name: str, known: Iterable[str]) -> str:
    """Returns `name` if it is known, otherwise the known name that it is nearest to."""
    names = tuple(known)
    return name if name in names else nearest(name, names) or name
