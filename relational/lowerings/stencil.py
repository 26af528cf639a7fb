"""Convolutions: sums over a stencil of messages that are linear in the sender.

A message that is a product of the sender with a row of its tap is what a convolution
adds up, so it becomes one: a vector times a matrix is a plain convolution, a batch of
such products a grouped one, numbers a depthwise one. A transposed stencil is the
transposed convolution. Rows may be those of any relation that has one label a tap, as
`GridOffset` has. Nothing is gathered, and JAX's own derivatives hold, of every order.

Shapes: R receivers, S senders, L taps, C channels in, F out, G groups.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from relational.aggregators import Mean, Sum
from relational.lowerings import costs
from relational.lowerings.problem import Operands, Problem, each_graph
from relational.lowerings.taps import labels_of_taps
from relational.relations import PlaceRelation, PositionRelation, Tap
from relational.terms import Term
from relational.topologies.algebra import Transposed
from relational.topologies.grids import Filtering, Neighbourhood


@dataclasses.dataclass(frozen=True)
class Stencil:
    """Asks for a convolution: `lowering=rl.lowerings.Stencil()`.

    >>> import jax.numpy as jnp, relational as rl
    >>> blur = rl.Stencil(grid=(4,), size=3)
    >>> rl.propagate(blur, senders=jnp.array([1.0, 5.0, 3.0, 2.0]),
    ...              relations={"tap": blur.tap.rows(weight=jnp.array([1.0, 2.0, 1.0]))},
    ...              message=lambda sender, tap: sender * tap.weight,
    ...              aggregator=rl.Sum(), lowering=rl.lowerings.Stencil()).tolist()
    [7.0, 14.0, 13.0, 7.0]
    """

    name = "stencil"

    def refuse(self, problem: Problem) -> list[str]:
        """Returns why this lowering cannot serve; empty if it can."""
        if _filtering(problem) is None:
            return ["the edges are not those of a convolution"]
        reasons = []
        if not all(isinstance(each, Sum | Mean) for each in problem.aggregators):
            reasons.append("a convolution adds up, and nothing else")
        if problem.dropout_rate:
            reasons.append("a convolution drops no edges")
        if any(_product(term, problem) is None for term in problem.message):
            reasons.append("a message is more than a product of sender and tap")
        return reasons

    def cost(self, problem: Problem) -> tuple[float, float]:
        """Returns (seconds, bytes of temporary memory), estimated."""
        work, size = self.work(problem)
        return costs.cost("stencil", work, size)

    def work(self, problem: Problem) -> tuple[Mapping[str, float], float]:
        """Returns the work by kind, and the bytes of temporary memory."""
        work = Counter[str]()
        for term in problem.message:
            product = _product(term, problem)
            assert product is not None
            outputs = problem.num_receivers * problem.num_graphs * product.features
            # Products of numbers run at a small part of the speed of matrices.
            kind = "product" if product.groups == 1 else "element"
            work[kind] += outputs * product.channels * _stencil(problem).num_taps
            work["output"] += outputs
            work["grouped"] += product.groups > 1
        return work, 4.0 * work["output"]

    def propagate(self, problem: Problem, operands: Operands) -> list[Any]:
        """Returns one result an aggregator, each [*lead, R, ...]."""

        def one(inner: Operands) -> list[Any]:
            total: Any = 0
            for term in problem.message:
                total = total + _convolved(term, problem, inner)
            degrees = jnp.asarray(
                problem.topology.degrees(problem.num_receivers, problem.num_senders),
                total.dtype,
            )
            sums = {"total": degrees, "message": total}
            return [each.finish(sums, None) for each in problem.aggregators]

        return each_graph(one, operands, problem)


@dataclasses.dataclass(frozen=True)
class _Product:
    """How a message term multiplies a leaf of the sender with a row of its tap.

    Attributes:
      sender, row: indices of the two leaves.
      relation: the name of the relation that has the row.
      sender_axes: of the sender's leaf: those of groups, then those added up.
      row_axes: of a row: those added up, then those of groups, then the others.
      groups: 1 for a matrix, the channels for a product of numbers.
      channels: in a group, of the sender.
      features: of the result, altogether.
    """

    sender: int
    row: int
    relation: str
    sender_axes: tuple[int, ...]
    row_axes: tuple[int, ...]
    groups: int
    channels: int
    features: int


def _stencil(problem: Problem) -> Neighbourhood:
    topology = problem.topology
    topology = topology.left if isinstance(topology, Transposed) else topology
    assert isinstance(topology, Neighbourhood)
    return topology


def _filtering(problem: Problem) -> Filtering | None:
    topology = problem.topology
    topology = topology.left if isinstance(topology, Transposed) else topology
    return topology.filtering() if isinstance(topology, Neighbourhood) else None


def _labels(problem: Problem, name: str) -> tuple[int, ...] | None:
    """Returns the label of each tap, where a relation has one for all its edges."""
    relation, topology = problem.relations.get(name), problem.topology
    if isinstance(relation, Tap):  # No need to look at every edge.
        is_turned = isinstance(topology, Transposed)
        own = topology.left if isinstance(topology, Transposed) else topology
        if relation.topology == own and relation.is_turned == is_turned:
            return tuple(range(relation.num_labels))
    if not isinstance(relation, PositionRelation | PlaceRelation):
        return None
    return labels_of_taps(topology, relation)


def _product(term: Term, problem: Problem) -> _Product | None:
    """Returns the product that a term can be shown to be; None for any other."""
    names = term.depends - {"sender"}
    is_pair = len(term.reads) == 2 and "sender" in term.depends and len(names) == 1
    if not is_pair:
        return None
    found = _only_product(term)
    if found is None or _labels(problem, min(names)) is None:
        return None
    eqn, inputs = found
    at_sender = [term.reads[at][0] for at in inputs].index("sender")
    shapes = [tuple(getattr(atom.aval, "shape", ())) for atom in eqn.invars]
    sender, row = shapes[at_sender], shapes[1 - at_sender]
    added, grouped = ((), ()), (tuple(range(len(sender))),) * 2
    if eqn.primitive.name == "dot_general":
        added, grouped = eqn.params["dimension_numbers"]
    sender_axes = (*grouped[at_sender], *added[at_sender])
    if eqn.primitive.name == "mul" and sender != row:
        return None  # One number for all features, or one feature for all numbers.
    if len(sender_axes) != len(sender):
        return None  # Axes of the sender alone would be features before the row's.
    row_axes = (*added[1 - at_sender], *grouped[1 - at_sender])
    others = tuple(axis for axis in range(len(row)) if axis not in row_axes)
    groups = math.prod(sender[axis] for axis in grouped[at_sender])
    channels = math.prod(sender) // max(1, groups)
    return _Product(
        sender=term.reads[inputs[at_sender]][1],
        row=term.reads[inputs[1 - at_sender]][1],
        relation=min(names),
        sender_axes=sender_axes,
        row_axes=(*row_axes, *others),
        groups=groups,
        channels=channels,
        features=math.prod(row) // max(1, channels),
    )


def _only_product(term: Term) -> tuple[core.JaxprEqn, list[int]] | None:
    """Returns the product of both inputs that a jaxpr is, but for changes of type.

    Returns:
      The equation, and which input each of its operands is; None for other jaxprs.
    """
    product = -1  # What the result must be; inputs are known by their numbers.
    known = {var: at for at, var in enumerate(term.inputs)}
    found = None
    for eqn in term.jaxpr.eqns:
        inputs = [known.get(atom) for atom in eqn.invars if isinstance(atom, core.Var)]
        wanted = [at for at in inputs if at is not None]
        if eqn.primitive.name == "convert_element_type" and wanted:
            known[eqn.outvars[0]] = wanted[0]
        elif eqn.primitive.name in ("dot_general", "mul") and sorted(wanted) == [0, 1]:
            known[eqn.outvars[0]] = product
            found = eqn, wanted
        else:
            return None
    result = term.jaxpr.outvars[0]
    is_result = isinstance(result, core.Var) and known.get(result) == product
    return found if is_result else None


def _convolved(term: Term, problem: Problem, operands: Operands) -> Any:
    """Returns the sum of a term's messages, [R, *shape], for one graph."""
    product = _product(term, problem)
    assert product is not None
    stencil = _stencil(problem)
    labels = _labels(problem, product.relation)
    assert labels is not None
    sender = operands.sender.leaves[product.sender]
    sender = sender.transpose(0, *(1 + axis for axis in product.sender_axes))
    rows = operands.tables[product.relation][product.row]
    if labels == tuple(range(len(labels))):
        rows = rows[: len(labels)]
    else:
        rows = rows[np.array(labels)]
    rows = rows.transpose(0, *(1 + axis for axis in product.row_axes))
    kernel = rows.reshape(*stencil.lengths, product.channels, product.features)
    if sender.dtype != kernel.dtype or sender.dtype != jnp.bfloat16:
        sender, kernel = (each.astype(problem.accumulator) for each in (sender, kernel))
    is_turned = isinstance(problem.topology, Transposed)
    grid = stencil.receiver_grid if is_turned else stencil.sender_grid
    image = sender.reshape(1, *grid, product.groups * product.channels)
    convolve = _transposed if is_turned else _plain
    out = convolve(stencil, image, kernel, product.groups, problem.accumulator)
    return out.reshape(problem.num_receivers, *term.shape)


