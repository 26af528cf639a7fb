"""A spec with some values overridden, and the difference of two specs."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from relational.specs.kinds import PARTS, fields_of
from relational.specs.problems import (
    Place,
    Problem,
    SpecError,
    dotted,
    shortened,
    shown,
)
from relational.specs.reader import build
from relational.specs.spec import Spec
from relational.specs.writer import in_line, kind_name, plain
from relational.specs.yaml_text import Document, Plain, parse

_STEP = re.compile(r"(?:^|\.)([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]{1,9})\]")

_LABELS = ("name", "source")  # These say what a spec is called, not what it does.


def override(spec: Spec, settings: Sequence[str]) -> Spec:
    """Returns a spec with some of its values replaced, checked as a whole.

    Args:
        spec: where the other values come from.
        settings: `training.steps=200`, `model.blocks[0].attention.heads=4`; what stands
            behind `=` is YAML.

    Raises:
        SpecError: a setting is not understood, or the changed spec is wrong; the error
            lists all that is.
    """
    if not isinstance(spec, Spec):
        raise TypeError(
            f"`spec` must be a `Spec`, as `specs.load` gives it; got {shown(spec)}."
        )
    if isinstance(settings, str) or not all(isinstance(one, str) for one in settings):
        raise TypeError(
            "`settings` must be a list of texts, such as ['training.steps=200']; got "
            f"{shown(settings)}."
        )
    document = Document(data=plain(spec, with_defaults=True))
    for setting in settings:
        try:
            place, value = _setting(setting, document)
            _put(document.data, place, value)
        except SpecError as error:
            # Two settings below one wrong place have one problem.
            document.problems += [
                each for each in error.problems if each not in document.problems
            ]
    return build(document)


def difference(before: Spec, after: Spec) -> list[str]:
    """Returns the lines in which two specs differ, each with its path.

    A line begins with `-` for what only `before` has, with `+` for what only `after`
    has. Names and sources are left out: they say what a spec is called.

    >>> from relational.specs import load
    >>> difference(load("transformer"), load("music_transformer"))[0]
    '+ model.edges.self.relations.offset: {limit: 512}'
    """
    for name, value in (("before", before), ("after", after)):
        if not isinstance(value, Spec):
            raise TypeError(f"`{name}` must be a `Spec`; got {shown(value)}.")
    fields = [name for name in fields_of(Spec) if name not in _LABELS]
    return [
        line
        for name in fields
        for line in _changes(getattr(before, name), getattr(after, name), (name,))
    ]


def _setting(text: str, document: Document) -> tuple[Place, Plain]:
    """Returns the place and the value of `place=value`."""
    path, sign, value = text.partition("=")
    path = path.strip()
    steps = list(_STEP.finditer(path))
    if not sign or not steps or "".join(step[0] for step in steps) != path:
        raise _error(
            shortened(ascii(text)[1:-1]),
            "must be a path, `=` and a value, such as `training.steps=200`.",
        )
    place = tuple(step[1] if step[2] is None else int(step[2]) for step in steps)
    parsed = (
        parse(value, f"the value of {path}") if value.strip() else Document(data=None)
    )
    document.problems += [
        Problem(path=f"{path}.{problem.path}", message=problem.message)
        for problem in parsed.problems
    ]
    return place, parsed.data


def _put(data: Plain, place: Place, value: Plain) -> None:
    """Puts a value at a place; what it should not have there the reader will say."""
    holder = data
    for depth, part in enumerate(place):
        here, is_last = dotted(place[:depth]), depth == len(place) - 1
        if isinstance(part, int):
            if not isinstance(holder, list):
                raise _error(here, f"is no list and has no [{part}].")
            if part >= len(holder):
                raise _error(here, f"has no [{part}]; got a list of {len(holder)}.")
        elif not isinstance(holder, dict):
            raise _error(
                here,
                f"has no field `{part}`; it is {shown(holder)}. Set `{here}` as a whole.",
            )
        if is_last:
            holder[part] = value
        elif isinstance(part, str) and holder.get(part) is None:
            holder[part] = {}
        holder = holder[part]


def _changes(before: Any, after: Any, place: Place) -> Iterator[str]:
    """Yields the lines in which two values at the same place differ."""
    if before == after and type(before) is type(after):
        return
    if dataclasses.is_dataclass(before) and type(before) is type(after):
        kind = kind_name(before)
        place = place if kind is None else (*place, kind)
        for name, field in fields_of(type(before)).items():
            key = str(field.validation_alias or name)
            here = place if key == PARTS else (*place, key)
            yield from _changes(getattr(before, name), getattr(after, name), here)
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            here = (*place, name)
            yield from _item_changes(before.get(name), after.get(name), here)
    elif _holds_specs(before) and _holds_specs(after):
        for index, (old, new) in enumerate(itertools.zip_longest(before, after)):
            yield from _item_changes(old, new, (*place, index))
    else:
        yield f"- {dotted(place)}: {in_line(plain(before))}"
        yield f"+ {dotted(place)}: {in_line(plain(after))}"


def _item_changes(before: Any, after: Any, place: Place) -> Iterator[str]:
    """Yields the lines in which items differ, one of which may be missing (None)."""
    if before is None:
        yield f"+ {dotted(place)}: {in_line(plain(after))}"
    elif after is None:
        yield f"- {dotted(place)}: {in_line(plain(before))}"
    else:
        yield from _changes(before, after, place)


def _holds_specs(value: object) -> bool:
    return isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value))


def _error(path: str, message: str) -> SpecError:
    return SpecError([Problem(path=path, message=message)])
