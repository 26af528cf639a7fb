"""A model built from a spec: embed, let the blocks update the graph, read out.

The Transformer decoder, the Music Transformer and their variants are values of
`ModelSpec`; nothing here knows them. Decoding uses the same blocks, one node at a time.

Shapes: B batch, N nodes of a set, D width, V vocabulary.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

import relational as rl
from relational import blocks, specs
from relational.blocks.residual import dropout, norm
from relational.models.named import relation_of, topology_of

Inputs = Mapping[str, Mapping[str, Any]]
Caches = tuple[rl.Cache, ...]
_Listen = Callable[[int, blocks.Attention, rl.Graph], tuple[rl.Graph, Any]]
_Stepped = tuple[jax.Array, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as pure functions.

    `inputs` are, for each node set, integer arrays [B, N]: `token`, and the attributes
    that are embedded or that relations read.

    Attributes:
      init: (key, inputs) -> params.
      apply: (params, key, inputs, is_training) -> logits [B, N, V].
      start: (params, inputs, length) -> caches.
      prefill: (params, caches, inputs, lengths [B]) -> (logits [B, N, V], caches).
      step: (params, caches, inputs of one node, position [B]) -> (logits [B, 1, V],
        caches).
      weights: (params, inputs) -> for each attention, in order, [B, H, R, S]: how much
        each node listens to each other. For looking at; needs memory for all pairs.

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
            rate = spec.dropout if is_training else 0.0

            def listen(
                index: int, attention: blocks.Attention, graph: rl.Graph
            ) -> tuple[rl.Graph, None]:
                own = module.attentions[index].dropout
                own = rate if own is None else own * is_training
                return attention(graph, dropout_rate=own), None

            return module(inputs, listen, rate=rate)[0]

        def start(inputs: Inputs, length: int) -> Caches:
            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                del index
                return attention(graph), attention.start(graph, length=length)

            return module(inputs, listen)[1]

        def prefill(caches: Caches, inputs: Inputs, lengths: jax.Array) -> _Stepped:
            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                return attention.prefill(caches[index], graph, lengths)

            return module(inputs, listen)

        def step(caches: Caches, inputs: Inputs, position: jax.Array) -> _Stepped:
            def listen(index: int, attention: blocks.Attention, graph: rl.Graph) -> Any:
                return attention.step(caches[index], graph, position)

            return module(inputs, listen, positions=position[:, None])

        def weights(inputs: Inputs) -> tuple[jax.Array, ...]:
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
        init=transformed.init,
        apply=call,
        start=without_key(start),
        prefill=without_key(prefill),
        step=without_key(step),
        weights=without_key(weights),
    )


class _GraphModel(hk.Module):
    """The blocks of a spec, in order, as one Haiku module."""

    def __init__(self, spec: specs.ModelSpec) -> None:
        super().__init__(name="model")
        self.spec = spec
        self.layers = [block for block in spec.blocks for _ in range(block.repeat)]
        self.attentions = [
            layer.attention for layer in self.layers if layer.attention is not None
        ]

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
          inputs: integer arrays of each node set.
          listen: (index of the attention, the block, the graph) -> the graph after
            it, and an extra such as a cache.
          rate: of dropout.
          positions: [B, N] where nodes do not stand at 0, 1, 2, ...
        """
        tables = {
            name: blocks.Embedding(
                vocabulary=node.vocabulary,
                width=node.width - _beside(node),
                name=f"embed_{name}",
            )
            for name, node in self.spec.nodes.items()
        }
        graph = self._graph(inputs, positions, tables, rate)
        extras: list[Any] = []
        for index, layer in enumerate(self.layers):
            graph = self._layer(index, layer, graph, listen, rate, extras)
        node = self.spec.read_out.node
        features = graph.features(node)
        if self.spec.normalization == "pre":
            features = norm(features, "final_norm")
        return self._read_out(features, tables[node]), tuple(extras)

    @hk.transparent
    def _graph(
        self,
        inputs: Inputs,
        positions: Any,
        tables: Mapping[str, blocks.Embedding],
        rate: float,
    ) -> rl.Graph:
        nodes = {}
        for name, node in self.spec.nodes.items():
            given = dict(inputs[name])
            features = _embed(name, node, tables[name], given, positions)
            attributes = {key: leaf for key, leaf in given.items() if key != "token"}
            nodes[name] = {**attributes, "features": dropout(features, rate)}
        edges = {
            name: rl.EdgeSet(
                senders=edge_set.sender_set,
                receivers=edge_set.receiver_set,
                topology=topology_of(edge_set.topology),
                relations={
                    key: relation_of(relation)
                    for key, relation in edge_set.relations.items()
                },
            )
            for name, edge_set in self.spec.edges.items()
        }
        return rl.Graph(nodes=nodes, edges=edges, batch_axes=1)

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
        node_set = self.spec.read_out.node
        if layer.attention is not None:
            own = layer.attention
            node_set = self.spec.edges[own.over].receiver_set
            attention = blocks.Attention(
                over=own.over,
                num_heads=own.heads,
                head_width=own.head_width,
                score=own.score,
                message=own.message,
                tables=own.tables,
                with_bias=own.bias,
                name=f"layer_{index}_attention",
            )
            wrap = blocks.Residual(self.spec.normalization, node_set, rate)
            graph, extra = wrap(
                graph,
                lambda inner: listen(len(extras), attention, inner),
                f"layer_{index}_attention_norm",
            )
            extras.append(extra)
        if layer.feed_forward is not None:
            feed_forward = blocks.FeedForward(
                width=layer.feed_forward.width,
                activation=layer.feed_forward.activation,
                name=f"layer_{index}_feed_forward",
            )
            wrap = blocks.Residual(self.spec.normalization, node_set, rate)
            graph, _ = wrap(
                graph,
                lambda inner: (feed_forward(inner, node_set), None),
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


def _beside(node: specs.NodeSpec) -> int:
    """Returns the channels that concatenated positions take from the embedding."""
    positions = node.positions
    if isinstance(positions, specs.SinusoidSpec) and positions.combine == "concatenate":
        return node.width // 2 if positions.width is None else positions.width
    return 0


def _embed(
    name: str,
    node: specs.NodeSpec,
    table: blocks.Embedding,
    given: Mapping[str, Any],
    positions: Any,
) -> jax.Array:
    """Returns the features of a node set, [B, N, D]."""
    tokens = given["token"]
    features = table(tokens)
    for attribute, count in node.embed.items():
        rows = blocks.Embedding(
            vocabulary=count, width=table.width, name=f"embed_{name}_{attribute}"
        )
        features = features + rows(given[attribute])
    spec = node.positions
    if isinstance(spec, specs.SinusoidSpec):
        at = jnp.arange(tokens.shape[1])[None] if positions is None else positions
        width = _beside(node) or node.width
        waves = blocks.sinusoids(at, width, spec.layout).astype(features.dtype)
        if spec.combine == "add":
            return features + waves
        waves = jnp.broadcast_to(waves, (*features.shape[:2], width))
        return jnp.concatenate([features, waves], axis=-1)
    return features
