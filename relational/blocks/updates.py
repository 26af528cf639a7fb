"""Updates: what a block makes of the parts that it is told to read.

An update is an ordinary function of rows. It takes its parts side by side, as the
papers write phi(e, v_r, v_s, u), or by name; and it can be called purely, one edge at a
time, so that it may be a term of `propagate`.

Shapes: rows nodes, edges or graphs; D width.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from relational._checks import shown
from relational.blocks.split_updates import SplitMLP

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class ByName:
    """An update function that takes its parts by name, each [rows, D].

    Args:
      function: its arguments are the block's inputs, such as `received` and `node`.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import ByName, GraphNetwork
    >>> graph = rl.Graph(nodes={"node": jnp.array([[1.0], [2.0]])}, edges={
    ...     "edge": rl.EdgeSet(senders="node", receivers="node",
    ...                        topology=rl.Edges([0], [1], 2))})
    >>> block = hk.transform(lambda graph: GraphNetwork(
    ...     update_edge=ByName(lambda sender: 10 * sender), edge_inputs=("sender",),
    ...     update_node=ByName(lambda received, node: received - node),
    ...     node_inputs=("received", "node"))(graph))
    >>> block.apply({}, None, graph).nodes["node"].tolist()
    [[-1.0], [8.0]]
    """

    function: Function


class Update(hk.Module):
    """A function of some parts of a graph, within the scope of its block.

    Args:
      function: of [rows, D], the parts side by side; or a `ByName`, or a `SplitMLP`.
      name: of the scope, in which the function may make modules.
    """

    def __init__(self, function: Function | ByName | None, name: str) -> None:
        super().__init__(name=name)
        assert function is not None
        self.function = function

    def __call__(self, parts: Mapping[str, jax.Array]) -> jax.Array:
        """Returns [rows, D'] for parts [rows, D]."""
        if isinstance(self.function, ByName):
            result = self.function.function(**parts)
        elif isinstance(self.function, SplitMLP):
            result = self.function(parts)
        else:
            result = self.function(jnp.concatenate(list(parts.values()), -1))
        (rows, *_), shape = next(iter(parts.values())).shape, jnp.shape(result)
        if len(shape) != 2 or shape[0] != rows:
            raise ValueError(
                f"`{self.name}` must return an array of as many rows as it is given, "
                f"[{rows}, D]; got {shown(result)}."
            )
        made: jax.Array = result
        return made

    @hk.transparent
    def purely(
        self, widths: Mapping[str, int], dtype: Any
    ) -> Callable[[Mapping[str, Any]], Any]:
        """Returns the update as a pure function of one row: parts [D] to [D'].

        Parameters are made first, on an example: what is traced by JAX must make none.
        """
        self({name: jnp.zeros([1, width], dtype) for name, width in widths.items()})
        params = hk.get_params()
        pure = hk.transform(lambda parts: self(parts)).apply

        def one(parts: Mapping[str, Any]) -> Any:
            return pure(
                params, None, {name: part[None] for name, part in parts.items()}
            )[0]

        return one


def check_update(name: str, update: Any) -> None:
    """Raises a TypeError unless an update is None, a function or a `ByName`."""
    if update is not None and not callable(update) and not isinstance(update, ByName):
        raise TypeError(
            f"`{name}` must be None, or a function of [rows, D] such as "
            f"`hk.nets.MLP([16])`; got {shown(update)}."
        )


def check_inputs(name: str, inputs: Any, known: tuple[str, ...]) -> None:
    """Raises a ValueError unless inputs are some of the known, each once."""
    is_list = isinstance(inputs, tuple | list)
    if not is_list or not inputs or not set(inputs) <= set(known):
        raise ValueError(
            f"`{name}` must be a tuple of some of {', '.join(known)}; got "
            f"{shown(inputs)}. They come side by side, in that order."
        )
    if len(set(inputs)) != len(inputs):
        raise ValueError(f"`{name}` must name each input once; got {shown(inputs)}.")
