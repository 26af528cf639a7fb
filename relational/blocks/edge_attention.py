"""Attention that reads edges, or the place of both ends in the graph.

Edge features join keys and values; a relation such as the distance in hops is a bias of
the score, a number a label and head. Either works on listed edges and on a rule.

Shapes: H heads, *lead leading axes of the graph, N nodes, E edges, D width, K width of a
head.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.blocks import parts
from relational.blocks.dense import dense
from relational.blocks.ends import Ends
from relational.blocks.graph_attention import dropout_of
from relational.blocks.heads import joined_heads, split_heads
from relational.graphs import EDGE
from relational.relations import Rows


class EdgeAttention(hk.Module):
    """Attention whose keys and values read edge features (Shi et al. 2021).

        v'_i = W_1 v_i + sum over senders j of  a_ij (W_2 v_j + W_6 e_ij)
        a_ij = softmax_j(W_3 v_i . (W_4 v_j + W_6 e_ij) / sqrt(K) + b_label(i, j))

    W_2, W_3 and W_4 have offsets, as in PyTorch Geometric's `TransformerConv`. b is the
    spatial encoding of Graphormer (Ying et al. 2021, equation 6).

    Args:
      num_heads: H.
      head_width: K.
      reads_edges: whether there are edge features to read, W_6.
      biases: relations of the edge set that have a learned bias b, such as `distance`.
      with_skip: whether W_1 v_i, with its offset, is added.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import EdgeAttention
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=jnp.ones([2, 5]), globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(lambda graph: EdgeAttention(
    ...     num_heads=2, head_width=4, reads_edges=True)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> block.apply(params, None, graph).nodes.shape
    (3, 8)
    """

    def __init__(
        self,
        *,
        num_heads: int,
        head_width: int,
        reads_edges: bool = False,
        biases: Sequence[str] = (),
        with_skip: bool = True,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_heads", num_heads, least=1, advice="It counts heads.")
        check_count("head_width", head_width, least=1, advice="It counts channels.")
        if isinstance(biases, str):
            raise TypeError(
                f"`biases` must be a list of relations, such as ['{biases}']; got "
                f"{shown(biases)}."
            )
        self.num_heads = num_heads
        self.head_width = head_width
        self.reads_edges = reads_edges
        self.biases = tuple(biases)
        self.with_skip = with_skip
        self.over = over

    def __call__(
        self,
        graph: rl.Graph | jraph.GraphsTuple,
        *,
        dropout_rate: float = 0.0,
        lowering: Any = None,
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, H K].

        Args:
          graph: features [*lead, N, D] and, where they are read, [*lead, E, D'].
          dropout_rate: of the weights; needs a key (`hk.next_rng_key`).
          lowering: as for `rl.propagate`.
        """
        ends = Ends(graph, self.over, "EdgeAttention")
        query = self._heads(ends.receiver, "query") / math.sqrt(self.head_width)
        keys, values = (self._heads(ends.sender, name) for name in ("key", "value"))
        sides: dict[str, Any] = {
            "receivers": {"query": query},
            "senders": {"key": keys, "value": values},
        }
        score: list[Any] = [lambda receiver, sender: rl.dot(receiver.query, sender.key)]
        message: list[Any] = [lambda sender: sender.value]
        topology: Any = ends.topology
        if self.reads_edges:
            sides["edges"] = self._heads(ends.edge, "edge", with_bias=False)
            score.append(lambda receiver, edge: rl.dot(receiver.query, edge))
            message.append(lambda edge: edge)
            topology = parts.listed(ends.graph, self.over)
        relations = {}
        for name in self.biases:
            relation = _headed(self._relation(name, ends.edge_set), ends)
            relations[name] = self._bias_rows(name, relation, ends.batch_axes)
            score.append(_bias_term(name))
            if isinstance(relation, rl.Difference):
                _add_attribute(sides, relation.attribute, ends)
        heard = rl.propagate(
            topology,
            batch_axes=ends.batch_axes + 1,
            aggregator=rl.Softmax(),
            score=score,
            message=message,
            relations=relations,
            dropout=dropout_of(dropout_rate),
            lowering=lowering,
            **sides,
        )
        result = joined_heads(heard, "concatenated")
        if self.with_skip:
            result = result + dense(ends.receiver, result.shape[-1], "skip", True)
        return ends.with_receivers(result)

    @hk.transparent
    def _heads(self, value: jax.Array, name: str, *, with_bias: bool = True) -> Any:
        width = self.num_heads * self.head_width
        return split_heads(dense(value, width, name, with_bias), self.num_heads)

    def _relation(self, name: str, edge_set: rl.EdgeSet) -> Any:
        if name not in edge_set.relations:
            names = ", ".join(edge_set.relations) or "none"
            raise ValueError(
                f"`biases` name relations of the edge set `{self.over}`, {names}; got "
                f"`{name}`."
            )
        relation: Any = edge_set.relations[name]
        if relation.num_labels is None:
            raise ValueError(
                f"the relation `{name}` must be bounded to have biases; got {relation}. "
                "Give it `clip` or `limit`."
            )
        return relation

    @hk.transparent
    def _bias_rows(self, name: str, relation: Any, batch_axes: int) -> Rows:
        shape = (self.num_heads, relation.num_labels)
        table = hk.get_parameter(f"bias_{name}", shape, jnp.float32, jnp.zeros)
        ones = (1,) * batch_axes
        return relation.rows(bias=table.reshape(shape[0], *ones, shape[1]))


def _headed(relation: Any, ends: Ends) -> Any:
    """Returns a relation whose labels, if each graph has its own, are for all heads."""
    if not isinstance(relation, rl.Labels):
        return relation
    shape = jnp.shape(relation.labels)
    own_axes = len(shape) - (2 if shape[-2:] == ends.counts else 1)
    if not own_axes:
        return relation  # All graphs share them.
    return rl.Labels(relation.labels[None], relation.count)


def _add_attribute(sides: dict[str, Any], name: str, ends: Ends) -> None:
    """Adds an attribute that a relation reads to both ends: [1, *lead, N]."""
    for side in ("receivers", "senders"):
        attributes = ends.graph.attributes(getattr(ends.edge_set, side))
        if name in attributes:
            sides[side][name] = jnp.expand_dims(attributes[name], 0)


def _bias_term(relation: str) -> Any:
    """Returns a score term that declares the relation's own name as its argument."""

    def bias(**row: Any) -> Any:
        return row[relation].bias

    parameter = inspect.Parameter(relation, inspect.Parameter.KEYWORD_ONLY)
    bias.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]  # PEP 362.
    return bias
