"""Binding: from what a user hands to `propagate` to a `Problem` and its `Operands`.

Here names, shapes and counts are checked, once, before any lowering sees them; errors
name the argument, what must hold, what came, and what to do.

Shapes: *lead leading axes, each full or 1; R receivers, S senders, E edges, L labels.
"""

from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from relational._checks import check_array, check_count, shown
from relational.aggregators import Aggregator, Dropout, Weighting
from relational.lowerings.problem import (
    Context,
    EdgeSide,
    Operands,
    Problem,
    Shared,
    Side,
)
from relational.relations import AttributeRelation, Labels, Relation, Rows
from relational.terms import END_NAMES, Term, accumulator, trace
from relational.topologies import Topology
from relational.topologies.base import Listed

TermLike = Callable[..., Any]


def bind(
    topology: Topology,
    *,
    message: TermLike | Sequence[TermLike],
    aggregator: Aggregator | Sequence[Aggregator],
    score: TermLike | Sequence[TermLike] | None,
    receivers: Any,
    senders: Any,
    edges: Any,
    context: Any,
    relations: Mapping[str, Relation | Rows] | None,
    batch_axes: int,
    dropout: Dropout | None,
    partial_terms: bool,
    num_receivers: int | None,
    positions: tuple[Any, Any] = (None, None),
) -> tuple[Problem, Operands]:
    """Checks a call of `propagate` and sorts its arrays.

    Args:
      positions: of receivers and senders, [*lead, N], where they are not 0, 1, 2, ...
      The others are those of `propagate`.
    """
    if not isinstance(topology, Topology):
        raise TypeError(
            "`topology` must be a topology such as `rl.Complete()`; got "
            f"{shown(topology)}."
        )
    check_count("batch_axes", batch_axes, least=0, advice="It counts leading axes.")
    if num_receivers is not None:
        check_count("num_receivers", num_receivers, least=0, advice="It counts nodes.")
    if dropout is not None and not isinstance(dropout, Dropout):
        raise TypeError(
            f"`dropout` must be None or `rl.Dropout(rate, key)`; got {shown(dropout)}."
        )
    if not isinstance(relations or {}, Mapping):
        raise TypeError(
            "`relations` must be a mapping of names to relations, such as "
            f"{{'offset': rl.Offset(clip=8)}}; got {shown(relations)}."
        )
    parts = {"receivers": receivers, "senders": senders, "edges": edges}
    sizes = {name: _count(name, part, batch_axes) for name, part in parts.items()}
    _check_context(context, batch_axes)
    is_step = positions != (None, None)  # Its arrays are not all nodes there are.
    known = (None, None) if is_step else topology.counts()
    num_receivers, num_senders = _bind_counts(topology, known, sizes, num_receivers)
    edge_side, is_simple, known_edges = _bind_edges(
        topology, num_receivers, num_senders, edges, batch_axes, positions
    )
    tied = {name: _as_rows(name, value) for name, value in (relations or {}).items()}
    tables = {name: _tables(name, rows, batch_axes) for name, rows in tied.items()}
    kinds = {name: rows.relation for name, rows in tied.items()}
    pair, edge_labels = _given_labels(kinds, num_receivers, num_senders, batch_axes)
    aggregators = _as_tuple(aggregator)
    examples = _examples(parts | {"context": context}, tied, tables, batch_axes)
    said, held = _trace_all(message, examples, "message")
    scored, held_score = _trace_all(score, examples, "score")
    _check_aggregators(aggregators, scored, said, dropout)
    data = topology.data() if positions == (None, None) else _data_of_step(topology)
    operands = Operands(
        receiver=Side(
            jax.tree.leaves(receivers), _led(data.receiver, batch_axes, 1), positions[0]
        ),
        sender=Side(
            jax.tree.leaves(senders), _led(data.sender, batch_axes, 1), positions[1]
        ),
        edge=edge_side._replace(labels=edge_labels),
        pair=pair,
        context=Context(
            jax.tree.leaves(context), _led(data.context, batch_axes, 0), None
        ),
        tables={
            name: _with_zero_row(leaves, batch_axes)
            for name, (leaves, _) in tables.items()
            if leaves
        },
        shared=Shared(held_score, held, None),
    )
    operands = _as_arrays(operands)
    lead = _lead(operands, batch_axes)
    rate = 0.0
    if dropout is not None and dropout.rate:
        rate = dropout.rate
        operands = with_seed(operands, dropout.key, lead)
    if positions == (None, None):
        count = _num_edges(topology, edge_side, num_receivers, num_senders)
    else:
        count = num_receivers * num_senders
    _check_edge_leaves(edges, sizes["edges"], count)
    _check_edge_labels(edge_labels, count)
    _check_one_reading(kinds, lead, (num_receivers, num_senders), count)
    problem = Problem(
        topology=topology,
        relations=kinds,
        attributes=_attributes(kinds, receivers, senders, batch_axes),
        score=scored,
        message=said,
        aggregators=aggregators,
        batch_axes=batch_axes,
        lead=lead,
        num_receivers=num_receivers,
        num_senders=num_senders,
        num_edges=count,
        is_listed=edge_side.senders is not None,
        is_simple=is_simple,
        known_edges=known_edges,
        has_edge_leaves=edges is not None,
        has_edge_labels=bool(edge_labels),
        has_pair_labels=bool(pair),
        dropout_rate=rate,
        partial_terms=partial_terms,
        dtype=_result_type(said, parts, tables, context),
    )
    return problem, operands


