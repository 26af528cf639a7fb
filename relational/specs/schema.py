"""The JSON Schema of specs, for editors, and what the reader asks of it.

The schema knows every field, so it also answers which names there are at a place (for
the nearest one to a mistyped name) and what the smallest value there is (to put in place
of a wrong one, so that the rest can be checked).
"""

import copy
import functools
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from relational.specs.problems import Place
from relational.specs.spec import Spec

ADAPTER: TypeAdapter[Spec] = TypeAdapter(Spec)
"""What validates plain data and makes a spec of it."""


@functools.cache
def _schema() -> dict[str, Any]:
    return ADAPTER.json_schema()


def schema() -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the files that hold specs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema()}


def known_fields(place: Place) -> tuple[str, ...]:
    """Returns the names of the fields that the mapping at `place` can have."""
    return tuple(
        dict.fromkeys(
            name for node in _nodes_at(place) for name in node.get("properties", ())
        )
    )


def smallest(place: Place) -> Any:
    """Returns a small value that can stand at `place`; its default if it has one."""
    return copy.deepcopy(_smallest(next(_nodes_at(place), {})))


def _smallest(node: dict[str, Any]) -> Any:
    if "default" in node:
        return node["default"]
    node = next(_resolved(node))
    match node:
        case {"const": value} | {"examples": [value, *_]} | {"enum": [value, *_]}:
            return value
        case {"type": "object", "minProperties": _}:
            return {"name": _smallest(_values(node))}
        case {"type": "object"}:
            required = node.get("required", ())
            return {name: _smallest(node["properties"][name]) for name in required}
        case {"type": "array", "items": items}:
            return [_smallest(items) for _ in range(node.get("minItems", 0))]
        case {"type": "integer" | "number"}:
            return node.get("multipleOf", node.get("minimum", 1))
    return "name"


def _nodes_at(place: Place) -> Iterator[dict[str, Any]]:
    """Yields the schemas of what can stand at `place`."""
    nodes = [_schema()]
    for part in place:
        nodes = [child for node in nodes for child in _children(node, part)]
    for node in nodes:
        if "default" in node:
            yield node
    for node in nodes:
        yield from _resolved(node)


def _children(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    for option in _resolved(node):
        if isinstance(part, int):
            if "items" in option:
                yield option["items"]
        elif part in option.get("properties", ()):
            yield option["properties"][part]
        elif values := _values(option):
            yield values


def _values(node: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of the values of a mapping whose names are free."""
    return next(iter(node.get("patternProperties", {}).values()), {})


def _resolved(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields what a schema stands for: the target of a reference, each of a choice."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        yield from _resolved(_schema()["$defs"][name])
    elif choice := node.get("anyOf") or node.get("oneOf"):
        for option in choice:
            yield from _resolved(option)
    else:
        yield node
