"""`propagate`: one step of message passing, by whichever lowering costs least.

The middle of a graph network block (Battaglia et al. 2018, section 3.2): what each edge
says (its edge update, as terms), and how each node listens (its aggregation). It is pure
JAX and owns no parameters; everything else in this library calls it.

Shapes: *lead leading axes, each full or 1; R receivers, S senders, E edges, F features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from relational import plans
from relational.aggregators import Aggregator, Dropout
from relational.binding import TermLike, bind
from relational.lowerings import edges as edge_list
from relational.lowerings.problem import Operands, each_graph, with_positions
from relational.relations import Relation, Rows
from relational.topologies import Topology

_MOST_EDGE_BYTES = 2**30


def propagate(
    topology: Topology,
    *,
    message: TermLike | Sequence[TermLike],
    aggregator: Aggregator | Sequence[Aggregator],
    score: TermLike | Sequence[TermLike] | None = None,
    receivers: Any = None,
    senders: Any = None,
    edges: Any = None,
    context: Any = None,
    relations: Mapping[str, Relation | Rows] | None = None,
    batch_axes: int = 0,
    dropout: Dropout | None = None,
    partial_terms: bool = False,
    num_receivers: int | None = None,
    lowering: plans.Lowering | None = None,
) -> Any:
    """Lets every receiver hear its senders.

        out_i = rho({(score_k, message_k) : edge k ends in i})

    Args:
      topology: who may hear whom.
      message: a term or several, whose sum [F] is what an edge says. A term is a
        function of one edge; its argument names are among `receiver`, `sender`,
        `edge`, `context` and the names of `relations`.
      aggregator: rho, or a tuple of them, which share one pass.
      score: terms that add up to one number an edge, for `Softmax`.
      receivers: a pytree of [*lead, R, ...]; a dict reads as a record in terms.
      senders: likewise, [*lead, S, ...].
      edges: likewise, [*lead, E, ...], in the order of `topology.edges()`.
      context: a pytree of [*lead, ...]: one value a leading index.
      relations: by name, relations or `relation.rows(...)`.
      batch_axes: how many leading axes every array has.
      dropout: drops weights of edges. `Max`, `Min`, `Std` and `LogSumExp` have none:
        beside others they hear all edges, alone they are refused.
      partial_terms: whether terms must not be evaluated where there is no edge,
        because their values or derivatives are not finite there.
      num_receivers: where neither `receivers` nor the topology says it.
      lowering: how to compute it; by default the cheapest that can serve.

    Returns:
      [*lead, R, F], or a tuple of such for a tuple of aggregators. A receiver that no
      edge reaches gets zero (`LogSumExp`: its stated value).

    Raises:
      ValueError: if names, shapes or counts do not fit, or `lowering` cannot serve.

    Derivatives in reverse (`jax.grad`, `jax.vjp`) come with every lowering. `Tiles`,
    `Slots`, `BySender`, `Sparse` and `Kernel` have backward rules only, and are chosen
    where they are fast: for forward ones (`jax.jvp`, `jax.jacfwd`) ask for another
    lowering, such as `lowerings.Edges()` or `lowerings.Dense()`.

    Example, relation-aware attention (Shaw et al. 2018, equations 3 and 4):

    >>> import jax, jax.numpy as jnp, relational as rl
    >>> query, key, value = jax.random.normal(jax.random.key(0), [3, 2, 5, 4])
    >>> rows = jax.random.normal(jax.random.key(1), [1, 2 * 2 + 1, 4])
    >>> out = rl.propagate(
    ...     rl.Causal(), batch_axes=1, aggregator=rl.Softmax(),
    ...     receivers={"query": query / 2}, senders={"key": key, "value": value},
    ...     relations={"offset": rl.Offset(clip=2).rows(key=rows)},
    ...     score=[lambda receiver, sender: rl.dot(receiver.query, sender.key),
    ...            lambda receiver, offset: rl.dot(receiver.query, offset.key)],
    ...     message=lambda sender: sender.value)
    >>> bool(jnp.allclose(out[:, 0], value[:, 0]))  # The first node hears itself.
    True
    """
    problem, operands = bind(
        topology,
        message=message,
        aggregator=aggregator,
        score=score,
        receivers=receivers,
        senders=senders,
        edges=edges,
        context=context,
        relations=relations,
        batch_axes=batch_axes,
        dropout=dropout,
        partial_terms=partial_terms,
        num_receivers=num_receivers,
    )
    plan = plans.choose(problem, lowering, operands)
    results = plan.lowering.propagate(problem, operands)
    cast = [result.astype(problem.dtype) for result in results]
    return cast[0] if isinstance(aggregator, Aggregator) else tuple(cast)


def lower(
    topology: Topology, *, lowering: plans.Lowering | None = None, **call: Any
) -> plans.Plan:
    """Returns the plan that `propagate` would follow, without following it.

    Args:
      topology, lowering, **call: as for `propagate`; arrays may be
        `jax.ShapeDtypeStruct`.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((4096, 64), "float32")
    >>> rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...          message=lambda sender: sender).lowering.name
    'tiles'
    """
    found: list[plans.Plan] = []

    def run(call: Mapping[str, Any]) -> Any:
        with plans.recording(found):
            return propagate(topology, lowering=lowering, **call)

    static = {name: value for name, value in call.items() if name not in _ARRAYS}
    arrays = {name: value for name, value in call.items() if name in _ARRAYS}
    jax.eval_shape(lambda arrays: run({**static, **arrays}), arrays)
    return found[0]


_ARRAYS = ("receivers", "senders", "edges", "context")


def per_edge(
    topology: Topology,
    term: TermLike | Sequence[TermLike],
    *,
    receivers: Any = None,
    senders: Any = None,
    edges: Any = None,
    context: Any = None,
    relations: Mapping[str, Relation | Rows] | None = None,
    batch_axes: int = 0,
    num_receivers: int | None = None,
) -> jax.Array:
    """Evaluates terms on every edge, and keeps the result edge by edge.

    For blocks that update edges, and for looking at scores.

    Args:
      topology: who may hear whom.
      term: a term or several to add up.
      The others: as for `propagate`.

    Returns:
      [*lead, E, ...], in the order of `topology.edges()`.

    Raises:
      ValueError: as `propagate`; and if the result were larger than 1 GiB.

    >>> import jax.numpy as jnp, relational as rl
    >>> x = jnp.array([1.0, 2.0, 4.0])
    >>> rl.per_edge(rl.Band(before=1), lambda receiver, sender: receiver - sender,
    ...             receivers=x, senders=x)
    Array([0., 1., 0., 2., 0.], dtype=float32)
    """
    from relational.aggregators import Sum

    problem, operands = bind(
        topology,
        message=term,
        aggregator=Sum(),
        score=None,
        receivers=receivers,
        senders=senders,
        edges=edges,
        context=context,
        relations=relations,
        batch_axes=batch_axes,
        dropout=None,
        partial_terms=True,
        num_receivers=num_receivers,
    )
    if jax.tree.leaves(operands.receiver.topology) and not problem.is_listed:
        topology.edges(problem.num_receivers, problem.num_senders)  # Must be one graph.
    width = 1
    for size in (*problem.lead, problem.num_edges, *problem.message_shape):
        width *= size
    if width * 4 > _MOST_EDGE_BYTES:
        raise ValueError(
            f"`per_edge` would return {width * 4 / 2**30:.1f} GiB: {problem.num_edges} "
            f"edges x {problem.lead} graphs x {problem.message_shape} features. Ask "
            "for fewer nodes, or aggregate with `propagate`."
        )

    def one(inner: Operands) -> jax.Array:
        value: jax.Array = edge_list.evaluate(problem, inner, "message")
        return value

    listed = with_positions(problem, edge_list.with_edges(problem, operands))
    result = each_graph(one, listed, problem)
    return jnp.asarray(result).astype(problem.dtype)
