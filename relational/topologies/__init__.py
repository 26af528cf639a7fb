"""Who may hear whom: structured topologies, lists of edges, and their set algebra."""

from relational.topologies.algebra import And as And
from relational.topologies.algebra import Minus as Minus
from relational.topologies.algebra import Or as Or
from relational.topologies.algebra import Transposed as Transposed
from relational.topologies.base import Tile as Tile
from relational.topologies.base import Topology as Topology
from relational.topologies.edge_lists import Edges as Edges
from relational.topologies.given import Lengths as Lengths
from relational.topologies.given import SameSegment as SameSegment
from relational.topologies.intervals import Band as Band
from relational.topologies.intervals import Blocks as Blocks
from relational.topologies.intervals import Causal as Causal
from relational.topologies.intervals import Complete as Complete
from relational.topologies.intervals import Self as Self
from relational.topologies.neighbours import Neighbours as Neighbours
from relational.topologies.patterns import BlockSparse as BlockSparse
from relational.topologies.patterns import Strided as Strided
from relational.topologies.patterns import Where as Where
from relational.topologies.raster_blocks import RasterBlocks2D as RasterBlocks2D
from relational.topologies.stencils import Stencil as Stencil
from relational.topologies.windows import Window as Window
