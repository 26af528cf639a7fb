"""Compiled programs are kept in the cache folder, and what is broken there breaks nothing."""

import os
import subprocess
import sys

import jax
import pytest

from relational.command_line.compiling import PROGRAMS, keep_programs

_DIR, _LEAST = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
_SCRIPT = """
import pathlib, sys, warnings
import jax, jax.numpy as jnp
from relational.command_line import compiling

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
compiling.keep_programs(True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
double = jax.jit(lambda x: x * 2)

def run():
    jax.clear_caches()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = double(jnp.float32(21)).item()
    hits = sum(event.endswith("/cache_hits") for event in events)
    events.clear()
    return result, hits > 0, any("cache" in str(each.message) for each in told)

print(run(), run())
for path in pathlib.Path(jax.config.jax_compilation_cache_dir).glob("*"):
    path.write_bytes(path.read_bytes()[:50])
print(run())
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A cache folder, and JAX as it is for users; as it was before, afterwards."""
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path / "cache"))
    before = {name: getattr(jax.config, name) for name in (_DIR, _LEAST)}
    jax.config.update("jax_enable_compilation_cache", True)
    yield jax.config
    jax.config.update("jax_enable_compilation_cache", False)
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_cache_folder(config, tmp_path):
    keep_programs(True)
    assert config.jax_compilation_cache_dir == str(tmp_path / "cache" / PROGRAMS)
    assert (tmp_path / "cache" / PROGRAMS).is_dir()


def test_programs_are_not_kept_where_nobody_wants_or_can(config, tmp_path, monkeypatch):
    keep_programs(False)
    assert config.jax_compilation_cache_dir is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path / "file"))
    keep_programs(True)
    assert config.jax_compilation_cache_dir is None
    config.update("jax_enable_compilation_cache", False)
    monkeypatch.setenv("RELATIONAL_CACHE", str(tmp_path))
    keep_programs(True)
    assert config.jax_compilation_cache_dir is None


def test_a_folder_that_the_user_has_named_stays(config, tmp_path):
    config.update(_DIR, str(tmp_path / "mine"))
    keep_programs(True)
    assert config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert not (tmp_path / "cache").exists()


def test_a_broken_program_is_compiled_again(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env=os.environ | {"RELATIONAL_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    # A result, whether it was kept, and whether JAX says that the cache is broken.
    first, second = "(42.0, False, False)", "(42.0, True, False)"
    assert found.stdout.split("\n")[:2] == [f"{first} {second}", "(42.0, False, True)"]
