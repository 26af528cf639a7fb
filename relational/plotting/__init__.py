"""Pictures: topologies, chorales, the curves of a training. Needs matplotlib only here."""

from relational.plotting.curves import draw_curves as draw_curves
from relational.plotting.piano_roll import piano_roll as piano_roll
from relational.plotting.topologies import topology as topology
