if (
    __name__ == "blocks"
):  # The root of the repository links here; that name is not ours.
    raise ImportError(
        "use `import relational.blocks`: `blocks` alone is another's name."
    )

"""Haiku modules that own parameters: graph in, graph out."""

from relational.blocks.attention import Attention as Attention
from relational.blocks.classic_networks import comm_net as comm_net
from relational.blocks.classic_networks import deep_sets as deep_sets
from relational.blocks.classic_networks import edge_network as edge_network
from relational.blocks.classic_networks import (
    gated_graph_network as gated_graph_network,
)
from relational.blocks.classic_networks import (
    interaction_network as interaction_network,
)
from relational.blocks.classic_networks import (
    message_passing_network as message_passing_network,
)
from relational.blocks.classic_networks import relation_network as relation_network
from relational.blocks.composition import Repeat as Repeat
from relational.blocks.composition import Sequential as Sequential
from relational.blocks.edge_attention import EdgeAttention as EdgeAttention
from relational.blocks.embedding import Embedding as Embedding
from relational.blocks.embedding import sinusoids as sinusoids
from relational.blocks.encode_process_decode import (
    EncodeProcessDecode as EncodeProcessDecode,
)
from relational.blocks.feed_forward import FeedForward as FeedForward
from relational.blocks.graph_attention import GraphAttention as GraphAttention
from relational.blocks.graph_convolution import GraphConvolution as GraphConvolution
from relational.blocks.graph_network import GraphNetwork as GraphNetwork
from relational.blocks.graph_transformer import GraphTransformer as GraphTransformer
from relational.blocks.independent import Independent as Independent
from relational.blocks.joining import added as added
from relational.blocks.joining import side_by_side as side_by_side
from relational.blocks.linear import Linear as Linear
from relational.blocks.mixture_of_experts import MixtureOfExperts as MixtureOfExperts
from relational.blocks.neighbour_sums import GraphIsomorphism as GraphIsomorphism
from relational.blocks.neighbour_sums import GraphSAGE as GraphSAGE
from relational.blocks.non_local import VAIN as VAIN
from relational.blocks.non_local import NonLocal as NonLocal
from relational.blocks.norms import Norm as Norm
from relational.blocks.parts import over_topology as over_topology
from relational.blocks.positions_on_graphs import degree_labels as degree_labels
from relational.blocks.positions_on_graphs import (
    laplacian_positions as laplacian_positions,
)
from relational.blocks.positions_on_graphs import (
    random_walk_positions as random_walk_positions,
)
from relational.blocks.positions_on_graphs import (
    shortest_path_distances as shortest_path_distances,
)
from relational.blocks.principal_aggregation import (
    PrincipalAggregation as PrincipalAggregation,
)
from relational.blocks.recurrent import GatedUpdate as GatedUpdate
from relational.blocks.recurrent import Recurrent as Recurrent
from relational.blocks.relational_convolution import (
    RelationalConvolution as RelationalConvolution,
)
from relational.blocks.residual import Residual as Residual
from relational.blocks.rotary import Rotary as Rotary
from relational.blocks.routing import Routing as Routing
from relational.blocks.several_sets import PerEdgeSet as PerEdgeSet
from relational.blocks.several_sets import with_graph_nodes as with_graph_nodes
from relational.blocks.split_updates import SplitMLP as SplitMLP
from relational.blocks.updates import ByName as ByName
