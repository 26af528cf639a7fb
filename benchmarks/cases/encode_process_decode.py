"""A training step of the shortest-path network of Battaglia et al. (2018).

An encoder, ten steps of one graph network block and a decoder, of perceptrons [16, 16]
with layer norms, on 32 graphs of 8 to 16 nodes, padded; cross-entropy of nodes and edges
after every step. jraph's is the same network by `jraph.GraphNetwork`, on the batch as
its users make it. "plain" updates edges from what is gathered side by side, as jraph
does; ours multiplies the nodes before they are gathered (`SplitMLP`).

N nodes, E edges, G graphs, padding included.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Arrays, Case, Programs, jax_programs

_WIDTH = 16
_PARTS = ("edge", "node", "globals")
_READ = {  # What the updates of the core read, of the encoded and the last graph.
    "edge": ("edge", "receiver", "sender", "globals"),
    "node": ("received", "node", "globals"),
    "globals": ("edges", "nodes", "globals"),
}
_SUMMED = ("received", "edges")  # Those are of the new edges or nodes, once as wide.


def inputs(*, graphs: int, steps: int) -> Arrays:
    random = np.random.default_rng(0)
    batch, targets = _batch(graphs)
    arrays: Arrays = {}

    def layers(name: str, width: int) -> None:
        for at, size in enumerate((width, _WIDTH)):
            matrix = random.normal(size=(size, _WIDTH)) / np.sqrt(size)
            arrays[f"{name}_w{at}"] = matrix.astype(np.float32)
            arrays[f"{name}_b{at}"] = np.zeros(_WIDTH, np.float32)
        arrays[f"{name}_scale"] = np.ones(_WIDTH, np.float32)
        arrays[f"{name}_offset"] = np.zeros(_WIDTH, np.float32)

    for part, width in zip(_PARTS, (1, 5, 1), strict=True):
        layers(f"encoder_{part}", width)
        layers(f"core_{part}", sum(_width(each, part) for each in _READ[part]))
        layers(f"decoder_{part}", _WIDTH)
    for part in ("edge", "node"):
        matrix = random.normal(size=(_WIDTH, 2)) / 4
        arrays[f"output_{part}_w"] = matrix.astype(np.float32)
    fields = {name: np.asarray(value) for name, value in batch._asdict().items()}
    return {
        **arrays,
        **{f"graph_{name}": value for name, value in fields.items()},
        "target_nodes": targets.nodes,
        "target_edges": targets.edges,
        "steps": np.zeros(steps, np.float32),
        "cotangent": np.ones((), np.float32),
    }


def _width(read: str, part: str) -> int:
    is_new = read in _SUMMED or (part == "globals" and read == "nodes")
    return _WIDTH if is_new else 2 * _WIDTH


def _batch(graphs: int) -> tuple[Any, Any]:
    """Returns inputs and targets, batched and padded by jraph."""
    import jraph

    from relational.datasets import ShortestPath

    source = ShortestPath(seed=0, num_graphs=graphs)
    pairs = [source[at] for at in range(graphs)]
    sides = [jraph.batch_np([pair[side] for pair in pairs]) for side in (0, 1)]
    nodes, edges = (int(getattr(sides[0], n).sum()) for n in ("n_node", "n_edge"))
    size = (-(-(nodes + 1) // 32) * 32, -(-edges // 128) * 128, graphs + 1)
    return tuple(jraph.pad_with_graphs(side, *size) for side in sides)


def _split(arrays: dict[str, Any]) -> tuple[Any, Any, int, dict[str, Any]]:
    """Returns the graph, the targets, how many steps there are, and the parameters."""
    import jraph

    rest = dict(arrays)
    fields = jraph.GraphsTuple._fields
    graph = jraph.GraphsTuple(**{name: rest.pop(f"graph_{name}") for name in fields})
    targets = tuple(rest.pop(f"target_{name}") for name in ("nodes", "edges"))
    return graph, targets, len(rest.pop("steps")), rest


def _loss(outputs: list[Any], targets: Any, graph: Any) -> Any:
    """Returns the mean cross-entropy of nodes and of edges, over the steps."""
    import jax
    import jax.numpy as jnp
    import jraph

    masks = jraph.get_node_padding_mask(graph), jraph.get_edge_padding_mask(graph)
    total: Any = 0
    for output in outputs:
        for logits, target, mask in zip(output, targets, masks, strict=True):
            surprise = -(jax.nn.log_softmax(logits) * target).sum(-1)
            total = total + jnp.where(mask, surprise, 0).sum() / mask.sum().astype(
                surprise.dtype
            )
    return total / len(outputs)


def _norm(value: Any, scale: Any, offset: Any) -> Any:
    import jax

    centred = value - value.mean(-1, keepdims=True)
    spread = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred * spread * scale.reshape(1, -1) + offset.reshape(1, -1)


def _layers(parameters: Any, name: str) -> Callable[[Any], Any]:
    import jax

    def call(value: Any) -> Any:
        for at in range(2):
            product = value @ parameters[f"{name}_w{at}"]
            value = jax.nn.relu(product + parameters[f"{name}_b{at}"][None])
        return _norm(value, parameters[f"{name}_scale"], parameters[f"{name}_offset"])

    return call


def _ours(is_split: bool) -> Callable[[Arrays], Programs]:
    def programs(inputs: Arrays) -> Programs:
        import haiku as hk
        import jax

        from relational import blocks

        def network(arrays: Any) -> Any:
            graph, _, steps, parameters = _split(arrays)

            def group(maker: Any, name: str) -> Any:
                updates = {
                    f"update_{part.removesuffix('s')}": _layers(
                        parameters, f"{name}_{part}"
                    )
                    for part in _PARTS
                }
                if is_split and name == "core":
                    updates["update_edge"] = _split_mlp(parameters)
                return maker(**updates, name=name)

            output = blocks.Independent(
                update_edge=lambda rows: rows @ parameters["output_edge_w"],
                update_node=lambda rows: rows @ parameters["output_node_w"],
            )
            model = blocks.EncodeProcessDecode(
                encoder=group(blocks.Independent, "encoder"),
                core=group(blocks.GraphNetwork, "core"),
                decoder=blocks.Sequential(
                    [group(blocks.Independent, "decoder"), output]
                ),
                num_steps=steps,
                unroll=steps,  # As jraph's users write it.
            )
            return [(step.nodes, step.edges) for step in model(graph)]

        pure = hk.without_apply_rng(hk.transform(network))
        given = {name: leaf for name, leaf in inputs.items() if name != "cotangent"}
        own = jax.eval_shape(pure.init, jax.random.key(0), given)

        def loss(**arrays: Any) -> Any:
            graph, targets, *_ = _split(arrays)
            cut = _cut(arrays) if is_split else {}
            held = {
                module: {k: cut[k] for k in leaves} for module, leaves in own.items()
            }
            return _loss(pure.apply(held, arrays), targets, graph)

        return jax_programs(loss, inputs, _moving(inputs))

    return programs


def _split_mlp(parameters: Any) -> Any:
    import jax

    from relational import blocks

    def rest(value: Any) -> Any:
        name = "core_edge"
        value = jax.nn.relu(
            value @ parameters[f"{name}_w1"] + parameters[f"{name}_b1"][None]
        )
        return _norm(value, parameters[f"{name}_scale"], parameters[f"{name}_offset"])

    return blocks.SplitMLP([_WIDTH], activate_final=True, then=rest)


def _cut(parameters: Any) -> dict[str, Any]:
    """Returns what `SplitMLP` holds: the first matrix in parts, and the offset."""
    matrix, sizes = (
        parameters["core_edge_w0"],
        [_width(n, "edge") for n in _READ["edge"]],
    )
    ends = np.cumsum([0, *sizes])
    spans = zip(_READ["edge"], ends[:-1], ends[1:], strict=True)
    cut = {f"w_{name}": matrix[start:stop] for name, start, stop in spans}
    return {**cut, "b": parameters["core_edge_b0"]}


def _jraph(inputs: Arrays) -> Programs:
    import jax.numpy as jnp
    import jraph

    def loss(**arrays: Any) -> Any:
        graph, targets, steps, parameters = _split(arrays)

        def side_by_side(name: str, order: tuple[int, ...]) -> Callable[..., Any]:
            layers = _layers(parameters, name)
            return lambda *read: layers(jnp.concatenate([read[i] for i in order], -1))

        def maps(name: str) -> Any:
            each = [_layers(parameters, f"{name}_{part}") for part in _PARTS]
            return jraph.GraphMapFeatures(*each)

        core = jraph.GraphNetwork(
            update_edge_fn=side_by_side("core_edge", (0, 2, 1, 3)),
            update_node_fn=side_by_side("core_node", (2, 0, 3)),
            update_global_fn=side_by_side("core_globals", (1, 0, 2)),
        )
        encoded = latent = maps("encoder")(graph)
        outputs = []
        for _ in range(steps):
            both = {
                name: jnp.concatenate(
                    [getattr(encoded, name), getattr(latent, name)], -1
                )
                for name in ("nodes", "edges", "globals")
            }
            latent = core(latent._replace(**both))
            decoded = maps("decoder")(latent)
            outputs.append(
                (
                    decoded.nodes @ parameters["output_node_w"],
                    decoded.edges @ parameters["output_edge_w"],
                )
            )
        return _loss(outputs, targets, graph)

    return jax_programs(loss, inputs, _moving(inputs))


def _moving(inputs: Arrays) -> tuple[str, ...]:
    """Returns the names of parameters, of one of the three groups or the output."""
    groups = ("encoder", "core", "decoder", "output")
    return tuple(name for name in inputs if name.split("_")[0] in groups)


CASE = Case(
    title="Encode, process, decode",
    sizes=[{"graphs": 32, "steps": 10}],
    tiny={"graphs": 2, "steps": 2},
    inputs=inputs,
    peers={
        "relational": _ours(is_split=True),
        "jraph": _jraph,
        "relational, plain": _ours(is_split=False),
    },
    tolerance=(2e-5, 1e-3),
)
