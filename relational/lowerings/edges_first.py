"""What terms say on all edges of all graphs at once, edges first: [E, *lead, ...].

Heads and batches that share a list of edges are rows of numbers then: one index reads
the numbers of all heads, and its gradient adds them up in one pass over the edges.

Shapes: *lead leading axes, each full or 1, E edges, N nodes, L labels.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from relational.lowerings.problem import Operands, Problem, Side, taken
from relational.terms import Term, accumulator


def moved(leaf: Any, axes: int) -> Any:
    """Returns [*lead, N, ...] as [N, *lead, ...]."""
    return jnp.moveaxis(leaf, axes, 0)


def evaluated(
    term: Term, constants: list[Any], operands: Sequence[Any], axes: int
) -> Any:
    """Evaluates a term over axes that each operand has in full or as 1.

    An axis that no operand has in full is evaluated once.

    Args:
      constants: the arrays that the term closes over.
      operands: what it reads, each with `axes` axes in front.
      axes: how many.

    Returns:
      [*axes, *shape], each axis full or 1.
    """

    def call(*values: Any) -> Any:
        return jax.core.eval_jaxpr(term.jaxpr, constants, *values)[0]

    alone = []
    for axis in reversed(range(axes)):
        mapped = tuple(None if leaf.shape[axis] == 1 else 0 for leaf in operands)
        if all(each is None for each in mapped):
            alone.append(axis)
        else:
            call = jax.vmap(call, in_axes=mapped)
    squeezed = []
    for leaf in operands:
        lead = tuple(size for size in leaf.shape[:axes] if size != 1)
        squeezed.append(leaf.reshape(lead + leaf.shape[axes:]))
    return jnp.expand_dims(call(*squeezed), sorted(alone))


@dataclasses.dataclass(frozen=True, eq=False)
class EdgesFirst:
    """The operands of graphs that share a list of edges, read edge by edge.

    Attributes:
      senders, receivers: [E], in bounds.
      axes: how many leading axes the operands have.
    """

    problem: Problem
    operands: Operands
    senders: Any
    receivers: Any
    axes: int

    @functools.cached_property
    def ends(self) -> tuple[Side, Side]:
        """Both ends of every edge, but for what topologies read."""

        def at(side: Side, index: Any) -> Side:
            def each(leaf: Any) -> Any:
                return _rows(moved(leaf, self.axes), index)

            leaves = [each(leaf) for leaf in side.leaves]
            return Side(leaves, None, each(side.position))

        receiver, sender = self.operands.receiver, self.operands.sender
        return at(receiver, self.receivers), at(sender, self.senders)

    def context(self) -> list[Any]:
        """What the edges of a graph share: [1, *lead, ...]."""
        return [leaf[None] for leaf in self.operands.context.leaves]

    def said(self, term: Term, constants: list[Any], *, ones: int | None = None) -> Any:
        """Returns a term for every edge: [E, *lead, *shape], each axis full or 1.

        Args:
          ones: a leaf of the sender to take as ones.
        """
        found = [self._leaf(site, index, ones) for site, index in term.reads]
        return evaluated(term, constants, found, 1 + self.axes)

    def _leaf(self, site: str, index: int, ones: int | None) -> Any:
        receiver, sender = self.ends
        if site == "sender" and index == ones:
            leaf = sender.leaves[index]
            shape = (1,) * (1 + self.axes) + leaf.shape[1 + self.axes :]
            return jnp.ones(shape, leaf.dtype)
        if site == "receiver":
            return receiver.leaves[index]
        if site == "sender":
            return sender.leaves[index]
        if site == "edge":
            return moved(self.operands.edge.leaves[index], self.axes)
        if site == "context":
            return self.context()[index]
        return self._relation(site)[index]

    def _relation(self, name: str) -> list[Any]:
        """Returns what terms receive of a relation: [E, *lead, ...] each."""
        given = self.operands.edge.labels.get(name)
        if given is not None:
            given = moved(given, self.axes)
        if name in self.operands.pair:
            pair = jnp.moveaxis(self.operands.pair[name], (-2, -1), (0, 1))
            given = pair.at[self.receivers, self.senders].get(mode="clip")
        label = self.problem.label(name, *self.ends, given)
        tables = self.operands.tables.get(name)
        if tables is None:
            return [jnp.asarray(self.problem.relations[name].value(label))]
        return [_labelled(table, label, self.axes) for table in tables]


def _rows(nodes: Any, index: Any) -> Any:
    """Returns rows of [N, ...], [E, ...]; gradients are summed in float32 at least."""
    if not jnp.issubdtype(nodes.dtype, jnp.floating):
        return nodes.at[index].get(mode="promise_in_bounds")
    wide = nodes.astype(accumulator(nodes.dtype))
    return wide.at[index].get(mode="promise_in_bounds").astype(nodes.dtype)


def _labelled(table: Any, label: Any, axes: int) -> Any:
    """Returns the rows of labels: a table [*lead, L, ...], labels [E, *lead]."""
    call = taken
    sizes = list(zip(table.shape[:axes], label.shape[1:], strict=True))
    alone = []
    for axis, (of_table, of_label) in reversed(list(enumerate(sizes))):
        mapped = None if of_table == 1 else 0, None if of_label == 1 else 1
        if mapped == (None, None):
            alone.append(1 + axis)
        else:
            call = jax.vmap(call, in_axes=mapped, out_axes=1)
    lead = tuple(size for size in table.shape[:axes] if size != 1)
    places = tuple(size for size in label.shape[1:] if size != 1)
    found = call(
        table.reshape(lead + table.shape[axes:]),
        label.reshape(label.shape[:1] + places),
    )
    return jnp.expand_dims(found, sorted(alone))
