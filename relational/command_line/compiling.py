"""Compiled programs that are kept for the next time, in the user's cache folder.

JAX keeps them (its persistent compilation cache); here it is told where. A program is
found again by all that it is made of, weights excepted, so that a folder serves every
run, and several processes at once. One that cannot be read is compiled.
"""

import os
from typing import Annotated, Any

import typer

KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep-programs/--no-keep-programs",
        help="Keep what is compiled in the cache folder, for the next time.",
    ),
]

PROGRAMS = "programs"
"""The folder's name, within that of prepared data sets."""

_LEAST_SECONDS = 0.3  # Of compilation, from which on a program is worth its file.


def keep_programs(is_wanted: bool) -> None:
    """Lets JAX keep compiled programs, unless the user has told it where already.

    A folder that cannot be made or written is none.
    """
    import jax

    config: Any = jax.config  # Its fields are made when JAX is imported.
    is_told = config.jax_compilation_cache_dir is not None
    if not is_wanted or is_told or not config.jax_enable_compilation_cache:
        return
    from relational.datasets.preparing import cache_folder

    try:
        folder = cache_folder(None) / PROGRAMS
        folder.mkdir(exist_ok=True)
    except (OSError, ValueError):
        return
    if os.access(folder, os.W_OK | os.X_OK):
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
