"""Tokens of one's own as data: arrays in NumPy's files."""

from typing import Annotated, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from relational.specs.fields import CONFIG

_Path: TypeAlias = Annotated[str, Field(min_length=1, max_length=4096)]
_Files: TypeAlias = Annotated[tuple[_Path, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TokenArraysSpec:
    """Arrays of one's own, in `.npz` files: tokens, and whatever the model reads beside.

    `token` [M, T] is predicted, by a model of one node set; a model of two reads `source`
    [M, S] and predicts `target` [M, T]. Under their own names come attributes of nodes
    [M, T], labels of relations [M, T, T], and `previous`, `weight`, `length`, `segment`
    and `prefix` where there are any. Paths are seen from the working folder, or from that
    of `--data`.
    """

    train: _Files
    """The files to train on, one behind the other."""
    validation: _Files
    """The files that tell how training gets on."""
    test: _Files | None = None
    """The files that the trained model is judged by."""
