import jax
import numpy as np
import pytest

from relational import specs
from relational.models.tasks import NextToken

_NAMES = ("previous", "voice", "beat", "onset", "pitch")
_TINY = """
name: tiny
model:
  nodes: {{token: {{vocabulary: 48, width: 16, embed: {{voice: 4, beat: 32}}}}}}
  edges:
    self:
      from: token
      to: token
      topology: {topology}
      relations:
        offset: {{limit: 20}}
        pitch: {{difference: pitch, clip: 24}}
        time: {{difference: onset, limit: 6}}
  blocks:
    - repeat: {num_layers}
      attention: {{over: self, heads: 2, score: [content, offset, pitch, time]}}
      feed_forward: {{width: 16}}
  read_out: {{node: token}}
data: {{chorales: {{window: 32}}}}
training: {{steps: 5, batch_size: 4}}
"""


def _made(topology: str, num_layers: int) -> tuple[specs.Spec, NextToken, object]:
    """A tiny spec, its task, and parameters drawn without compiling `init`."""
    spec = specs.loads(_TINY.format(topology=topology, num_layers=num_layers), "tiny")
    task = NextToken(spec.model)
    batch = {name: np.zeros([1, 4], np.int32) for name in _NAMES}
    shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.normal(0, 0.5, leaf.shape).astype(leaf.dtype)

    return spec, task, jax.tree.map(draw, shapes)


@pytest.fixture(scope="session")
def causal():
    """A task of two layers in which all that came before is heard, and parameters."""
    return _made("causal", num_layers=2)[1:]


@pytest.fixture(scope="session")
def local():
    """The same of one layer, in which the own block of 8 and the one before is heard."""
    return _made("{and: [{blocks: {size: 8}}, causal]}", num_layers=1)[1:]


@pytest.fixture(scope="session")
def tiny_spec():
    """The spec of `local`, with one relation, which compiles faster."""
    spec = _made("{and: [{blocks: {size: 8}}, causal]}", num_layers=1)[0]
    score = "model.blocks[0].attention.score=[content, offset]"
    relations = "model.edges.self.relations={offset: {limit: 20}}"
    return specs.override(spec, [score, relations])


_COMPILATIONS = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: (
        _COMPILATIONS.append(seconds)
        if event.endswith("backend_compile_duration")
        else 0
    )
)


@pytest.fixture
def num_compiled():
    """A function that says how many programs were compiled since it was last asked."""
    seen = [len(_COMPILATIONS)]

    def since():
        seen.append(len(_COMPILATIONS))
        return seen[-1] - seen[-2]

    return since


@pytest.fixture
def prime():
    """Five steps of four voices, with rests."""
    pitch = np.random.default_rng(0).integers(40, 80, (5, 4)).astype(np.int32)
    pitch[1, 2] = pitch[4, 3] = -1
    return pitch
