"""`relational explain`: to see what a model costs, before anything is computed."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line.spec import SetOption, SpecArgument

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import relational as rl
    from relational import specs

_MOST = 2**17  # Nodes, or sequences: beyond, counting the edges takes minutes.
_MOST_SECONDS = 86_400
_SENTENCE = 32  # Tokens, where data have no window.
_SIZED = {True: "padded to", False: "of"}
_GIVEN = {
    True: "those of the graphs, given with each batch",
    False: "those of the one graph, known beforehand; here drawn at random in their place",
}
_PICTURES = (".png", ".svg", ".pdf")


def explain(
    spec: SpecArgument,
    settings: SetOption = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            help="Sequences or graphs in a batch; by default those of the training.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            metavar="N",
            help="Nodes of a sequence; by default the window of the data, or those of a "
            f"sentence, {_SENTENCE}.",
            show_default=False,
        ),
    ] = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs.")
    ] = False,
    is_measured: Annotated[
        bool,
        typer.Option(
            "--measure", help="Run the lowerings, and show what they take as well."
        ),
    ] = False,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            metavar="SECONDS",
            help="After so long, no further measurement is begun.",
        ),
    ] = 60.0,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            help="Draw which nodes are computed together: a .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say which way a model is computed, why, and what else was considered."""
    from relational import specs

    loaded = specs.override(specs.load(spec), settings or [])
    for name, value in (("batch", batch), ("length", length)):
        if value is not None and not 1 <= value <= _MOST:
            raise ValueError(f"--{name} must be 1 to {_MOST}; got {value}.")
    if not 0 < budget <= _MOST_SECONDS:
        raise ValueError(
            f"--budget must be above 0 and at most {_MOST_SECONDS}; got {budget}."
        )
    _check_picture(picture)
    if isinstance(loaded.model, specs.ModelSpec):
        asked = _of_tokens(loaded, batch, length)
    else:
        asked = _of_graphs(loaded, batch, length)
    explanation, num_parameters = _explained(asked, budget if is_measured else None)
    if picture is not None:
        _draw(explanation, picture)
    if is_json:
        import json

        facts = {
            "spec": loaded.name,
            **asked.sizes,
            "parameters": num_parameters,
            "edge_sets": asked.edges,
            "experts": asked.experts,
            **explanation.as_dict(),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(
        f"{loaded.name}: {num_parameters:,} parameters; one forward pass over "
        f"{asked.words}\n"
    )
    for name, topology in asked.edges.items():
        typer.echo(f"edges `{name}`: {topology}")
    for name, chosen in asked.experts.items():
        typer.echo(f"edges {name}: {chosen}")
    typer.echo()
    _show(explanation)
    if picture is not None:
        typer.echo(f"\nthe picture is in {picture}")


def _show(explanation: "rl.Explanation") -> None:
    """Prints tables on a terminal, and plain text into files and pipes."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(explanation)
    else:
        typer.echo(str(explanation))


def _check_picture(path: pathlib.Path | None) -> None:
    """Raises what would keep a picture from being written, before all the work."""
    if path is None:
        return
    if path.suffix.lower() not in _PICTURES:
        raise ValueError(
            f"--picture must be a file that ends in {', '.join(_PICTURES[:-1])} or "
            f"{_PICTURES[-1]}; got {str(path)!r}."
        )
    if path.is_dir():
        raise ValueError(f"--picture must be a file; got the folder {str(path)!r}.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(
            "--picture must be in a folder that exists and can be written to; got "
            f"{str(path)!r}."
        )


def _draw(explanation: "rl.Explanation", path: pathlib.Path) -> None:
    from relational.plotting.tile_maps import tile_maps

    tile_maps(*explanation.plans).savefig(path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asked:
    """A forward pass of a model, in shapes."""

    sizes: dict[str, int]
    words: str
    edges: dict[str, str]
    experts: dict[str, str] = dataclasses.field(default_factory=dict)
    init: Callable[[Any], Any]
    example: Any
    """From which parameters are made; they do not depend on how many nodes there are."""
    forward: Callable[[Any, Any], Any]
    inputs: Any


def _of_tokens(spec: "specs.Spec", batch: int | None, length: int | None) -> _Asked:
    """Returns a pass over sequences of tokens."""
    from relational import models, specs
    from relational.datasets import length_buckets

    model: Any = spec.model
    data: Any = spec.data
    most, is_text = spec.training.batch_size, isinstance(data, specs.TextSpec)
    window: int = getattr(data, "window", _SENTENCE)
    length = length or (_SENTENCE if is_text else window)
    if is_text:
        sized = length_buckets.sized([length], tokens=data.tokens, most=most)
        most = sized.sizes[0]
    batch = batch or most
    built = models.build(model)
    return _Asked(
        sizes={"batch": batch, "length": length},
        words=f"{batch} x {length:,} nodes",
        edges=_edge_sets(model),
        experts=_experts(model),
        init=lambda inputs: built.init(_key(), inputs),
        example=_inputs(model, 1, 1, is_padded=is_text),
        forward=lambda p, inputs: built.apply(p, None, inputs, is_training=False),
        inputs=_inputs(model, batch, length, is_padded=is_text),
    )


def _of_graphs(spec: "specs.Spec", batch: int | None, length: int | None) -> _Asked:
    """Returns a pass over a typical batch of graphs."""
    from relational import models, specs
    from relational.models.graph_batches import graph_of
    from relational.models.typical import typical_batch, typical_edges

    if length is not None:
        raise ValueError(
            f"--length counts the nodes of a sequence, and `{spec.name}` reads graphs. "
            "Leave it out; --batch counts graphs."
        )
    if batch is not None:
        spec = specs.override(spec, [f"training.batch_size={batch}"])
    built: Any = models.build(spec.model)
    arrays, known = typical_batch(spec), typical_edges(spec)
    num_nodes = arrays["nodes.features"].shape[1]
    num_edges = int((arrays["senders"] if known is None else known.graph.senders).size)
    size = spec.training.batch_size
    return _Asked(
        sizes={"batch": size, "nodes": num_nodes, "edges": num_edges},
        words=f"{size:,} graph{'s' * (size > 1)}, {_SIZED[known is None]} "
        f"{num_nodes:,} nodes and {num_edges:,} edges",
        edges={"edge": _GIVEN[known is None]},
        init=lambda arrays: built.init(_key(), graph_of(arrays, known)),
        example=arrays,
        forward=lambda p, arrays: built.apply(
            p, None, graph_of(arrays, known), is_training=False
        ),
        inputs=arrays,
    )


def _key() -> Any:
    import jax

    return jax.random.key(0)


def _explained(asked: _Asked, budget: float | None) -> "tuple[rl.Explanation, int]":
    """Returns the plans of one forward pass, from shapes alone unless measured."""
    import jax

    import relational as rl

    params = jax.eval_shape(asked.init, asked.example)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    arguments = params, asked.inputs
    if budget is None:
        return rl.explain(asked.forward, *arguments), num_parameters
    found = rl.explain(asked.forward, *arguments, measure=True, budget=budget)
    return found, num_parameters


def _inputs(
    model: "specs.ModelSpec", batch: int, length: int, *, is_padded: bool
) -> dict[str, Any]:
    """Returns the shapes of what the nodes, and the edges, of each set are given."""
    import jax

    from relational.models import edge_sets
    from relational.specs.topology import reads_prefix

    def whole(*shape: int) -> Any:
        return jax.ShapeDtypeStruct((batch, *shape), "int32")

    of_sets = {edge_sets.LENGTH: whole()} if is_padded else {}
    if any(reads_prefix(its.topology) for its in model.edges.values()):
        of_sets[edge_sets.PREFIX] = whole()
    compared = edge_sets.attributes_read(model)
    labels = edge_sets.labelled(model)
    return {
        name: dict.fromkeys(names, whole(length, length))
        for name, names in labels.items()
        if names
    } | {
        name: dict.fromkeys(["token", *node.embed, *compared], whole(length)) | of_sets
        for name, node in model.nodes.items()
    }


def _edge_sets(model: "specs.ModelSpec") -> dict[str, str]:
    """Returns the topology of each edge set, by name."""
    import jax.numpy as jnp

    import relational as rl
    from relational import models

    prefix = rl.Lengths(senders=jnp.int32(0))  # It stands for any.
    return {
        name: str(models.topology_of(edge_set.topology, prefix))
        for name, edge_set in model.edges.items()
    }


def _experts(model: "specs.ModelSpec") -> dict[str, str]:
    """Returns the edges from the experts of each block that has some."""
    from relational.models.graph_model import updates

    return {
        f"from the {block.experts.count} experts of `model.blocks[{index}]` to "
        f"`{updates(model, block)}`": f"Neighbours({block.experts.chosen} of "
        f"{block.experts.count}), which a router chooses"
        for index, block in enumerate(model.blocks)
        if block.experts is not None
    }
