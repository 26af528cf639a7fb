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


def _kind(value: object) -> str:
    is_buckets = isinstance(value, BucketsSpec) or (
        isinstance(value, dict) and "buckets" in value
    )
    if is_buckets:
        return "(buckets)"
    is_difference = isinstance(value, DifferenceSpec) or (
        isinstance(value, dict) and "difference" in value
    )
    return "(difference)" if is_difference else "(offset)"


RelationSpec: TypeAlias = Annotated[
    Annotated[OffsetSpec, Tag("(offset)")]
    | Annotated[DifferenceSpec, Tag("(difference)")]
    | Annotated[BucketsSpec, Tag("(buckets)")],
    Discriminator(_kind),
]
"""A label of every edge; what has a `difference` is one of a node attribute."""
