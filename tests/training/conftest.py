import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest
import rich.console

_PATH = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module `toy.py`, which is also run as a program."""
    found = importlib.util.spec_from_file_location("training_toy", _PATH)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["training_toy"] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def toy_program() -> list[str]:
    return [sys.executable, str(_PATH)]


@pytest.fixture
def console() -> rich.console.Console:
    """A console that writes into a string, `console.file.getvalue()`."""
    return rich.console.Console(file=io.StringIO(), width=200)
