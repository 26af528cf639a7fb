"""From layers in a spec to functions from graph to graph: one block each.

A file for each kind of layers says what their specs describe, `layer_of.register`.
"""

from relational.models.layers import between as between
from relational.models.layers import graph_attentions as graph_attentions
from relational.models.layers import graph_blocks as graph_blocks
from relational.models.layers import graph_convolutions as graph_convolutions
from relational.models.layers import nested as nested
from relational.models.layers import positions as positions
from relational.models.layers.stack import LayerError as LayerError
from relational.models.layers.stack import Stack as Stack
from relational.models.layers.stack import layer_of as layer_of
from relational.models.layers.updates import mlp_of as mlp_of