def _as_arrays(operands: Operands) -> Operands:
    """Returns all operands as JAX arrays; indices and labels, which are ours, int32."""

    def index(leaf: Any) -> Any:
        array = jnp.asarray(leaf)
        is_wide = jnp.issubdtype(array.dtype, jnp.signedinteger)
        return array.astype(jnp.int32) if is_wide else array

    def side(part: Side) -> Side:
        hidden = jax.tree.map(index, part._replace(leaves=[]))
        return hidden._replace(leaves=part.leaves)

    narrowed = operands._replace(
        receiver=side(operands.receiver),
        sender=side(operands.sender),
        edge=jax.tree.map(index, operands.edge._replace(leaves=[]))._replace(
            leaves=operands.edge.leaves
        ),
        pair=jax.tree.map(index, operands.pair),
        context=operands.context._replace(
            topology=jax.tree.map(index, operands.context.topology)
        ),
    )
    return jax.tree.map(jnp.asarray, narrowed)


def _count(name: str, part: Any, batch_axes: int) -> int | None:
    """Returns how many nodes or edges the leaves of `part` have."""
    leaves = jax.tree_util.tree_leaves_with_path(part)
    counts = {}
    for path, leaf in leaves:
        at = name + jax.tree_util.keystr(path)
        check_array(at, leaf, "Text and objects stay outside.")
        if jnp.ndim(leaf) <= batch_axes:
            raise ValueError(
                f"`{at}` must have {batch_axes} leading axes (`batch_axes`) and then "
                f"one of {name}; got shape {jnp.shape(leaf)}."
                + ("" if hasattr(leaf, "shape") else " Make one array of a list.")
            )
        counts[at] = jnp.shape(leaf)[batch_axes]
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{at}: {count}" for at, count in counts.items())
        raise ValueError(
            f"all leaves of `{name}` must have one count of {name} at axis "
            f"{batch_axes} (after `batch_axes`); got {listed}."
        )
    return next(iter(counts.values()), None)


