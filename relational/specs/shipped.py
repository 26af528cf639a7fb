"""Specs in files: those that come with the library, and the user's own."""

import importlib.resources
import os
import pathlib

from relational.specs.problems import Problem, SpecError, shown, suggestion
from relational.specs.reader import loads
from relational.specs.spec import Spec
from relational.specs.writer import dumps
from relational.specs.yaml_text import LARGEST_TEXT

_SUFFIXES = (".yaml", ".yml")


def names() -> list[str]:
    """Returns the names of the specs that come with the library."""
    folder = importlib.resources.files("relational.specs") / "library"
    return sorted(
        file.name.removesuffix(".yaml")
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    )


def load(path_or_name: str | os.PathLike[str]) -> Spec:
    """Returns the spec in a file, or one that comes with the library.

    Args:
        path_or_name: a path, or one of `names()`. A text that is one of these names is
            the name; `./demo` is the file.

    Raises:
        SpecError: it cannot be read, or something is wrong with it; the error lists all
            that is.
    """
    if not isinstance(path_or_name, str | os.PathLike):
        raise TypeError(
            "`path_or_name` must be a path or one of `specs.names()`; got "
            f"{shown(path_or_name)}."
        )
    name = os.fspath(path_or_name)
    if isinstance(path_or_name, str) and name in names():
        folder = importlib.resources.files("relational.specs") / "library"
        return loads((folder / f"{name}.yaml").read_text("utf-8"), f"{name}.yaml")
    return loads(_text(name), name)


def save(spec: Spec, path: str | os.PathLike[str]) -> None:
    """Writes a spec to a file, from which `load` takes back an equal one."""
    pathlib.Path(path).write_text(dumps(spec), "utf-8")


def _text(path: str) -> str:
    """Returns the content of a file, or says why there is none."""
    try:
        with open(path, "rb") as file:
            content = file.read(4 * LARGEST_TEXT + 1)  # A letter has at most 4 bytes.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 (byte {error.start + 1}). Save it as UTF-8."
    except FileNotFoundError:
        message = _not_found(path)
    except IsADirectoryError:
        message = "is a folder, and a spec is a file."
        if os.path.isfile(own := os.path.join(path, "spec.yaml")):
            message = f"is a folder; its spec is `{own}`."
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}."
    except ValueError as error:  # A path with a zero byte.
        message = f"is no path: {error}."
    raise SpecError([Problem(path=ascii(path)[1:-1], message=message)])


def _not_found(path: str) -> str:
    if os.sep in path or path.endswith(_SUFFIXES):
        return "there is no such file."
    return f"is neither a file nor a shipped spec. {suggestion(path, names())}"
