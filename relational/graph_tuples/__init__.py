"""Graph tuples: batched, padded, bucketed, converted, and sampled from large graphs.

What users of jraph and Graph Nets expect, on `jraph.GraphsTuple`. NumPy in, NumPy out,
so that all of it can run beside training; masks and the like also under `jit`.
"""

from relational.graph_tuples.adjacency import Adjacency as Adjacency
from relational.graph_tuples.batching import batch as batch
from relational.graph_tuples.batching import edge_graph_ids as edge_graph_ids
from relational.graph_tuples.batching import node_graph_ids as node_graph_ids
from relational.graph_tuples.batching import unbatch as unbatch
from relational.graph_tuples.buckets import Bucket as Bucket
from relational.graph_tuples.buckets import Buckets as Buckets
from relational.graph_tuples.buckets import OwnBucket as OwnBucket
from relational.graph_tuples.buckets import Refuse as Refuse
from relational.graph_tuples.complete import fully_connected as fully_connected
from relational.graph_tuples.edge_lists import read_edge_list as read_edge_list
from relational.graph_tuples.masks import edge_mask as edge_mask
from relational.graph_tuples.masks import graph_mask as graph_mask
from relational.graph_tuples.masks import node_mask as node_mask
from relational.graph_tuples.masks import with_zero_padding as with_zero_padding
from relational.graph_tuples.masks import zero_padding as zero_padding
from relational.graph_tuples.matrices import from_dense as from_dense
from relational.graph_tuples.matrices import from_scipy as from_scipy
from relational.graph_tuples.matrices import to_dense as to_dense
from relational.graph_tuples.matrices import to_scipy as to_scipy
from relational.graph_tuples.naming import Named as Named
from relational.graph_tuples.networkx_graphs import from_networkx as from_networkx
from relational.graph_tuples.networkx_graphs import to_networkx as to_networkx
from relational.graph_tuples.packing import Packed as Packed
from relational.graph_tuples.packing import pack as pack
from relational.graph_tuples.packing import pack_dataset as pack_dataset
from relational.graph_tuples.padding import pad as pad
from relational.graph_tuples.padding import unpad as unpad
from relational.graph_tuples.sampling import NeighbourSampler as NeighbourSampler
from relational.graph_tuples.sampling import Sample as Sample
