"""A model built from a spec: embed, let the blocks update the graph, read out.

The Transformer decoder, the Music Transformer and their variants are values of
`ModelSpec`; nothing here knows them. Decoding uses the same blocks, one node at a time.

Shapes: B batch, N nodes of a set, D width, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks.residual import norm
from relational.models.edge_sets import Inputs, bare, stepped, with_prefix
from relational.models.named import rotary_of
from relational.models.token_graph import (
    check_complete,
    for_stepping,
    graph_of_tokens,
    read_out_only,
    tables_of,
)

Caches = tuple[rl.Cache, ...]
_Listen = Callable[[int, blocks.Attention, rl.Graph], tuple[rl.Graph, Any]]
_Stepped = tuple[jax.Array, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as pure functions.

    `inputs` are, for each node set, integer arrays [B, N]: `token`, and the attributes
    that are embedded or that relations read. Some are known by their names: `length`,
    [B], says how many nodes of a padded set count; `segment`, [B, N], in which of
    several packed sequences a node is; `prefix`, [B], how many nodes the topology
    `prefix` means (of packed sequences [B, N], for each node that of its own);
    `position`, [B, N], where nodes stand, for sinusoids and rotary positions, if not at
    0, 1, 2, ... And for each edge set, by relation, the labels that are given: integers
    [B, R, S]; to `step`, those of the new node to all senders, [B, 1, S].

    Attributes:
      init: (key, inputs) -> params.
      apply: (params, key, inputs, is_training) -> logits [B, N, V].
      start: (params, inputs, length) -> caches for up to `length` nodes of the set that
        is read out. Of that set, only shapes count; the other sets, such as a source,
        are computed here once.
      prefill: (params, caches, inputs, lengths [B]) -> (logits [B, N, V], caches). A
        prefix lies within the prime; unless `prefix` is given, the prime is the prefix.
      step: (params, caches, inputs of one node, position [B]) -> (logits [B, 1, V],
        caches).
      weights: (params, inputs) -> for each attention, in order, [B, H, R, S]: how much
        each node listens to each other. For looking at; needs memory for all pairs, and
        inputs without `length` and `segment`: one sequence, or several of one length.
      spec: what it was built from; None if by hand.

    >>> import jax, jax.numpy as jnp
    >>> from relational import models, specs
    >>> model = models.build(specs.load("transformer").model)
    >>> inputs = {"token": {n: jnp.zeros([2, 1], int) for n in ("token", "voice", "beat")}}
    >>> params = jax.eval_shape(model.init, jax.random.key(0), inputs)
    >>> caches = jax.eval_shape(lambda p: model.start(p, inputs, 64), params)
    >>> len(caches), caches[0].slots
    (5, 64)
    """

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]
    start: Callable[..., Caches]
    prefill: Callable[..., tuple[jax.Array, Caches]]
    step: Callable[..., tuple[jax.Array, Caches]]
    weights: Callable[..., tuple[jax.Array, ...]]
    spec: specs.ModelSpec | None = None


