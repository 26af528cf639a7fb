"""Pictures: topologies, chorales, what a head listens to, the curves of a training."""

from relational.plotting.attention import draw_attention as draw_attention
from relational.plotting.curves import draw_curves as draw_curves
from relational.plotting.heads import draw_heads as draw_heads
from relational.plotting.piano_roll import piano_roll as piano_roll
from relational.plotting.tile_maps import tile_maps as tile_maps
from relational.plotting.topologies import topology as topology
