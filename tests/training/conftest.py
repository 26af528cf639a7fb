import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Callable
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
def start_toy() -> Callable[..., subprocess.Popen[str]]:
    """Starts `toy.py` as a program that computes as this process does."""

    def start(folder: Path, num_steps: int) -> subprocess.Popen[str]:
        is_simple = not os.environ.get(
            "RELATIONAL_TEST_OPTIMIZED"
        )  # As tests/conftest.
        return subprocess.Popen(
            [sys.executable, str(_PATH), str(folder), str(num_steps)],
            env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(is_simple))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def console() -> rich.console.Console:
    """A console that writes into a string, `console.file.getvalue()`."""
    return rich.console.Console(file=io.StringIO(), width=200)
