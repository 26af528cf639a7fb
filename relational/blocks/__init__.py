if (
    __name__ == "blocks"
):  # The root of the repository links here; that name is not ours.
    raise ImportError(
        "use `import relational.blocks`: `blocks` alone is another's name."
    )

"""Haiku modules that own parameters: graph in, graph out."""

from relational.blocks.attention import Attention as Attention
from relational.blocks.embedding import Embedding as Embedding
from relational.blocks.embedding import sinusoids as sinusoids
from relational.blocks.feed_forward import FeedForward as FeedForward
from relational.blocks.graph_network import GraphNetwork as GraphNetwork
from relational.blocks.parts import over_topology as over_topology
from relational.blocks.residual import Residual as Residual
from relational.blocks.updates import ByName as ByName
