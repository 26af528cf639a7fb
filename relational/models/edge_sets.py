"""From the edge sets of a spec, and what the data give, to those of a graph.

Labels of a relation come with the data, or follow from positions; a prefix is as long as
the data say. Node sets of padded or packed sequences say how long they are, or which
segments they hold; every edge set is then cut down to the pairs of nodes that are there.

Shapes: B batch, N nodes of a set, R receivers, S senders, L labels, D width of a row.
"""

from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import specs
from relational.blocks.attention_rows import FEATURES
from relational.models.named import relation_of, topology_of
from relational.relations import Relation, Rows
from relational.specs.topology import reads_prefix
from relational.topologies import Topology

Inputs = Mapping[str, Mapping[str, Any]]

LENGTH = "length"
"""The input that says how many nodes of a set count, integers [B]."""

SEGMENT = "segment"
"""The input that says in which of several packed sequences a node is, integers [B, N]."""

PREFIX = "prefix"
"""The input that says how many nodes of a set are its prefix, integers [B]; of packed
sequences [B, N], for each node how many are the prefix of its sequence."""

POSITION = "position"
"""The input that says where nodes stand, integers [B, N]; by default 0, 1, 2, ..."""

OF_SETS = (LENGTH, SEGMENT, PREFIX)
"""Inputs that say something of a node set as a whole, and are no attributes of nodes."""


def edge_sets(spec: specs.ModelSpec, inputs: Inputs) -> dict[str, rl.EdgeSet]:
    """Returns the edge sets of a graph; called within the model, whose rows are made here.

    Args:
      spec: the model.
      inputs: of node sets; and of edge sets, by relation, labels that are given.

    Raises:
      ValueError: if the data do not give what an edge set needs.
    """
    return {name: _edge_set(name, spec, inputs) for name in spec.edges}


def bare(spec: specs.ModelSpec, name: str, inputs: Inputs) -> Topology:
    """Returns who hears whom by an edge set, were no node only there to fill up."""
    edge_set, prefix = spec.edges[name], None
    if reads_prefix(edge_set.topology):
        prefix = _prefix(name, edge_set, inputs)
    return topology_of(edge_set.topology, prefix)


def labelled(spec: specs.ModelSpec) -> dict[str, list[str]]:
    """Returns, for each edge set, the relations whose labels the data give."""
    return {
        name: [
            key
            for key, relation in edge_set.relations.items()
            if isinstance(relation, specs.LabelsSpec)
        ]
        for name, edge_set in spec.edges.items()
    }


def given_labels(spec: specs.ModelSpec, batch: Mapping[str, Any]) -> Inputs:
    """Returns the labels that a batch holds under the names of relations.

    >>> import numpy as np
    >>> from relational import specs
    >>> model = specs.override(specs.load("transformer"), [
    ...     "data={token_arrays: {train: [a.npz], validation: [b.npz]}}",
    ...     "model.edges.self.relations={parse: {labels: 3}}",
    ...     "model.blocks[0].attention.score=[content, parse]"]).model
    >>> found = given_labels(model, {"parse": np.zeros([2, 5, 5], int)})
    >>> found["self"]["parse"].shape
    (2, 5, 5)
    """
    return {
        name: {key: jnp.asarray(batch[key]) for key in keys if key in batch}
        for name, keys in labelled(spec).items()
        if keys
    }


def attributes_read(spec: specs.ModelSpec) -> set[str]:
    """Returns the attributes of nodes that are embedded, or that relations read."""
    embedded = {name for node in spec.nodes.values() for name in node.embed}
    compared = {
        relation.difference
        for edge_set in spec.edges.values()
        for relation in edge_set.relations.values()
        if isinstance(relation, specs.DifferenceSpec)
    }
    return embedded | compared


def unlabelled(spec: specs.ModelSpec, inputs: Inputs) -> Inputs:
    """Returns inputs with labels of 0 for the edges that end in the set that grows."""
    result = dict(inputs)
    counts = {name: len(inputs[name]["token"][0]) for name in spec.nodes}
    for name, keys in labelled(spec).items():
        edge_set = spec.edges[name]
        if keys and edge_set.receiver_set == spec.read_out.node:
            batch = len(inputs[edge_set.receiver_set]["token"])
            shape = batch, counts[edge_set.receiver_set], counts[edge_set.sender_set]
            result[name] = dict.fromkeys(keys, jnp.zeros(shape, jnp.int32))
    return result


def stepped(spec: specs.ModelSpec, name: str, edge_set: rl.EdgeSet) -> Topology | None:
    """Returns who hears whom behind a prefix; None where there is no prefix.

    Nodes of a prefix hear ahead, within the prefix. It is there before the first step, so
    that a step need not.
    """
    if not reads_prefix(spec.edges[name].topology):
        return None
    return rl.Causal() & edge_set.topology


