"""Mixtures of experts: each token hears the few experts that a router chooses for it.

Experts are nodes whose features are matrices, and tokens hear them over edges that
`select` makes. So the layer is one call of `propagate`, whose plan says how the experts'
products are computed.

Shapes: *lead leading axes, N tokens of all of them, D their width, E experts, K chosen,
F width of an expert.
"""

import fractions
import math
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational._checks import check_choice, check_count, shown
from relational.blocks.feed_forward import ACTIVATIONS
from relational.blocks.routing import Routing
from relational.topologies import Neighbours


class MixtureOfExperts(hk.Module):
    """A feed-forward layer of which each token uses a few out of many.

        y = sum over the chosen e of w_e (f(x W_e + b_e) U_e + c_e)

    (Shazeer et al. 2017, equation 1). The router's scores are h = x W_r, in float32. The
    `num_chosen` largest choose the experts; the weights w are the softmax of h over the
    chosen (their equations 3 and 5; Jiang et al. 2024, section 2.1) or, with
    `softmax_over="all"`, over all experts, of which the chosen keep theirs (Fedus et al.
    2022, equations 1 and 2).

    In training, `with_noise` adds normal noise of learned size to the scores (Shazeer et
    al. 2017, equation 4), and `capacity` bounds how many tokens an expert takes: that
    times what it had if all had alike, rounded up. First choices go before second ones,
    earlier tokens before later ones. A token that an expert has no room for hears zero
    from it, so that a residual connection passes it on.

    Args:
      num_experts: how many there are.
      num_chosen: how many of them a token hears.
      width: channels between the two layers of an expert.
      activation, is_gated: as of `FeedForward`.
      softmax_over: "chosen" or "all"; by default "all" for one chosen expert, whose
        weight would else be 1 whatever the router says, and "chosen" for more.
      with_noise: whether scores are noisy in training.
      capacity: a factor, such as 1.25; None lets experts take all that choose them.

    Raises:
      ValueError: if more experts are chosen than there are, or the router had no part
        in the result.

    >>> import haiku as hk, jax, jax.numpy as jnp, relational as rl
    >>> from relational.blocks import MixtureOfExperts
    >>> graph = rl.Graph(nodes={"word": jnp.ones([7, 16])})
    >>> block = hk.transform(lambda graph: MixtureOfExperts(
    ...     num_experts=4, num_chosen=2, width=32)(graph, "word"))
    >>> params = jax.eval_shape(block.init, jax.random.key(0), graph)
    >>> params["mixture_of_experts/hidden"]["w"].shape
    (4, 16, 32)
    >>> print(str(rl.explain(block.apply, params, None, graph)).splitlines()[0])
    Neighbours(2 of 4): 7 receivers x 4 senders, 14 edges, density 0.50

    Reference: Shazeer et al. 2017, "Outrageously Large Neural Networks", section 2;
    Fedus et al. 2022, "Switch Transformers", section 2.2; Jiang et al. 2024, "Mixtral of
    Experts".

    We differ from the papers in that nothing is dropped outside of training, so that a
    token's result depends on no other token, and one step of decoding is the full pass.
    """

    def __init__(
        self,
        *,
        num_experts: int,
        num_chosen: int,
        width: int,
        activation: Literal["relu", "gelu", "silu"] = "relu",
        is_gated: bool = False,
        softmax_over: Literal["chosen", "all"] | None = None,
        with_noise: bool = False,
        capacity: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        for argument, value, counts in (
            ("num_experts", num_experts, "experts"),
            ("num_chosen", num_chosen, "experts"),
            ("width", width, "channels"),
        ):
            check_count(argument, value, least=1, advice=f"It counts {counts}.")
        if num_chosen > num_experts:
            raise ValueError(
                f"`num_chosen` must be at most `num_experts`, {num_experts}; got "
                f"{num_chosen}."
            )
        check_choice("activation", activation, tuple(ACTIVATIONS))
        if softmax_over is not None:
            check_choice("softmax_over", softmax_over, ("chosen", "all"))
        if softmax_over == "chosen" and num_chosen == 1 < num_experts:
            raise ValueError(
                "`softmax_over` must be 'all' where one expert is chosen, whose weight "
                "would else be 1 whatever the router says; got 'chosen'."
            )
        is_number = isinstance(capacity, int | float) and not isinstance(capacity, bool)
        if capacity is not None and not (is_number and 0 < capacity < math.inf):
            raise ValueError(
                "`capacity` must be a factor above 0, such as 1.25, or None for no "
                f"bound; got {shown(capacity)}."
            )
        self.num_experts = num_experts
        self.num_chosen = num_chosen
        self.width = width
        self.activation = activation
        self.is_gated = is_gated
        self.over_all = softmax_over == "all" or (
            softmax_over is None and num_chosen == 1
        )
        self.with_noise = with_noise
        self.capacity = capacity

    def __call__(
        self,
        graph: rl.Graph,
        node_set: str,
        *,
        counted: Any = None,
        is_training: bool = False,
    ) -> rl.Graph:
        """Returns the graph with other features of `node_set`, [*lead, N, D].

        Args:
          graph: features [*lead, N, D].
          node_set: the set whose nodes are the tokens.
          counted: [*lead, N], which of them are no padding; None for all. The others
            hear nobody.
          is_training: whether scores are noisy, and experts have a capacity.
        """
        return self.routed(graph, node_set, counted=counted, is_training=is_training)[0]

    @hk.name_like("__call__")
    def routed(
        self,
        graph: rl.Graph,
        node_set: str,
        *,
        counted: Any = None,
        is_training: bool = False,
    ) -> tuple[rl.Graph, Routing]:
        """Returns what a call returns, and how the tokens were routed."""
        features = graph.features(node_set)
        counted = _counted(counted, features.shape[:-1])
        x = features.reshape(-1, features.shape[-1])  # All leading axes are one graph.
        routing = self._route(x, counted.reshape(-1), is_training)
        heard = rl.propagate(
            routing.heard,
            receivers=x,
            senders=self._experts(x),
            edges=routing.weights.reshape(-1).astype(x.dtype),
            message=self._said,
            aggregator=rl.Sum(),
        )
        heard = heard.astype(features.dtype).reshape(features.shape)
        return graph.with_features(node_set, heard), routing

    @hk.transparent
    def _route(self, x: jax.Array, counted: jax.Array, is_training: bool) -> Routing:
        logits = self._scores(x, "router")
        if self.with_noise:
            # Made in evaluation as well, so that parameters do not depend on it.
            size = jax.nn.softplus(self._scores(x, "noise", jnp.zeros))
            if is_training:
                normal = jax.random.normal(hk.next_rng_key(), size.shape, size.dtype)
                logits = logits + normal * size
        chosen = rl.select(
            rl.Complete(),
            k=self.num_chosen,
            receivers=logits,
            senders=jnp.eye(self.num_experts),
            score=lambda receiver, sender: rl.dot(receiver, sender),
        )
        chosen = _of_counted(chosen, counted)
        own = jnp.take_along_axis(logits, chosen.senders, axis=-1)  # [N, K]
        if self.over_all:
            whole = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
            weights = jnp.exp(own - whole)
        else:
            weights = jax.nn.softmax(own, axis=-1)
        heard = chosen
        if is_training and self.capacity is not None:
            heard = chosen.within(self._room(counted.sum(dtype=jnp.int32)))
        return Routing(
            logits=logits, chosen=chosen, heard=heard, weights=weights, counted=counted
        )

    def _room(self, tokens: jax.Array) -> jax.Array:
        """Returns how many tokens an expert may take, rounded up."""
        assert self.capacity is not None
        # In whole numbers: a product of floats may lie just above one of them.
        fair = fractions.Fraction(self.capacity).limit_denominator(1000)
        fair *= fractions.Fraction(self.num_chosen, self.num_experts)
        whole, rest = tokens // fair.denominator, tokens % fair.denominator
        return whole * fair.numerator - (-rest * fair.numerator // fair.denominator)

    @hk.transparent
    def _scores(self, x: jax.Array, name: str, init: Any = None) -> jax.Array:
        """Returns a number a token and expert, [N, E], in float32."""
        shape = (x.shape[-1], self.num_experts)
        init = init or hk.initializers.VarianceScaling(
            1.0, "fan_in", "truncated_normal"
        )
        w = hk.get_parameter(name, shape, x.dtype, init)
        return rl.dot(x.astype(jnp.float32), w.astype(jnp.float32))

    @hk.transparent
    def _experts(self, x: jax.Array) -> dict[str, Any]:
        """Returns the matrices and offsets of all experts, [E, ...] each."""
        wide, narrow = self.width, x.shape[-1]
        sizes = {"hidden": (narrow, wide), "output": (wide, narrow)}
        if self.is_gated:
            sizes["gate"] = (narrow, wide)
        return {
            name: _Matrices(self.num_experts, *size, name=name)(x.dtype)
            for name, size in sizes.items()
        }

    def _said(self, receiver: Any, sender: Any, edge: Any) -> Any:
        """Returns what one expert says to one token, [D], times its weight."""
        hidden = ACTIVATIONS[self.activation](_affine(receiver, sender.hidden))
        if self.is_gated:
            hidden = hidden * _affine(receiver, sender.gate)
        said = _affine(hidden.astype(receiver.dtype), sender.output)
        return edge.astype(said.dtype) * said


class _Matrices(hk.Module):
    """A dense layer for each expert: its parameters, [E, in, out] and [E, out]."""

    def __init__(self, count: int, num_in: int, num_out: int, *, name: str) -> None:
        super().__init__(name=name)
        self.shape = (count, num_in, num_out)

    def __call__(self, dtype: Any) -> dict[str, jax.Array]:
        count, _, num_out = self.shape
        init = hk.initializers.VarianceScaling(
            1.0, "fan_in", "truncated_normal", fan_in_axes=[1]
        )
        return {
            "w": hk.get_parameter("w", self.shape, dtype, init),
            "b": hk.get_parameter("b", (count, num_out), dtype, jnp.zeros),
        }


def _affine(x: Any, layer: Any) -> Any:
    found = rl.dot(x, layer.w)
    return found + layer.b.astype(found.dtype)


def _counted(counted: Any, shape: tuple[int, ...]) -> jax.Array:
    if counted is None:
        return jnp.ones(shape, bool)
    if jnp.shape(counted) != shape or jnp.result_type(counted) != bool:
        raise ValueError(
            f"`counted` must be booleans {list(shape)}, one a token, or None for all; "
            f"got {shown(counted)}."
        )
    return jnp.asarray(counted)


def _of_counted(chosen: Neighbours, counted: jax.Array) -> Neighbours:
    """Returns the choices without those of padding."""
    valid = jnp.broadcast_to(counted[:, None], chosen.senders.shape)
    valid = valid if chosen.valid is None else valid & chosen.valid
    return Neighbours(
        senders=chosen.senders, num_senders=chosen.num_senders, valid=valid
    )
