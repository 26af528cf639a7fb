"""Relations as data: small integer labels of edges, each with a row of a table."""

from typing import Annotated, TypeAlias

from pydantic import ConfigDict, Discriminator, Tag
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG, Count, Flag, Name, Reach


def _one_bound(clip: int | None, limit: int | None) -> None:
    if (clip is None) == (limit is None):
        came = "neither" if clip is None else "both"
        raise ValueError(
            f"must have exactly one of `clip` and `limit`; got {came}. `clip` uses the "
            "last row for differences beyond it, `limit` gives them zero."
        )


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG | ConfigDict(json_schema_extra={"examples": [{"limit": 8}]}),
)
class OffsetSpec:
    """The difference of positions, sender's minus receiver's."""

    clip: Reach | None = None
    """Differences beyond `clip` use the row at the edge (Shaw et al. 2018)."""
    limit: Reach | None = None
    """Differences beyond `limit` get zero (Tensor2Tensor's Music Transformer)."""
    width: Count | None = None
    """Channels of a row for each label that all attentions share, and project to their
    heads (He et al. 2021); nothing means that each has rows of its own."""

    def __post_init__(self) -> None:
        _one_bound(self.clip, self.limit)


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG
    | ConfigDict(json_schema_extra={"examples": [{"difference": "pitch", "limit": 8}]}),
)
class DifferenceSpec:
    """The difference of an integer node attribute, sender's minus receiver's."""

    difference: Name
    """The attribute, such as `pitch` or `onset`."""
    clip: Reach | None = None
    """Differences beyond `clip` use the row at the edge."""
    limit: Reach | None = None
    """Differences beyond `limit` get zero."""
    width: Count | None = None
    """Channels of a row for each label that all attentions share, and project to their
    heads (He et al. 2021); nothing means that each has rows of its own."""

    def __post_init__(self) -> None:
        _one_bound(self.clip, self.limit)


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG | ConfigDict(json_schema_extra={"examples": [{"buckets": 32}]}),
)
class BucketsSpec:
    """The difference of positions in buckets that widen with it (Raffel et al. 2020)."""

    buckets: Count
    """Number of labels."""
    furthest: Count = 128
    """The distance from which on all have the last label of their side."""
    later: Flag = True
    """Whether senders after the receiver are told from those before it."""
    width: Count | None = None
    """Channels of a row for each label that all attentions share, and project to their
    heads (He et al. 2021); nothing means that each has rows of its own."""

    def __post_init__(self) -> None:
        sides = 2 if self.later else 1
        if self.buckets < 2 * sides or self.buckets % sides:
            raise ValueError(
                f"must have `buckets` of {2 * sides} or more"
                f"{', an even number, for two sides' if self.later else ''}; got "
                f"{self.buckets}."
            )
        exact = self.buckets // sides // 2
        if self.furthest <= exact:
            raise ValueError(
                f"must have `furthest` of more than {exact}, below which each distance "
                f"has a bucket; got {self.furthest}."
            )


@dataclass(
    frozen=True,
    kw_only=True,
    config=CONFIG | ConfigDict(json_schema_extra={"examples": [{"labels": 2}]}),
)
class LabelsSpec:
    """A label that the data give for every pair of nodes, such as their relation in a
    parse: the labelled graph of Shaw et al. 2018, section 3.1.

    The data give whole numbers by the relation's name; those below 0, and those from
    `labels` on, have no row.
    """

    labels: Count
    """Number of labels."""
    width: Count | None = None
    """Channels of a row for each label that all attentions share, and project to their
    heads (He et al. 2021); nothing means that each has rows of its own."""


_TOLD_BY = {
    "difference": DifferenceSpec,
    "buckets": BucketsSpec,
    "labels": LabelsSpec,
}
"""Kinds of relations by the field that no other kind has; offsets have none."""


def _kind(value: object) -> str:
    for field, kind in _TOLD_BY.items():
        if isinstance(value, kind) or (isinstance(value, dict) and field in value):
            return f"({field})"
    return "(offset)"


RelationSpec: TypeAlias = Annotated[
    Annotated[OffsetSpec, Tag("(offset)")]
    | Annotated[DifferenceSpec, Tag("(difference)")]
    | Annotated[BucketsSpec, Tag("(buckets)")]
    | Annotated[LabelsSpec, Tag("(labels)")],
    Discriminator(_kind),
]
"""A label of every edge; what has a `difference` is one of a node attribute."""
