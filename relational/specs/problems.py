"""What is wrong with a spec: places in it, and the error that lists them all."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

Place = tuple[str | int, ...]
"""Where a value stands: `("model", "blocks", 0)` is written `model.blocks[0]`."""

_LONGEST_SHOWN = 40  # Characters of a user's value that a message repeats.
_LONGEST_NAME = 64  # A field's name has no more, as `Name` and YAML's reader have it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, and where."""

    path: str
    """The place in the spec (`model.read_out.node`), or the file and the line."""
    message: str
    """What must hold, what came, and what to do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SpecError(ValueError):
    """A spec that cannot be used; `str(error)` lists every problem, one a line.

    >>> print(SpecError([Problem(path="training.steps", message="is missing.")]))
    training.steps: is missing.
    """

    problems: list[Problem]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["SpecError"], tuple[list[Problem]]]:
        return SpecError, (self.problems,)


def dotted(place: Place) -> str:
    """Returns a place as it is written: `model.blocks[0].attention`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{_one_line(part)}"
    return text.removeprefix(".") or "the spec"


def touches(place: Place, others: Iterable[Place]) -> bool:
    """Says whether `place` holds, or is inside, one of `others`."""
    return any(
        place[: len(other)] == other or other[: len(place)] == place for other in others
    )


def shown(value: object) -> str:
    """Returns a value as messages show it: in one line, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping of {listed(value)}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    return shortened(repr(value))


def shortened(text: str) -> str:
    r"""Returns `text` in one line, its end replaced by dots where it is long.

    >>> shortened("so\vle")
    'so\\x0ble'
    """
    text = _one_line(text)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _one_line(text: str) -> str:
    return "".join(map(_printable, text[:_LONGEST_NAME]))


def _printable(letter: str) -> str:
    """Returns a letter, or how it is written if it would end or change the line."""
    return letter if letter.isprintable() else ascii(letter)[1:-1]


def listed(names: Iterable[str]) -> str:
    """Returns names in a row, each in backticks, the last ones counted if many."""
    quoted = [f"`{shortened(name)}`" for name in names]
    more = f" and {len(quoted) - 12} more" if len(quoted) > 12 else ""
    return ", ".join(quoted[:12]) + more


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Returns the known name that `name` was probably meant to be, if one is near."""
    matches = difflib.get_close_matches(name[:_LONGEST_SHOWN], known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def suggestion(name: str, known: Sequence[str]) -> str:
    """Returns the sentence that helps after an unknown name."""
    if not known:
        return "There are none."
    match = nearest(name, known)
    if match is not None:
        return f"Did you mean `{match}`?"
    return f"There {'are' if len(known) > 1 else 'is'} {listed(known)}."