def _check_context(context: Any, batch_axes: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(context):
        at = f"context{jax.tree_util.keystr(path)}"
        check_array(at, leaf, "Text and objects stay outside.")
        if jnp.ndim(leaf) < batch_axes:
            raise ValueError(
                f"`{at}` must have the {batch_axes} "
                f"leading axes (`batch_axes`), each full or 1; got shape "
                f"{jnp.shape(leaf)}."
            )


def _bind_counts(
    topology: Topology,
    counts: tuple[int | None, int | None],
    sizes: Mapping[str, int | None],
    given: int | None,
) -> tuple[int, int]:
    known = dict(zip(("receivers", "senders"), counts, strict=True))
    bound = {}
    for side in ("receivers", "senders"):
        count = sizes[side]
        if side == "receivers" and count is None:
            count = given
        if count is not None and known[side] is not None and count != known[side]:
            raise ValueError(
                f"`{side}` must have as many nodes as the topology, {known[side]}; got "
                f"{count}. {topology} was made for {known[side]} {side}."
            )
        bound[side] = count if count is not None else known[side]
    if bound["receivers"] is None and bound["senders"] is None:
        raise ValueError(
            "`receivers` or `senders` must be given, or a topology that knows its "
            f"counts; got neither, and {topology} carries none."
        )
    if bound["receivers"] is None:
        bound["receivers"] = bound["senders"]
    if bound["senders"] is None:
        bound["senders"] = bound["receivers"]
    if given is not None and given != bound["receivers"]:
        raise ValueError(
            f"`num_receivers` must agree with `receivers`; got {given} and "
            f"{bound['receivers']}."
        )
    assert bound["receivers"] is not None
    assert bound["senders"] is not None
    return bound["receivers"], bound["senders"]


def _bind_edges(
    topology: Topology,
    num_receivers: int,
    num_senders: int,
    edges: Any,
    batch_axes: int,
    positions: tuple[Any, Any],
) -> tuple[EdgeSide, bool, tuple[Any, Any, Any] | None]:
    """Returns listed edges as operands, whether none is known to repeat, and in NumPy."""
    leaves = jax.tree.leaves(edges)
    if positions != (None, None):
        return EdgeSide(leaves, None, None, None, {}), True, None
    listed = topology.listed(num_receivers, num_senders)
    if listed is None:
        return EdgeSide(leaves, None, None, None, {}), True, None
    side = EdgeSide(
        leaves,
        senders=_led(listed.senders, batch_axes, 1),
        receivers=_led(listed.receivers, batch_axes, 1),
        valid=None if listed.valid is None else _led(listed.valid, batch_axes, 1),
        labels={},
    )
    is_simple = _is_simple(listed.senders, listed.receivers, num_senders)
    return side, is_simple, _known(listed, num_receivers, num_senders)


def _known(
    listed: Listed, num_receivers: int, num_senders: int
) -> tuple[Any, Any, Any] | None:
    """Returns the edges in NumPy where all graphs share them and none is traced.

    Those that lead out of the graph do not count, here as where they are traced.
    """
    arrays = (listed.senders, listed.receivers, listed.valid)
    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        return None
    if any(np.size(array) != np.shape(array)[-1] for array in arrays[:2]):
        return None
    if listed.valid is not None and np.size(listed.valid) != np.shape(listed.valid)[-1]:
        return None
    flat: list[Any] = [
        None if array is None else np.asarray(array).reshape(-1) for array in arrays
    ]
    senders, receivers, valid = flat
    inside = (senders >= 0) & (senders < num_senders)
    inside &= (receivers >= 0) & (receivers < num_receivers)
    if not inside.all():
        valid = inside if valid is None else valid & inside
    return senders, receivers, valid


def _is_simple(senders: Any, receivers: Any, num_senders: int) -> bool:
    if any(isinstance(side, jax.core.Tracer) for side in (senders, receivers)):
        return False
    keys = np.asarray(receivers, np.int64) * num_senders + np.asarray(senders, np.int64)
    keys = np.sort(keys, axis=-1)
    return not (keys[..., 1:] == keys[..., :-1]).any()


def _led(tree: Any, batch_axes: int, rank: int) -> Any:
    """Puts unit axes in front of arrays that lack leading axes (shared by all)."""

    def lead(leaf: Any) -> Any:
        missing = batch_axes + rank - jnp.ndim(leaf)
        if missing < 0:
            raise ValueError(
                f"the topology's data must have at most {batch_axes} leading axes "
                f"(`batch_axes`); got an array of shape {jnp.shape(leaf)}."
            )
        leaf = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        return leaf.reshape((1,) * missing + leaf.shape)

    return jax.tree.map(lead, tree)


def _data_of_step(topology: Topology) -> Any:
    """Returns the data of a step's topology: those of a sequence, none of its nodes."""
    data = topology.data()
    if jax.tree.leaves((data.receiver, data.sender)):
        raise ValueError(
            f"a step cannot take `{topology}`: its data belong to the nodes of one "
            "sequence, and a cache holds others. Step the structured part of it."
        )
    return data


def _as_rows(name: Any, value: Any) -> Rows:
    if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
        raise ValueError(
            "a relation must be called by a name that can be an argument of a term; "
            f"got {shown(name)}."
        )
    if name in END_NAMES:
        raise ValueError(
            f"a relation must not be called `{name}`: that is an end of the edge. "
            f"Taken names are {', '.join(END_NAMES)}."
        )
    if isinstance(value, Relation):
        return Rows(value, {}) if value.num_labels is not None else _Unbounded(value)
    if isinstance(value, Rows):
        return value
    raise TypeError(
        f"`relations['{name}']` must be a relation or `relation.rows(...)`; got "
        f"{type(value).__name__}."
    )


class _Unbounded(Rows):
    """A relation without tables and without bounds."""

    def __post_init__(self) -> None:
        pass

    def __init__(self, relation: Relation) -> None:
        object.__setattr__(self, "relation", relation)
        object.__setattr__(self, "tables", {})


def _tables(name: str, rows: Rows, batch_axes: int) -> tuple[list[Any], Any]:
    """Returns a relation's tables, checked, and their tree."""
    for key, table in rows.tables.items():
        shape = jnp.shape(table)
        wanted = rows.relation.num_labels
        check_array(
            f"relations['{name}'].{key}", table, "A table has a row for each label."
        )
        if len(shape) <= batch_axes or shape[batch_axes] != wanted:
            raise ValueError(
                f"`relations['{name}'].{key}` must have {wanted} rows at axis "
                f"{batch_axes} (after `batch_axes`), a row a label of {rows.relation}; "
                f"got shape {shape}."
            )
    leaves, treedef = jax.tree.flatten(dict(rows.tables))
    return leaves, treedef


def _with_zero_row(leaves: list[Any], axis: int) -> list[Any]:
    def extend(table: Any) -> Any:
        table = jnp.asarray(table)
        pad = [(0, 0)] * table.ndim
        pad[axis] = (0, 1)
        return jnp.pad(table, pad)

    return [extend(table) for table in leaves]


def _given_labels(
    kinds: Mapping[str, Relation], num_receivers: int, num_senders: int, batch_axes: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns labels given pair by pair, and labels given edge by edge."""
    pair, edge = {}, {}
    for name, relation in kinds.items():
        if not isinstance(relation, Labels):
            continue
        labels = relation.labels
        shape = jnp.shape(labels)
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise ValueError(
                f"`relations['{name}'].labels` must be integers; got {labels.dtype}."
            )
        if shape[-2:] == (num_receivers, num_senders) and len(shape) in (
            2,
            batch_axes + 2,
        ):
            pair[name] = _led(labels, batch_axes, 2)
        elif len(shape) in (1, batch_axes + 1):
            edge[name] = _led(labels, batch_axes, 1)
        else:
            raise ValueError(
                f"`relations['{name}'].labels` must have shape [*lead, "
                f"{num_receivers}, {num_senders}], a label a pair, or [*lead, E], a "
                f"label an edge; got {shape}."
            )
    return pair, edge


def _check_one_reading(
    kinds: Mapping[str, Relation],
    lead: tuple[int, ...],
    sizes: tuple[int, int],
    count: int,
) -> None:
    """Raises if labels [R, S] could be those of the edges of a batch of R, [B, E]."""
    for name, relation in kinds.items():
        if isinstance(relation, Labels) and sizes == (*lead, count) and sizes[0] > 1:
            shape = jnp.shape(relation.labels)
            if shape == sizes:
                raise ValueError(
                    f"`relations['{name}'].labels` of shape {shape} could be a label a "
                    "pair, [R, S], or a label an edge, [B, E]: give those of pairs as "
                    f"[1, {shape[0]}, {shape[1]}], and edges with a leading axis more."
                )


def _attributes(
    kinds: Mapping[str, Relation], receivers: Any, senders: Any, batch_axes: int
) -> dict[str, tuple[int, int]]:
    """Returns where each attribute relation finds its attribute, at both sides."""
    found = {}
    for name, relation in kinds.items():
        if isinstance(relation, AttributeRelation):
            attribute = relation.attribute
            found[name] = (
                _leaf_index(name, attribute, "receivers", receivers, batch_axes),
                _leaf_index(name, attribute, "senders", senders, batch_axes),
            )
    return found


def _leaf_index(
    relation: str, attribute: str, side: str, tree: Any, batch_axes: int
) -> int:
    names = [
        str(path[0].key) if path and hasattr(path[0], "key") else ""
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]
    if attribute not in names:
        raise ValueError(
            f"`relations['{relation}']` reads the attribute `{attribute}`, which "
            f"`{side}` must have; it has {', '.join(filter(None, names)) or 'none'}. "
            f"Pass {side}={{..., '{attribute}': integers}}."
        )
    index = names.index(attribute)
    leaf = jax.tree.leaves(tree)[index]
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.integer):
        raise ValueError(
            f"`{side}['{attribute}']` must be integers, since `relations['{relation}']` "
            f"makes labels of it; got {jnp.result_type(leaf)}."
        )
    if jnp.ndim(leaf) != batch_axes + 1:
        raise ValueError(
            f"`{side}['{attribute}']` must have shape [*lead, N], one integer a node, "
            f"since `relations['{relation}']` makes labels of it; got "
            f"{jnp.shape(leaf)} with {batch_axes} leading axes (`batch_axes`)."
        )
    return index


def _examples(
    parts: Mapping[str, Any],
    tied: Mapping[str, Rows],
    tables: Mapping[str, tuple[list[Any], Any]],
    batch_axes: int,
) -> dict[str, Any]:
    """Returns the shapes of one edge, under the names that terms use."""

    def strip(tree: Any, axes: int) -> Any:
        def one(leaf: Any) -> jax.ShapeDtypeStruct:
            dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.asarray(leaf).dtype
            if isinstance(dtype, np.dtype):  # A key's is not. NumPy has wider ones.
                dtype = jax.dtypes.canonicalize_dtype(dtype)
            return jax.ShapeDtypeStruct(jnp.shape(leaf)[axes:], dtype)

        return jax.tree.map(one, tree)

    examples = {}
    singular = {"receivers": "receiver", "senders": "sender", "edges": "edge"}
    for plural, name in singular.items():
        if parts[plural] is not None:
            examples[name] = strip(parts[plural], batch_axes + 1)
    if parts["context"] is not None:
        examples["context"] = strip(parts["context"], batch_axes)
    for name, rows in tied.items():
        leaves, treedef = tables[name]
        if leaves:
            examples[name] = strip(jax.tree.unflatten(treedef, leaves), batch_axes + 1)
        else:
            examples[name] = jax.eval_shape(rows.relation.value, jnp.int32(0))
    return examples


def _trace_all(
    terms: TermLike | Sequence[TermLike] | None, examples: Mapping[str, Any], role: str
) -> tuple[tuple[Term, ...], list[list[Any]]]:
    if terms is None:
        return (), []
    if not callable(terms) and not isinstance(terms, Sequence):
        raise TypeError(
            f"a {role} must be a term or a list of terms; got {shown(terms)}. A term is "
            "a function of one edge, such as `lambda sender: sender`."
        )
    listed = [terms] if callable(terms) else list(terms)
    traced = [trace(term, examples, role) for term in listed]
    return tuple(term for term, _ in traced), [held for _, held in traced]


def _as_tuple(aggregator: Any) -> tuple[Any, ...]:
    if isinstance(aggregator, list | tuple):
        return tuple(aggregator)
    return (aggregator,)


def _check_aggregators(
    aggregators: tuple[Aggregator, ...],
    score: tuple[Term, ...],
    message: tuple[Term, ...],
    dropout: Dropout | None,
) -> None:
    for aggregator in aggregators or (None,):
        if not isinstance(aggregator, Aggregator):
            came = shown(aggregator) if aggregators else "none"
            raise TypeError(
                "`aggregator` must be an aggregator such as `rl.Sum()`, or a tuple of "
                f"them; got {came}."
            )
    names = ", ".join(type(aggregator).__name__ for aggregator in aggregators)
    hears = any(aggregator.hears_score for aggregator in aggregators)
    if hears and not score:
        raise ValueError(
            f"`score` must be given: {names} weighs messages by it. Or take `rl.Mean()`."
        )
    if score and not hears:
        raise ValueError(
            f"`score` must be left out: {names} does not hear it. `rl.Softmax()` does."
        )
    has_weights = any(isinstance(each, Weighting) for each in aggregators)
    if dropout is not None and dropout.rate and not has_weights:
        raise ValueError(
            "`dropout` must be None or of rate 0: it drops weights of edges, and there are "
            f"none with {names}. With `rl.Softmax()`, `rl.Mean()` or `rl.Sum()` there are."
        )
    if not message:
        raise ValueError("`message` must be a term or a list of terms; got none.")
    shapes = [term.shape for term in message]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"message terms must be of one shape, since they add up; got {shapes}."
        )


def _lead(operands: Operands, batch_axes: int) -> tuple[int, ...]:
    led = operands._replace(shared=None)  # type: ignore[arg-type]  # Has no such axes.
    shapes = {leaf.shape[:batch_axes] for leaf in jax.tree.leaves(led)}
    try:
        return tuple(jnp.broadcast_shapes((1,) * batch_axes, *shapes))
    except ValueError:
        raise ValueError(
            f"the {batch_axes} leading axes (`batch_axes`) must be full or 1 in every "
            f"array; got {sorted(shapes)}."
        ) from None


def with_seed(operands: Operands, key: Any, lead: tuple[int, ...]) -> Operands:
    """Returns the operands with what hashes of edges start from."""
    if jnp.issubdtype(jnp.asarray(key).dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    seed = jnp.asarray(key).reshape(-1)[-2:].astype(jnp.uint32)
    count = int(np.prod(lead, dtype=int))
    index = jnp.arange(count, dtype=jnp.uint32).reshape(lead)
    return operands._replace(
        shared=operands.shared._replace(seed=seed),
        context=operands.context._replace(index=index),
    )


def _num_edges(
    topology: Topology, edge: EdgeSide, num_receivers: int, num_senders: int
) -> int:
    if edge.senders is not None:
        return int(edge.senders.shape[-1])
    return int(topology.skeleton().degrees(num_receivers, num_senders).sum())


def _check_edge_leaves(edges: Any, got: int | None, wanted: int) -> None:
    if edges is not None and got != wanted:
        raise ValueError(
            f"`edges` must have a row an edge of the topology, {wanted}; got {got}. "
            "Their order is that of `topology.edges()`."
        )


def _check_edge_labels(labels: Mapping[str, Any], wanted: int) -> None:
    for name, leaf in labels.items():
        if leaf.shape[-1] != wanted:
            raise ValueError(
                f"`relations['{name}'].labels` must have a label an edge of the "
                f"topology, {wanted}; got {leaf.shape[-1]}. Their order is that of "
                "`topology.edges()`."
            )


def _result_type(
    message: tuple[Term, ...],
    parts: Mapping[str, Any],
    tables: Mapping[str, tuple[list[Any], Any]],
    context: Any,
) -> Any:
    """Returns the type of what message terms read: bfloat16 in, bfloat16 out."""
    sites = {
        "receiver": jax.tree.leaves(parts["receivers"]),
        "sender": jax.tree.leaves(parts["senders"]),
        "edge": jax.tree.leaves(parts["edges"]),
        "context": jax.tree.leaves(context),
    } | {name: leaves for name, (leaves, _) in tables.items()}
    read = [
        sites[site][index].dtype
        for term in message
        for site, index in term.reads
        if sites.get(site)
    ]
    floats = [dtype for dtype in read if jnp.issubdtype(dtype, jnp.floating)]
    if floats:
        return jnp.result_type(*floats)
    own = jnp.result_type(*(term.dtype for term in message))
    return own if jnp.issubdtype(own, jnp.inexact) else accumulator(own)
