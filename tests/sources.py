"""Where tests find the data sets that are not generated."""

import os
from pathlib import Path

import pytest

_DATA = Path(__file__).parents[2] / "shared" / "data"


def folder(variable, name):
    """Returns a folder of published files; without it, the test is skipped."""
    found = Path(os.environ.get(variable) or _DATA / name)
    if not found.exists():
        pytest.skip(f"{name} is not at {found}: set {variable}")
    return found
