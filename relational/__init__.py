"""Every model is a graph network.

Say who may hear whom (a topology), what one edge says (terms) and how a node listens
(an aggregator); `propagate` computes it in the cheapest order that it knows.
"""

from relational import graph_tuples as graph_tuples
from relational import lowerings as lowerings
from relational import orders as orders
from relational.aggregators import Dropout as Dropout
from relational.aggregators import LogSumExp as LogSumExp
from relational.aggregators import Max as Max
from relational.aggregators import Mean as Mean
from relational.aggregators import Min as Min
from relational.aggregators import Softmax as Softmax
from relational.aggregators import Std as Std
from relational.aggregators import Sum as Sum
from relational.buckets import Buckets as Buckets
from relational.explain import Explanation as Explanation
from relational.explain import explain as explain
from relational.explaining.measuring import Measured as Measured
from relational.graphs import EdgeSet as EdgeSet
from relational.graphs import Graph as Graph
from relational.propagate import lower as lower
from relational.propagate import per_edge as per_edge
from relational.propagate import propagate as propagate
from relational.relations import Difference as Difference
from relational.relations import GridOffset as GridOffset
from relational.relations import Labels as Labels
from relational.relations import Offset as Offset
from relational.relations import Tap as Tap
from relational.selection import select as select
from relational.stepping import Cache as Cache
from relational.stepping import prefill as prefill
from relational.stepping import start as start
from relational.stepping import start_fixed as start_fixed
from relational.stepping import step as step
from relational.terms import dot as dot
from relational.topologies import Band as Band
from relational.topologies import Blocks as Blocks
from relational.topologies import BlockSparse as BlockSparse
from relational.topologies import Causal as Causal
from relational.topologies import Complete as Complete
from relational.topologies import Edges as Edges
from relational.topologies import Lengths as Lengths
from relational.topologies import Neighbours as Neighbours
from relational.topologies import RasterBlocks2D as RasterBlocks2D
from relational.topologies import SameSegment as SameSegment
from relational.topologies import Self as Self
from relational.topologies import Stencil as Stencil
from relational.topologies import Strided as Strided
from relational.topologies import Where as Where
from relational.topologies import Window as Window
from relational.tuning import Choice as Choice
from relational.tuning import Tuning as Tuning
from relational.tuning import tune as tune
from relational.tuning import tuned as tuned
