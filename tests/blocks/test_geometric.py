"""With the same weights, blocks say what layers of PyTorch Geometric say, to 1e-5."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.blocks.geometric import TWINS, carried_over

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


def read(name, folder=GOLDEN / "geometric"):
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", list(TWINS))
def test_blocks_are_layers_of_pytorch_geometric(name):
    recorded = read(name)
    block, params, graph = carried_over(name, recorded)
    found = jax.jit(block.apply)(params, graph)
    np.testing.assert_allclose(found.nodes, recorded["output"], atol=1e-5)


def test_all_recorded_layers_are_compared():
    assert sorted(path.stem for path in (GOLDEN / "geometric").glob("*.npz")) == sorted(
        TWINS
    )
    versions = json.loads((GOLDEN / "geometric" / "versions.json").read_text("utf-8"))
    assert versions["torch"].startswith("2.13.0")


@pytest.mark.skipif(
    importlib.util.find_spec("torch_geometric") is None,
    reason="PyTorch Geometric is not installed: pip install -e '.[parity]'",
)
def test_what_was_recorded_is_what_the_peer_says_now(tmp_path):
    script = str(GOLDEN / "make_geometric.py")
    subprocess.run([sys.executable, script, str(tmp_path)], check=True)
    for name in TWINS:
        now, before = read(name, tmp_path), read(name)
        assert now.keys() == before.keys()
        for key, value in now.items():
            np.testing.assert_allclose(value, before[key], atol=1e-6, err_msg=key)
