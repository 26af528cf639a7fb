"""Data sets that are prepared once and kept: where they lie, and how they come there.

Preparing happens in a folder of its own that is renamed when it is complete: a kill
leaves nothing that would be believed, and two processes may prepare at once.
"""

import contextlib
import io
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "RELATIONAL_CACHE"

_DEFAULT_CACHE = "~/.cache/relational"
_STALE_SECONDS = 24 * 60 * 60

_log = logging.getLogger(__name__)

Builder = Callable[[str], Any]
"""Makes a TFDS builder that writes to, and reads from, a folder."""


def examples(
    builder: Builder, name: str, split: str, cache: str | os.PathLike[str] | None
) -> list[Any]:
    """All examples of a split, which is prepared first where it has not been.

    Args:
        builder: of the set.
        name: of the set below a cache: builder, configuration and version.
        split: one of its splits.
        cache: the folder for prepared sets; else `RELATIONAL_CACHE`, else
            `~/.cache/relational`.

    Raises:
        ValueError: if a file or folder cannot be used.
    """
    folder = cache_folder(cache)
    if not (folder / name).is_dir():
        prepare(builder, name, folder)
    return read(builder, name, split, folder)


def is_there(name: str, cache: str | os.PathLike[str] | None) -> bool:
    """Whether a set of this name has been prepared.

    >>> is_there("planetoid/cora/1.0.0", "/nonexistent")
    False
    """
    return (_named(cache) / name).is_dir()


def cache_folder(cache: str | os.PathLike[str] | None) -> Path:
    """The folder for prepared sets, made if need be."""
    folder = _named(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            "`cache` must be a folder that can be written; got "
            f"{os.fspath(folder)!r} ({error.strerror}). Name another with `cache=` or "
            f"the environment variable {CACHE_VARIABLE}."
        ) from error
    return folder


def prepare(builder: Builder, name: str, cache: Path) -> None:
    """Prepares a set apart, and gives it its name when it is complete."""
    _remove_stale(cache)
    _log.info("preparing %s in %s", name, cache)
    workshop = cache / f".preparing-{uuid.uuid4().hex}"
    try:
        making = builder(os.fspath(workshop))
        with _silenced():  # TFDS prints and draws bars whether asked or not.
            making.download_and_prepare()
        publish(workshop / name, cache / name)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def publish(made: Path, final: Path) -> None:
    """Renames `made` to `final`, unless another process was first: both hold the same.

    The name appears at once and with all of its files, or not at all.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def read(builder: Builder, name: str, split: str, cache: Path) -> list[Any]:
    """All examples of a split that has been prepared."""
    try:
        return list(builder(os.fspath(cache)).as_data_source(split=split))
    except Exception as error:  # TFDS and array_record name no common type.
        raise ValueError(
            f"the prepared set in {os.fspath(cache / name)!r} cannot be read ({error}). "
            "Delete that folder; the next call prepares it again."
        ) from error


def _named(cache: str | os.PathLike[str] | None) -> Path:
    folder = cache or os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE
    return Path(folder).expanduser()


def _remove_stale(cache: Path) -> None:
    """Removes what a killed preparation left a day or more ago."""
    for folder in cache.glob(".preparing-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    unheard = io.StringIO()
    with contextlib.redirect_stdout(unheard), contextlib.redirect_stderr(unheard):
        yield
