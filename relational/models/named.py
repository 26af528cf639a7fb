"""From names in a spec to topologies, relations and norms: the one table."""

import functools
from typing import Literal

import relational as rl
from relational import blocks, specs
from relational._checks import shown
from relational.relations import Relation
from relational.topologies import And, Minus, Or, Topology


def topology_of(spec: specs.TopologySpec) -> Topology:
    """Returns the topology that a spec describes.

    >>> from relational import specs
    >>> str(topology_of(specs.AndSpec(parts=(specs.CausalSpec(),
    ...                                      specs.BandSpec(before=8)))))
    '(Causal() & Band(before=8, after=0))'
    """
    match spec:
        case specs.CompleteSpec():
            return rl.Complete()
        case specs.CausalSpec():
            return rl.Causal()
        case specs.SelfSpec():
            return rl.Self()
        case specs.BandSpec(before=before, after=after):
            return rl.Band(before=before, after=after)
        case specs.BlocksSpec(size=size, before=before):
            return rl.Blocks(size=size, before=before)
        case specs.StridedSpec(stride=stride):
            return rl.Strided(stride)
        case specs.AndSpec(parts=parts):
            return functools.reduce(And, map(topology_of, parts))
        case specs.OrSpec(parts=parts):
            return functools.reduce(Or, map(topology_of, parts))
        case specs.MinusSpec(parts=parts):
            return functools.reduce(Minus, map(topology_of, parts))
    raise TypeError(
        f"`spec` must be a `TopologySpec`, such as `CausalSpec()`; got {shown(spec)}."
    )


def relation_of(spec: specs.RelationSpec) -> Relation:
    """Returns the relation that a spec describes.

    >>> from relational import specs
    >>> relation_of(specs.OffsetSpec(limit=3)).num_labels
    7
    """
    match spec:
        case specs.OffsetSpec(clip=clip, limit=limit):
            return rl.Offset(clip=clip, limit=limit)
        case specs.BucketsSpec(buckets=count, furthest=furthest, later=later):
            return rl.Buckets(num_buckets=count, furthest=furthest, later=later)
        case specs.DifferenceSpec(difference=attribute, clip=clip, limit=limit):
            return rl.Difference(attribute, clip=clip, limit=limit)
    raise TypeError(
        "`spec` must be a `RelationSpec`, such as `OffsetSpec(clip=8)`; got "
        f"{shown(spec)}."
    )


def norm_of(spec: specs.NormSpec) -> blocks.Norm:
    """Returns the norm that a spec describes.

    >>> from relational import specs
    >>> norm_of(specs.RMSNormSpec(epsilon=1e-5))
    Norm(kind='rms', epsilon=1e-05)
    """
    kind: Literal["layer", "rms"] = "rms"
    if isinstance(spec, specs.MeanNormSpec):
        kind = "layer"
    return blocks.Norm(kind=kind, epsilon=spec.epsilon)
