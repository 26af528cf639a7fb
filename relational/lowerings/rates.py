"""Rates: the seconds that each kind of work takes, by lowering.

Fitted to the cases of `benchmarks/choices/grid.py`, on two cores of a server, float32,
JAX 0.10.2; `python -m benchmarks.choices --fit` prints the table again from new
measurements. Kept from earlier, by hand, are those of "stencil" and "shifts", whose few
cases are small, and the call of "sparse", for whose size tiny graphs are too few. For a
pass forward and one backward:

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
        "call": 1.5e-05,
        "element": 1.7e-11,
        "exponential": 4.0e-09,
        "gather": 1.9e-08,
        "label": 4.1e-08,
        "new": 5.8e-10,
        "pair": 7.3e-10,
        "product": 9.7e-11,
        "step": 8.1e-06,
        "stored": 8.6e-10,
        "taken": 2.7e-10,
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
    "dense": {
        "call": 7.7e-05,
        "element": 6.1e-11,
        "exponential": 2.4e-09,
        "gather": 3.5e-09,
        "label": 2.5e-09,
        "new": 3.9e-10,
        "pair": 4.0e-11,
        "product": 2.8e-11,
        "stored": 3.0e-10,
    },
    "tiles": {
        "call": 7.7e-05,
        "element": 6.5e-11,
        "exponential": 1.8e-09,
        "gather": 6.1e-09,
        "label": 3.6e-09,
        "new": 1.7e-08,
        "pair": 8.0e-10,
        "product": 4.6e-11,
        "step": 9.2e-07,
        "stored": 4.5e-10,
    },
    "sparse": {
        "call": 9.0e-05,
        "compared": 3.7e-09,
        "edge": 2.1e-09,
        "exponential": 2.4e-10,
        "gathered": 1.3e-08,
        "new": 1.9e-10,
        "node": 7.5e-10,
        "product": 1.0e-10,
        "step": 6.3e-06,
    },
    "slots": {
        "call": 3.0e-05,
        "exponential": 5.0e-08,
        "gathered": 2.7e-11,
        "kept": 6.3e-10,
        "new": 7.3e-10,
        "node": 4.3e-09,
        "product": 1.3e-10,
    },
    "edges": {
        "call": 8.3e-05,
        "edge": 1.4e-09,
        "element": 1.2e-11,
        "exponential": 4.1e-08,
        "gathered": 3.0e-10,
        "kept": 1.8e-10,
        "message": 1.4e-11,
        "new": 3.1e-10,
        "product": 2.9e-11,
        "row": 2.2e-09,
    },
}
