"""Principal neighbourhood aggregation: several aggregators, scaled by the degree.

One call of `rl.propagate` with a tuple of aggregators, which share one pass.

Shapes: *lead leading axes of the graph, N nodes, E edges, T towers, D width.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_count, shown
from relational.aggregators import Aggregator
from relational.blocks import parts
from relational.blocks.dense import with_bias
from relational.blocks.ends import Ends
from relational.blocks.listening import check_aggregators, degrees
from relational.graphs import EDGE

_PNA = (rl.Mean(), rl.Min(), rl.Max(), rl.Std())


class PrincipalAggregation(hk.Module):
    """Principal neighbourhood aggregation (Corso et al. 2020).

        v'_i = U(v_i, for each scaler s and each rho:  s(d_i) rho({M(v_i, v_j)}))

    M is linear, of the receiver and the sender (and the edge, if it is read); U is a
    dense layer; the scalers are 1, log(d + 1) / delta and delta / log(d + 1). Several
    towers do so side by side, and a dense layer mixes what they make.

    Args:
      width: of the result.
      average_log_degree: delta, the mean of log(d + 1) over the nodes of the training
        set, for example `jnp.log(degrees + 1).mean()`.
      aggregators: the paper's are mean, minimum, maximum and standard deviation.
      message_width: of M of one tower; by default the width of what it reads.
      reads_edges: whether M reads the features of edges.
      num_towers: each with an M and a U of its own, and its part of the width.
      splits_nodes: whether each tower reads its part of the nodes' features, instead of
        all of them.
      over: the edge set.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import PrincipalAggregation
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=None, globals=None,
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([2, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> block = hk.transform(
    ...     lambda graph: PrincipalAggregation(width=5, average_log_degree=1.0)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params["principal_aggregation/output"]["w"].shape  # 2 + 3 scalers x 4 x 2.
    (26, 5)
    """

    def __init__(
        self,
        *,
        width: int,
        average_log_degree: float,
        aggregators: tuple[Aggregator, ...] = _PNA,
        message_width: int | None = None,
        reads_edges: bool = False,
        num_towers: int = 1,
        splits_nodes: bool = False,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("width", width, least=1, advice="It counts channels.")
        check_aggregators("aggregators", aggregators)
        if not float(average_log_degree) > 0:
            raise ValueError(
                "`average_log_degree` must be above 0; got "
                f"{shown(average_log_degree)}. It is the mean of log(degree + 1)."
            )
        self.width = width
        self.average_log_degree = float(average_log_degree)
        check_count("num_towers", num_towers, least=1, advice="1 is the whole width.")
        if width % num_towers:
            raise ValueError(
                f"`num_towers` must divide `width`, {width}; got {num_towers}."
            )
        self.aggregators = tuple(aggregators)
        self.message_width = message_width
        self.reads_edges = reads_edges
        self.num_towers = num_towers
        self.splits_nodes = splits_nodes
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, width]."""
        ends = Ends(graph, self.over, "PrincipalAggregation")
        own, sender = self._split(ends.receiver), self._split(ends.sender)
        width = self.message_width or sender.shape[-1]
        say = functools.partial(_of_towers, count=self.num_towers, width=width)
        sides: dict[str, Any] = {
            "receivers": say(own, name="receiver", with_bias=True),
            "senders": say(sender, name="sender", with_bias=False),
        }
        said = [lambda receiver: receiver, lambda sender: sender]
        if self.reads_edges:
            edges = ends.edge[..., None, :]
            sides["edges"] = say(edges, name="edge", with_bias=False)
            said.append(lambda edge: edge)
        heard = rl.propagate(
            ends.topology,
            batch_axes=ends.batch_axes,
            message=said,
            aggregator=self.aggregators,
            lowering=lowering,
            **sides,
        )
        by_tower = (*heard[0].shape[:-1], self.num_towers, width)
        each = jnp.concatenate([part.reshape(by_tower) for part in heard], -1)
        return ends.with_receivers(self._updated(own, each, ends))

    @hk.transparent
    def _split(self, value: jax.Array) -> jax.Array:
        """Returns what each tower reads of the nodes: [*lead, N, T or 1, D]."""
        if not self.splits_nodes:
            return value[..., None, :]
        *lead, width = value.shape
        if width % self.num_towers:
            raise ValueError(
                f"the number of towers must divide the width of the nodes, {width}, with "
                f"`splits_nodes`; got {self.num_towers}."
            )
        return value.reshape(*lead, self.num_towers, width // self.num_towers)

    @hk.transparent
    def _updated(self, own: jax.Array, heard: jax.Array, ends: Ends) -> jax.Array:
        """Returns U of each tower, mixed where there are several: [*lead, N, width]."""
        scales = [
            each[..., None, None].astype(heard.dtype) for each in self._scales(ends)
        ]
        own = jnp.broadcast_to(own, (*heard.shape[:-1], own.shape[-1]))
        read = jnp.concatenate([own, heard, *(heard * each for each in scales)], -1)
        width = self.width // self.num_towers
        made = _of_towers(read, self.num_towers, width, "output", with_bias=True)
        if self.num_towers == 1:
            return made
        return parts.by_rows(hk.Linear(self.width, name="mix"), made)

    @hk.transparent
    def _scales(self, ends: Ends) -> Sequence[jax.Array]:
        count = degrees(ends.topology, *ends.counts, ends.batch_axes)
        # A node that nobody speaks to hears zeros, whatever they are scaled by.
        log = jnp.log(jnp.maximum(count, 1) + 1)
        return log / self.average_log_degree, self.average_log_degree / log


def _of_towers(
    value: jax.Array, count: int, width: int, name: str, *, with_bias: bool
) -> jax.Array:
    """Returns a dense layer for each tower, side by side.

    Args:
      value: [*lead, N, T, D], or [*lead, N, 1, D], which all read.
      count: T.
      width: of what one tower makes.
      name: of the layer.
      with_bias: whether it has an offset.

    Returns:
      [*lead, N, T width].
    """
    if value.shape[-2] == 1:
        layer = hk.Linear(count * width, with_bias, name=name)
        return parts.by_rows(layer, value[..., 0, :])
    return _Separate(width, with_bias, name=name)(value)


class _Separate(hk.Module):
    """Dense layers beside each other: [..., T, D] to [..., T width], a matrix each."""

    def __init__(self, width: int, with_bias: bool, name: str) -> None:
        super().__init__(name=name)
        self.width, self.adds = width, with_bias

    def __call__(self, value: jax.Array) -> jax.Array:
        *lead, count, inputs = value.shape
        spread = hk.initializers.TruncatedNormal(1 / math.sqrt(inputs))
        shape = (count, inputs, self.width)
        matrices = hk.get_parameter("w", shape, value.dtype, spread)
        made = jnp.einsum("...td,tdf->...tf", value, matrices)
        made = made.reshape(*lead, count * self.width)
        return with_bias(made) if self.adds else made
