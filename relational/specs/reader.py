"""From plain data to a spec, or to the list of all that is wrong with it.

What pydantic refuses is noted and put right with a small value of the right type, until
what is left can be read; then the claims about it are added that rest on nothing which
was put right. So one mistyped name does not hide, nor cause, another message.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from relational.specs.checks import GATHERING, spec_claims
from relational.specs.problems import (
    Place,
    Problem,
    SpecError,
    dotted,
    listed,
    nearest,
    shortened,
    shown,
    suggestion,
    touches,
)
from relational.specs.schema import ADAPTER, known_fields, smallest
from relational.specs.spec import Spec
from relational.specs.yaml_text import Document, Plain, parse

_MOST_ROUNDS = 16

_UNKNOWN_FIELD = "unexpected_keyword_argument"


def loads(text: str, source: str = "the text") -> Spec:
    """Returns the spec that a YAML text says.

    Args:
        text: the content of a file.
        source: what the text is called in messages about its syntax.

    Raises:
        SpecError: something is wrong with it; the error lists all that is.
    """
    return build(parse(text, source))


def build(document: Document) -> Spec:
    """Returns the spec that plain data says; the data is used up.

    Raises:
        SpecError: something is wrong with it; the error lists all that is.
    """
    if not isinstance(document.data, dict):
        message = (
            "must be a mapping with name, model, data and training; got "
            f"{shown(document.data)}."
        )
        raise SpecError([Problem(path="the spec", message=message)])
    problems, broken = list(document.problems), list(document.broken)
    for _ in range(_MOST_ROUNDS):
        try:  # By alias: `from`, as in files, and not `sender_set`, as in Python.
            spec = ADAPTER.validate_python(
                document.data, context=GATHERING, by_alias=True, by_name=False
            )
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems += _new_problems(details, broken)
            silent = _consequences(details)
            for detail in details:
                if detail["type"] == "too_short" and _place(detail) in silent:
                    continue  # Putting its items right makes it long enough.
                broken.append(_place(detail))
                _mend(document.data, detail)
        else:
            problems += [
                claim.problem
                for claim in spec_claims(spec)
                if not any(touches(p, broken) for p in (claim.place, *claim.rests_on))
            ]
            break
    if problems:
        raise SpecError(problems)
    return spec


def _new_problems(details: list[ErrorDetails], broken: list[Place]) -> list[Problem]:
    """Returns the problems that follow from no other one."""
    silent = _consequences(details)
    return [
        Problem(path=dotted(place), message=_message(detail))
        for detail in details
        if (place := _place(detail)) not in silent and not touches(place, broken)
    ]


def _place(detail: ErrorDetails) -> Place:
    """Returns where an error is, without the marks of kinds, `(parts)` and the like."""
    parts = detail["loc"][:-1] if _is_bad_name(detail) else detail["loc"]
    return tuple(part for part in parts if not str(part).startswith("("))


def _is_bad_name(detail: ErrorDetails) -> bool:
    return bool(detail["loc"]) and detail["loc"][-1] == "[key]"


def _consequences(details: list[ErrorDetails]) -> set[Place]:
    """Returns the places of errors that only follow from other ones.

    A missing field may be there under a name much like its own, and a list is too short
    where pydantic has left out a wrong item of it.
    """
    places = [_place(detail) for detail in details]
    of_type: dict[str, set[Place]] = {}
    for detail, place in zip(details, places, strict=True):
        of_type.setdefault(detail["type"], set()).add(place)
    meant = {
        (*place[:-1], nearest(str(place[-1]), known_fields(place[:-1])) or "")
        for place in of_type.get(_UNKNOWN_FIELD, ())
    }
    holders = {place[:depth] for place in places for depth in range(len(place))}
    return (of_type.get("missing", set()) & meant) | (
        of_type.get("too_short", set()) & holders
    )


def _mend(data: Plain, detail: ErrorDetails) -> None:
    """Puts something right in the place of what is wrong."""
    place = _place(detail)
    holder: Any = data
    for depth, part in enumerate(place[:-1], start=1):
        try:
            item = holder[part]
        except LookupError:
            return  # What held it was itself wrong, and is put right already.
        if not isinstance(item, dict | list):  # A bare name that says too little.
            holder[part] = smallest(place[:depth])
            return
        holder = item
    if detail["type"] == _UNKNOWN_FIELD or _is_bad_name(detail):
        holder.pop(place[-1], None)
    else:
        holder[place[-1]] = smallest(place)


def _message(detail: ErrorDetails) -> str:
    """Returns what is wrong in our words: what must hold, what came, what to do."""
    came = f"; got {shown(detail['input'])}."
    bounds: dict[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "unexpected_keyword_argument":
            place = _place(detail)
            return "unknown field. " + suggestion(
                str(place[-1]), known_fields(place[:-1])
            )
        case "missing":
            return "is missing. Give it a value."
        case "int_type" | "int_from_float":
            return f"must be a whole number{came}"
        case "float_type":
            return f"must be a number{came}"
        case "finite_number":
            return f"must be a finite number{came}"
        case "bool_type":
            return f"must be `true` or `false`{came}"
        case "string_type":
            return f"must be a text{came}"
        case "dict_type" | "dataclass_type":
            return f"must be a mapping of names to values{came}"
        case "tuple_type":
            return f"must be a list{came}"
        case "greater_than":
            return f"must be more than {bounds['gt']:g}{came}"
        case "greater_than_equal":
            return f"must be {bounds['ge']:g} or more{came}"
        case "less_than":
            return f"must be less than {bounds['lt']:g}{came}"
        case "less_than_equal":
            return f"must be {bounds['le']} or less{came}"
        case "multiple_of":
            return f"must be a multiple of {bounds['multiple_of']:g}{came}"
        case "too_short":
            least, num = bounds["min_length"], bounds["actual_length"]
            return f"must have {least} or more; got {num}."
        case "too_long":
            most, num = bounds["max_length"], bounds["actual_length"]
            return f"must have at most {most}; got {num}."
        case "string_too_long":
            return f"must have at most {bounds['max_length']} characters{came}"
        case "string_pattern_mismatch":
            return (
                "must be a name: a small letter, then small letters, digits and `_`"
                + came
            )
        case "literal_error":
            return f"must be one of {bounds['expected']}{came}"
        case "union_tag_invalid":
            return _kind_message(bounds)
        case "value_error":
            return str(bounds["error"])
    return f"{detail['msg']}{came}"


def _kind_message(bounds: dict[str, Any]) -> str:
    """Returns what is wrong where a kind is to be named."""
    known = [name.strip("' ") for name in bounds["expected_tags"].split(", ")]
    came = str(bounds["tag"])
    if ", " in came:
        return f"must have one kind; got {listed(came.split(', '))}. Keep one of them."
    message = f"must be one of {listed(known)}; got `{shortened(came)}`."
    match = nearest(came, known)
    return message if match is None else f"{message} Did you mean `{match}`?"