def with_prefix(spec: specs.ModelSpec, inputs: Inputs, lengths: jax.Array) -> Inputs:
    """Returns the inputs of a prime that is the prefix, unless they say how long it is."""
    name = spec.read_out.node
    given, most = (
        jnp.asarray(each, jnp.int32)
        for each in (inputs[name].get(PREFIX, lengths), lengths)
    )
    return {**inputs, name: {**inputs[name], PREFIX: jnp.minimum(given, most)}}


def _edge_set(name: str, spec: specs.ModelSpec, inputs: Inputs) -> rl.EdgeSet:
    edge_set = spec.edges[name]
    ends = {
        side: inputs.get(node_set, {})
        for side, node_set in (
            ("receivers", edge_set.receiver_set),
            ("senders", edge_set.sender_set),
        )
    }
    relations = {
        key: _relation(name, key, relation, inputs)
        for key, relation in edge_set.relations.items()
        if edge_set.receiver_set in inputs  # Else nobody listens, and none are given.
    }
    return rl.EdgeSet(
        senders=edge_set.sender_set,
        receivers=edge_set.receiver_set,
        topology=_cut_down(bare(spec, name, inputs), name, ends),
        relations=relations,
    )


def _relation(
    name: str, key: str, spec: specs.RelationSpec, inputs: Inputs
) -> Relation | Rows:
    """Returns a relation, with features of its labels if attentions share those."""
    labels = None
    if isinstance(spec, specs.LabelsSpec):
        labels = inputs.get(name, {}).get(key)
        if labels is None:
            raise ValueError(
                f"`inputs['{name}']` must hold `{key}`, integers [B, R, S], the label of "
                "each pair of a receiver and a sender of the edge set; got "
                f"{', '.join(inputs.get(name, {})) or 'nothing'}."
            )
        labels = jnp.asarray(labels)
    relation = relation_of(spec, labels)
    if spec.width is None:
        return relation
    assert relation.num_labels is not None
    init = hk.initializers.RandomNormal(spec.width**-0.5)
    shape = relation.num_labels, spec.width
    table = hk.get_parameter(f"relation_{name}_{key}", shape, jnp.float32, init)
    return relation.rows(**{FEATURES: table})


def _prefix(name: str, edge_set: specs.EdgeSetSpec, inputs: Inputs) -> Topology:
    """Returns that every node hears the prefix of its sequence."""
    senders = inputs.get(edge_set.sender_set)
    if senders is None:  # A cache has heard them, and knows.
        return rl.Lengths(senders=jnp.zeros([], jnp.int32))
    if PREFIX not in senders:
        raise ValueError(
            f"`inputs['{edge_set.sender_set}']` must hold `{PREFIX}`, integers [B], how "
            f"many of the nodes all others hear by the edge set `{name}`; got "
            f"{', '.join(senders)}."
        )
    prefix = jnp.asarray(senders[PREFIX], jnp.int32)
    if prefix.ndim == 1:
        return rl.Lengths(senders=prefix)
    place = jnp.arange(prefix.shape[1], dtype=jnp.int32)[None]
    if SEGMENT in senders:
        place = within(jnp.asarray(senders[SEGMENT]))
    receivers = inputs.get(edge_set.receiver_set, senders)["token"]
    # Nodes of prefixes are one segment that everybody is of.
    everybody = jnp.ones(receivers.shape, jnp.int32)
    return rl.SameSegment(everybody, (place < prefix).astype(jnp.int32))


def _cut_down(
    topology: Topology, name: str, ends: Mapping[str, Mapping[str, Any]]
) -> Topology:
    """Returns a topology without the edges of padding, or between packed sequences."""
    lengths = {side: end[LENGTH] for side, end in ends.items() if LENGTH in end}
    if lengths:
        topology = topology & rl.Lengths(**lengths)
    segments = [end[SEGMENT] for end in ends.values() if SEGMENT in end]
    if len(segments) == 1:
        raise ValueError(
            f"`{SEGMENT}` must be given for both ends of the edge set `{name}`, or for "
            "none; got one. Nodes hear those of their own segment."
        )
    if segments:
        topology = topology & rl.SameSegment(*segments)
    return topology


def within(segment: jax.Array) -> jax.Array:
    """Returns positions that begin anew with every segment, [B, N].

    >>> within(jnp.array([[1, 1, 1, 2, 2]])).tolist()
    [[0, 1, 2, 0, 1]]
    """
    place = jnp.arange(segment.shape[1])[None]
    begins = segment != jnp.roll(segment, 1, axis=1)
    first = jax.lax.cummax(jnp.where(begins, place, 0), axis=1)
    return place - first
