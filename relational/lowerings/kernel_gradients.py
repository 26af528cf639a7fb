"""The rule for gradients of a kernel, and what becomes of the gradients of its walks.

The result does not depend on the shifts, so shifts and sums are all that is kept. The
cotangent is pulled through `finish` once a receiver; three walks do the rest. What
several programs found for one array is added up afterwards, in one order: gradients
are the same from run to run.

Shapes: R receivers, *lead the leading axes, C graphs, G groups, B nodes of a block,
W = 2 B diagonals, L labels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational.lowerings import kernel_calls as calls
from relational.lowerings.block_map import By
from relational.lowerings.kernel_tile import Gradients, Key
from relational.lowerings.problem import Operands, Problem
from relational.lowerings.splits import Split, summed
from relational.relations import PositionRelation


def run(work: calls.Work, operands: Operands) -> list[Any]:
    """Returns one result an aggregator, each [*lead, R, ...]."""
    split = Split.of(operands)
    function = jax.custom_vjp(functools.partial(_value, work, split))
    function.defvjp(
        functools.partial(_forward, work, split),
        functools.partial(_backward, work, split),
    )
    results: list[Any] = function(*split.divide(operands))
    return results


def _value(
    work: calls.Work, split: Split, moving: list[Any], fixed: list[Any]
) -> list[Any]:
    return _forward(work, split, moving, fixed)[0]


def _forward(
    work: calls.Work, split: Split, moving: list[Any], fixed: list[Any]
) -> tuple[list[Any], Any]:
    state = calls.forward(work, split.join(moving, fixed))
    return _finish(work.problem, state), (moving, fixed, state)


def _finish(problem: Problem, state: calls.State) -> list[Any]:
    return [
        aggregator.finish(sums, shift)
        for aggregator, (shift, sums) in zip(problem.aggregators, state, strict=True)
    ]


def _backward(
    work: calls.Work, split: Split, residuals: Any, cotangents: list[Any]
) -> tuple[list[Any], None]:
    moving, fixed, state = residuals
    problem = work.problem
    shifts = [shift for shift, _ in state]

    def finish(sums: list[Any]) -> list[Any]:
        return _finish(problem, list(zip(shifts, sums, strict=True)))

    _, pull = jax.vjp(finish, [sums for _, sums in state])
    (of_sums,) = pull(cotangents)
    operands = split.join(moving, fixed)
    found = _nothing(problem, operands)
    for by, keys in _walks(work, operands).items():
        if keys:
            gradients = calls.backward(
                work, by, operands, (shifts, of_sums), frozenset(keys)
            )
            _place(work, operands, gradients, found)
    parts, _ = split.divide(found)
    return summed(split, operands, parts, problem.batch_axes), None


def _walks(work: calls.Work, operands: Operands) -> dict[By, list[Key]]:
    """Returns which leaves' gradients each walk adds up."""
    terms = (*work.problem.score, *work.problem.message)
    read = {key for term in terms for key in term.reads}

    def moving(site: str, leaves: list[Any]) -> list[Key]:
        is_held = " " in site
        return [
            (site, at)
            for at, leaf in enumerate(leaves)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            and (is_held or (site, at) in read)
        ]

    held = [
        key
        for role in ("score", "message")
        for at, leaves in enumerate(getattr(operands.shared, role))
        for key in moving(f"{role} {at}", leaves)
    ]
    own = moving("receiver", operands.receiver.leaves)
    return {
        "receivers": own + moving("context", operands.context.leaves) + held,
        "senders": moving("sender", operands.sender.leaves),
        "diagonals": [
            key
            for name, leaves in operands.tables.items()
            for key in moving(name, leaves)
        ],
    }


def _nothing(problem: Problem, operands: Operands) -> Operands:
    """Returns zeros, with leading axes, for what no walk finds a gradient of."""
    ones = (1,) * problem.batch_axes

    def zeros(leaf: Any) -> Any:
        return jnp.zeros(leaf.shape, jnp.float32)

    def led_zeros(leaf: Any) -> Any:
        return jnp.zeros((*ones, *leaf.shape), jnp.float32)

    led: Operands = jax.tree.map(zeros, operands)
    return led._replace(shared=jax.tree.map(led_zeros, operands.shared))


def _place(
    work: calls.Work, operands: Operands, gradients: Gradients, found: Operands
) -> None:
    """Puts gradients [C, G, ...] where they belong, as [*lead, ...]."""
    lead = work.problem.lead
    for (site, at), gradient in gradients.items():
        role, _, term = site.partition(" ")
        if term:
            leaves = getattr(found.shared, role)[int(term)]
            whole = gradient.sum(axis=1)
        elif site in work.problem.relations:
            leaves = found.tables[site]
            count = operands.tables[site][at].shape[work.problem.batch_axes]
            whole = _by_label(work, site, gradient, count)
        elif site == "context":
            leaves, whole = found.context.leaves, gradient.sum(axis=1)
        else:
            leaves = getattr(found, site).leaves
            count = leaves[at].shape[work.problem.batch_axes]
            whole = gradient.reshape(len(gradient), -1, *gradient.shape[3:])[:, :count]
        leaves[at] = whole.reshape(*lead, *whole.shape[1:])


def _by_label(work: calls.Work, name: str, gradient: Any, count: int) -> Any:
    """Adds up gradients of diagonals [C, G, W, ...] by label, [C, L + 1, ...].

    Neighbouring diagonals of blocks share half of their diagonals. Each label has one
    list of differences, known here, so that the order of addition is fixed.
    """
    block = work.block
    ends = [(0, 0)] * (gradient.ndim - 3)
    low = jnp.pad(gradient[:, :, :block], [(0, 0), (0, 1), (0, 0), *ends])
    high = jnp.pad(gradient[:, :, block:], [(0, 0), (1, 0), (0, 0), *ends])
    each = (low + high).reshape(len(gradient), -1, *gradient.shape[3:])
    first = work.map.walk("diagonals").first * block - (block - 1)
    relation = work.problem.relations[name]
    assert isinstance(relation, PositionRelation)
    labels = np.asarray(relation.label(first + np.arange(each.shape[1])))
    times = np.bincount(labels, minlength=count)
    # Where a label has one difference its gradient is that row; elsewhere it is a sum.
    row = np.full(count, each.shape[1])
    alone = np.flatnonzero(times[labels] == 1)
    row[labels[alone]] = alone
    found = jnp.take(jnp.pad(each, [(0, 0), (0, 1), *ends]), row, axis=1)
    for label in np.flatnonzero(times > 1):
        total = jnp.take(each, np.flatnonzero(labels == label), axis=1).sum(axis=1)
        found = found.at[:, label].set(total)
    return found
