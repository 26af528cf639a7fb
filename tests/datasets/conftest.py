import numpy as np
import pytest

from relational.datasets import Piece
from tests.sources import folder


@pytest.fixture(scope="session")
def jsb_folder():
    return folder("RELATIONAL_DATA_SOURCE", "jsb_chorales")


@pytest.fixture(scope="session")
def planetoid_folder():
    return folder("RELATIONAL_PLANETOID_SOURCE", "planetoid")


@pytest.fixture(scope="session")
def molecules_folder():
    return folder("RELATIONAL_MOLECULES_SOURCE", "molecules")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache for the whole session, so that each source is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pieces():
    """Five pieces of 10 to 50 steps, with rests; the fourth fills the whole range."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(5):
        pitch = rng.integers(50, 70, (10 * (index + 1), 4)).astype(np.int32)
        pitch[rng.random(pitch.shape) < 0.2] = -1
        beat = (np.arange(len(pitch), dtype=np.int32) + 12) % 16
        made.append(Piece(pitch=pitch, beat=beat, index=index))
    made[3]["pitch"][0] = [81, 60, 50, 36]
    return made
