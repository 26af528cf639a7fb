"""One file a case: its inputs, and every peer's way to compute it.

A new case is a new file here that defines `CASE`, or a module of your own, which is
named with its package: `python -m benchmarks mine.attention`.
"""

import importlib
import pkgutil

from benchmarks.case import Case


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Case:
    module = name if "." in name else f"{__name__}.{name}"
    return importlib.import_module(module).CASE
