"""An update whose first layer is one product a part, each where the part lives.

    W [e, v_r, v_s, u] = W_e e + W_r v_r + W_s v_s + W_u u

There are fewer nodes than edges, so that W_r v_r is cheaper once a node; what is then
gathered is as wide as the hidden layer, and nothing is put side by side. On pairs of a
rule, the first layer is a sum and no product at all.

Shapes: rows nodes, edges or graphs; D width, H width of the first layer.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from relational._checks import check_count, shown
from relational.blocks import parts as of_graph


class SplitMLP(hk.Module):
    """An MLP of several parts, as `hk.nets.MLP` of the parts side by side.

    It has as many parameters, and begins as widely spread; the first matrix is cut
    into one for each part, `w_edge`, `w_receiver` and so on.

    Args:
      output_sizes: widths of the layers.
      activation: between layers.
      activate_final: whether there is one after the last layer.
      then: a function of [rows, D] at the end, such as a layer norm; or None.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import GraphNetwork, SplitMLP
    >>> graph = rl.Graph(nodes={"node": jnp.ones([3, 4])}, edges={"edge": rl.EdgeSet(
    ...     senders="node", receivers="node", topology=rl.Complete())})
    >>> block = hk.transform(lambda graph: GraphNetwork(
    ...     update_edge=SplitMLP([16, 8]), edge_inputs=("receiver", "sender"),
    ...     update_node=hk.Linear(4), node_inputs=("received",), keeps_edges=False)(graph))
    >>> params = block.init(jax.random.key(0), graph)
    >>> params["split_mlp"]["w_sender"].shape
    (4, 16)
    """

    def __init__(
        self,
        output_sizes: Sequence[int],
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        activate_final: bool = False,
        then: Callable[[jax.Array], jax.Array] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if not isinstance(output_sizes, Sequence) or not output_sizes:
            raise ValueError(
                "`output_sizes` must be a list of widths, such as [16, 16]; got "
                f"{shown(output_sizes)}."
            )
        for size in output_sizes:
            check_count("output_sizes", size, least=1, advice="It counts channels.")
        self.width = output_sizes[0]
        self.activation = activation
        self.activate_final = activate_final
        self.then = then
        self.layers = [
            hk.Linear(size, name=f"linear_{at}")
            for at, size in enumerate(output_sizes[1:], 1)
        ]

    def __call__(self, parts: Mapping[str, jax.Array]) -> jax.Array:
        """Returns [rows, D'] for parts [rows, D] that have the same rows."""
        return self.finish(list(self.project(parts).values()))

    @hk.name_like("__call__")
    def project(self, parts: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns what the first layer makes of each part, [*lead, rows, H].

        The globals of a node, if there are any, are added to what it says as receiver.
        """
        spread = hk.initializers.TruncatedNormal(
            1 / math.sqrt(sum(part.shape[-1] for part in parts.values()))
        )
        made = {}
        for name, part in parts.items():
            shape = (part.shape[-1], self.width)
            matrix = hk.get_parameter(f"w_{name}", shape, part.dtype, spread)
            made[name] = of_graph.by_rows(lambda rows, w=matrix: rows @ w, part)
        if {"globals", "receiver"} <= set(made):
            made["receiver"] = made["receiver"] + made.pop("globals")
        return made

    @hk.name_like("__call__")
    def finish(self, projected: Sequence[jax.Array]) -> jax.Array:
        """Returns [rows, D'] for what the first layer made of the parts, [rows, H]."""
        total = sum(projected[1:], projected[0])
        offset = hk.get_parameter("b", (self.width,), total.dtype, jnp.zeros)
        value = total + jnp.broadcast_to(offset, total.shape)
        for layer in self.layers:
            value = layer(self.activation(value))
        if self.activate_final:
            value = self.activation(value)
        return value if self.then is None else self.then(value)