def build_model(spec: specs.ModelSpec) -> Model:
    """Returns the model of tokens of a spec.

    >>> import jax, jax.numpy as jnp
    >>> from relational import models, specs
    >>> model = models.build(specs.load("demo").model)
    >>> names = ["token", "voice", "beat", "pitch", "onset"]
    >>> inputs = {"token": {name: jnp.zeros([2, 8], int) for name in names}}
    >>> params = jax.jit(model.init)(jax.random.key(0), inputs)
    >>> jax.eval_shape(lambda: model.apply(params, None, inputs, is_training=False)).shape
    (2, 8, 48)
    """

    def methods() -> tuple[Callable[..., Any], tuple[Callable[..., Any], ...]]:
        module = _GraphModel(spec)

        def call(inputs: Inputs, *, is_training: bool = False) -> jax.Array:
            check_complete(spec, inputs)
            rate = spec.dropout if is_training else 0.0

            def listen(
                index: int, attention: blocks.Attention, graph: rl.Graph
            ) -> tuple[rl.Graph, None]:
                own = module.attentions[index].dropout
                own = rate if own is None else own * is_training
                return attention(graph, dropout_rate=own), None

            return module(inputs, listen, rate=rate)[0]

        def start(inputs: Inputs, length: int) -> Caches:
            check_complete(spec, inputs)
            inputs, lengths = for_stepping(spec, inputs)

            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                del index
                ends = graph.edge_set(attention.over)
                heard = attention(graph)
                if ends.receivers != spec.read_out.node:
                    return heard, None  # Computed here once, and never again.
                name = attention.over
                if ends.senders == ends.receivers:
                    later = stepped(spec, name, ends)
                    return heard, attention.start(graph, length=length, stepped=later)
                graph = graph.with_topology(name, bare(spec, name, inputs))
                return heard, attention.start_fixed(graph, lengths[ends.senders])

            caches = module(inputs, listen)[1]
            return tuple(cache for cache in caches if cache is not None)

        def prefill(caches: Caches, inputs: Inputs, lengths: jax.Array) -> _Stepped:
            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                ends = graph.edge_set(attention.over)
                later = stepped(spec, attention.over, ends)
                return attention.prefill(caches[index], graph, lengths, stepped=later)

            inputs = with_prefix(spec, read_out_only(spec, inputs), lengths)
            return module(inputs, listen)

        def step(caches: Caches, inputs: Inputs, position: jax.Array) -> _Stepped:
            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                return attention.step(caches[index], graph, position)

            # A cache knows its prefix; none of the nodes to come is of it.
            nobody = jnp.zeros_like(position)
            inputs = with_prefix(spec, read_out_only(spec, inputs), nobody)
            return module(inputs, listen, positions=position[:, None])

        def weights(inputs: Inputs) -> tuple[jax.Array, ...]:
            check_complete(spec, inputs)

            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                del index
                return attention(graph), attention.weights(graph)

            return module(inputs, listen)[1]

        return call, (call, start, prefill, step, weights)

    transformed = hk.multi_transform(methods)
    call, start, prefill, step, weights = transformed.apply

    def without_key(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, *arguments: method(params, None, *arguments)

    return Model(
        spec=spec,
        init=transformed.init,
        apply=call,
        start=without_key(start),
        prefill=without_key(prefill),
        step=without_key(step),
        weights=without_key(weights),
    )


@functools.lru_cache(maxsize=32)
def known_model(spec: specs.ModelSpec) -> Model:
    """Returns the model of a spec, the same one for equal specs."""
    return build_model(spec)


class _GraphModel(hk.Module):
    """The blocks of a spec, in order, as one Haiku module."""

    def __init__(self, spec: specs.ModelSpec) -> None:
        super().__init__(name="model")
        self.spec = spec
        self.layers = [block for block in spec.blocks for _ in range(block.repeat)]
        self.attentions = [own for layer in self.layers for own in layer.attentions]

    def __call__(
        self,
        inputs: Inputs,
        listen: _Listen,
        *,
        rate: float = 0.0,
        positions: Any = None,
    ) -> _Stepped:
        """Returns logits [B, N, V] of the set that is read out, and all extras.

        Args:
          inputs: integer arrays of each node set; of sets that are left out, nothing is
            computed.
          listen: (index of the attention, the block, the graph) -> the graph after
            it, and an extra such as a cache.
          rate: of dropout.
          positions: [B, N] where nodes do not stand at 0, 1, 2, ...
        """
        tables = tables_of(self.spec)
        graph = graph_of_tokens(self.spec, inputs, positions, tables, rate)
        read_out = self.spec.read_out.node
        last = {updates(self.spec, layer): i for i, layer in enumerate(self.layers)}
        extras: list[Any] = []
        for index, layer in enumerate(self.layers):
            node_set = updates(self.spec, layer)
            if node_set not in inputs:
                continue
            graph = self._layer(index, layer, graph, listen, rate, extras)
            is_done = node_set != read_out and index == last[node_set]
            if is_done and self.spec.normalization == "pre":
                features = norm(graph.features(node_set), f"final_norm_{node_set}")
                graph = graph.with_features(node_set, features)
        features = graph.features(read_out)
        if self.spec.normalization == "pre":
            features = norm(features, "final_norm")
        return self._read_out(features, tables[read_out]), tuple(extras)

    @hk.transparent
    def _layer(
        self,
        index: int,
        layer: specs.BlockSpec,
        graph: rl.Graph,
        listen: _Listen,
        rate: float,
        extras: list[Any],
    ) -> rl.Graph:
        wrap = blocks.Residual(self.spec.normalization, updates(self.spec, layer), rate)
        for own in layer.attentions:
            # One alone has the name that it had before there could be several.
            name = f"layer_{index}_attention"
            name = name if len(layer.attentions) == 1 else f"{name}_{own.over}"
            attention = blocks.Attention(
                over=own.over,
                num_heads=own.heads,
                num_key_heads=own.kv_heads,
                head_width=own.head_width,
                score=own.score,
                message=own.message,
                sender_score=own.sender_score,
                tables=own.tables,
                biases=own.biases,
                with_slopes=own.slopes,
                rotary=rotary_of(own.rotary),
                scale=own.scale,
                with_bias=own.bias,
                name=name,
            )
            heard = functools.partial(listen, len(extras), attention)
            graph, extra = wrap(graph, heard, f"{name}_norm")
            extras.append(extra)
        if layer.feed_forward is not None:
            feed_forward = blocks.FeedForward(
                width=layer.feed_forward.width,
                activation=layer.feed_forward.activation,
                is_gated=layer.feed_forward.gated,
                name=f"layer_{index}_feed_forward",
            )
            graph, _ = wrap(
                graph,
                lambda inner: (feed_forward(inner, wrap.node_set), None),
                f"layer_{index}_feed_forward_norm",
            )
        return graph

    @hk.transparent
    def _read_out(self, features: jax.Array, table: blocks.Embedding) -> jax.Array:
        if self.spec.read_out.tied and features.shape[-1] == table.width:
            return table.read_out(features)
        vocabulary = self.spec.nodes[self.spec.read_out.node].vocabulary
        flat = features.reshape(-1, features.shape[-1])
        logits = hk.Linear(vocabulary, name="read_out")(flat).astype(jnp.float32)
        return logits.reshape(*features.shape[:-1], vocabulary)


def updates(spec: specs.ModelSpec, block: specs.BlockSpec) -> str:
    """Returns the node set that a block updates."""
    if not block.attentions:
        return spec.read_out.node
    return spec.edges[block.attentions[0].over].receiver_set