def _plain(
    stencil: Neighbourhood, image: Any, kernel: Any, groups: int, kept: Any
) -> Any:
    filtering = stencil.filtering()
    assert filtering is not None
    return jax.lax.conv_general_dilated(
        image,
        kernel,
        filtering.strides,
        filtering.pads,
        rhs_dilation=stencil.steps,
        dimension_numbers=_layout(len(stencil.lengths)),
        feature_group_count=groups,
        preferred_element_type=kept,
    )


def _transposed(
    stencil: Neighbourhood, image: Any, kernel: Any, groups: int, kept: Any
) -> Any:
    """A receiver at i hears the senders o with i = o stride - before + k dilation."""
    filtering = stencil.filtering()
    assert filtering is not None
    pads = []
    for axis, (stride, (before, _)) in enumerate(
        zip(filtering.strides, filtering.pads, strict=True)
    ):
        reach = (stencil.lengths[axis] - 1) * stencil.steps[axis]
        length = (stencil.receiver_grid[axis] - 1) * stride + 1
        low = reach - before
        pads.append((low, stencil.sender_grid[axis] - length - low + reach))
    axes = tuple(range(len(stencil.lengths)))
    return jax.lax.conv_general_dilated(
        image,
        jnp.flip(kernel, axes),
        (1,) * len(axes),
        pads,
        lhs_dilation=filtering.strides,
        rhs_dilation=stencil.steps,
        dimension_numbers=_layout(len(axes)),
        feature_group_count=groups,
        preferred_element_type=kept,
    )


def _layout(axes: int) -> Any:
    """Returns the order of axes: batch, space, channels; the kernel's space first."""
    space = tuple(range(1, axes + 1))
    image = (0, axes + 1, *space)
    kernel = (axes + 1, axes, *range(axes))
    return jax.lax.ConvDimensionNumbers(image, kernel, image)
