"""Tuning: lowerings chosen by measurement, and kept in a file.

The planner estimates; where that is not enough, `tune` measures what can serve, blocks
of several sizes included, for every distinct call of `propagate` in a function, and
writes the winners down. Within `tuned` the planner takes them. Nothing is global: what
is traced outside of `tuned` is planned as ever.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from relational import plans
from relational.explain import explain
from relational.explaining import measuring
from relational.explaining.measuring import Measured
from relational.lowerings.problem import Problem
from relational.lowerings.tiles import Tiles
from relational.lowerings.window import Window, best_block, neighbourhood
from relational.plans import Lowering, Plan, Preference
from relational.terms import Term

_FORMAT = "relational lowerings 1"
_BLOCKS = (32, 64, 128, 256, 512)  # Receivers of a tile.
_GRAPHS = (1, 8)  # Graphs that a tile takes at once, at most.
_PLACES = (16, 64, 256)  # Receivers of a block on a grid.
_HOPELESS = 20  # What is estimated at so many times the best is not measured.


@dataclasses.dataclass(frozen=True)
class Choice:
    """The fastest lowering that was measured for a problem.

    Attributes:
      problem: the problem in words: topology, counts, terms, aggregators, type of the
        results, device, version of JAX.
      forward: seconds.
      both: seconds forward and backward; None where there is no gradient to take.

    >>> import relational as rl
    >>> choice = rl.Choice("Causal(), ...", rl.lowerings.Tiles(block=64), 0.001, 0.004)
    >>> print(choice)
    Causal(), ...: Tiles(block=64), measured 1 ms, 4 ms with gradients
    """

    problem: str
    lowering: Lowering
    forward: float
    both: float | None

    @property
    def measured(self) -> str:
        """The times in words."""
        return str(Measured(self.lowering.name, self.forward, self.both))

    def __str__(self) -> str:
        options = _options(self.lowering).items()
        listed = ", ".join(f"{name}={value}" for name, value in options)
        name = type(self.lowering).__name__
        return f"{self.problem}: {name}({listed}), {self.measured}"


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes:
      choices: one for each distinct problem that was measured.
      left_out: the other problems, each with the reason.

    >>> import relational as rl
    >>> choice = rl.Choice("Causal(), ...", rl.lowerings.Dense(), 0.001, None)
    >>> print(rl.Tuning((choice,), ()))
    Causal(), ...: Dense(), measured 1 ms
    """

    choices: tuple[Choice, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*map(str, self.choices), *self.left_out])


def tune(
    function: Callable[..., Any],
    *arguments: Any,
    path: str | os.PathLike[str],
    budget: float = 300.0,
) -> Tuning:
    """Measures the lowerings of every call of `propagate` in a function; keeps the best.

    The best is the fastest forward and backward. Each is measured alone, on arrays of
    the call's shapes; the function itself is traced and not run.

    Args:
      function: anything that calls `propagate`.
      *arguments: its arguments; arrays may be `jax.ShapeDtypeStruct`.
      path: a file, which is made; what it holds about other problems is kept.
      budget: seconds after which nothing new is begun.

    Raises:
      ValueError: if the file is not one of `tune`, or the function never calls
        `propagate`.

    >>> import jax, pathlib, tempfile, relational as rl
    >>> mean = lambda x: rl.propagate(rl.Causal(), senders=x, aggregator=rl.Mean(),
    ...                               message=lambda sender: sender)
    >>> nodes = jax.ShapeDtypeStruct((16, 4), "float32")
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tuned.json"
    >>> found = rl.tune(mean, nodes, path=path)
    >>> with rl.tuned(path):
    ...     plan = rl.explain(mean, nodes).plans[0]
    >>> plan.lowering == found.choices[0].lowering, plan.reason[:15]
    (True, 'tuned: measured')
    """
    path = pathlib.Path(path)
    known = load(path) if path.exists() else {}
    found = explain(function, *arguments).plans
    if not found:
        raise ValueError(
            "`function` must call `propagate` when it is called with `*arguments`; it "
            "never did. Tune the function that makes a step, or a block's `apply`."
        )
    deadline = time.monotonic() + budget
    by_problem = {describe(plan.problem): plan for plan in found}
    best = {key: _best(key, plan, deadline) for key, plan in by_problem.items()}
    choices = tuple(each for each in best.values() if isinstance(each, Choice))
    left_out = tuple(each for each in best.values() if isinstance(each, str))
    _write(path, known | {each.problem: each for each in choices})
    return Tuning(choices, left_out)


