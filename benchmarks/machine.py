"""What results were found on: versions and processor."""

import pathlib
import platform
from importlib import metadata

_PACKAGES = (
    "jax",
    "jaxlib",
    "jraph",
    "torch",
    "torch-geometric",
    "transformers",
    "numpy",
)
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}


def machine() -> str:
    """Returns one line: Python, packages, cores."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    return f"Python {platform.python_version()}, {', '.join(versions)}; {_processor()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    if not models:
        return platform.processor()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    # The name may hide the generation; how wide vectors are decides most ratios.
    width = next((name for flag, name in _VECTORS.items() if flag in flags), "no AVX2")
    return f"{len(models)} cores, {models[0]} with {width}"
