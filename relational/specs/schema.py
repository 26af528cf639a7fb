"""The JSON Schema of specs, for editors, and what the reader asks of it.

The schema knows every field, so it also answers which names there are at a place (for
the nearest one to a mistyped name) and what the smallest value there is (to put in place
of a wrong one, so that the rest can be checked).
"""

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
    return _smallest(next(_nodes_at(place), {}))


def _smallest(node: dict[str, Any]) -> Any:
    for key in ("default", "const"):
        if key in node:
            return node[key]
    for key in ("examples", "enum"):
        if key in node:
            return node[key][0]
    node = next(_resolved(node))
    match node.get("type"):
        case "object":
            required = node.get("required", ())
            if not required and node.get("minProperties"):
                return {"name": _smallest(_values(node))}
            return {name: _smallest(node["properties"][name]) for name in required}
        case "array":
            return [_smallest(node["items"])] * node.get("minItems", 0)
        case "integer" | "number":
            return node.get("multipleOf") or node.get("minimum", 1)
        case "string":
            return "name"
    return node.get("const", node.get("examples", [None])[0])


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
