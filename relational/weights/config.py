"""The `config.json` of a folder, read field by field: what is asked for must make sense."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

NAME = "config.json"


@dataclasses.dataclass(frozen=True)
class Config:
    """The fields of a config.

    Attributes:
      fields: as the file has them.
      path: of the file, for messages.
    """

    fields: Mapping[str, Any]
    path: Path

    def count(self, name: str, default: int | None = None) -> int:
        """Returns a whole number of at least 1."""
        value = self.fields.get(name)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(name, "a whole number of at least 1", value)
        return value

    def token(self, name: str, default: int) -> int:
        """Returns the number of a token."""
        value = self.fields.get(name)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "the number of one token", value)
        return value

    def number(self, name: str, default: float) -> float:
        """Returns a number of at least 0."""
        value = self.fields.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "a number of at least 0", value)
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Returns `true` or `false`."""
        value = self.fields.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self.wrong(name, "`true` or `false`", value)
        return value

    def one_of(self, name: str, default: str, known: Mapping[str, Value]) -> Value:
        """Returns what `known` makes of a text."""
        value = self.fields.get(name, default)
        value = default if value is None and default else value
        if not isinstance(value, str) or value not in known:
            listed = ", ".join(f"`{each}`" for each in known)
            raise self.wrong(name, f"one of {listed}", value)
        return known[value]

    def must_be(self, **expected: Any) -> None:
        """Refuses options that would make another model; absent ones are as expected."""
        for name, wanted in expected.items():
            value = self.fields.get(name, wanted)
            if value is not None and value != wanted:
                raise self.wrong(name, f"`{json.dumps(wanted)}`", value)

    def wrong(self, name: str, must_be: str, came: Any) -> ValueError:
        """Returns the error for a field."""
        return ValueError(
            f"`{self.path}`: `{name}` must be {must_be}; got "
            f"{json.dumps(came, default=repr)[:80]}. Such a model cannot be imported."
        )


def read_config(folder: Path) -> Config:
    """Returns the config of a folder.

    Raises:
      ValueError: there is none, or it is no JSON object.
    """
    path = folder / NAME
    if not path.is_file():
        raise ValueError(
            f"`folder` must be a model that Hugging Face's `save_pretrained` wrote, with "
            f"`{NAME}` and safetensors; `{folder}` has no `{NAME}`."
        )
    try:
        fields = json.loads(path.read_text("utf-8"))
        return Config(dict(fields.items()), path)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"`{path}` must be a JSON object; it is none ({error})."
        ) from error
