"""Attention without heads: non-local blocks and VAIN, as functions of both ends.

Shapes: *lead leading axes of the graph, R receivers, S senders, N nodes, D width.
"""

from collections.abc import Callable
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import jraph

import relational as rl
from relational._checks import check_choice
from relational.blocks import parts
from relational.blocks.dense import dense
from relational.blocks.ends import Ends
from relational.graphs import EDGE


class NonLocal(hk.Module):
    """A non-local block (Wang et al. 2018, equations 1 to 6).

        v'_i = v_i + W_z (1 / C_i) sum over senders j of  f(v_i, v_j) W_g v_j

        gaussian        f = exp(v_i . v_j)                      C = sum of f
        embedded        f = exp(W_theta v_i . W_phi v_j)        C = sum of f
        dot             f = W_theta v_i . W_phi v_j             C = number of senders
        concatenation   f = ReLU(w_f . [W_theta v_i, W_phi v_j])    likewise

    W_z begins at zero, so that the block begins as the identity.

    Args:
      kind: f.
      width: of what is embedded; by default half of the node's, as in the paper.
      over: the edge set, in the paper `rl.Complete()`.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import NonLocal
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 4])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Complete())})
    >>> block = hk.transform(lambda graph: NonLocal(kind="dot")(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> bool(jnp.all(block.apply(params, None, graph).nodes["node"] == 1))
    True
    """

    def __init__(
        self,
        *,
        kind: Literal["gaussian", "embedded", "dot", "concatenation"] = "embedded",
        width: int | None = None,
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        kinds = ("gaussian", "embedded", "dot", "concatenation")
        check_choice("kind", kind, kinds)
        self.kind = kind
        self.width = width
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its receivers, [*lead, N, D]."""
        ends = Ends(graph, self.over, "NonLocal")
        receiver, sender = ends.receiver, ends.sender
        width = self.width or max(receiver.shape[-1] // 2, 1)
        query, key = receiver, sender
        if self.kind != "gaussian":
            query = dense(receiver, width, "theta", False)
            key = dense(sender, width, "phi", False)
        if self.kind == "concatenation":  # w_f . [a, b] is a sum of two numbers.
            query = dense(query, 1, "receiver_score", False)
            key = dense(key, 1, "sender_score", False)
        value = dense(sender, width, "g", False)
        heard = rl.propagate(
            ends.topology,
            batch_axes=ends.batch_axes,
            receivers={"query": query},
            senders={"key": key, "value": value},
            lowering=lowering,
            **_non_local_terms(self.kind),
        )
        layer = hk.Linear(
            receiver.shape[-1], with_bias=False, w_init=jnp.zeros, name="z"
        )
        return ends.with_receivers(receiver + parts.by_rows(layer, heard))


def _non_local_terms(kind: str) -> dict[str, Any]:
    """Returns f and g as terms, and C as an aggregator."""

    def product(receiver: Any, sender: Any) -> Any:
        return rl.dot(receiver.query, sender.key)

    def sum_(receiver: Any, sender: Any) -> Any:
        return jax.nn.relu(receiver.query + sender.key)

    if kind in ("gaussian", "embedded"):
        return {
            "aggregator": rl.Softmax(),
            "score": product,
            "message": lambda sender: sender.value,
        }
    weigh = product if kind == "dot" else sum_
    return {
        "aggregator": rl.Mean(),
        "message": lambda receiver, sender: weigh(receiver, sender) * sender.value,
    }


class VAIN(hk.Module):
    """Vertex attention interaction network (Hoshen 2017).

        v'_i = f_v(sum over senders j of  softmax_j(-|a_i - a_j|^2) f_b(v_j),  v_i)

    a = f_a(v). As in the paper nobody hears itself: edges from a node to itself are
    taken away.

    We differ from the paper in softmax over the others, not over all: as Battaglia et
    al. 2018 (section 4.2.2) write it.

    Args:
      attend: f_a, of [rows, D], to the space in which distances are taken.
      say: f_b.
      update_node: f_v, of what was heard beside the node.
      over: the edge set.

    >>> import haiku as hk, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import VAIN
    >>> graph = rl.Graph(nodes={"node": jnp.array([[0.0], [1.0], [9.0]])}, edges={
    ...     "edge": rl.EdgeSet(senders="node", receivers="node", topology=rl.Complete())})
    >>> same = lambda x: x
    >>> block = hk.transform(lambda graph: VAIN(
    ...     attend=same, say=same, update_node=lambda x: x[:, :1])(graph))
    >>> block.apply({}, None, graph).nodes["node"].round(2).tolist()  # The nearest other.
    [[1.0], [0.0], [1.0]]
    """

    def __init__(
        self,
        *,
        attend: Callable[[jax.Array], jax.Array],
        say: Callable[[jax.Array], jax.Array],
        update_node: Callable[[jax.Array], jax.Array],
        over: str = EDGE,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.attend = attend
        self.say = say
        self.update_node = update_node
        self.over = over

    def __call__(
        self, graph: rl.Graph | jraph.GraphsTuple, *, lowering: Any = None
    ) -> Any:
        """Returns the graph with other features of its nodes."""
        ends = Ends(graph, self.over, "VAIN")
        sender, own = ends.sender, ends.receiver
        place, other = (parts.by_rows(self.attend, side) for side in (sender, own))
        topology = ends.topology
        if not ends.is_bipartite:
            topology = topology - rl.Self()
        square = jnp.sum(place * place, -1)
        heard = rl.propagate(
            topology,
            batch_axes=ends.batch_axes,
            aggregator=rl.Softmax(),
            receivers={"place": other},
            senders={
                "place": place,
                "square": square,
                "said": parts.by_rows(self.say, sender),
            },
            # -|a_i - a_j|^2 = 2 a_i . a_j - |a_j|^2, and |a_i|^2 cancels in a softmax.
            score=[
                lambda receiver, sender: 2 * rl.dot(receiver.place, sender.place),
                lambda sender: -sender.square,
            ],
            message=lambda sender: sender.said,
            lowering=lowering,
        )
        both = jnp.concatenate([heard, own], -1)
        return ends.with_receivers(parts.by_rows(self.update_node, both))
