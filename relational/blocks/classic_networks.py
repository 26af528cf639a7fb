"""The networks of the papers, as the general block with arguments.

Each function names what its paper reads and how it adds up; the updates are the
caller's. Read them beside figure 4 and section 4.2 of Battaglia et al. 2018.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational.blocks.graph_network import Function, GraphNetwork
from relational.blocks.recurrent import GatedUpdate
from relational.blocks.saying import Aggregators
from relational.blocks.updates import ByName
from relational.graphs import EDGE

_SUM = rl.Sum()


def interaction_network(
    *,
    update_edge: Function,
    update_node: Function,
    aggregator: Aggregators = _SUM,
    over: str = EDGE,
    name: str = "interaction_network",
) -> GraphNetwork:
    """Objects and their relations, without globals (Battaglia et al. 2016).

        e'_k = phi_e(e_k, v_r, v_s),    v'_i = phi_v(sum of e'_k, v_i)

    We differ from the paper in that external effects, its x, are features of nodes.

    Args:
      update_edge, update_node: phi_e and phi_v, of [rows, D].
      aggregator, over, name: as for `GraphNetwork`.

    >>> import haiku as hk
    >>> from relational.blocks import interaction_network
    >>> make = lambda: interaction_network(update_edge=hk.Linear(4), update_node=hk.Linear(2))
    >>> hk.testing.transform_and_run(lambda: make().edge_inputs)()
    ('edge', 'receiver', 'sender')
    """
    return GraphNetwork(
        update_edge=update_edge,
        update_node=update_node,
        edge_inputs=("edge", "receiver", "sender"),
        node_inputs=("received", "node"),
        edges_to_nodes=aggregator,
        over=over,
        name=name,
    )


def relation_network(
    *,
    update_edge: Function,
    update_global: Function,
    aggregator: Aggregators = _SUM,
    over: str = EDGE,
    name: str = "relation_network",
) -> GraphNetwork:
    """All pairs, added up to one answer (Santoro et al. 2017, equation 1).

        u' = phi_u(sum over all edges of phi_e(v_r, v_s))

    Only globals are returned anew, as in Graph Nets. A sum over the pairs of a rule
    stores no array of pairs.

    Args:
      update_edge, update_global: phi_e and phi_u, the paper's g and f.
      aggregator: of edges to globals.
      over, name: as for `GraphNetwork`.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import relation_network
    >>> graph = rl.Graph(nodes={"node": jnp.array([[1.0], [2.0]])}, edges={
    ...     "edge": rl.EdgeSet(senders="node", receivers="node", topology=rl.Complete())})
    >>> net = hk.transform(lambda graph: relation_network(
    ...     update_edge=lambda pair: pair[:, :1] * pair[:, 1:], update_global=jnp.sqrt)(graph))
    >>> net.apply({}, None, graph).globals_.tolist()  # The root of (1 + 2) (1 + 2).
    [3.0]
    """
    return GraphNetwork(
        update_edge=update_edge,
        update_global=update_global,
        edge_inputs=("receiver", "sender"),
        global_inputs=("edges",),
        edges_to_globals=aggregator,
        keeps_edges=False,
        over=over,
        name=name,
    )


def deep_sets(
    *,
    update_node: Function,
    update_global: Function,
    node_inputs: tuple[str, ...] = ("node", "globals"),
    aggregator: Aggregators = _SUM,
    over: str = EDGE,
    name: str = "deep_sets",
) -> GraphNetwork:
    """Nodes without edges, added up to one answer (Zaheer et al. 2017, theorem 2).

        v'_i = phi_v(v_i, u),    u' = phi_u(sum of v'_i)

    With `rl.Max()` it is PointNet (Qi et al. 2017). We differ from the paper as Graph
    Nets and jraph do: nodes read the globals, and are returned.

    Args:
      update_node, update_global: phi_v and phi_u, the paper's phi and rho.
      node_inputs: `("node",)` is the paper's.
      aggregator: of nodes to globals.
      over, name: as for `GraphNetwork`.

    >>> import haiku as hk, jax.numpy as jnp, jraph, relational as rl
    >>> from relational.blocks import deep_sets
    >>> sets = jraph.GraphsTuple(
    ...     nodes=jnp.array([[1.0], [5.0], [2.0]]), edges=None, senders=None,
    ...     receivers=None, globals=None, n_node=jnp.array([2, 1]), n_edge=jnp.array([0, 0]))
    >>> net = hk.transform(lambda graph: deep_sets(
    ...     update_node=lambda v: 2 * v, update_global=lambda u: u, node_inputs=("node",),
    ...     aggregator=rl.Max())(graph))
    >>> net.apply({}, None, sets).globals.tolist()
    [[10.0], [4.0]]
    """
    return GraphNetwork(
        update_node=update_node,
        update_global=update_global,
        node_inputs=node_inputs,
        global_inputs=("nodes",),
        nodes_to_globals=aggregator,
        over=over,
        name=name,
    )


def message_passing_network(
    *,
    message: Function,
    update_node: Function,
    readout: Function = None,
    aggregator: Aggregators = _SUM,
    over: str = EDGE,
    name: str = "message_passing_network",
) -> GraphNetwork:
    """A step of message passing, and maybe its readout (Gilmer et al. 2017, section 2).

        m_i = sum of M(v_r, v_s, e_k),    v'_i = U(v_i, m_i),    u' = R(sum of v'_i)

    Args:
      message: M, of an edge, its receiver and its sender; see `edge_network`.
      update_node: U, of what was received and the node; in the paper a GRU
        (`ByName(GatedUpdate())`).
      readout: R, of the sum of the nodes; None between steps.
      aggregator, over, name: as for `GraphNetwork`.

    >>> import haiku as hk
    >>> from relational.blocks import message_passing_network
    >>> make = lambda: message_passing_network(message=hk.Linear(4), update_node=hk.Linear(2))
    >>> hk.testing.transform_and_run(lambda: make().keeps_edges)()  # The edges stay.
    False
    """
    return GraphNetwork(
        update_edge=message,
        update_node=update_node,
        update_global=readout,
        edge_inputs=("edge", "receiver", "sender"),
        node_inputs=("received", "node"),
        global_inputs=("nodes",),
        edges_to_nodes=aggregator,
        keeps_edges=False,
        over=over,
        name=name,
    )


def edge_network(matrix: Callable[[jax.Array], jax.Array], width: int) -> ByName:
    """Messages A(e_k) v_s, a matrix for each edge (Gilmer et al. 2017, section 5.1).

    Args:
      matrix: A, from features of edges [rows, D] to [rows, width * width of the sender].
      width: of a message.

    >>> import jax.numpy as jnp
    >>> from relational.blocks import edge_network
    >>> say = edge_network(lambda edge: edge, 2)
    >>> say.function(edge=jnp.array([[1.0, 2, 3, 4]]), receiver=None,
    ...              sender=jnp.array([[1.0, 10]])).tolist()
    [[21.0, 43.0]]
    """

    def say(*, edge: jax.Array, receiver: Any, sender: jax.Array) -> jax.Array:
        del receiver  # The paper's message reads the sender alone.
        each = matrix(edge).reshape(len(edge), width, sender.shape[-1])
        return jnp.einsum("kfd,kd->kf", each, sender)

    return ByName(say)


def comm_net(
    *,
    update_edge: Callable[[jax.Array], jax.Array],
    encode_node: Callable[[jax.Array], jax.Array],
    update_node: Callable[[jax.Array], jax.Array],
    aggregator: Aggregators = rl.Mean(),  # noqa: B008  # It is frozen.
    over: str = EDGE,
    name: str = "comm_net",
) -> GraphNetwork:
    """Agents that hear the mean of the others (Sukhbaatar et al. 2016).

        v'_i = phi_v(mean of phi_e(v_s), encode(v_i))

    The form is that of Hoshen 2017. Graph Nets' default adds up instead.

    Args:
      update_edge, encode_node, update_node: phi_e, encode and phi_v, of [rows, D].
      aggregator, over, name: as for `GraphNetwork`.

    >>> import haiku as hk, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import comm_net
    >>> graph = rl.Graph(nodes={"node": jnp.array([[1.0], [3.0], [8.0]])}, edges={
    ...     "edge": rl.EdgeSet(senders="node", receivers="node",
    ...                        topology=rl.Complete() - rl.Self())})
    >>> net = hk.transform(lambda graph: comm_net(
    ...     update_edge=lambda v: v, encode_node=lambda v: v, update_node=lambda v: v)(graph))
    >>> net.apply({}, None, graph).nodes["node"].tolist()
    [[5.5, 1.0], [4.5, 3.0], [2.0, 8.0]]
    """

    def after_encoding(*, received: jax.Array, node: jax.Array) -> jax.Array:
        return update_node(jnp.concatenate([received, encode_node(node)], -1))

    return GraphNetwork(
        update_edge=update_edge,
        update_node=ByName(after_encoding),
        edge_inputs=("sender",),
        node_inputs=("received", "node"),
        edges_to_nodes=aggregator,
        keeps_edges=False,
        over=over,
        name=name,
    )


def gated_graph_network(
    *,
    message: Function | None = None,
    edge_inputs: tuple[str, ...] = ("sender",),
    over: str = EDGE,
    name: str = "gated_graph_network",
) -> GraphNetwork:
    """A step of a gated graph network (Li et al. 2016, equations 2 to 6).

        v'_i = GRU(sum of phi_e(v_s), v_i)

    Repeat it with shared parameters (`Repeat`). The paper has a matrix for each type of
    edge; as there, nodes must be as wide as their state, and are padded with zeros.

    Args:
      message: phi_e; by default a linear layer, as wide as what it reads. A matrix for
        each type of edge is `edge_network(...)` of one-hot edges, which reads
        `("edge", "receiver", "sender")`.
      edge_inputs: what phi_e reads; with `("edge", "sender")` the default adds an offset
        for each type of one-hot edges.
      over, name: as for `GraphNetwork`.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import gated_graph_network, Repeat
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 4])}, edges={
    ...     "edge": rl.EdgeSet(senders="node", receivers="node",
    ...                        topology=rl.Edges([0, 1, 2], [1, 2, 0], 3))})
    >>> net = hk.transform(lambda graph: Repeat(gated_graph_network, 5)(graph))
    >>> params = net.init(jax.random.key(0), graph)
    >>> net.apply(params, None, graph).nodes["node"].shape
    (3, 4)
    """

    def linear(x: jax.Array) -> jax.Array:
        layer: Any = hk.Linear(x.shape[-1], name="message")
        return layer(x)

    return GraphNetwork(
        update_edge=linear if message is None else message,
        update_node=ByName(GatedUpdate()),
        edge_inputs=edge_inputs,
        node_inputs=("received", "node"),
        keeps_edges=False,
        over=over,
        name=name,
    )
