"""One file a case: its inputs, and every peer's way to compute it.

A new case is a new file here that defines `CASE`.
"""

import importlib
import pkgutil

from benchmarks.case import Case


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Case:
    return importlib.import_module(f"{__name__}.{name}").CASE
