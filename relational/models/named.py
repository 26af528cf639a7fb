"""From names in a spec to topologies, relations, norms and rotary positions: one table."""

import functools
from typing import Any, Literal

import relational as rl
from relational import blocks, specs
from relational._checks import shown
from relational.relations import Relation
from relational.topologies import And, Minus, Or, Topology


def topology_of(spec: specs.TopologySpec, prefix: Topology | None = None) -> Topology:
    """Returns the topology that a spec describes.

    Args:
      spec: the topology.
      prefix: what `prefix` stands for, which data say, such as
        `rl.Lengths(senders=...)`.

    Raises:
      ValueError: if there is a `prefix` in the spec, and none is given.

    >>> from relational import specs
    >>> str(topology_of(specs.AndSpec(parts=(specs.CausalSpec(),
    ...                                      specs.BandSpec(before=8)))))
    '(Causal() & Band(before=8, after=0))'
    """
    of_part = functools.partial(topology_of, prefix=prefix)
    match spec:
        case specs.PrefixSpec():
            if prefix is None:
                raise ValueError(
                    "`prefix` must be given, since data say how long a prefix is; got "
                    "None. Give `rl.Lengths(senders=lengths)`."
                )
            return prefix
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
            return functools.reduce(And, map(of_part, parts))
        case specs.OrSpec(parts=parts):
            return functools.reduce(Or, map(of_part, parts))
        case specs.MinusSpec(parts=parts):
            return functools.reduce(Minus, map(of_part, parts))
    raise TypeError(
        f"`spec` must be a `TopologySpec`, such as `CausalSpec()`; got {shown(spec)}."
    )


def relation_of(spec: specs.RelationSpec, labels: Any = None) -> Relation:
    """Returns the relation that a spec describes.

    Args:
      spec: the relation.
      labels: those of a `LabelsSpec`, integers [*lead, R, S] or [*lead, E].

    Raises:
      ValueError: if labels are to be given, and are not.

    >>> from relational import specs
    >>> relation_of(specs.OffsetSpec(limit=3)).num_labels
    7
    """
    match spec:
        case specs.OffsetSpec(clip=clip, limit=limit):
            return rl.Offset(clip=clip, limit=limit)
        case specs.BucketsSpec(buckets=count, furthest=furthest, later=later):
            return rl.Buckets(num_buckets=count, furthest=furthest, later=later)
        case specs.LabelsSpec(labels=count):
            if labels is None:
                raise ValueError(
                    "`labels` must be given, since data say what label an edge has; got "
                    "None. Give integers [*lead, R, S]."
                )
            return rl.Labels(labels, count)
        case specs.DifferenceSpec(difference=attribute, clip=clip, limit=limit):
            return rl.Difference(attribute, clip=clip, limit=limit)
    raise TypeError(
        "`spec` must be a `RelationSpec`, such as `OffsetSpec(clip=8)`; got "
        f"{shown(spec)}."
    )


def rotary_of(spec: specs.RotarySpec | None) -> blocks.Rotary | None:
    """Returns the rotary positions that a spec describes, None for none.

    >>> from relational import specs
    >>> rotary_of(specs.RotarySpec(base=500.0))
    Rotary(base=500.0, width=None, layout='interleaved')
    """
    if spec is None:
        return None
    return blocks.Rotary(base=spec.base, width=spec.width, layout=spec.layout)


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
