"""`relational explain`: to see what a model costs, before anything is computed."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from relational.command_line.spec import SetOption, SpecArgument

if TYPE_CHECKING:  # Imported where it is used: `relational --help` need not wait.
    import relational as rl
    from relational import specs
    from relational.plans import Candidate, Plan
    from relational.topologies import Topology

_PICTURE_SIZE = 12  # Rows and columns of a picture of a topology.
_MOST = 2**17  # Nodes, or sequences: beyond, counting the edges takes minutes.
_ATTRIBUTES = ("previous", "voice", "beat", "onset", "pitch")


def explain(
    spec: SpecArgument,
    settings: SetOption = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            metavar="N",
            help="Sequences in a batch; by default those of the training.",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            metavar="N",
            help="Nodes of a sequence; by default the window of the data.",
            show_default=False,
        ),
    ] = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for programs.")
    ] = False,
) -> None:
    """Say which way a model is computed, why, and what else was considered."""
    from relational import specs

    loaded = specs.override(specs.load(spec), settings or [])
    batch = loaded.training.batch_size if batch is None else batch
    length = loaded.data.window if length is None else length
    for name, value in (("batch", batch), ("length", length)):
        if not 1 <= value <= _MOST:
            raise ValueError(f"--{name} must be 1 to {_MOST}; got {value}.")
    explanation, num_parameters = _explained(loaded.model, batch, length)
    if is_json:
        import json

        facts = {
            "spec": loaded.name,
            "batch": batch,
            "length": length,
            "parameters": num_parameters,
            "plans": _as_json(explanation),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(
        f"{loaded.name}: {num_parameters:,} parameters; one forward pass over "
        f"{batch} x {length:,} nodes"
    )
    for name, topology in _topologies(loaded.model).items():
        typer.echo(f"\nedges `{name}`: {topology}\n{_picture(topology, length)}")
    typer.echo(f"\n{explanation}")


def _explained(
    model: "specs.ModelSpec", batch: int, length: int
) -> "tuple[rl.Explanation, int]":
    """Returns the plans of one forward pass, from shapes alone."""
    import jax

    import relational as rl
    from relational.models.tasks import NextToken

    task = NextToken(model)
    whole = jax.ShapeDtypeStruct((batch, length), "int32")
    inputs = task.inputs(dict.fromkeys(_ATTRIBUTES, whole))
    # Parameters do not depend on how many nodes there are.
    one = jax.ShapeDtypeStruct((1, 1), "int32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    example = task.inputs(dict.fromkeys(_ATTRIBUTES, one))
    params = jax.eval_shape(task.model.init, key, example)

    def forward(params: Any, inputs: Any) -> Any:
        return task.model.apply(params, None, inputs, is_training=False)

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return rl.explain(forward, params, inputs), num_parameters


def _topologies(model: "specs.ModelSpec") -> "dict[str, Topology]":
    from relational import models

    return {
        name: models.topology_of(edge_set.topology)
        for name, edge_set in model.edges.items()
    }


def _picture(topology: "Topology", length: int) -> str:
    """Returns the first nodes, and beside them all nodes, some to a character."""
    size = min(length, _PICTURE_SIZE)
    near = topology.text(size).splitlines()
    if length <= _PICTURE_SIZE:
        return "\n".join(f"  {row}" for row in near)
    block = -(-length // _PICTURE_SIZE)
    tiles = topology.tiles(block, length, length)
    far = ["".join(".+#"[tile] for tile in row) for row in tiles]
    far += [""] * (len(near) - len(far))
    gap = max(len(f"its first {size} nodes"), size)
    lines = [
        f"  {left:{gap}}   {right}".rstrip()
        for left, right in zip(near, far, strict=True)
    ]
    head = f"  {f'its first {size} nodes':{gap}}   all {length:,}, {block} a character"
    legend = "  rows hear columns: # all, + some, . none"
    return "\n".join([head, *lines, legend])


def _as_json(explanation: "rl.Explanation") -> list[dict[str, Any]]:
    counted = zip(explanation.plans, explanation.counts, strict=True)
    return [{**_plan(plan), "times": count} for plan, count in counted]


def _plan(plan: "Plan") -> dict[str, Any]:
    problem = plan.problem
    terms = [
        {"role": role, "class": term.kind, "depends": sorted(term.depends)}
        for role, terms in (("score", problem.score), ("message", problem.message))
        for term in terms
    ]
    return {
        "topology": str(problem.topology),
        "receivers": problem.num_receivers,
        "senders": problem.num_senders,
        "graphs": problem.num_graphs,
        "edges": problem.num_edges,
        "terms": terms,
        "aggregators": [type(each).__name__ for each in problem.aggregators],
        "lowering": plan.lowering.name,
        "considered": [_candidate(each) for each in plan.candidates],
    }


def _candidate(candidate: "Candidate") -> dict[str, Any]:
    if candidate.reasons:
        return {"lowering": candidate.lowering.name, "refuses": candidate.reasons}
    return {
        "lowering": candidate.lowering.name,
        "seconds": candidate.seconds,
        "bytes": candidate.bytes,
    }
