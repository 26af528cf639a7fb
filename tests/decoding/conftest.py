import dataclasses

import jax
import numpy as np
import pytest

from relational import specs
from relational.models.tasks import NextToken

_NAMES = ("previous", "voice", "beat", "onset", "pitch")


def spec_of(topology: specs.TopologySpec, num_layers: int) -> specs.ModelSpec:
    """The model of the demo, made tiny, over another topology."""
    model = specs.load("demo").model
    edges = model.edges["self"]
    (block,) = model.blocks
    assert block.attention is not None
    assert block.feed_forward is not None
    return dataclasses.replace(
        model,
        nodes={"token": dataclasses.replace(model.nodes["token"], width=16)},
        edges={"self": dataclasses.replace(edges, topology=topology)},
        blocks=(
            dataclasses.replace(
                block,
                repeat=num_layers,
                attention=dataclasses.replace(block.attention, heads=2),
                feed_forward=dataclasses.replace(block.feed_forward, width=16),
            ),
        ),
    )


CAUSAL = specs.CausalSpec()
LOCAL = specs.AndSpec(parts=(specs.BlocksSpec(size=8), specs.CausalSpec()))


def made(topology: specs.TopologySpec, num_layers: int) -> tuple[NextToken, object]:
    """A task and parameters for it, drawn without compiling its `init`."""
    task = NextToken(spec_of(topology, num_layers))
    batch = {name: np.zeros([1, 4], np.int32) for name in _NAMES}
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype)

    return task, jax.tree.map(draw, shapes)


@pytest.fixture(scope="session")
def causal():
    return made(CAUSAL, num_layers=2)


@pytest.fixture(scope="session")
def local():
    return made(LOCAL, num_layers=1)


@pytest.fixture
def prime():
    """Five steps of four voices, with rests."""
    pitch = np.random.default_rng(0).integers(40, 80, (5, 4)).astype(np.int32)
    pitch[1, 2] = pitch[4, 3] = -1
    return pitch
