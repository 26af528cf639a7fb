"""Rates: the seconds that each kind of work takes, by lowering.

Fitted to the cases of `benchmarks/choices/grid.py`, on two cores of a server, float32,
JAX 0.10.2; `python -m benchmarks.choices --fit` prints the table again from new
measurements. Those of "shifts", and the "call" of "sparse", are set from a few of the
cases, and by hand, and so are those of "by_sender", from one mixture of experts that is
no case of the grid. For a pass forward and one backward:

- "call": once; "grouped": a convolution of numbers, once; "step": a step of a loop over
  tiles or graphs;
- "pair": a pair of a tile; "exponential": its weight, with the maximum and the sum;
- "product": a multiplication in a product of matrices, of which a backward pass has two;
- "element": a number that a term computes by itself; in a convolution, a product of
  numbers;
- "stored", "kept": numbers that are written, and read again for gradients;
- "label", "gather": values brought to pairs along diagonals, and one by one;
- "edge", "row": an edge, and a row gathered for it; "gathered", "taken": numbers in rows;
  "compared": numbers of both ends of which a dot is made; "moved": numbers of a node;
- "message", "output", "node": numbers added up for a receiver; "extreme": or compared;
- "new": a byte in pages that the system hands out at each call.
"""

from collections.abc import Mapping

RATES: Mapping[str, Mapping[str, float]] = {
    "stencil": {
        "grouped": 8.1e-04,
        "call": 2.3e-05,
        "new": 7.0e-10,
        "element": 1.5e-08,
        "output": 4.0e-10,
        "product": 1.8e-10,
    },
    "window": {
        "call": 4.0e-05,
        "element": 3.2e-11,
        "exponential": 8.1e-09,
        "gather": 3.7e-08,
        "label": 4.1e-08,
        "new": 7.7e-10,
        "pair": 6.8e-10,
        "product": 1.0e-10,
        "step": 1.3e-05,
        "stored": 1.8e-09,
        "taken": 6.4e-10,
    },
    "dense": {
        "call": 6.5e-05,
        "element": 1.4e-10,
        "exponential": 4.7e-09,
        "gather": 4.4e-09,
        "label": 9.9e-10,
        "new": 1.0e-09,
        "pair": 7.0e-11,
        "product": 5.5e-11,
        "stored": 4.0e-10,
    },
    "tiles": {
        "call": 6.5e-05,
        "element": 4.5e-10,
        "exponential": 3.3e-09,
        "gather": 1.2e-08,
        "label": 7.1e-09,
        "new": 6.2e-09,
        "pair": 9.0e-11,
        "product": 9.0e-11,
        "step": 4.9e-06,
        "stored": 3.7e-10,
    },
    "slots": {
        "call": 9.3e-05,
        "exponential": 9.8e-08,
        "gathered": 7.2e-12,
        "kept": 1.6e-09,
        "new": 2.4e-11,
        "node": 1.2e-08,
        "product": 2.8e-10,
    },
    "sparse": {
        "call": 6.5e-05,
        "compared": 2.7e-10,
        "edge": 2.0e-09,
        "exponential": 2.5e-08,
        "gathered": 5.8e-11,
        "new": 1.7e-10,
        "node": 8.6e-10,
        "product": 9.1e-11,
        "step": 1.5e-05,
    },
    "by_sender": {
        "call": 2.0e-04,
        "edge": 1.0e-07,
        "element": 2.0e-10,
        "exponential": 5.6e-08,
        "moved": 1.0e-09,
        "new": 6.2e-10,
        "product": 5.0e-11,
        "step": 2.0e-05,
    },
    "shifts": {
        "call": 1.5e-04,
        "edge": 2.5e-08,
        "element": 7.0e-10,
        "extreme": 5.0e-10,
        "message": 5.0e-10,
        "moved": 2.0e-11,
        "new": 1.0e-09,
        "product": 1.2e-09,
        "step": 7.0e-07,
    },
    "edges": {
        "call": 7.0e-05,
        "edge": 7.5e-10,
        "element": 2.3e-11,
        "exponential": 5.6e-08,
        "gathered": 4.8e-10,
        "kept": 3.4e-10,
        "message": 2.2e-11,
        "new": 6.2e-10,
        "product": 1.4e-10,
        "row": 7.8e-09,
    },
}
