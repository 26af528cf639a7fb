"""Pictures of topologies in characters: the first nodes, and all of them from afar.

Shapes: R receivers, S senders.
"""

from typing import Any

import jax
import numpy as np

from relational.lowerings.problem import Problem
from relational.topologies import Topology

_SIZE = 12  # Rows and columns of a picture.
_LEGEND = "rows hear columns: # all, + some, . none"


def picture(problem: Problem) -> str:
    """Returns the first nodes of a topology, and beside them all, some to a character.

    Where edges depend on traced arrays, what is drawn is what is known of them.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((30, 8), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender)
    >>> print("\\n".join(picture(plan.problem).splitlines()[:4]))
    its first 12 nodes   all 30, 3 a character
    #...........         +.........
    ##..........         #+........
    ###.........         ##+.......
    """
    sizes = problem.num_receivers, problem.num_senders
    if not all(sizes):
        return "no pair of nodes"
    near = _near(problem.topology, *sizes)
    if near is not None and max(sizes) <= _SIZE:
        return "\n".join(near)
    far = tile_map(problem)
    blocks = [-(-size // _SIZE) for size in sizes]
    is_square = sizes[0] == sizes[1]
    all_nodes = " x ".join(f"{size:,}" for size in sizes[: 2 - is_square])
    several = " x ".join(f"{block:,}" for block in blocks[: 2 - is_square])
    head = f"all {all_nodes}, {several} a character"
    if near is None:
        return "\n".join([head, *far, _LEGEND])
    first = f"its first {min(_SIZE, max(sizes))} nodes"
    rows = max(len(near), len(far))
    near, far = (side + [""] * (rows - len(side)) for side in (near, far))
    lines = [
        f"{left:{max(len(first), _SIZE)}}   {right}".rstrip()
        for left, right in zip([first, *near], [head, *far], strict=True)
    ]
    return "\n".join([*lines, _LEGEND])


def tile_map(problem: Problem) -> list[str]:
    """Returns all nodes, at most twelve characters a side: `#` all, `+` some, `.` none."""
    sizes = problem.num_receivers, problem.num_senders
    rows, columns = (
        [range(at, min(at + -(-size // _SIZE), size)) for at in _starts(size)]
        for size in sizes
    )
    if problem.known_edges is not None:
        counts = _counts(problem)
        areas = np.outer([len(each) for each in rows], [len(each) for each in columns])
        tiles = np.where(counts == 0, 0, np.where(counts < areas, 1, 2))
    else:
        classify = problem.topology.classify
        tiles = np.array([[int(classify(row, col)) for col in columns] for row in rows])
    return ["".join(".+#"[tile] for tile in row) for row in tiles]


def _starts(size: int) -> range:
    return range(0, size, -(-size // _SIZE))


def _counts(problem: Problem) -> Any:
    """Returns how many pairs with an edge each character of a list of edges holds."""
    assert problem.known_edges is not None
    senders, receivers, kept = problem.known_edges
    pairs = np.stack([receivers, senders]).astype(np.int64)
    pairs = np.unique(pairs if kept is None else pairs[:, kept], axis=1)
    sizes = problem.num_receivers, problem.num_senders
    counts = np.zeros([len(_starts(size)) for size in sizes], int)
    row, column = (pairs[at] // _starts(size).step for at, size in enumerate(sizes))
    np.add.at(counts, (row, column), 1)
    return counts


def is_known(topology: Topology) -> bool:
    """Says whether no array of a topology is traced."""
    leaves = jax.tree.leaves(topology)
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def _near(topology: Topology, receivers: int, senders: int) -> list[str] | None:
    if not is_known(topology):
        return None
    rows, columns = (np.arange(min(_SIZE, size)) for size in (receivers, senders))
    try:
        mask = np.asarray(topology.contains(rows[:, None], columns[None]))
    except jax.errors.JAXTypeError:  # A predicate closes over a traced array.
        return None
    mask = np.broadcast_to(mask, (*mask.shape[:-2], len(rows), len(columns)))
    first = mask.reshape(-1, len(rows), len(columns))[0]
    return ["".join(".#"[int(edge)] for edge in row) for row in first]
