"""Orders of evaluation: each changes the cost of `propagate`, never its value."""

from relational.lowerings.by_sender import BySender as BySender
from relational.lowerings.dense import Dense as Dense
from relational.lowerings.edges import Edges as Edges
from relational.lowerings.fused import Fused as Fused
from relational.lowerings.kernel import Kernel as Kernel
from relational.lowerings.shifts import Shifts as Shifts
from relational.lowerings.slots import Slots as Slots
from relational.lowerings.sparse import Sparse as Sparse
from relational.lowerings.stencil import Stencil as Stencil
from relational.lowerings.tiles import Tiles as Tiles
from relational.lowerings.window import Window as Window
