"""Topologies as data: who may hear whom, counted in positions of the two node sets."""

from typing import Annotated, TypeAlias, Union

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Reach
from relational.specs.kinds import PARTS, Kinds, describe_as_value

_LIST = CONFIG | ConfigDict(json_schema_extra=describe_as_value)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class CompleteSpec:
    """Every node hears every node."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class CausalSpec:
    """Every node hears itself and all nodes before it."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class SelfSpec:
    """Every node hears itself only."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class BandSpec:
    """Every node hears itself and its near neighbours."""

    before: Reach
    """How many nodes before it a node hears."""
    after: Reach = 0
    """How many nodes after it a node hears."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class BlocksSpec:
    """Positions are cut into blocks; a node hears its own block and some before it."""

    size: Count
    """Number of nodes in a block."""
    before: Reach = 1
    """How many blocks before its own a node hears, each as a whole."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class StridedSpec:
    """Every node hears those that lie a multiple of `stride` away, itself too."""

    stride: Count
    """Nodes from one that is heard to the next."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class PrefixSpec:
    """Every node hears the first nodes of its sequence, as many as the data say.

    With `or: [causal, prefix]`, nodes of the prefix hear each other both ways, and what
    follows hears what is before it (Raffel et al. 2020, section 3.2.1).
    """


@dataclass(frozen=True, kw_only=True, config=_LIST)
class AndSpec:
    """A node hears the nodes that it hears in all of the parts."""

    parts: "Annotated[tuple[TopologySpec, ...], Field(min_length=2)]" = Field(
        validation_alias=PARTS
    )
    """The topologies, at least two."""


@dataclass(frozen=True, kw_only=True, config=_LIST)
class OrSpec:
    """A node hears the nodes that it hears in any of the parts."""

    parts: "Annotated[tuple[TopologySpec, ...], Field(min_length=2)]" = Field(
        validation_alias=PARTS
    )
    """The topologies, at least two."""


@dataclass(frozen=True, kw_only=True, config=_LIST)
class MinusSpec:
    """A node hears the nodes that it hears in the first part and not in the second."""

    parts: "Annotated[tuple[TopologySpec, ...], Field(min_length=2, max_length=2)]" = (
        Field(validation_alias=PARTS)
    )
    """The two topologies."""


TOPOLOGIES: dict[str, type] = {
    "complete": CompleteSpec,
    "causal": CausalSpec,
    "self": SelfSpec,
    "band": BandSpec,
    "blocks": BlocksSpec,
    "strided": StridedSpec,
    "prefix": PrefixSpec,
    "and": AndSpec,
    "or": OrSpec,
    "minus": MinusSpec,
}
"""The names of topologies in files."""

TopologySpec: TypeAlias = Annotated[
    Union[  # noqa: UP007  # `|` cannot name the classes that refer back to the union.
        CompleteSpec,
        CausalSpec,
        SelfSpec,
        BandSpec,
        BlocksSpec,
        StridedSpec,
        PrefixSpec,
        AndSpec,
        OrSpec,
        MinusSpec,
    ],
    Kinds(TOPOLOGIES),
]
"""Who may hear whom."""


def reads_prefix(spec: TopologySpec) -> bool:
    """Returns whether the data must say how long prefixes are.

    >>> reads_prefix(OrSpec(parts=(CausalSpec(), PrefixSpec())))
    True
    """
    if isinstance(spec, AndSpec | OrSpec | MinusSpec):
        return any(map(reads_prefix, spec.parts))
    return isinstance(spec, PrefixSpec)
