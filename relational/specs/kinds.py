"""Families: a choice whose kinds have their own fields is a union of small types.

In a file, a kind is a mapping of one key, `{band: {before: 8}}`, or its bare name where
nothing need be said about it, `causal`. In Python it is a value, `BandSpec(before=8)`.
Each family has one table from names to types, which only the reader uses.

Where kinds differ in their fields altogether, as models do, a file need not name the
kind: `ByField` tells it by a field that no other kind has.
"""

import dataclasses
import inspect
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relational.specs.problems import nearest, shortened

PARTS = "(parts)"
"""The alias of the one field of a kind whose value follows the name: `{and: [...]}`.

It stands in brackets to be told from a field that a file can have: the reader leaves
what is in brackets out of the paths that it prints.
"""


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Makes pydantic read a union in the one-key form (an `Annotated` argument)."""

    table: Mapping[str, type]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source  # The table says more than the union.
        choices: dict[Hashable, CoreSchema] = {
            name: core_schema.no_info_before_validator_function(
                partial(_fields_of, name, _value_key(kind)),
                handler.generate_schema(kind),
            )
            for name, kind in self.table.items()
        }
        return core_schema.tagged_union_schema(choices, discriminator=self.name_of)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        choices = cast(core_schema.TaggedUnionSchema, schema)["choices"]
        forms: list[JsonSchemaValue] = []
        for name, choice in choices.items():
            forms += _forms(str(name), handler(choice), self.table[str(name)])
        return {"anyOf": forms}

    def name_of(self, value: object) -> str:
        """Returns the name of the kind that `value` says it is, known or not."""
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return ", ".join(map(str, value)) or "an empty mapping"
        for name, kind in self.table.items():
            if isinstance(value, kind):
                return name
        return "nothing" if value is None else shortened(repr(value))


@dataclasses.dataclass(frozen=True)
class ByField:
    """Makes pydantic tell the kinds of a union by a field that each alone has.

    The first kind is meant where no such field is there. A misspelt field means the one
    that it is nearest to, so that what is wrong is told of the right kind.
    """

    table: Mapping[str, type]
    """Kinds by the field that tells them."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        del source  # The table says more than the union.
        choices: dict[Hashable, CoreSchema] = {
            f"({field})": handler.generate_schema(kind)
            for field, kind in self.table.items()
        }
        return core_schema.tagged_union_schema(choices, discriminator=self.tag_of)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        choices = cast(core_schema.TaggedUnionSchema, schema)["choices"]
        return {"anyOf": [handler(choice) for choice in choices.values()]}

    def tag_of(self, value: object) -> str:
        """Returns the tag of the kind that `value` is, or is nearest to."""
        tags = {field: f"({field})" for field in self.table}
        if not isinstance(value, dict):
            kinds = (f for f, kind in self.table.items() if isinstance(value, kind))
            return tags[next(kinds, next(iter(tags)))]
        told = [name for name in tags if name in value]
        meant = (nearest(str(name), tuple(tags)) for name in value)
        return tags[next((name for name in (*told, *meant) if name), next(iter(tags)))]


def _fields_of(name: str, key: str | None, value: object) -> object:
    """Returns what is said about a kind: `{before: 8}` of `{band: {before: 8}}`."""
    if isinstance(value, str):
        return {}
    if isinstance(value, dict):
        return value[name] if key is None else {key: value[name]}
    return value


def _forms(name: str, fields: JsonSchemaValue, kind: type) -> list[JsonSchemaValue]:
    """Returns the schemas of the ways in which a kind can be written."""
    description = {"description": inspect.getdoc(kind)}
    long: JsonSchemaValue = description | {
        "type": "object",
        "properties": {name: fields},
        "required": [name],
        "additionalProperties": False,
    }
    extra = kind.__pydantic_config__.get("json_schema_extra")  # type: ignore[attr-defined]
    has_example = isinstance(extra, dict)  # Its name alone says too little.
    if has_example or any(field.is_required() for field in fields_of(kind).values()):
        return [long]
    return [description | {"const": name}, long]


def _value_key(kind: type) -> str | None:
    """Returns the alias of the field whose value follows a kind's name, if one does."""
    defaults = (field.default for field in dataclasses.fields(kind))
    follows = any(getattr(d, "validation_alias", None) == PARTS for d in defaults)
    return PARTS if follows else None


def fields_of(kind: type) -> dict[str, FieldInfo]:
    """Returns what pydantic knows of the fields of a spec class."""
    return cast(dict[str, FieldInfo], kind.__pydantic_fields__)  # type: ignore[attr-defined]


def describe_as_value(schema: dict[str, Any]) -> None:
    """Makes the JSON Schema of a kind that of the value which follows it in files."""
    parts = schema["properties"][PARTS]
    description = schema["description"]
    schema.clear()
    schema.update(parts, description=description)
