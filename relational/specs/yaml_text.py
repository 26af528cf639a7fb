"""From the text of a file to plain data, and what is wrong with the text.

The text is YAML 1.2 without tags, anchors and aliases, which specs have no use for.
ruamel.yaml splits it into events; the data is built from them here, so that a key given
twice is found, nothing deep or endless is followed, and a plain scalar means what YAML's
core schema says: `1e-3` is a number, `yes` and `on` are texts.
"""

import contextlib
import dataclasses
import re
from collections.abc import Generator, Iterator
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from relational.specs.problems import (
    Place,
    Problem,
    SpecError,
    dotted,
    shortened,
    shown,
)

Plain: TypeAlias = Any
"""Data of mappings, lists, texts, numbers, booleans and None."""

LARGEST_TEXT = 64 * 1024
"""Characters that a spec may have; the shipped ones have about a thousand."""

_MOST_VALUES = 2000  # In one file.
_DEEPEST = 32  # Mappings and lists within each other.
_LONGEST_NUMBER = 40  # Characters.

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NULL = re.compile(r"|~|null|Null|NULL")  # These five: YAML 1.2.2, section 10.3.2.
_BOOLEAN = re.compile(r"(true|True|TRUE)|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclasses.dataclass(kw_only=True)
class Document:
    """What a text says, with the places of it that could not be used."""

    data: Plain
    problems: list[Problem] = dataclasses.field(default_factory=list)
    broken: list[Place] = dataclasses.field(default_factory=list)


def parse(text: str, source: str) -> Document:
    """Returns what `text` says; `source` names it in messages.

    Raises:
        SpecError: it is no YAML, or more than a spec can be.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"`text` must be the text of a spec, a `str`; got {shown(text)}. A file is "
            "read by `specs.load`."
        )
    if len(text) > LARGEST_TEXT:
        raise _error(source, f"must have at most {LARGEST_TEXT} characters.")
    reader = _Reader(source)
    try:
        with contextlib.closing(_events(text)) as events:
            reader.read(events)
    except SpecError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = source if mark is None else f"{source}:{mark.line + 1}"
        raise _error(place, f"is no YAML: {_words(error)}.") from None
    except YAMLError as error:
        words = " ".join(str(error).partition("\n")[0].split())
        raise _error(source, f"is no YAML: {words}.") from None
    except Exception as error:  # ruamel.yaml fails otherwise on some broken texts.
        raise _error(source, f"is no YAML ({type(error).__name__}).") from error
    return reader.document


def scalar(text: str) -> bool | int | float | str | None:
    """Returns what a plain scalar means in YAML's core schema.

    >>> [scalar(text) for text in ("1e-3", "0x10", "yes", "~", "true")]
    [0.001, 16, 'yes', None, True]
    """
    if _NULL.fullmatch(text):
        return None
    if match := _BOOLEAN.fullmatch(text):
        return match[1] is not None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, base=0)
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
        return float(re.sub(r"\.(?=[iInN])", "", text))
    return text


class _Reader:
    """Builds the data of one document from its events."""

    def __init__(self, source: str) -> None:
        self.document = Document(data=None)
        self._source = source
        self._num_values = 0

    def read(self, events: Iterator[Event]) -> None:
        """Reads all events of the text, which holds one document."""
        is_empty = True
        for event in events:
            if isinstance(event, StreamStartEvent | StreamEndEvent | DocumentEndEvent):
                continue
            if not isinstance(event, DocumentStartEvent):
                raise self._refuse(event, "is not understood")
            if not is_empty:
                raise self._refuse(event, "begins a second document; a file holds one")
            is_empty = False
            self.document.data = self._value(next(events), events, ())
        if is_empty:
            raise _error(self._source, "is empty; a spec says name, model, data, ...")

    # Events are `Any` below: ruamel.yaml types what is common to all of them only.

    def _value(self, event: Any, events: Iterator[Any], place: Place) -> Plain:
        self._num_values += 1
        if self._num_values > _MOST_VALUES:
            raise self._refuse(event, f"has more than {_MOST_VALUES} values")
        if len(place) > _DEEPEST:
            raise self._refuse(event, f"is more than {_DEEPEST} levels deep")
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise self._refuse(event, "has an anchor or alias; write the value out")
        if event.tag is not None:
            raise self._refuse(event, "has a tag; specs have none, remove it")
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, place)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(events, place)
        return self._scalar(event)

    def _mapping(self, events: Iterator[Any], place: Place) -> Plain:
        data: dict[str, Plain] = {}
        lines: dict[str, int] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            line = event.start_mark.line + 1
            if not isinstance(event, ScalarEvent):
                raise self._refuse(event, "has a key that is no name")
            self._scalar(event)
            key, here = event.value, (*place, event.value)
            value = self._value(next(events), events, here)
            if not _KEY.fullmatch(key):
                self._note(
                    here,
                    place,
                    f"line {line}: {shortened(ascii(key))} is no name of a field: those begin with a "
                    "letter, then letters, digits and `_`.",
                )
            elif key in data:
                self._note(
                    here,
                    here,
                    f"is given twice, on line {lines[key]} and line {line}. Keep one.",
                )
            else:
                data[key] = value
                lines[key] = line
        return data

    def _sequence(self, events: Iterator[Any], place: Place) -> Plain:
        data: list[Plain] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            data.append(self._value(event, events, (*place, len(data))))
        return data

    def _scalar(self, event: Any) -> Plain:
        text: str = event.value
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self._refuse(event, "has half a surrogate pair; write the letter")
        if event.style in ("'", '"', "|", ">"):
            return text
        is_long = len(text) > _LONGEST_NUMBER
        if is_long and (_INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text)):
            raise self._refuse(event, f"has a number of {len(text)} digits")
        return scalar(text)

    def _note(self, broken: Place, place: Place, message: str) -> None:
        self.document.problems.append(Problem(path=dotted(place), message=message))
        self.document.broken.append(broken)

    def _refuse(self, event: Event, message: str) -> SpecError:
        return _error(f"{self._source}:{event.start_mark.line + 1}", f"{message}.")


def _events(text: str) -> Generator[Event]:
    """Yields ruamel.yaml's events of a text, one when it is asked for."""
    yield from YAML(typ="safe", pure=True).parse(text)


def _words(error: MarkedYAMLError) -> str:
    """Returns what ruamel.yaml says in one line, without its excerpt of the text."""
    parts = [part for part in (error.context, error.problem) if part]
    return " ".join(", ".join(parts).split()) or "it cannot be read"


def _error(path: str, message: str) -> SpecError:
    return SpecError([Problem(path=path, message=message)])