@contextlib.contextmanager
def tuned(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets the planner take what `tune` wrote to a file, where a problem is found there.

    It matters when a function is traced: one that `jax.jit` has compiled already keeps
    its lowerings, inside and outside. `propagate(..., lowering=...)` still rules, and a
    lowering that cannot serve is passed over.

    Args:
      path: the file.

    Raises:
      ValueError: if the file is not one of `tune`.

    >>> import jax, pathlib, tempfile, relational as rl
    >>> total = lambda x: rl.propagate(rl.Complete(), senders=x, aggregator=rl.Sum(),
    ...                                message=lambda sender: sender)
    >>> nodes = jax.numpy.arange(4.0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tuned.json"
    >>> _ = rl.tune(total, nodes, path=path)
    >>> with rl.tuned(path):
    ...     total(nodes).tolist()
    [6.0, 6.0, 6.0, 6.0]
    """
    choices = load(pathlib.Path(path))

    def find(problem: Problem) -> Preference | None:
        choice = choices.get(describe(problem))
        if choice is None:
            return None
        return Preference(choice.lowering, f"tuned: {choice.measured}")

    with plans.preferring(find):
        yield


def describe(problem: Problem) -> str:
    """Returns a problem in words, the same in every process: the key in a file.

    >>> import jax, relational as rl
    >>> nodes = jax.ShapeDtypeStruct((16, 4), "float32")
    >>> plan = rl.lower(rl.Causal(), senders=nodes, aggregator=rl.Mean(),
    ...                 message=lambda sender: sender)
    >>> print(describe(plan.problem).split("; float32")[0])
    Causal(), 16 x 16 nodes, 136 edges; message leaf(sender[4]); Mean()
    """
    graphs = " x ".join(map(str, problem.lead))
    counts = f"{problem.num_receivers} x {problem.num_senders} nodes"
    head = f"{problem.topology}, {counts}, {problem.num_edges} edges"
    parts = [head + (f", {graphs} graphs" if graphs else "")]
    for role, terms in (("score", problem.score), ("message", problem.message)):
        parts += [f"{role} {_term(term, problem)}" for term in terms]
    parts.append(", ".join(map(str, problem.aggregators)))
    parts += ["with dropout"] if problem.dropout_rate else []
    device = jax.devices()[0].device_kind
    return "; ".join([*parts, str(problem.dtype), device, f"jax {jax.__version__}"])


def _term(term: Term, problem: Problem) -> str:
    """Returns a term's class, what it reads, and for a general one what it computes."""
    reads = []
    for (site, _), variable in zip(term.reads, term.inputs, strict=True):
        relation = problem.relations.get(site)
        name = site if relation is None else f"{site} {relation}"
        reads.append(f"{name}{list(variable.aval.shape)}")  # type: ignore[attr-defined]  # Arrays.
    steps = ""
    if term.kind == "general":
        steps = " " + " ".join(each.primitive.name for each in term.jaxpr.eqns)
    return f"{term.kind}({', '.join(reads)}){steps}"


def _best(problem: str, plan: Plan, deadline: float) -> Choice | str:
    """Returns the fastest lowering of a plan, or why there is none."""
    tried = [
        dataclasses.replace(plan, lowering=each, candidates=())
        for each in _contenders(plan)
    ]
    found = measuring.measure(tried, deadline - time.monotonic())
    timed = [
        Choice(problem, each.lowering, measured.forward, measured.both)
        for each, (measured,) in zip(tried, found, strict=True)
        if measured.forward is not None
    ]
    if not timed:
        return f"{problem}: left out, {found[0][0]}"
    # Where time was left for no gradients, a lowering is behind those that have them.
    has_gradients = any(each.both is not None for each in timed)
    return min(timed, key=lambda each: _rank(each, has_gradients))


def _rank(choice: Choice, has_gradients: bool) -> float:
    if not has_gradients:
        return choice.forward
    return math.inf if choice.both is None else choice.both


def _contenders(plan: Plan) -> list[Lowering]:
    """Returns what is worth a measurement, the cheapest first."""
    able = [each for each in plan.candidates if not each.reasons]
    able.sort(key=lambda each: each.weight)
    least = able[0].weight
    found: dict[Lowering, None] = {}
    for each in able:
        if each.weight <= _HOPELESS * least:
            found |= dict.fromkeys(_variants(each.lowering, plan.problem))
    return list(found)


@functools.singledispatch
def _variants(lowering: Lowering, problem: Problem) -> list[Lowering]:
    """Returns a lowering, and then others that differ from it in their options."""
    del problem
    return [lowering]


@_variants.register
def _(lowering: Tiles, problem: Problem) -> list[Lowering]:
    sizes = [size for size in _BLOCKS if size < 2 * problem.num_receivers]
    counts = [count for count in _GRAPHS if count <= problem.num_graphs]
    others = [
        dataclasses.replace(lowering, block=size, graphs=count)
        for size, count in itertools.product(sizes, counts)
    ]
    return _distinct(
        [lowering, *others], lambda each: (each.plan(problem), each.groups(problem))
    )


@_variants.register
def _(lowering: Window, problem: Problem) -> list[Lowering]:
    topology = neighbourhood(problem.topology)
    assert topology is not None
    blocks = [best_block(topology.receiver_grid, places) for places in _PLACES]
    others = [dataclasses.replace(lowering, block=block) for block in blocks]
    return _distinct([lowering, *others], lambda each: each.plan(problem))


def _distinct(lowerings: list[Any], computed: Callable[[Any], Any]) -> list[Lowering]:
    """Leaves out those that would be computed as one before them."""
    seen = {str(computed(each)): each for each in reversed(lowerings)}
    return [each for each in lowerings if any(each is kept for kept in seen.values())]


def load(path: pathlib.Path) -> dict[str, Choice]:
    """Returns the choices of a file, by problem.

    Raises:
      ValueError: if it is not one of `tune`.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {_FORMAT!r}")
        return {key: _choice(key, each) for key, each in content["choices"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"`{path}` must be a file that `rl.tune` wrote; got one that is not: "
            f"{reason}. Tune again into another file, or remove this one."
        ) from error


def _choice(problem: str, content: Mapping[str, Any]) -> Choice:
    kinds: dict[str, Any] = {each.name: type(each) for each in plans.LOWERINGS}
    name = content["lowering"]
    if name not in kinds:
        raise ValueError(f"there is no lowering {name!r}; there are {', '.join(kinds)}")
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in content["options"].items()
    }
    both = content["both"]
    return Choice(
        problem,
        kinds[name](**options),
        float(content["forward"]),
        None if both is None else float(both),
    )


def _write(path: pathlib.Path, choices: Mapping[str, Choice]) -> None:
    """Writes a file as a whole or not at all, whenever it is interrupted."""
    content = {
        "format": _FORMAT,
        "choices": {
            key: {
                "lowering": each.lowering.name,
                "options": _options(each.lowering),
                "forward": each.forward,
                "both": each.both,
            }
            for key, each in sorted(choices.items())
        },
    }
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    fresh.replace(path)


def _options(lowering: Lowering) -> dict[str, Any]:
    """Returns the options of a lowering that are not the default ones."""
    assert dataclasses.is_dataclass(lowering)
    return {
        field.name: getattr(lowering, field.name)
        for field in dataclasses.fields(lowering)
        if getattr(lowering, field.name) != field.default
    }
