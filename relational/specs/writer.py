"""From a spec to plain data, and to the text of a file.

What fits on a line stands on one line; what does not is taken apart. The text of a spec
is thereby always the same, and as short as it can be without abbreviations.
"""

import dataclasses
import math
import textwrap
from typing import Any

from relational.specs.data import DATA_SETS
from relational.specs.kinds import PARTS, fields_of
from relational.specs.layers import LAYERS
from relational.specs.norms import NORMS
from relational.specs.positions import POSITIONS
from relational.specs.schedule import SCHEDULES
from relational.specs.spec import Spec
from relational.specs.topology import TOPOLOGIES
from relational.specs.training import OPTIMIZERS
from relational.specs.yaml_text import Plain, scalar

_NAMES: dict[type, str] = {
    kind: name
    for table in (
        TOPOLOGIES,
        POSITIONS,
        NORMS,
        LAYERS,
        DATA_SETS,
        OPTIMIZERS,
        SCHEDULES,
    )
    for name, kind in table.items()
}

_LINE_LENGTH = 88
_INDENT = "  "
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def dumps(spec: Spec) -> str:
    """Returns the text of a spec, which `loads` takes back to an equal one."""
    return "\n".join(_lines(plain(spec), "")) + "\n"


def plain(value: Any, *, with_defaults: bool = False) -> Plain:
    """Returns a spec, or a part of one, as the data that its file holds.

    >>> from relational.specs import BandSpec
    >>> plain(BandSpec(before=8))
    {'band': {'before': 8}}
    """
    if isinstance(value, dict):
        return {
            key: plain(item, with_defaults=with_defaults) for key, item in value.items()
        }
    if isinstance(value, tuple):
        return [plain(item, with_defaults=with_defaults) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields: dict[str, Plain] = {}
    for name, field in fields_of(type(value)).items():
        item = getattr(value, name)
        if (
            with_defaults
            or field.is_required()
            or item != field.get_default(call_default_factory=True, validated_data={})
        ):
            key = str(field.validation_alias or name)
            fields[key] = plain(item, with_defaults=with_defaults)
    kind = _NAMES.get(type(value))
    if kind is None:
        return fields
    return {kind: fields.get(PARTS, fields)} if fields else kind


def kind_name(value: object) -> str | None:
    """Returns the name in files of a value of a family, `band` of a `BandSpec`."""
    return _NAMES.get(type(value))


def in_line(data: Plain) -> str:
    """Returns data in one line of YAML.

    >>> in_line({"and": ["causal", {"band": {"before": 8}}]})
    '{and: [causal, {band: {before: 8}}]}'
    """
    if isinstance(data, dict):
        items = (f"{key}: {in_line(item)}" for key, item in data.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(data, list):
        return "[" + ", ".join(map(in_line, data)) + "]"
    if data is None:
        return "null"
    if isinstance(data, bool):
        return str(data).lower()
    if isinstance(data, float):
        return repr(data) if math.isfinite(data) else f".{data}"
    return _quoted_if_needed(data) if isinstance(data, str) else str(data)


def _lines(data: Plain, indent: str) -> list[str]:
    """Returns the lines of a mapping, indented."""
    lines: list[str] = []
    for key, value in data.items():
        line = f"{indent}{key}: {in_line(value)}"
        if len(line) <= _LINE_LENGTH or not _can_be_split(value):
            lines.append(line)
        elif isinstance(value, str):
            lines += [f"{indent}{key}: >-", *_folded(value, indent + _INDENT)]
        elif isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + _INDENT)]
        else:
            lines.append(f"{indent}{key}:")
            for item in value:
                lines += _item_lines(item, indent + _INDENT)
    return lines


def _item_lines(item: Plain, indent: str) -> list[str]:
    """Returns the lines of one item of a list, the first with a dash."""
    line = f"{indent}- {in_line(item)}"
    is_kind = isinstance(item, dict) and len(item) == 1
    if not isinstance(item, dict) or (len(line) <= _LINE_LENGTH and not is_kind):
        return [line]
    first, *rest = _lines(item, indent + _INDENT)
    return [f"{indent}- {first.strip()}", *rest]


def _can_be_split(value: Plain) -> bool:
    if isinstance(value, str):
        is_one_paragraph = value.isprintable() and value == " ".join(value.split())
        return is_one_paragraph
    return isinstance(value, dict | list)


def _folded(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_LINE_LENGTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _quoted_if_needed(text: str) -> str:
    is_plain = text.replace(" ", "").replace("_", "").isalnum() and text.isascii()
    if is_plain and text == text.strip() and isinstance(scalar(text), str):
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
