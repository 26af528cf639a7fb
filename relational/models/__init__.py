if (
    __name__ == "models"
):  # The root of the repository links here; that name is not ours.
    raise ImportError(
        "use `import relational.models`: `models` alone is another's name."
    )

"""Arrangements of blocks, built from specs."""

from relational.models.auxiliary import Auxiliary as Auxiliary
from relational.models.building import build as build
from relational.models.graph_model import Model as Model
from relational.models.named import relation_of as relation_of
from relational.models.named import topology_of as topology_of
from relational.models.network import Network as Network
from relational.models.positions import prepare as prepare
